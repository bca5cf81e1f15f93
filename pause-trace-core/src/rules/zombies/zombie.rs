//! PT401: a parent inside a container reaps its children.

use super::blame::{self, Blame};
use crate::rules::prelude::*;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT401",
        name: "zombie",
        severity: Severity::Error,
        summary: "a process ended and its parent has not reaped it",
        doc: "\
## What it checks
A process that ends remains a zombie until its parent waits for it. This rule names a parent that \
has not done so within the limit (5 s on a node): the process that forked it, or the container's \
pid 1 for an orphan. A parent that ignores SIGCHLD needs no wait, and passes. Other rules report a \
zombie whose parent is the pause (PT402), an orphan of an exec session (PT404), and a pid \
namespace that is being torn down (PT208). If the parent is the runtime or another process outside \
the pod, the finding is a warning.

## Why it matters
A zombie keeps its pid and counts against the pod's pids limit. An application that leaves one for \
each request or probe ends with \"fork: Resource temporarily unavailable\", first in its own \
container and then in the others.

## How to fix it
The parent must call wait for each child on SIGCHLD, in a loop, because one signal may stand for \
several children. If the program cannot be changed, run an init as pid 1 that reaps (`tini`, \
`dumb-init`), or set `shareProcessNamespace: true`, so that the pause reaps.

## Example
    app (pid 1201) has not reaped sleep (pid 1302), which ended 1.00 s ago

