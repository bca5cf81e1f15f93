//! PT104: pid namespaces match the requested pid mode.

use super::membership::{self, Holder};
use crate::rules::prelude::*;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT104",
        name: "pid-mode",
        severity: Severity::Error,
        summary: "the pid namespace of a container or sandbox does not match the requested mode",
        doc: "\
## What it checks
When a container's entrypoint executes, its pid namespace must match the requested mode: the \
sandbox's with POD (`shareProcessNamespace`); a new one in which the entrypoint is pid 1 with \
CONTAINER; the node's with NODE (`hostPID`); the target container's with TARGET (an ephemeral \
container). A sandbox must have a pid namespace of its own unless the pod requests the node's. If \
containers share it, the pause must be pid 1 in it, because only pid 1 reaps orphans.

## Why it matters
In a wrong pid namespace pid 1 is an unexpected process: `kill 1` ends another container, zombies \
are not reaped, and a debugger does not see its target. In the node's pid namespace, a container \
sees and may signal every process of the node.

## How to fix it
Compare `ls -l /proc/PID/ns/pid`, and `NSpid` in `/proc/PID/status`, of the container, its pause \
and its target. The pid entry of `linux.namespaces` in the container's OCI bundle must be absent \
(NODE), present without a path (CONTAINER), or have the path of the pause's or the target's \
namespace (POD, TARGET).

## Example
    debug executed in pid namespace 4026532180 of the pause instead of 4026532301 of target \
container app

## Source
CRI `NamespaceMode`; Kubernetes: \"Share Process Namespace between Containers in a Pod\"; \
kubernetes#98362.
",
        needs: &[Kind::Exec, Kind::Fork, Kind::Exit, Kind::CgroupAttach],
    },
    on: &[On::Executed, On::Ended],
    judge,
};

const PID: NamespaceKind = NamespaceKind::Pid;

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    if let Change::Executed(id) = change {
        if let Some((pause, container, pod)) = membership::first_exec(context, *id, Role::Pause) {
            match membership::mode(container, pod, PID) {
                Mode::Node => {} // a pid namespace of its own does no harm there
                requested => judge_own(context, pause, container, *requested == Mode::Pod, sink),
            }
        } else if let Some((init, container, pod)) =
            membership::first_exec(context, *id, Role::Init)
            && *membership::mode(container, pod, PID) == Mode::Container
        {
            judge_own(context, init, container, true, sink);
        }
    }
    membership::judge(context, change, PID, sink);
}

