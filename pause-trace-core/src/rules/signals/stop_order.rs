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

The finding is a warning if the runtime also sends each of these containers its stop signal, before \
the pause ends or soon after, and the pod has no shared pid namespace: `podman pod stop` and `podman \
pod restart` stop the infra container and the others side by side. A container that uses its grace \
period then loses the pod's network while it does. If no stop through the CRI is under way, the \
verdict therefore waits until the runtime has had the time to send these signals, and longer if it \
stops one container after the other. If the watch ends before that, the verdict is inconclusive.

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
    on: &[On::Executed, On::Ended, On::PauseEndDue, On::PodRemoved],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let state = context.state;
    match change {
        Change::Ended(process) => {
            let Some((pause, sandbox, pod)) = context.inside(*process) else {
                return;
            };
            if pause.role == Role::Pause && pod.removed.is_none() {
                judge_end(context, change, (pause, sandbox, pod), sink);
            }
        }
        Change::Executed(process) => {
            let ended = ending::ended_unknown_to(context, *process);
            if let Some((pause, sandbox, pod)) = ended.filter(|(.., pod)| pod.removed.is_none()) {
                judge_end(context, change, (pause, sandbox, pod), sink);
                if !ending::has_recently_ended(context, sandbox) {
                    judge_late(context, change, sandbox, pod, sink);
                }
            }
        }
        Change::PauseEndDue(sandbox) => {
            let Some(sandbox) = state.containers.get(sandbox) else {
                return;
            };
            let pod = state.pods.get(&sandbox.pod);
            if let Some(pod) = pod.filter(|pod| pod.removed.is_none()) {
                judge_late(context, change, sandbox, pod, sink);
            }
        }
        Change::PodRemoved(pod) => {
            let Some(pod) = state.pods.get(pod) else {
                return;
            };
            for sandbox in ending::recently_ended(context, pod) {
                judge_late(context, change, sandbox, pod, sink);
            }
        }
        _ => {}
    }
}

/// Whether the order of this stop is to be judged.
fn is_judged(context: &Context<'_>, pause: &Process, sandbox: &Container, pod: &Pod) -> bool {
    let is_forced = ending::stopping(sandbox, pod).is_some_and(|stop| stop.grace == 0);
    let cause = ending::cause(pause, sandbox, &context.state.limits);
    !is_forced
        && ending::is_being_stopped(pause, sandbox, pod)
        && !matches!(cause, Some(Cause::Fragile(_)))
}

/// Whether the runtime may still send the containers their stop signal.
fn waits(pause: &Process, sandbox: &Container, pod: &Pod) -> bool {
    let is_pid_shared = |pod: &Pod| *pod.modes.get(NamespaceKind::Pid) == Mode::Pod;
    ending::stopping(sandbox, pod).is_none()
        && !is_removed_by_force(pause, sandbox, pod)
        && !is_pid_shared(pod)
}

fn judge_end(
    context: &Context<'_>,
    change: &Change,
    (pause, sandbox, pod): (&Process, &Container, &Pod),
    sink: &mut Sink<'_>,
) {
    let Some(ended) = pause
        .ended
        .filter(|_| is_judged(context, pause, sandbox, pod))
    else {
        return;
    };
    // Of a pause that is declared late, the end is judged late, too.
    let mut running = ending::outlasting(context.state, sandbox, pod, ended.time);
    if running.next().is_some() {
        if !waits(pause, sandbox, pod) {
            fail(context, change, (pause, sandbox, pod), sink);
        }
        return;
    }
    let ends = pod.containers.iter();
    let ends = ends.filter_map(|id| Some(context.state.containers.get(id)?.ended?.time));
    let Some(last) = ends.max() else { return };
    let after = ended.time.saturating_sub(last);
    sink.pass(Subject::process(pause), || {
        Details::new(format!(
            "the pause ended {} after the last container",
            Duration(after)
        ))
        .observed("after the last container", Value::Duration(after))
    });
}

