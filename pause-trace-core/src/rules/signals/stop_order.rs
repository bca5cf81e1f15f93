//! PT309: a stop ends the containers before the pause.

use crate::{
    rules::{
        ending::{self, Cause},
        prelude::*,
    },
    signal::SIGKILL,
};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT309",
        name: "stop-order",
        severity: Severity::Error,
        summary: "the pause was stopped before the containers of its pod",
        doc: "\
## What it checks
When a pod is being stopped, or the runtime stops its pause, no container of the pod may still run \
when the pause ends. PT202 reports a pause that ends while the pod is not being stopped. With a \
grace period of 0 the order does not matter. The finding is an info if the pause's shim or conmon \
has ended (see PT210), and if the runtime killed the pause without a stop signal and nothing says \
that there was a grace period: a removal by force (`docker rm -f`, `podman pod kill`) does the same.

## Why it matters
Containers need the pod's network during their grace period. In a shared pid namespace, the end of \
the pause kills them at once.

## How to fix it
The runtime must stop the containers, wait for them, and then stop the sandbox. Look for another \
program that stops sandboxes: a shutdown script, or systemd stopping scopes.

## Example
    the pause (pid 812) ended 1.20 s after the stop of its pod began, while container web was \
still running

## Source
Kubernetes: kubelet `killPod` stops containers, then the sandbox; CRI `StopPodSandbox`.
",
        needs: &[Kind::Fork, Kind::Exec, Kind::Exit, Kind::CgroupAttach],
    },
    on: &[On::Ended],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::Ended(process) = change else {
        return;
    };
    let Some((pause, sandbox, pod)) = context.inside(*process) else {
        return;
    };
    let Some(ended) = pause
        .ended
        .filter(|_| pause.role == Role::Pause && pod.removed.is_none())
    else {
        return;
    };
    let is_forced = ending::stopping(sandbox, pod).is_some_and(|stop| stop.grace == 0);
    if is_forced
        || !ending::is_being_stopped(pause, sandbox, pod)
        || matches!(
            ending::cause(pause, sandbox, &context.state.limits),
            Some(Cause::Fragile(_))
        )
    {
        return;
    }
    let running: Vec<_> = ending::running(context.state, sandbox, pod).collect();
    let ends = pod
        .containers
        .iter()
        .filter_map(|id| Some(context.state.containers.get(id)?.ended?.time));
    if running.is_empty() {
        let Some(last) = ends.max() else { return };
        let after = ended.time.saturating_sub(last);
        return sink.pass(Subject::process(pause), || {
            Details::new(format!(
                "the pause ended {} after the last container",
                Duration(after)
            ))
            .observed("after the last container", Value::Duration(after))
        });
    }
    let since = pod.since;
    let is_removed_by_force = is_removed_by_force(pause, sandbox, pod);
    ending::fail_unless_gap(context, since, sink, Subject::process(pause), || {
        let listed = running.iter().take(ending::MAX_LISTED);
        let names: Vec<_> = listed
            .clone()
            .map(|(container, _)| container.name.to_string())
            .collect();
        let when = ending::stopping(sandbox, pod).map_or_else(
            || "was ended by the runtime".to_owned(),
            |stop| {
                format!(
                    "ended {} after the stop of its pod began",
                    Duration(ended.time.saturating_sub(stop.since))
                )
            },
        );
        let names = names.join(", ");
        let containers = if running.len() == 1 {
            format!("container {names} was")
        } else {
            format!("containers {names} were")
        };
        let details = Details::new(format!(
            "the pause (pid {}) {when}, while {containers} still running",
            pause.id.pid
        ))
        .expected("containers running", Value::Number(0))
        .observed("containers running", Value::Number(running.len() as u64))
        .observed("end", Value::Status(ended.status));
        let details = match ending::stopping(sandbox, pod) {
            Some(stop) => details.evidence(
                stop.since,
                format!(
                    "the stop began, with a grace period of {}",
                    Duration(stop.grace)
                ),
            ),
            None => details,
        };
        let details = listed.fold(details, |details, (container, init)| {
            let what = format!(
                "exec of container {}, pid {}, which still runs",
                container.name, init.id.pid
            );
            details.evidence(container.started.unwrap_or(init.forked), what)
        });
        let details = match is_removed_by_force {
            true => details.milder(Severity::Info),
            false => ending::as_consequence(sandbox, details),
        };
        ending::with_history(context, pause, details)
    });
}

