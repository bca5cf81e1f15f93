//! PT202: the pause outlives its pod's containers.

use crate::rules::{
    ending::{self, Cause},
    prelude::*,
};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT202",
        name: "pause-died",
        severity: Severity::Error,
        summary: "the pause ended by itself, or while containers ran and nobody stopped the pod",
        doc: "\
## What it checks
A pause must run as long as a container of its pod runs, and must never end by itself. The finding \
gives the cause: a signal and its sender, the OOM killer, a crash, or an exit without a signal. \
PT309 reports a pause that the runtime or an orderly stop ended too early, and PT307 a pause that \
ended on a harmless signal.

## Why it matters
Without its pause, the pod loses the holder of its namespaces, and with a shared pid namespace all \
its processes. The kubelet then kills the remaining containers and creates a new sandbox with a \
new address.

## How to fix it
For a signal, find out why the named process sent it. For the OOM killer, check that the pause's \
`oom_score_adj` is -998 and that the pod's memory limit accounts for the pause. For a crash or an \
exit, use the runtime's own pause image.

## Example
    the pause (pid 812) ended while containers web, sidecar were running: SIGKILL from sh (pid \
4711, outside the pod and its runtime)

## Source
Kubernetes: Pods, \"pause container\"; kubernetes/kubernetes#62536, #86337 (OOM).
",
        needs: &[Kind::Fork, Kind::Exec, Kind::Exit, Kind::CgroupAttach],
    },
    on: &[On::Executed, On::Ended, On::Reaped, On::PodRemoved],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    match change {
        Change::Ended(process) => {
            let Some((process, sandbox, pod)) = context.inside(*process) else {
                return;
            };
            if process.role == Role::Pause {
                judge_end(context, process, sandbox, pod, sink);
            }
        }
        Change::Executed(process) => {
            if let Some((pause, sandbox, pod)) = ending::ended_unknown_to(context, *process) {
                judge_end(context, pause, sandbox, pod, sink);
            }
        }
        Change::Reaped(process) => {
            if let Some((pause, sandbox, pod)) = context.inside(*process)
                && pause.role == Role::Pause
                && pause.ended.is_none()
            {
                judge_unseen_end(context, pause, sandbox, pod, sink);
            }
        }
        Change::PodRemoved(pod) => {
            let Some(pod) = context.state.pods.get(pod) else {
                return;
            };
            let Some(pause) = context.state.pause_of(pod).filter(|pause| pause.is_alive()) else {
                return;
            };
            let Some(sandbox) = context.state.container_of(pause) else {
                return;
            };
            pass(context, pause, sandbox, pod, context.now, sink);
        }
        _ => {}
    }
}

/// Judges the end of a pause whose exit was not recorded, but which is gone.
fn judge_unseen_end(
    context: &Context<'_>,
    pause: &Process,
    sandbox: &Container,
    pod: &Pod,
    sink: &mut Sink<'_>,
) {
    let mut running = ending::running(context.state, sandbox, pod);
    let Some((container, _)) = running.next() else {
        return;
    };
    if pod.removed.is_some() || ending::is_being_stopped(pause, sandbox, pod) {
        return;
    }
    sink.inconclusive(Subject::process(pause), || {
        Details::new(format!(
            "the pause (pid {}) is gone, and nothing recorded how it ended, while container {} runs",
            pause.id.pid, container.name
        ))
        .observed("the pause", Value::Text("gone".to_owned()))
    });
}

