//! PT306: SIGTERM and SIGINT end the pause, cleanly and at once.

use crate::signal::SIGKILL;

use crate::rules::{ending, prelude::*};

pub(super) const RULE: Rule = Rule {
    id: "PT306",
    name: "pause-stop",
    severity: Severity::Error,
    summary: "the pause did not end, or ended non-zero, within a limit of SIGTERM or SIGINT",
    doc: "\
## What it checks
A pause that gets SIGTERM or SIGINT (or its image's stop signal) must exit with 0 within a limit, whoever sent it. What a \
container's init makes of its stop signal is PT301's and PT308's; everything about a pause that does not stop is said here: \
whether it ignored the signal, never took it (blocked), or took it and went on.

## Why it matters
Runtimes that stop the sandbox by signal wait for the pause: each pod takes its whole grace period to go, and a non-zero \
exit shows as a failed sandbox.

## How to fix it
Use the runtime's own pause image. A pause of one's own needs handlers for both signals, set before it is ready, not masks.

## Example
    the pause (pid 812) has not ended 2.00 s after SIGTERM from crun (pid 4711, the runtime): it never took the signal

## Source
Kubernetes: `build/pause/linux/pause.c`; containers/podman#3440 (SIGTERM blocked).
",
    needs: &[Kind::SignalGenerate, Kind::Exit],
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
        Change::StopDue { signal, sent, .. } if ending::asks_pause(sandbox, *signal) => {
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
        (_, Some(_)) => "it took the signal and went on",
        (_, None)
            if context
                .state
                .gap(&[Kind::SignalDeliver], stop.time)
                .is_some() =>
        {
            "whether it took the signal was not seen"
        }
        (_, None) => "it never took the signal (blocked)",
    };
    let needs = (&[Kind::Exit][..], sandbox.declared);
    ending::fail_if_seen(context, needs, sink, Subject::process(pause), || {
        let (pid, from) = (pause.id.pid, ending::from(context, pause, stop));
        let details = Details::new(format!(
            "the pause (pid {pid}) has not ended {} after {from}: {why}",
            Duration(waited)
        ))
        .expected(
            "time to end, at most",
            Value::Duration(context.state.limits.stop),
        )
        .observed("since the signal", Value::Duration(waited));
        ending::story(context, pause, details)
    });
}

fn judge_end(context: &Context<'_>, pause: &Process, sandbox: &Container, sink: &mut Sink<'_>) {
    let Some((ended, stop)) = pause.ended.zip(ending::asked(pause, sandbox)) else {
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
        ending::story(context, pause, details)
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
                "it was killed {} after {from}, before the {} it has",
                Duration(took),
                Duration(limit)
            ))
        });
    } else {
        sink.fail(Subject::process(pause), || {
            details(format!(
                "the pause (pid {pid}) ended with {} after {from}",
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
    fn a_non_zero_exit_and_a_death_by_the_signal_fail() {
        for status in [WaitStatus::exited(1), WaitStatus::killed(SIGTERM)] {
            let mut scene = Scene::new();
            let pause = scene.pod("p");
            scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
            scene.end(pause, status);
            scene.expect("PT306", &[Outcome::Fail]);
        }
    }

    #[test]
    fn a_pause_that_goes_on_fails_and_says_why() {
        for (result, handles, why) in [
            (
                SignalResult::Delivered,
                false,
                "it never took the signal (blocked)",
            ),
            (
                SignalResult::Delivered,
                true,
                "it took the signal and went on",
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
    fn a_kill_before_the_limit_proves_nothing_and_one_without_a_stop_is_not_judged() {
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
    fn other_signals_need_not_end_it() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.signal(scene.stranger, pause, SIGHUP, SignalResult::Delivered);
        scene.handle(pause, SIGHUP);
        scene.wait_ms(1_100);
        scene.expect("PT306", &[]);
    }
}