/// Whether the runtime may have been told to remove the pod without a grace period: it killed the
/// pause without a stop signal, and nothing says what was asked for.
fn is_removed_by_force(pause: &Process, sandbox: &Container, pod: &Pod) -> bool {
    let is_killed = ending::fatal(pause).is_some_and(|kill| {
        kill.signal == SIGKILL && ending::party(pause, kill) == ending::Party::Runtime
    });
    is_killed
        && ending::pause_stop(pause, sandbox).is_none()
        && ending::stopping(sandbox, pod).is_none()
}

#[cfg(test)]
mod tests {
    use crate::signal::SIGTERM;

    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn containers_first_passes() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let init = scene.container("p", "a");
        scene.stop_pod("p", 1_000);
        scene.end(init, WaitStatus::exited(0));
        scene.signal(scene.runtime, pause, SIGKILL, SignalResult::Delivered);
        scene.end(pause, WaitStatus::killed(SIGKILL));
        scene.expect("PT309", &[Outcome::Pass]);
    }

    #[test]
    fn a_pause_that_ends_first_fails() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.stop_pod("p", 1_000);
        scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
        scene.end(pause, WaitStatus::exited(0));
        let [verdict] = &scene.expect("PT309", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert!(
            verdict
                .details
                .message
                .ends_with("while container a was still running")
        );
    }

    #[test]
    fn a_signal_from_the_runtime_counts_as_a_stop() {
        for (signal, severity) in [(SIGTERM, Severity::Error), (SIGKILL, Severity::Info)] {
            let mut scene = Scene::new();
            let pause = scene.pod("p");
            scene.container("p", "a");
            scene.signal(scene.runtime, pause, signal, SignalResult::Delivered);
            scene.end(pause, WaitStatus::killed(signal));
            let verdicts = scene.expect("PT309", &[Outcome::Fail]);
            assert_eq!(verdicts[0].severity(), severity, "signal {signal}");
        }
    }

    #[test]
    fn a_kill_of_the_pause_first_is_an_error_if_a_grace_period_was_asked_for_or_it_was_stopped() {
        let ends = |prepare: fn(&mut Scene, ProcessId)| {
            let mut scene = Scene::new();
            let pause = scene.pod("p");
            scene.container("p", "a");
            prepare(&mut scene, pause);
            scene.signal(scene.runtime, pause, SIGKILL, SignalResult::Delivered);
            scene.end(pause, WaitStatus::killed(SIGKILL));
            scene.expect("PT309", &[Outcome::Fail])[0].severity()
        };
        let asked = ends(|scene, _| scene.stop_pod("p", 30_000));
        let stopped = ends(|scene, pause| {
            scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
        });
        assert_eq!([asked, stopped], [Severity::Error; 2]);
    }

    #[test]
    fn an_end_outside_a_stop_and_a_removed_pod_are_not_judged() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.end(pause, WaitStatus::exited(0));
        scene.expect("PT309", &[]);

        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.stop_pod("p", 1_000);
        scene.remove_pod("p");
        scene.end(pause, WaitStatus::exited(0));
        scene.expect("PT309", &[]);
    }

    #[test]
    fn a_grace_period_of_0_is_not_judged() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.stop_pod("p", 0);
        scene.signal(scene.runtime, pause, SIGKILL, SignalResult::Delivered);
        scene.end(pause, WaitStatus::killed(SIGKILL));
        scene.expect("PT309", &[]);
    }

    #[test]
    fn lost_exits_make_it_inconclusive() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.stop_pod("p", 1_000);
        scene.lose(Kind::Exit, 1);
        scene.end(pause, WaitStatus::exited(0));
        scene.expect("PT309", &[Outcome::Inconclusive]);
    }
}