fn judge_end(
    context: &Context<'_>,
    pause: &Process,
    sandbox: &Container,
    pod: &Pod,
    sink: &mut Sink<'_>,
) {
    let Some((ended, cause)) =
        pause
            .ended
            .zip(ending::cause(pause, sandbox, &context.state.limits))
    else {
        return;
    };
    // Of a pause that is declared late, the end is judged late, too.
    let running: Vec<_> = ending::outlasting(context.state, sandbox, pod, ended.time).collect();
    // If no container runs, only an end without a signal from outside counts: any process may end
    // an idle sandbox.
    let is_own = matches!(cause, Cause::Oom | Cause::Crashed(_) | Cause::Exited);
    let counts = pod.sandbox() == Some(&sandbox.id) && pod.removed.is_none();
    if running.is_empty() && !(is_own && counts) {
        return pass(context, pause, sandbox, pod, ended.time, sink);
    }
    if matches!(cause, Cause::Fragile(_)) || ending::is_being_stopped(pause, sandbox, pod) {
        return;
    }
    // If the signal that ended it is not known, it may be a stop whose record was lost.
    let is_known = match cause {
        Cause::Oom | Cause::Stopped(_) | Cause::Fragile(_) => true,
        Cause::Killed(..) | Cause::Crashed(_) => ending::fatal(pause).is_some(),
        Cause::Exited => false,
    };
    let signals: &[Kind] = match is_known {
        true => &[],
        false => &[Kind::SignalGenerate],
    };
    let kinds = [sink.needs(), signals].concat();
    let needs = (&kinds[..], pod.since);
    let by = match cause {
        Cause::Killed(_, by) => by,
        Cause::Stopped(by) | Cause::Fragile(by) => Some(by),
        _ => None,
    };
    ending::fail_if_proven(context, by, needs, sink, Subject::process(pause), || {
        let names: Vec<_> = running
            .iter()
            .take(ending::MAX_LISTED)
            .map(|(container, _)| container.name.to_string())
            .collect();
        let why = match cause {
            Cause::Oom => ending::oom(pause).unwrap_or_default(),
            Cause::Crashed(signal) => format!("it crashed, {}", signal_name(signal)),
            Cause::Killed(_, Some(by)) | Cause::Stopped(by) | Cause::Fragile(by) => {
                ending::from(context, pause, by)
            }
            Cause::Killed(signal, None) => {
                format!("{} from an unknown sender", signal_name(signal))
            }
            Cause::Exited => format!("it exited by itself, {}", ended.status),
        };
        let during = match &names[..] {
            [] => "no container was running".to_owned(),
            [name] => format!("container {name} was running"),
            _ => format!("containers {} were running", names.join(", ")),
        };
        let details = Details::new(format!(
            "the pause (pid {}) ended while {during}: {why}",
            pause.id.pid
        ))
        .expected("the pause", Value::Text("runs".to_owned()))
        .observed("the pause", Value::Text("ended".to_owned()))
        .observed("containers running", Value::Number(running.len() as u64))
        .observed("end", Value::Status(ended.status))
        .observed("cause", Value::Text(why));
        let details =
            running
                .iter()
                .take(ending::MAX_LISTED)
                .fold(details, |details, (container, init)| {
                    let then = match container.ended {
                        Some(_) => "ended later",
                        None => "still runs",
                    };
                    let what = format!(
                        "exec of container {}, pid {}, which {then}",
                        container.name, init.id.pid
                    );
                    details.evidence(container.started.unwrap_or(init.forked), what)
                });
        ending::with_history(context, pause, details)
    });
}

fn pass(
    context: &Context<'_>,
    pause: &Process,
    sandbox: &Container,
    pod: &Pod,
    until: Ktime,
    sink: &mut Sink<'_>,
) {
    let containers = pod
        .containers
        .iter()
        .filter_map(|id| context.state.containers.get(id));
    let is_its = |container: &&Container| {
        ending::sandbox_for(context.state, container, pod).is_some_and(|its| its.id == sandbox.id)
    };
    let outlived = containers
        .filter(is_its)
        .filter(|container| container.ended.is_some())
        .count() as u64;
    let lived = until.saturating_sub(sandbox.started.unwrap_or(until));
    sink.pass(Subject::process(pause), || {
        Details::new(format!(
            "the pause ran for {} and outlived {}",
            Duration(lived),
            counted(outlived, "container")
        ))
        .observed("containers outlived", Value::Number(outlived))
        .observed("lifetime", Value::Duration(lived))
    });
}

#[cfg(test)]
mod tests {
    use crate::signal::{SIGCHLD, SIGKILL, SIGSEGV, SIGTERM};

    use super::*;
    use crate::rules::testing::*;

    fn one_failure(scene: &Scene) -> String {
        let [verdict] = &scene.expect("PT202", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        verdict.details.message.clone()
    }

    #[test]
    fn a_pause_that_outlives_its_containers_passes() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        for name in ["a", "b"] {
            let init = scene.container("p", name);
            scene.end(init, WaitStatus::exited(1));
        }
        scene.end(pause, WaitStatus::killed(SIGKILL));
        let [verdict] = &scene.expect("PT202", &[Outcome::Pass])[..] else {
            panic!("one verdict")
        };
        assert_eq!(
            verdict.details.observed[0],
            ("containers outlived", Value::Number(2))
        );
    }

    /// After a loss of records, `/proc` shows who is gone.
    #[test]
    fn a_pause_that_is_gone_without_a_record_of_its_end_is_inconclusive_if_a_container_runs() {
        for (runs, outcomes) in [(true, &[Outcome::Inconclusive][..]), (false, &[])] {
            let mut scene = Scene::new();
            let pause = scene.pod("p");
            let app = scene.container("p", "a");
            if !runs {
                scene.end(app, WaitStatus::exited(0));
            }
            scene.reap(pause);
            scene.expect("PT202", outcomes);
        }
    }