/// Judges a stop that had to wait.
fn judge_late(
    context: &Context<'_>,
    change: &Change,
    sandbox: &Container,
    pod: &Pod,
    sink: &mut Sink<'_>,
) {
    let pause = sandbox.init.and_then(|id| context.state.processes.get(id));
    let Some(pause) = pause.filter(|pause| is_judged(context, pause, sandbox, pod)) else {
        return;
    };
    if waits(pause, sandbox, pod) {
        fail(context, change, (pause, sandbox, pod), sink);
    }
}

/// Fails if containers were running when the pause ended.
fn fail(
    context: &Context<'_>,
    change: &Change,
    (pause, sandbox, pod): (&Process, &Container, &Pod),
    sink: &mut Sink<'_>,
) {
    let Some(ended) = pause.ended else { return };
    let running: Vec<_> = ending::outlasting(context.state, sandbox, pod, ended.time).collect();
    if running.is_empty() {
        return;
    }
    let since = pod.since;
    let is_removed_by_force = is_removed_by_force(pause, sandbox, pod);
    let is_told = |run: &(&Container, &Process)| ending::is_told_to_stop(context, *run, ended.time);
    let may_be_told = waits(pause, sandbox, pod);
    let is_side_by_side = may_be_told && running.iter().all(is_told);
    // Whether it is an error rests on signals that were not seen.
    let rests_on_signals = may_be_told && !is_side_by_side;
    let signals: &[_] = match rests_on_signals {
        true => &[Kind::SignalGenerate],
        false => &[],
    };
    let kinds = [sink.needs(), signals].concat();
    let told = running
        .iter()
        .filter(|_| rests_on_signals)
        .flat_map(|run| ending::tellings(context, *run, ended.time));
    let (needs, subject) = ((&kinds[..], since), Subject::process(pause));
    let details = || {
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
            let (name, pid) = (&container.name, init.id.pid);
            let what = match container.ended {
                Some(end) => format!(
                    "exec of container {name}, pid {pid}, which ended {} after the pause",
                    Duration(end.time.saturating_sub(ended.time))
                ),
                None => format!("exec of container {name}, pid {pid}, which still runs"),
            };
            details.evidence(container.started.unwrap_or(init.forked), what)
        });
        let details = if is_removed_by_force {
            details.milder(Severity::Info)
        } else if is_side_by_side {
            ending::as_consequence(sandbox, details.milder(Severity::Warning))
        } else {
            ending::as_consequence(sandbox, details)
        };
        ending::with_history(context, pause, details)
    };
    match ending::ended_early(context, change, sandbox).filter(|_| rests_on_signals) {
        Some(why) => ending::doubt(why, sink, subject, details),
        None => ending::fail_if_proven(context, told, needs, sink, subject, details),
    }
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
    use crate::signal::{SIGHUP, SIGTERM};

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
            scene.wait_ms(1_100);
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
            scene.wait_ms(1_100);
            scene.expect("PT309", &[Outcome::Fail])[0].severity()
        };
        let asked = ends(|scene, _| scene.stop_pod("p", 30_000));
        let stopped = ends(|scene, pause| {
            scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
        });
        assert_eq!([asked, stopped], [Severity::Error; 2]);
    }

    /// The severity if the runtime stops the pause of a pod with these modes and sends its
    /// container a signal, the one before the other. The pod is removed soon or later.
    fn side_by_side(modes: &Modes, signal: i32, prepare: fn(&mut Scene)) -> Severity {
        let severity = |is_first: bool, is_removed: bool| {
            let mut scene = Scene::new();
            let pause = scene.pod_with("p", modes.clone(), |_| {});
            let slow = scene.container("p", "slow");
            prepare(&mut scene);
            if is_first {
                scene.signal(scene.runtime, slow, signal, SignalResult::Delivered);
            }
            scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
            scene.end(pause, WaitStatus::exited(0));
            if !is_first {
                scene.signal(scene.runtime, slow, signal, SignalResult::Delivered);
            }
            scene.wait_ms(500);
            scene.end(slow, WaitStatus::exited(0));
            if is_removed {
                scene.remove_pod("p");
            }
            scene.wait_ms(1_000);
            scene.expect("PT309", &[Outcome::Fail])[0].severity()
        };
        let mut all = [(true, true), (true, false), (false, true), (false, false)]
            .map(|(is_first, is_removed)| severity(is_first, is_removed));
        all.sort_unstable();
        assert_eq!(all[0], all[3], "{all:?}");
        all[0]
    }

    /// As does every program without a handler that is pid 1 of its pid namespace.
    #[test]
    fn a_container_that_ignores_its_stop_signal_was_told_all_the_same_but_not_long_ago() {
        for (before, severity) in [(100, Severity::Warning), (1_500, Severity::Error)] {
            let mut scene = Scene::new();
            let pause = scene.pod("p");
            let deaf = scene.container("p", "deaf");
            scene.signal(scene.runtime, deaf, SIGTERM, SignalResult::Ignored);
            scene.wait_ms(before);
            scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
            scene.end(pause, WaitStatus::exited(0));
            scene.wait_ms(1_100);
            let verdicts = scene.expect("PT309", &[Outcome::Fail]);
            assert_eq!(verdicts[0].severity(), severity, "{before} ms before");
        }
    }

    #[test]
    fn containers_that_are_stopped_beside_the_pause_are_a_warning() {
        let plain = Modes::plain();
        let severity = side_by_side(&plain, SIGTERM, |_| {});
        assert_eq!(severity, Severity::Warning);
        // Another signal is no stop.
        assert_eq!(side_by_side(&plain, SIGHUP, |_| {}), Severity::Error);
        let shared = Modes {
            pid: Mode::Pod,
            ..plain.clone()
        };
        assert_eq!(side_by_side(&shared, SIGTERM, |_| {}), Severity::Error);
        let stop = |scene: &mut Scene| scene.stop_pod("p", 30_000);
        assert_eq!(side_by_side(&plain, SIGTERM, stop), Severity::Error);
        let another = |scene: &mut Scene| _ = scene.container("p", "goes on");
        assert_eq!(side_by_side(&plain, SIGTERM, another), Severity::Error);
    }

    /// Stops a pod's pause, and then its two slow containers: the second `ms` after the first has
    /// ended.
    fn one_after_the_other(ms: u64) -> Scene {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let slow = ["a", "b", "c"].map(|name| scene.container("p", name));
        scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
        scene.end(pause, WaitStatus::exited(0));
        for container in slow {
            scene.signal(scene.runtime, container, SIGTERM, SignalResult::Ignored);
            for _ in 0..6 {
                scene.wait_ms(500);
            }
            scene.end(container, WaitStatus::killed(SIGKILL));
            scene.wait_ms(ms);
        }
        scene.wait_ms(1_100);
        scene
    }

    #[test]
    fn a_runtime_that_stops_one_slow_container_after_the_other_tells_each_of_them() {
        for (ms, severity) in [(100, Severity::Warning), (2_100, Severity::Error)] {
            let verdicts = one_after_the_other(ms).expect("PT309", &[Outcome::Fail]);
            assert_eq!(verdicts[0].severity(), severity, "{ms} ms between two");
        }
    }

    #[test]
    fn a_watch_that_ends_before_the_runtime_had_the_time_to_stop_the_containers_is_inconclusive() {
        for (tells, outcome) in [(true, Outcome::Fail), (false, Outcome::Inconclusive)] {
            let mut scene = Scene::new();
            let pause = scene.pod("p");
            let app = scene.container("p", "a");
            scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
            scene.end(pause, WaitStatus::exited(0));
            if tells {
                scene.signal(scene.runtime, app, SIGTERM, SignalResult::Delivered);
            }
            scene.push(Fact::WatchEnded);
            let verdicts = scene.expect("PT309", &[outcome]);
            assert_eq!(tells, verdicts[0].severity() == Severity::Warning);
        }
    }

    /// That the runtime then clears up says nothing about the order of a stop.
    #[test]
    fn a_pause_that_somebody_else_killed_before_the_pod_was_removed_is_not_judged() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let app = scene.container("p", "a");
        scene.signal(scene.stranger, pause, SIGKILL, SignalResult::Delivered);
        scene.exit(pause, WaitStatus::killed(SIGKILL));
        scene.signal(scene.runtime, pause, SIGKILL, SignalResult::Delivered);
        scene.reap(pause);
        scene.end(app, WaitStatus::exited(0));
        scene.remove_pod("p");
        scene.wait_ms(1_100);
        scene.expect("PT309", &[]);
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
