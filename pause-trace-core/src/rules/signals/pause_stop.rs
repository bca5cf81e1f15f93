//! PT306: the pause exits with 0 soon after SIGTERM or SIGINT.

use crate::signal::SIGKILL;

use crate::rules::{ending, prelude::*};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT306",
        name: "pause-stop",
        severity: Severity::Error,
        summary: "the pause did not exit with 0 within the limit after SIGTERM or SIGINT",
        doc: "\
## What it checks
A pause that receives SIGTERM, SIGINT or its image's stop signal must exit with 0 within a limit, \
whoever sent the signal. The finding says whether the pause ignored the signal, blocked it, or \
handled it without exiting. PT301 and PT308 check the inits of containers.

## Why it matters
A runtime that stops the sandbox by signal waits for the pause: each pod takes its whole grace \
period to stop. A non-zero exit appears as a failed sandbox.

## How to fix it
Use the runtime's own pause image. A custom pause needs handlers for both signals, installed \
before it is ready, and must not block them.

## Example
    the pause (pid 812) still runs 2.00 s after SIGTERM from crun (pid 4711, the runtime): it did \
not handle the signal (blocked)

## Source
Kubernetes: `build/pause/linux/pause.c`; containers/podman#3440 (SIGTERM blocked).
",
        needs: &[Kind::SignalGenerate, Kind::Exit],
    },
    on: &[On::StopDue, On::Ended],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let (Change::StopDue { process, .. } | Change::Ended(process)) = change else {
        return;
    };
    let Some((pause, sandbox, _)) = context.inside(*process) else {
        return;
    };
    if pause.role != Role::Pause {
        return;
    }
    match change {
        Change::StopDue { signal, sent, .. } if ending::is_pause_stop(sandbox, *signal) => {
            let stop = pause
                .signals
                .iter()
                .find(|stop| stop.signal == *signal && stop.time == *sent);
            if let Some(stop) = stop {
                judge_alive(context, pause, sandbox, stop, sink);
            }
        }
        Change::Ended(_) => judge_end(context, pause, sandbox, sink),
        _ => {}
    }
}

fn judge_alive(
    context: &Context<'_>,
    pause: &Process,
    sandbox: &Container,
    stop: &Received,
    sink: &mut Sink<'_>,
) {
    let waited = context.now.saturating_sub(stop.time);
    let why = match (stop.result, stop.handled) {
        (SignalResult::Ignored, _) => "it ignores the signal",
        (_, Some(_)) => "it handled the signal and did not exit",
        (_, None)
            if context
                .state
                .gap(&[Kind::SignalDeliver], stop.time)
                .is_some() =>
        {
            "whether it handled the signal was not recorded"
        }
        (_, None) => "it did not handle the signal (blocked)",
    };
    let since = sandbox.since;
    ending::fail_unless_gap(context, since, sink, Subject::process(pause), || {
        let (pid, from) = (pause.id.pid, ending::from(context, pause, stop));
        let details = Details::new(format!(
            "the pause (pid {pid}) still runs {} after {from}: {why}",
            Duration(waited)
        ))
        .expected(
            "time to end, at most",
            Value::Duration(context.state.limits.stop),
        )
        .observed("since the signal", Value::Duration(waited));
        ending::with_history(context, pause, details)
    });
}

fn judge_end(context: &Context<'_>, pause: &Process, sandbox: &Container, sink: &mut Sink<'_>) {
    let Some((ended, stop)) = pause.ended.zip(ending::pause_stop(pause, sandbox)) else {
        return;
    };
    let limit = context.state.limits.stop;
    let took = ended.time.saturating_sub(stop.time);
    let details = |message: String| {
        let details = Details::new(message)
            .expected("end", Value::Status(WaitStatus::exited(0)))
            .expected("time to end, at most", Value::Duration(limit))
            .observed("end", Value::Status(ended.status))
            .observed("time to end", Value::Duration(took));
        ending::with_history(context, pause, details)
    };
    let (pid, from) = (pause.id.pid, ending::from(context, pause, stop));
    if took > limit {
        sink.fail(Subject::process(pause), || {
            details(format!(
                "the pause (pid {pid}) took {} to end after {from}: {}",
                Duration(took),
                ended.status
            ))
        });
    } else if ended.status.code() == Some(0) {
        sink.pass(Subject::process(pause), || {
            details(format!(
                "exit code 0, {} after {}",
                Duration(took),
                signal_name(stop.signal)
            ))
        });
    } else if ended.status.signal() == Some(SIGKILL) {
        sink.inconclusive(Subject::process(pause), || {
            details(format!(
                "the pause (pid {pid}) was killed {} after {from}, before the limit of {}",
                Duration(took),
                Duration(limit)
            ))
        });
    } else {
        sink.fail(Subject::process(pause), || {
            details(format!(
                "the pause (pid {pid}) did not exit with 0 after {from}: {}",
                ended.status
            ))
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::signal::{SIGHUP, SIGINT, SIGTERM};

    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn exit_0_after_either_signal_passes() {
        for signal in [SIGTERM, SIGINT] {
            let mut scene = Scene::new();
            let pause = scene.pod("p");
            scene.signal(scene.runtime, pause, signal, SignalResult::Delivered);
            scene.handle(pause, signal);
            scene.end(pause, WaitStatus::exited(0));
            scene.wait_ms(1_100);
            scene.expect("PT306", &[Outcome::Pass]);
        }
    }

    #[test]
    fn a_non_zero_exit_and_a_kill_by_the_signal_fail() {
        for status in [WaitStatus::exited(1), WaitStatus::killed(SIGTERM)] {
            let mut scene = Scene::new();
            let pause = scene.pod("p");
            scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
            scene.end(pause, status);
            scene.expect("PT306", &[Outcome::Fail]);
        }
    }

    #[test]
    fn a_pause_that_does_not_exit_fails_with_the_reason() {
        for (result, handles, why) in [
            (
                SignalResult::Delivered,
                false,
                "it did not handle the signal (blocked)",
            ),
            (
                SignalResult::Delivered,
                true,
                "it handled the signal and did not exit",
            ),
            (SignalResult::Ignored, false, "it ignores the signal"),
        ] {
            let mut scene = Scene::new();
            let pause = scene.pod("p");
            scene.signal(scene.runtime, pause, SIGTERM, result);
            if handles {
                scene.handle(pause, SIGTERM);
            }
            scene.wait_ms(1_100);
            scene.signal(scene.runtime, pause, SIGKILL, SignalResult::Delivered);
            scene.end(pause, WaitStatus::killed(SIGKILL));
            let [verdict] = &scene.expect("PT306", &[Outcome::Fail])[..] else {
                panic!("one verdict")
            };
            assert!(
                verdict.details.message.ends_with(why),
                "{}",
                verdict.details.message
            );
        }
    }

    #[test]
    fn a_kill_before_the_limit_is_inconclusive_and_one_without_a_stop_is_not_judged() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
        scene.signal(scene.runtime, pause, SIGKILL, SignalResult::Delivered);
        scene.end(pause, WaitStatus::killed(SIGKILL));
        scene.expect("PT306", &[Outcome::Inconclusive]);

        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.signal(scene.runtime, pause, SIGKILL, SignalResult::Delivered);
        scene.end(pause, WaitStatus::killed(SIGKILL));
        scene.expect("PT306", &[]);
    }

    #[test]
    fn other_signals_are_not_judged() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.signal(scene.stranger, pause, SIGHUP, SignalResult::Delivered);
        scene.handle(pause, SIGHUP);
        scene.wait_ms(1_100);
        scene.expect("PT306", &[]);
    }
}