    #[test]
    fn a_pause_that_is_alive_when_its_pod_is_removed_passes() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.remove_pod("p");
        scene.expect("PT202", &[Outcome::Pass]);
    }

    #[test]
    fn a_kill_from_outside_names_the_sender() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.signal(scene.stranger, pause, SIGKILL, SignalResult::Delivered);
        scene.end(pause, WaitStatus::killed(SIGKILL));
        let message = one_failure(&scene);
        assert!(
            message.ends_with("SIGKILL from stranger (pid 200, outside the pod and its runtime)"),
            "{message}"
        );
    }

    #[test]
    fn a_kill_from_inside_names_the_container() {
        let mut scene = Scene::new();
        let pause = scene.shared_pid_pod("p");
        let init = scene.container("p", "a");
        scene.signal(init, pause, SIGTERM, SignalResult::Delivered);
        scene.handle(pause, SIGTERM);
        scene.end(pause, WaitStatus::exited(0));
        let message = one_failure(&scene);
        assert!(
            message.contains("SIGTERM from a") && message.contains("container a of the same pod"),
            "{message}"
        );
    }

    #[test]
    fn the_oom_killer_a_crash_and_an_exit_are_distinguished() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.push(Fact::OomVictim { pid: pause.pid });
        scene.signal_with_code(
            scene.stranger,
            pause,
            SIGKILL,
            SignalResult::Delivered,
            SI_KERNEL,
        );
        scene.end(pause, WaitStatus::killed(SIGKILL));
        assert!(one_failure(&scene).ends_with("the OOM killer chose it"));

        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.signal_with_code(pause, pause, SIGSEGV, SignalResult::Delivered, 1);
        scene.end(pause, WaitStatus(0x8b));
        assert!(one_failure(&scene).ends_with("it crashed, SIGSEGV"));

        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.end(pause, WaitStatus::exited(3));
        assert!(one_failure(&scene).ends_with("it exited by itself, exit code 3"));
    }

    #[test]
    fn a_stop_by_the_owner_or_the_runtime_is_not_judged() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.stop_pod("p", 1_000);
        scene.end(pause, WaitStatus::exited(0));
        scene.expect("PT202", &[]);

        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.signal(scene.runtime, pause, SIGKILL, SignalResult::Delivered);
        scene.end(pause, WaitStatus::killed(SIGKILL));
        scene.expect("PT202", &[]);
    }

    #[test]
    fn an_ignored_signal_is_not_the_cause() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Ignored);
        scene.end(pause, WaitStatus::exited(1));
        assert!(one_failure(&scene).ends_with("it exited by itself, exit code 1"));
    }

    #[test]
    fn an_end_after_a_harmless_signal_is_left_to_pt307() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.signal_with_code(pause, pause, SIGCHLD, SignalResult::Delivered, 1);
        scene.handle(pause, SIGCHLD);
        scene.end(pause, WaitStatus::exited(0));
        scene.expect("PT202", &[]);
    }

    #[test]
    fn lost_exits_make_it_inconclusive() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.lose(Kind::Exit, 3);
        scene.end(pause, WaitStatus::exited(0));
        scene.expect("PT202", &[Outcome::Inconclusive]);
    }

    #[test]
    fn a_pause_that_ends_by_itself_fails_without_containers_too() {
        for (status, signal) in [
            (WaitStatus::exited(3), None),
            (WaitStatus::killed(SIGSEGV), Some(SIGSEGV)),
        ] {
            let mut scene = Scene::new();
            let pause = scene.pod("p");
            if let Some(signal) = signal {
                let result = SignalResult::Delivered;
                scene.signal_with_code(pause, pause, signal, result, SI_KERNEL);
            }
            scene.end(pause, status);
            let message = one_failure(&scene);
            assert!(
                message.contains("while no container was running"),
                "{message}"
            );
            let details = &scene.expect("PT202", &[Outcome::Fail])[0].details;
            let of_pause = |what: &str| ("the pause", Value::Text(what.to_owned()));
            assert_eq!(details.expected, [of_pause("runs")]);
            assert_eq!(details.observed[0], of_pause("ended"));
        }
    }

    #[test]
    fn an_idle_pause_that_receives_a_stop_signal_passes() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.signal(scene.stranger, pause, SIGTERM, SignalResult::Delivered);
        scene.handle(pause, SIGTERM);
        scene.end(pause, WaitStatus::exited(0));
        scene.expect("PT202", &[Outcome::Pass]);
    }

    #[test]
    fn the_pause_of_a_former_sandbox_may_end() {
        let mut scene = Scene::new();
        let former = scene.pod("p");
        let init = scene.container("p", "a");
        scene.end(init, WaitStatus::exited(0));
        scene.sandbox("p", |_| {});
        scene.container("p", "b");
        scene.end(former, WaitStatus::exited(0));
        scene.expect("PT202", &[Outcome::Pass]);
    }
}
