//! PT404: orphans of exec sessions and probes are reaped.

use super::blame::{self, Blame};
use crate::rules::prelude::*;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT404",
        name: "exec-zombies",
        severity: Severity::Error,
        summary: "an orphan of an exec session or probe was not reaped",
        doc: "\
## What it checks
A process started by `kubectl exec` or an exec probe may outlive the session's own process, for \
example when a probe times out and only its shell is killed. It is then reparented to the \
container's pid 1, which must reap it when it ends. PT402 reports orphans that are reparented to \
the pause, and PT401 a session that does not reap its own child.

## Why it matters
Probes run every few seconds for the pod's whole life. One zombie each reaches the container's \
pids limit within hours, although the application never forks.

## How to fix it
Run an init as pid 1 that reaps (`tini`, `dumb-init`), or set `shareProcessNamespace: true`, so \
that the pause reaps. In shell probes use `exec`, so that a kill reaches the process that does the \
work.

## Example
    app (pid 1201) has not reaped sleep (pid 1302), which an exec session orphaned and which ended \
1.00 s ago

## Source
kubernetes/kubernetes#81042; containerd/containerd#4255; pid_namespaces(7), \"Adoption of orphaned \
children\".
",
        needs: &[Kind::Fork, Kind::Exec, Kind::Exit, Kind::Free],
    },
    on: &[On::ZombieDue, On::PodRemoved, On::RemovalDue],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    if let Some(zombie) = blame::overdue(context, sink.needs(), change)
        && let Blame::Adopter(adopter) = zombie.blame
    {
        sink.fail(Subject::process(adopter), || {
            let (who, what) = (blame::name(adopter), blame::name(zombie.process));
            let ago = zombie.ago(context);
            let message = format!(
                "{who} has not reaped {what}, which an exec session orphaned and which ended {ago}"
            );
            zombie.details(context, message)
        });
    }
    let Some(pod) = blame::removed(context, change) else {
        return;
    };
    for container in pod
        .containers
        .iter()
        .filter_map(|id| context.state.containers.get(id))
    {
        let reaps = container.session_reaps;
        if reaps.count > 0 && !blame::has_zombies(context, container) {
            sink.pass(Subject::container(container), || {
                blame::proof("orphans of exec sessions", reaps)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    /// A container with a probe whose shell has ended and whose child has not.
    fn probe_left_a_child() -> (Scene, ProcessId, ProcessId) {
        let mut scene = Scene::new();
        scene.pod("p");
        let app = scene.container("p", "app");
        let shell = scene.session_with(app, |_| {});
        let orphan = scene.fork(shell);
        scene.end(shell, WaitStatus::killed(9));
        (scene, app, orphan)
    }

    #[test]
    fn an_app_as_pid_1_that_does_not_reap_a_probes_orphan_fails() {
        let (mut scene, app, orphan) = probe_left_a_child();
        scene.exit_to(orphan, app, WaitStatus::exited(0));
        scene.wait_ms(1_000);
        let verdicts = scene.expect("PT404", &[Outcome::Fail]);
        assert_eq!(
            verdicts[0].subject.process.map(|process| process.id),
            Some(app)
        );
        scene.expect("PT401", &[]);
        scene.expect("PT402", &[]);
    }

    #[test]
    fn an_orphan_that_is_reaped_passes() {
        let (mut scene, app, orphan) = probe_left_a_child();
        scene.exit_to(orphan, app, WaitStatus::exited(0));
        scene.wait_ms(3);
        scene.reap(orphan);
        scene.remove_pod("p");
        let verdicts = scene.expect("PT404", &[Outcome::Pass]);
        assert_eq!(
            verdicts[0].details.message,
            "orphans of exec sessions reaped: 1, the slowest after 3.0 ms"
        );
        scene.expect("PT401", &[]);
    }

    #[test]
    fn a_grandchild_of_a_session_counts_as_its_orphan() {
        let (mut scene, app, orphan) = probe_left_a_child();
        let child = scene.fork(orphan);
        scene.end(orphan, WaitStatus::exited(0));
        scene.exit_to(child, app, WaitStatus::exited(0));
        scene.wait_ms(1_000);
        scene.expect("PT404", &[Outcome::Fail]);
    }

    #[test]
    fn a_session_that_the_runtime_does_not_reap_is_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        let app = scene.container("p", "app");
        let session = scene.session_with(app, |_| {});
        scene.exit(session, WaitStatus::exited(0));
        scene.wait_ms(1_000);
        scene.expect("PT404", &[]);
    }

    #[test]
    fn a_living_orphan_is_not_judged() {
        let (mut scene, _, _) = probe_left_a_child();
        scene.wait_ms(5_000);
        scene.expect("PT404", &[]);
    }
}
