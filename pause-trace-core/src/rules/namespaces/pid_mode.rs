//! PT104: pid namespaces are as the pod's pid mode says.

use super::membership::{self, Holder};
use crate::rules::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "PT104",
    name: "pid-mode",
    severity: Severity::Error,
    summary: "a container's or sandbox's pid namespace is not the one that its mode asks for",
    doc: "\
## What it checks
When a container's entrypoint executes, its pid namespace must be: with mode POD (`shareProcessNamespace`) the sandbox's; \
with CONTAINER one of its own, in which it is pid 1; with NODE (`hostPID`) the node's; with TARGET (an ephemeral \
container) that of the container it was aimed at. And a sandbox must itself be in a pid namespace of its own, unless the pod \
asked for the node's; where containers share it, the pause must be its pid 1, or it will never reap.

## Why it matters
In the wrong pid namespace signals go astray: pid 1 is somebody else, `kill 1` ends another container, zombies find no \
reaper, a debugger sees nothing. In the node's, a container sees and may signal every process of the machine.

## How to fix it
Compare `ls -l /proc/PID/ns/pid` and `NSpid` in `/proc/PID/status` of the container, its pause and its target. The pid \
entry of `linux.namespaces` in the container's OCI bundle must be absent (NODE), without a path (CONTAINER), or have the \
path of the pause's or the target's.

## Example
    expected pid 4026532301 (of the target app), observed 4026532180 (the pause's)

## Source
CRI `NamespaceMode`; Kubernetes: \"Share Process Namespace between Containers in a Pod\"; kubernetes#98362.
",
    needs: &[Kind::Exec, Kind::Fork, Kind::CgroupAttach],
    on: &[On::Executed, On::Ended],
    judge,
};

const PID: NamespaceKind = NamespaceKind::Pid;

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    if let Change::Executed(id) = change {
        if let Some((pause, container, pod)) = membership::first_exec(context, *id, Role::Pause) {
            match membership::mode(container, pod, PID) {
                Mode::Node => {} // one of its own harms nobody there
                asked => judge_own(context, pause, container, *asked == Mode::Pod, sink),
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

/// Judges a pid namespace that is to be new. Pid 1 is who came first: only one process of a namespace ever is.
fn judge_own(
    context: &Context<'_>,
    process: &Process,
    container: &Container,
    is_to_be_first: bool,
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
    if process.is_namespace_init() || (!is_to_be_first && holder.is_none()) {
        sink.pass(Subject::process(process), || {
            details(format!(
                "pid {pid} is its own, and it is pid {ns_pid} in it"
            ))
        });
        return;
    }
    let since = holder.as_ref().and_then(|holder| holder.since);
    membership::fail(context, process, container, since, sink, || {
        let comm = process.comm;
        let message = match holder {
            Some(Holder { whose, .. }) => format!(
                "{comm} executed in pid {pid}, {whose}, as pid {ns_pid} instead of in one of its own"
            ),
            None => format!("{comm} executed as pid {ns_pid} of pid {pid} instead of as pid 1"),
        };
        let details = details(message).expected("pid", Value::Text("one of its own".to_owned()));
        if is_to_be_first {
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
    fn containers_of_their_own_pass_and_so_does_the_pause() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.container("p", "b");
        scene.expect("PT104", &[Outcome::Pass; 3]);
    }

    #[test]
    fn a_container_that_was_put_into_the_pauses_fails() {
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
                .contains("the pause's, as pid 7"),
            "{}",
            verdicts[1].details.message
        );
    }

    #[test]
    fn a_container_that_is_not_pid_1_of_its_own_fails() {
        let mut scene = Scene::new();
        scene.pod("p");
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        let namespaces = scene.namespaces_for("p", &Modes::plain());
        let init = scene.enter(scene.runtime, cgroup, namespaces, 2, "a");
        scene.exec(init);
        scene.expect("PT104", &[Outcome::Pass, Outcome::Fail]);
    }

    #[test]
    fn a_shared_namespace_is_the_pauses() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        scene.container("p", "a");
        scene.expect("PT104", &[Outcome::Pass, Outcome::Pass]);
        scene.container_with("p", "b", with(Mode::Pod), |ns| ns.pid = 77);
        scene.expect("PT104", &[Outcome::Pass, Outcome::Pass, Outcome::Fail]);
    }

    #[test]
    fn one_container_of_a_sharing_pod_may_be_on_its_own() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        scene.container_with("p", "a", with(Mode::Container), |_| {});
        scene.expect("PT104", &[Outcome::Pass, Outcome::Pass]);
    }

    #[test]
    fn the_nodes_namespace_must_be_asked_for() {
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
            verdicts[1].details.message.contains("(the host's)"),
            "{}",
            verdicts[1].details.message
        );
    }

    #[test]
    fn a_host_pid_pods_container_on_its_own_fails() {
        let mut scene = Scene::new();
        scene.pod_with("p", with(Mode::Node), |_| {});
        scene.container_with("p", "a", with(Mode::Node), |ns| {
            (ns.pid, ns.pid_level) = (77, 1)
        });
        scene.expect("PT104", &[Outcome::Fail]);
    }

    #[test]
    fn a_debugger_must_be_with_its_target_and_not_with_the_pause() {
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
            verdicts[3].details.message.contains("of the target a"),
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
    fn a_sandbox_without_the_pid_namespace_it_should_hold_fails_once() {
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
    fn a_second_exec_of_the_entrypoint_changes_nothing() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.exec(init);
        let member = scene.fork(init);
        scene.exec(member);
        scene.expect("PT104", &[Outcome::Pass, Outcome::Pass]);
    }

    #[test]
    fn the_runtime_that_starts_itself_again_in_the_new_cgroup_is_no_entrypoint() {
        let mut scene = Scene::new();
        scene.pod("p");
        let again = starts_itself_again(&mut scene, |_| {});
        let modes = Modes::plain();
        let (cgroup, namespaces) = (scene.cgroup(again), scene.namespaces_for("p", &modes));
        let init = scene.fork(again);
        scene.change_namespaces(init, NamespaceCall::Setns, 0, 0, |own| *own = namespaces);
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
    fn what_has_left_a_namespace_of_the_runtime_is_its_container() {
        let mut scene = Scene::new();
        scene.pod("p");
        starts_itself_again(&mut scene, |own| own.ipc = 77);
        scene.expect("PT104", &[Outcome::Pass, Outcome::Fail]);
    }

    /// `runc init` executes a copy of itself, when its parent has put it into the container's cgroup already.
    fn starts_itself_again(scene: &mut Scene, edit: impl FnOnce(&mut Namespaces)) -> ProcessId {
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
