//! PT402: the pause of a shared pid namespace reaps orphans.

use super::blame::{self, Blame};
use crate::rules::prelude::*;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT402",
        name: "pause-reaps",
        severity: Severity::Error,
        summary: "the pause has not reaped an orphan that was reparented to it",
        doc: "\
## What it checks
In a pod with a shared pid namespace the pause is pid 1: an orphaned process becomes its child, \
and the pause must reap it when it ends. A zombie that waits for the pause longer than the limit \
(5 s on a node) is a finding, whatever container or exec session it came from. When the pod is \
removed, a pass reports how many processes the pause reaped and how long the slowest waited.

## Why it matters
Only the pause can reap these processes. If it does not, every daemon that double-forks and every \
probe that leaves a child behind uses up a pid for good, until no process in the pod can fork.

## How to fix it
Use a pause that handles SIGCHLD and then reaps until no child is left: Kubernetes' `pause` since \
3.1, `catatonit -P`, or this project's. `kubectl exec POD -- ps -A -o pid,ppid,stat` shows the \
zombies as children of pid 1.

## Example
    pause (pid 812) has not reaped sleep (pid 833), which ended 1.00 s ago

## Source
Kubernetes: Share Process Namespace between Containers in a Pod; kubernetes/kubernetes#36853, \
#50865; openshift/images#27.
",
        needs: &[Kind::Fork, Kind::Exec, Kind::Exit, Kind::Free],
    },
    on: &[On::ZombieDue, On::PodRemoved, On::RemovalDue],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    if let Some(zombie) = blame::overdue(context, sink.needs(), change)
        && let Blame::Pause(pause) = zombie.blame
    {
        sink.fail(Subject::process(pause), || {
            let (who, what) = (blame::name(pause), blame::name(zombie.process));
            let ago = zombie.ago(context);
            zombie.details(
                context,
                format!("{who} has not reaped {what}, which ended {ago}"),
            )
        });
    }
    let Some(pod) = blame::removed(context, change) else {
        return;
    };
    for sandbox in pod
        .sandboxes
        .iter()
        .filter_map(|id| context.state.containers.get(id))
    {
        let (own, of_sessions) = (sandbox.reaps, sandbox.session_reaps);
        let reaps = Reaps {
            count: own.count + of_sessions.count,
            slowest: own.slowest.max(of_sessions.slowest),
        };
        if reaps.count > 0 && !blame::has_zombies(context, sandbox) {
            sink.pass(Subject::container(sandbox), || {
                blame::proof("orphans", reaps)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    /// A pod with a shared pid namespace, its pause, and an orphan that was reparented to the
    /// pause.
    fn pod_with_orphan() -> (Scene, ProcessId, ProcessId) {
        let mut scene = Scene::new();
        let pause = scene.shared_pid_pod("p");
        let app = scene.container("p", "app");
        let child = scene.fork(app);
        let orphan = scene.fork(child);
        scene.end(child, WaitStatus::exited(0));
        (scene, pause, orphan)
    }

    #[test]
    fn reaped_orphans_pass_with_count_and_latency() {
        let (mut scene, pause, orphan) = pod_with_orphan();
        scene.exit_to(orphan, pause, WaitStatus::exited(0));
        scene.wait_ms(20);
        scene.reap(orphan);
        scene.remove_pod("p");
        let verdicts = scene.expect("PT402", &[Outcome::Pass]);
        assert_eq!(
            verdicts[0].details.message,
            "orphans reaped: 1, the slowest after 20 ms"
        );
        scene.expect("PT401", &[Outcome::Pass]); // the child, which the app reaped
    }

    #[test]
    fn a_pause_that_does_not_reap_fails_this_rule_only() {
        let (mut scene, pause, orphan) = pod_with_orphan();
        scene.exit_to(orphan, pause, WaitStatus::killed(9));
        scene.wait_ms(1_000);
        scene.remove_pod("p");
        scene.wait_ms(1_000);
        let verdicts = scene.expect("PT402", &[Outcome::Fail]);
        assert_eq!(
            verdicts[0].subject.process.map(|process| process.id),
            Some(pause)
        );
        scene.expect("PT401", &[Outcome::Pass]);
        scene.expect("PT404", &[]);
    }

    #[test]
    fn a_zombie_reparented_to_the_pause_counts() {
        let mut scene = Scene::new();
        let pause = scene.shared_pid_pod("p");
        let app = scene.container("p", "app");
        let child = scene.fork(app);
        scene.exit(child, WaitStatus::exited(0));
        scene.end(app, WaitStatus::exited(0));
        scene.wait_ms(1_000);
        let verdicts = scene.expect("PT402", &[Outcome::Fail]);
        assert_eq!(
            verdicts[0].subject.process.map(|process| process.id),
            Some(pause)
        );
        scene.expect("PT401", &[]);
    }

    #[test]
    fn a_sessions_orphan_reparented_to_the_pause_counts() {
        let mut scene = Scene::new();
        let pause = scene.shared_pid_pod("p");
        let app = scene.container("p", "app");
        let session = scene.session_with(app, |_| {});
        let orphan = scene.fork(session);
        scene.end(session, WaitStatus::exited(0));
        scene.exit_to(orphan, pause, WaitStatus::exited(0));
        scene.wait_ms(1_000);
        scene.expect("PT402", &[Outcome::Fail]);
        scene.expect("PT404", &[]);
        scene.expect("PT401", &[]);
    }

    #[test]
    fn an_app_that_does_not_reap_its_own_child_is_left_to_pt401() {
        let (mut scene, _, _) = pod_with_orphan();
        let other = scene.container("p", "other");
        let child = scene.fork(other);
        scene.exit(child, WaitStatus::exited(0));
        scene.wait_ms(1_000);
        scene.expect("PT402", &[]);
        scene.expect("PT401", &[Outcome::Fail]);
    }

    #[test]
    fn without_a_shared_pid_namespace_nothing_is_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        let app = scene.container("p", "app");
        let child = scene.fork(app);
        scene.end(child, WaitStatus::exited(0));
        scene.remove_pod("p");
        scene.expect("PT402", &[]);
    }

    #[test]
    fn processes_that_end_with_the_pause_are_not_judged() {
        let (mut scene, pause, orphan) = pod_with_orphan();
        scene.exit(pause, WaitStatus::exited(0));
        scene.exit_to(orphan, pause, WaitStatus::killed(9));
        scene.wait_ms(2_000);
        scene.expect("PT402", &[]);
    }
}
