//! PT102: a pod's containers share the sandbox's ipc namespace.

use super::membership;
use crate::rules::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "PT102",
    name: "ipc-shared",
    severity: Severity::Error,
    summary: "a pod's container runs in an ipc namespace that is not the sandbox's",
    doc: "\
## What it checks
When a container's entrypoint executes, its ipc namespace must be the one that the pod's sandbox \
holds, or the node's for a pod with `hostIPC`. In the reference pod this rule also tests the use \
of that namespace: a container must find the System V shared memory segment and the POSIX message \
queue that another container created.

## Why it matters
Databases, MPI programs and older servers may spread processes that share one memory segment or \
queue over several containers of a pod. In another ipc namespace `shmget` and `mq_open` fail with \
ENOENT, or find an object that does not belong to the pod.

## How to fix it
Compare `ls -l /proc/PID/ns/ipc` of the container and of its pause. In `linux.namespaces` of the \
container's OCI bundle, the ipc entry must have the path of the sandbox's namespace, and that \
sandbox must be the pod's current one.

## Example
    nginx executed in ipc namespace 4026532290 instead of 4026532177 of the pause (pid 812)

## Source
Kubernetes: Pods, \"Resource sharing and communication\"; CRI `NamespaceOption.ipc`; \
ipc_namespaces(7).
",
    needs: &[Kind::Exec, Kind::Fork, Kind::Exit, Kind::CgroupAttach],
    on: &[On::Executed, On::Ended, On::Observed],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    match change {
        Change::Executed(_) | Change::Ended(_) => {
            membership::judge(context, change, NamespaceKind::Ipc, sink);
        }
        Change::Observed(observation)
            if matches!(
                observation.what,
                Observed::SharedMemory | Observed::MessageQueue
            ) =>
        {
            membership::judge_use(context, observation, sink);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    fn host_ipc() -> Modes {
        Modes {
            ipc: Mode::Node,
            ..Modes::plain()
        }
    }

    #[test]
    fn containers_that_joined_pass() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.container("p", "b");
        scene.expect("PT102", &[Outcome::Pass, Outcome::Pass]);
    }

    #[test]
    fn a_container_with_a_namespace_of_its_own_fails() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container_with("p", "a", Modes::plain(), |ns| ns.ipc = 77);
        let [verdict] = &scene.expect("PT102", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(
            verdict.details.expected,
            [("ipc", Value::Namespace(scene.namespaces(pause).ipc))]
        );
        assert_eq!(verdict.details.observed, [("ipc", Value::Namespace(77))]);
    }

    #[test]
    fn the_hosts_namespace_fails_unless_requested() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container_with("p", "a", Modes::plain(), |ns| ns.ipc = HOST.ipc);
        let [verdict] = &scene.expect("PT102", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert!(
            verdict.details.message.contains("of the host instead of"),
            "{}",
            verdict.details.message
        );

        let mut scene = Scene::new();
        scene.pod_with("p", host_ipc(), |_| {});
        scene.container("p", "a");
        scene.expect("PT102", &[Outcome::Pass]);
    }

    #[test]
    fn mode_pod_in_a_host_ipc_pod_means_the_hosts_namespace() {
        let mut scene = Scene::new();
        scene.pod_with("p", host_ipc(), |_| {});
        scene.container_with("p", "a", Modes::plain(), |_| {});
        scene.expect("PT102", &[Outcome::Pass]);
    }

    #[test]
    fn another_pods_namespace_is_named() {
        let mut scene = Scene::new();
        let other = scene.pod("q");
        let foreign = scene.namespaces(other).ipc;
        scene.pod("p");
        scene.container_with("p", "a", Modes::plain(), |ns| ns.ipc = foreign);
        let [verdict] = &scene.expect("PT102", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert!(
            verdict
                .details
                .message
                .contains("of the pause of pod default/q"),
            "{}",
            verdict.details.message
        );
    }

    #[test]
    fn a_private_namespace_must_be_private() {
        let private = || Modes {
            ipc: Mode::Container,
            ..Modes::plain()
        };
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container_with("p", "a", private(), |ns| ns.ipc = 77);
        scene.container_with("p", "b", private(), |_| {});
        scene.expect("PT102", &[Outcome::Pass, Outcome::Fail]);
    }

    #[test]
    fn without_a_sandbox_it_is_inconclusive() {
        let mut scene = Scene::new();
        scene.declare_pod("p", &Modes::plain());
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        let init = scene.enter(
            scene.runtime,
            cgroup,
            Namespaces { ipc: 77, ..HOST },
            1,
            "a",
        );
        scene.exec(init);
        scene.expect("PT102", &[]);
        scene.end(init, WaitStatus::exited(0));
        scene.expect("PT102", &[Outcome::Inconclusive]);
    }

    #[test]
    fn later_execs_of_the_entrypoint_are_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.change_namespaces(
            init,
            NamespaceCall::Unshare,
            NamespaceKind::Ipc.flag(),
            0,
            |ns| ns.ipc = 77,
        );
        scene.exec(init);
        let member = scene.fork(init);
        scene.exec(member);
        scene.expect("PT102", &[Outcome::Pass]);
    }

    #[test]
    fn a_container_is_compared_with_the_sandbox_that_it_was_created_for() {
        let mut scene = Scene::new();
        let first = scene.pod("p");
        let old = scene.namespaces(first);
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        scene.end(first, WaitStatus::killed(9));
        scene.sandbox("p", |_| {});
        // Created for the old sandbox, so it must be in the old namespace. PT203 reports the
        // replacement.
        let init = scene.enter(
            scene.runtime,
            cgroup,
            Namespaces {
                mnt: 70,
                pid: 71,
                pid_level: 1,
                ..old
            },
            1,
            "a",
        );
        scene.exec(init);
        // Created for the new sandbox, with the old sandbox's path.
        scene.container_with("p", "b", Modes::plain(), |ns| ns.ipc = old.ipc);
        scene.expect("PT102", &[Outcome::Pass, Outcome::Fail]);
    }

    #[test]
    fn a_lost_first_exec_makes_it_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.lose(Kind::Exec, 1);
        scene.container_with("p", "a", Modes::plain(), |ns| ns.ipc = 77);
        scene.expect("PT102", &[Outcome::Fail]); // lost before the container existed

        let cgroup = scene.declare_container("p", "b", ContainerKind::App, &Modes::plain());
        let mut namespaces = scene.namespaces_for("p", &Modes::plain());
        namespaces.ipc = 78;
        let init = scene.enter(scene.runtime, cgroup, namespaces, 1, "b");
        scene.lose(Kind::Exec, 1);
        scene.exec(init);
        let verdicts = scene.expect("PT102", &[Outcome::Fail, Outcome::Inconclusive]);
        assert!(
            verdicts[1].details.message.contains("so this may be wrong"),
            "{}",
            verdicts[1].details.message
        );
    }

    #[test]
    fn shared_memory_and_queues_are_tested() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.observe("p", "a", Observed::SharedMemory, true, "16 bytes");
        scene.observe("p", "a", Observed::Hostname, false, "not of this rule");
        scene.observe("p", "a", Observed::MessageQueue, false, "ENOENT");
        scene.expect("PT102", &[Outcome::Pass, Outcome::Fail]);
    }

    /// A container in `ipc`, declared after it ran, and its sandbox declared after that.
    fn declared_late(ipc: impl Fn(u32) -> u32) -> Scene {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let shared = scene.namespaces(pause).ipc;
        scene.container_with("p", "a", Modes::plain(), |ns| ns.ipc = ipc(shared));
        for container in ["a", "p-sandbox"] {
            let is_its = |event: &Event| matches!(&event.fact, Fact::Container(fact) if fact.container.starts_with(container));
            let at = scene
                .events
                .iter()
                .position(is_its)
                .expect("it is declared");
            let Event { fact, .. } = scene.events.remove(at);
            scene.push(fact);
        }
        scene
    }

    #[test]
    fn a_container_is_judged_when_its_sandbox_becomes_known() {
        declared_late(|shared| shared).expect("PT102", &[Outcome::Pass]);
        declared_late(|_| 77).expect("PT102", &[Outcome::Fail]);
        let leak = declared_late(|_| HOST.ipc);
        leak.expect("PT102", &[]);
        leak.expect("PT105", &[Outcome::Fail, Outcome::Pass]);
    }

    #[test]
    fn a_container_that_executed_before_its_sandbox_is_left_to_pt201() {
        let mut scene = Scene::new();
        scene.declare_pod("p", &Modes::plain());
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        let init = scene.enter(
            scene.runtime,
            cgroup,
            Namespaces { ipc: 77, ..HOST },
            1,
            "a",
        );
        scene.exec(init);
        scene.sandbox("p", |_| {});
        scene.expect("PT102", &[]);
        scene.end(init, WaitStatus::exited(0));
        scene.expect("PT102", &[Outcome::Inconclusive]);
    }
}