/// Judges a pid namespace that must be new. Only its first process is pid 1, so a process that is
/// pid 1 is in a new namespace.
fn judge_own(
    context: &Context<'_>,
    process: &Process,
    container: &Container,
    must_be_first: bool,
    sink: &mut Sink<'_>,
) {
    let (pid, ns_pid) = (process.namespaces.pid, process.ns_pid);
    let holder = membership::holder(context, container, PID, pid);
    let details = |message: String| {
        Details::new(message)
            .observed("pid", Value::Namespace(pid))
            .observed("pid in it", Value::Number(u64::from(ns_pid)))
            .with_exec(context, process, PID, pid)
    };
    if process.is_namespace_init() || (!must_be_first && holder.is_none()) {
        sink.pass(Subject::process(process), || {
            details(format!(
                "pid namespace {pid} is its own, and it is pid {ns_pid} in it"
            ))
        });
        return;
    }
    let since = holder.as_ref().and_then(|holder| holder.since);
    membership::fail(context, process, container, since, sink, || {
        let comm = process.comm;
        let message = match holder {
            Some(Holder { name, .. }) => format!(
                "{comm} executed as pid {ns_pid} in pid namespace {pid} of {name} instead of in its own"
            ),
            None => {
                format!(
                    "{comm} executed as pid {ns_pid} in pid namespace {pid} instead of as pid 1"
                )
            }
        };
        let details = details(message).expected("pid", Value::Text("one of its own".to_owned()));
        if must_be_first {
            details.expected("pid in it", Value::Number(1))
        } else {
            details
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    fn with(pid: Mode) -> Modes {
        Modes {
            pid,
            ..Modes::plain()
        }
    }

    #[test]
    fn containers_and_pause_with_their_own_namespaces_pass() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.container("p", "b");
        scene.expect("PT104", &[Outcome::Pass; 3]);
    }

    #[test]
    fn a_container_in_the_pauses_unshared_namespace_fails() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let shared = scene.namespaces(pause).pid;
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        let mut namespaces = scene.namespaces_for("p", &Modes::plain());
        namespaces.pid = shared;
        let init = scene.enter(scene.runtime, cgroup, namespaces, 7, "a");
        scene.exec(init);
        let verdicts = scene.expect("PT104", &[Outcome::Pass, Outcome::Fail]);
        assert!(
            verdicts[1]
                .details
                .message
                .contains("as pid 7 in pid namespace"),
            "{}",
            verdicts[1].details.message
        );
    }

    #[test]
    fn a_container_that_is_not_pid_1_of_its_own_namespace_fails() {
        let mut scene = Scene::new();
        scene.pod("p");
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        let namespaces = scene.namespaces_for("p", &Modes::plain());
        let init = scene.enter(scene.runtime, cgroup, namespaces, 2, "a");
        scene.exec(init);
        scene.expect("PT104", &[Outcome::Pass, Outcome::Fail]);
    }

    #[test]
    fn containers_of_a_sharing_pod_must_be_in_the_pauses_namespace() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        scene.container("p", "a");
        scene.expect("PT104", &[Outcome::Pass, Outcome::Pass]);
        scene.container_with("p", "b", with(Mode::Pod), |ns| ns.pid = 77);
        scene.expect("PT104", &[Outcome::Pass, Outcome::Pass, Outcome::Fail]);
    }

    #[test]
    fn one_container_of_a_sharing_pod_may_have_its_own_namespace() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        scene.container_with("p", "a", with(Mode::Container), |_| {});
        scene.expect("PT104", &[Outcome::Pass, Outcome::Pass]);
    }

    #[test]
    fn the_nodes_namespace_must_be_requested() {
        let mut scene = Scene::new();
        scene.pod_with("p", with(Mode::Node), |_| {});
        scene.container("p", "a");
        scene.expect("PT104", &[Outcome::Pass]);

        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        scene.container_with("p", "a", with(Mode::Pod), |ns| {
            (ns.pid, ns.pid_level) = (HOST.pid, 0)
        });
        let verdicts = scene.expect("PT104", &[Outcome::Pass, Outcome::Fail]);
        assert!(
            verdicts[1]
                .details
                .message
                .contains("of the host instead of"),
            "{}",
            verdicts[1].details.message
        );
    }

    #[test]
    fn a_host_pid_pods_container_in_its_own_namespace_fails() {
        let mut scene = Scene::new();
        scene.pod_with("p", with(Mode::Node), |_| {});
        scene.container_with("p", "a", with(Mode::Node), |ns| {
            (ns.pid, ns.pid_level) = (77, 1)
        });
        scene.expect("PT104", &[Outcome::Fail]);
    }

    #[test]
    fn a_debugger_must_be_in_its_targets_namespace_and_not_the_pauses() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let shared = scene.namespaces(pause).pid;
        scene.container("p", "a");
        scene.container_with("p", "debug", with(Mode::Target("a".into())), |_| {});
        scene.container_with("p", "lost", with(Mode::Target("a".into())), |ns| {
            ns.pid = shared
        });
        let verdicts = scene.expect(
            "PT104",
            &[Outcome::Pass, Outcome::Pass, Outcome::Pass, Outcome::Fail],
        );
        assert!(
            verdicts[3]
                .details
                .message
                .contains("of target container a"),
            "{}",
            verdicts[3].details.message
        );
    }

    #[test]
    fn an_unknown_target_is_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        let debugger =
            scene.container_with("p", "debug", with(Mode::Target("nobody".into())), |ns| {
                ns.pid = 77
            });
        scene.expect("PT104", &[Outcome::Pass]);
        scene.end(debugger, WaitStatus::exited(0));
        scene.expect("PT104", &[Outcome::Pass, Outcome::Inconclusive]);
    }

    #[test]
    fn a_sharing_pods_sandbox_in_the_hosts_namespace_fails_once() {
        let mut scene = Scene::new();
        scene.pod_with("p", with(Mode::Pod), |ns| {
            (ns.pid, ns.pid_children, ns.pid_level) = (HOST.pid, HOST.pid, 0)
        });
        scene.container("p", "a");
        scene.expect("PT104", &[Outcome::Fail, Outcome::Inconclusive]);
    }

    #[test]
    fn a_pause_that_is_not_pid_1_of_a_shared_namespace_fails() {
        let mut scene = Scene::new();
        scene.declare_pod("p", &with(Mode::Pod));
        let cgroup =
            scene.declare_container("p", "sandbox", ContainerKind::Sandbox, &with(Mode::Pod));
        let namespaces = Namespaces {
            pid: 77,
            pid_level: 1,
            ..HOST
        };
        let pause = scene.enter(scene.runtime, cgroup, namespaces, 2, "pause");
        scene.exec(pause);
        scene.expect("PT104", &[Outcome::Fail]);
    }

    #[test]
    fn a_second_exec_of_the_entrypoint_is_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.exec(init);
        let member = scene.fork(init);
        scene.exec(member);
        scene.expect("PT104", &[Outcome::Pass, Outcome::Pass]);
    }

    #[test]
    fn a_runtime_that_executes_itself_in_the_new_cgroup_is_no_entrypoint() {
        let mut scene = Scene::new();
        scene.pod("p");
        let again = executes_itself(&mut scene, |_| {});
        let modes = Modes::plain();
        let (cgroup, namespaces) = (scene.cgroup(again), scene.namespaces_for("p", &modes));
        let init = scene.fork(again);
        scene.change_namespaces(init, NamespaceCall::Setns, 0, 0, |own| *own = namespaces);
        scene.end(again, WaitStatus::exited(0));
        scene.exec(init);
        assert_eq!(scene.cgroup(init), cgroup);
        let verdicts = scene.verdicts("PT101");
        let [verdict] = &verdicts[..] else {
            panic!("one verdict: {verdicts:?}")
        };
        let judged = verdict.subject.process.map(|process| process.id);
        assert_eq!((judged, verdict.outcome), (Some(init), Outcome::Pass));
    }

    #[test]
    fn a_process_that_has_left_the_runtimes_namespaces_is_the_entrypoint() {
        let mut scene = Scene::new();
        scene.pod("p");
        executes_itself(&mut scene, |own| own.ipc = 77);
        scene.expect("PT104", &[Outcome::Pass, Outcome::Fail]);
    }

    /// `runc init` executes a copy of itself after its parent has put it into the container's
    /// cgroup.
    fn executes_itself(scene: &mut Scene, edit: impl FnOnce(&mut Namespaces)) -> ProcessId {
        scene.push(Fact::RuntimeNames {
            names: vec![Comm::new("shim")],
        });
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        let mut namespaces = HOST;
        edit(&mut namespaces);
        let runtime = scene.runtime;
        let runc = scene.fork(runtime);
        let again = scene.enter(runc, cgroup, namespaces, 0, "runc");
        scene.exec_file(again, "/dev/fd/6");
        again
    }
}