## Source
wait(2), \"NOTES\"; pid_namespaces(7); containerd/containerd#9979.
",
        needs: &[Kind::Fork, Kind::Exec, Kind::Exit, Kind::Free],
    },
    on: &[On::ZombieDue, On::PodRemoved, On::RemovalDue],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    if let Some(zombie) = blame::overdue(context, sink.needs(), change) {
        let ago = zombie.ago(context);
        let what = blame::name(zombie.process);
        let details = |parent: &Process| {
            let who = blame::name(parent);
            zombie.details(
                context,
                format!("{who} has not reaped {what}, which ended {ago}"),
            )
        };
        match &zombie.blame {
            Blame::Parent(parent) => sink.fail(Subject::process(parent), || details(parent)),
            Blame::Outsider(parent) => {
                sink.fail(Subject::process(zombie.process), || {
                    details(parent).milder(Severity::Warning)
                });
            }
            Blame::Unknown(why) => sink.inconclusive(Subject::process(zombie.process), || {
                let message = format!("{what} ended {ago} and no reap was recorded, but {why}");
                zombie.details(context, message)
            }),
            Blame::Pause(_) | Blame::Adopter(_) => {}
        }
    }
    let Some(pod) = blame::removed(context, change) else {
        return;
    };
    for container in pod
        .containers
        .iter()
        .filter_map(|id| context.state.containers.get(id))
    {
        if container.reaps.count > 0 && !blame::has_zombies(context, container) {
            sink.pass(Subject::container(container), || {
                blame::proof("children", container.reaps)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    /// A pod with a container whose init, pid 1 of its own namespace, has a child.
    fn pod_with_child() -> (Scene, ProcessId, ProcessId) {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "app");
        let child = scene.fork(init);
        (scene, init, child)
    }

    #[test]
    fn a_child_that_its_parent_never_reaps_fails_and_names_the_parent() {
        let (mut scene, init, child) = pod_with_child();
        scene.exit(child, WaitStatus::exited(0));
        scene.wait_ms(1_000);
        scene.remove_pod("p");
        let [verdict] = &scene.expect("PT401", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Error);
        assert_eq!(
            verdict.subject.process.map(|process| process.id),
            Some(init)
        );
        assert!(
            verdict.details.message.contains("has not reaped app"),
            "{}",
            verdict.details.message
        );
        assert_eq!(verdict.details.evidence.len(), 2);
    }

    /// As when the reader was stopped, and several containers began meanwhile.
    #[test]
    fn a_zombie_that_is_overdue_when_its_container_is_declared_fails() {
        let mut scene = Scene::new();
        scene.pod("p");
        let cgroup = 4_711;
        scene.push(Fact::CgroupMade {
            cgroup,
            path: Text::new("/p/late"),
        });
        let namespaces = scene.namespaces_for("p", &Modes::plain());
        let init = scene.enter(scene.runtime, cgroup, namespaces, 1, "late");
        scene.exec(init);
        let (child, reaped) = (scene.fork(init), scene.fork(init));
        scene.exit(child, WaitStatus::exited(0));
        scene.exit(reaped, WaitStatus::exited(0));
        scene.wait_ms(1_500);
        scene.reap(reaped);
        scene.wait_ms(3_000);
        scene.expect("PT401", &[]);
        scene.push(Fact::Container(ContainerFact {
            container: "late".into(),
            pod: "p".into(),
            name: Text::new("late"),
            what: ContainerKind::App,
            cgroup,
            modes: Modes::plain(),
            stop_signal: 15,
            sandbox: None,
            file: None,
            source: Source::Reference,
        }));
        scene.wait_ms(100);
        let verdicts = scene.expect("PT401", &[Outcome::Fail]);
        let process = verdicts[0].subject.process.map(|process| process.id);
        assert_eq!(process, Some(init));
        // It is not counted twice.
        scene.reap(child);
        assert!(scene.verdicts("PT401").len() <= 1);
    }

    #[test]
    fn one_parent_is_one_finding_however_many_zombies_it_leaves() {
        let (mut scene, init, _) = pod_with_child();
        for _ in 0..20 {
            let child = scene.fork(init);
            scene.exit(child, WaitStatus::exited(0));
        }
        scene.wait_ms(1_000);
        scene.expect("PT401", &[Outcome::Fail]);
    }

    #[test]
    fn a_child_reaped_within_the_limit_passes_with_its_latency() {
        let (mut scene, _, child) = pod_with_child();
        scene.exit(child, WaitStatus::exited(0));
        scene.wait_ms(900);
        scene.reap(child);
        scene.wait_ms(5_000);
        scene.remove_pod("p");
        let verdicts = scene.expect("PT401", &[Outcome::Pass]);
        assert_eq!(
            verdicts[0].details.message,
            "children reaped: 1, the slowest after 900 ms"
        );
    }

    #[test]
    fn a_zombie_at_the_pods_removal_delays_the_pass() {
        let (mut scene, _, child) = pod_with_child();
        let quick = scene.fork(child);
        scene.end(quick, WaitStatus::exited(0));
        scene.exit(child, WaitStatus::exited(0));
        scene.remove_pod("p");
        scene.wait_ms(500);
        scene.expect("PT401", &[]);
        scene.reap(child);
        scene.wait_ms(600);
        scene.expect("PT401", &[Outcome::Pass]);
    }

    #[test]
    fn pid_1_must_reap_an_orphan() {
        let (mut scene, init, child) = pod_with_child();
        let orphan = scene.fork(child);
        scene.end(child, WaitStatus::exited(0));
        scene.exit_to(orphan, init, WaitStatus::exited(0));
        scene.wait_ms(1_000);
        let verdicts = scene.expect("PT401", &[Outcome::Fail]);
        assert_eq!(
            verdicts[0].subject.process.map(|process| process.id),
            Some(init)
        );
    }

    #[test]
    fn pid_1_must_reap_a_zombie_whose_parent_ended() {
        let (mut scene, _, child) = pod_with_child();
        let grandchild = scene.fork(child);
        scene.exit(grandchild, WaitStatus::exited(0));
        scene.wait_ms(100);
        scene.end(child, WaitStatus::exited(0));
        scene.reap(grandchild);
        scene.wait_ms(2_000);
        scene.remove_pod("p");
        scene.expect("PT401", &[Outcome::Pass]);
    }

    #[test]
    fn a_reaped_init_is_no_zombie() {
        let (mut scene, init, _) = pod_with_child();
        scene.end(init, WaitStatus::exited(0));
        scene.wait_ms(2_000);
        scene.expect("PT401", &[]);
    }

    #[test]
    fn setup_processes_of_the_runtime_are_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        let modes = Modes::plain();
        let cgroup = scene.declare_container("p", "app", ContainerKind::App, &modes);
        let namespaces = scene.namespaces_for("p", &modes);
        let middle = scene.enter(scene.runtime, cgroup, namespaces, 7, "runc");
        scene.exit(middle, WaitStatus::exited(0));
        scene.wait_ms(2_000);
        scene.expect("PT401", &[]);
    }

    #[test]
    fn a_process_that_the_runtime_does_not_reap_is_a_warning() {
        let (mut scene, init, _) = pod_with_child();
        let session = scene.session_with(init, |_| {});
        scene.exit(session, WaitStatus::exited(0));
        scene.wait_ms(1_000);
        let verdicts = scene.expect("PT401", &[Outcome::Fail]);
        assert_eq!(verdicts[0].severity(), Severity::Warning);
        assert_eq!(
            verdicts[0].subject.process.map(|process| process.id),
            Some(session)
        );
    }

    #[test]
    fn an_entrypoint_whose_shim_ended_is_not_judged() {
        let (mut scene, init, child) = pod_with_child();
        scene.end(child, WaitStatus::exited(0));
        scene.exit(init, WaitStatus::exited(0));
        scene.end(scene.runtime, WaitStatus::exited(0));
        scene.wait_ms(1_000);
        scene.expect("PT401", &[]);
    }

    #[test]
    fn a_session_that_does_not_reap_its_child_is_named() {
        let (mut scene, init, _) = pod_with_child();
        let session = scene.session_with(init, |_| {});
        let child = scene.fork(session);
        scene.exit(child, WaitStatus::exited(0));
        scene.wait_ms(1_000);
        let verdicts = scene.expect("PT401", &[Outcome::Fail]);
        assert_eq!(
            verdicts[0].subject.process.map(|process| process.id),
            Some(session)
        );
    }

    #[test]
    fn a_pid_namespace_that_is_torn_down_is_left_to_pt208() {
        let (mut scene, init, child) = pod_with_child();
        scene.exit(init, WaitStatus::exited(0));
        scene.exit(child, WaitStatus::killed(9));
        scene.wait_ms(2_000);
        scene.expect("PT401", &[]);
    }

    #[test]
    fn lost_reaps_make_it_inconclusive() {
        let (mut scene, _, child) = pod_with_child();
        scene.exit(child, WaitStatus::exited(0));
        scene.lose(Kind::Free, 3);
        scene.wait_ms(1_000);
        let verdicts = scene.expect("PT401", &[Outcome::Inconclusive]);
        assert!(
            verdicts[0]
                .details
                .message
                .contains("`free` records were lost"),
            "{:?}",
            verdicts[0].details
        );
    }

    #[test]
    fn reaps_lost_before_it_ended_do_not_matter() {
        let (mut scene, _, child) = pod_with_child();
        scene.lose(Kind::Free, 3);
        scene.exit(child, WaitStatus::exited(0));
        scene.wait_ms(1_000);
        scene.expect("PT401", &[Outcome::Fail]);
    }

    #[test]
    fn a_missing_hook_makes_it_inconclusive() {
        let (mut scene, _, child) = pod_with_child();
        scene.push(Fact::HookMissing {
            kind: Kind::Free,
            reason: Text::new("none"),
        });
        scene.exit(child, WaitStatus::exited(0));
        scene.wait_ms(1_000);
        scene.expect("PT401", &[Outcome::Inconclusive]);
    }
}
