//! PT308: a container's init acts on its stop signal.

use crate::signal::SIGKILL;

use crate::rules::{ending, prelude::*};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT308",
        name: "stop-pending",
        severity: Severity::Error,
        summary: "a container's init received its stop signal and did not act on it",
        doc: "\
## What it checks
A container's init must act on a stop signal that was queued for it. It fails in two cases:
- A second stop signal, sent after a limit, finds the first still pending.
- SIGKILL ends the init after the grace period, and no handler ran, and the init sent no signal, \
and no process ended that the init may have told to end (PT304 says which).

Programs that wait for signals with sigwait or a signalfd (tini does) run no handler, so an init \
that ends in time never fails. PT306 reports a pause that blocks its stop signal.

## Why it matters
A blocked signal is never delivered, so the container is killed at the end of the grace period. \
The signal mask is inherited through fork and exec, so the cause is often a wrapper and not the \
program itself.

## How to fix it
See `grep SigBlk /proc/PID/status`. Unblock the signal in the process that starts the program, or \
read blocked signals with sigwait or a signalfd. If no signal is blocked, the process was frozen \
or waited for storage.

## Example
    init web (pid 812) did not act on SIGTERM from shim (pid 100, the runtime) and was killed \
after 30.0 s

## Source
signal(7), pthread_sigmask(3).
",
        needs: &[Kind::SignalGenerate, Kind::SignalDeliver, Kind::Exit],
    },
    on: &[On::Signalled, On::SignalTaken, On::Ended],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let (Change::Ended(process)
    | Change::SignalTaken { process, .. }
    | Change::Signalled(Signal {
        target: process, ..
    })) = change
    else {
        return;
    };
    let Some((init, container, _)) = context.inside(*process) else {
        return;
    };
    if matches!(change, Change::Ended(_))
        && init.role == Role::Init
        && ending::is_stop_unknown(context, init, container, sink)
    {
        return;
    }
    let mut stops = ending::stops(init, container).filter(|stop| ending::was_queued(stop));
    let Some(stop) = stops.next().filter(|_| init.role == Role::Init) else {
        return;
    };
    let handled = ending::stops(init, container).find_map(|stop| Some((stop, stop.handled?)));
    match (change, handled, init.ended) {
        (_, Some((stop, handled)), _) => {
            pass(init, stop, handled, sink);
        }
        (Change::Signalled(_), None, _) => {
            let second = stops.last().filter(|stop| {
                stop.time == context.now && stop.result == SignalResult::AlreadyPending
            });
            let pending = context.now.saturating_sub(stop.time);
            if second.is_some() && pending >= context.state.limits.stop {
                fail(context, init, stop, context.now, sink);
            }
        }
        (Change::Ended(_), None, Some(ended)) if ended.status.signal() != Some(SIGKILL) => {
            pass(init, stop, ended.time, sink);
        }
        (Change::Ended(_), None, Some(_)) => {
            let acted = init.sent.is_some_and(|sent| sent >= stop.time)
                || context.state.has_left_since(&container.id, stop.time);
            let kill = ending::fatal(init)
                .filter(|kill| ending::is_from_outside(init, kill) && !init.is_oom_killed());
            let Some(kill) = kill.filter(|kill| !acted && kill.time > stop.time) else {
                return;
            };
            let pending = kill.time.saturating_sub(stop.time);
            if pending >= context.state.limits.stop {
                fail(context, init, stop, kill.time, sink);
            } else {
                sink.inconclusive(Subject::process(init), || {
                    Details::new(format!(
                        "init {} (pid {}) was killed {} after its stop signal, too early to decide",
                        init.comm,
                        init.id.pid,
                        Duration(pending)
                    ))
                    .expected(
                        "time to take it, at most",
                        Value::Duration(context.state.limits.stop),
                    )
                    .observed("pending", Value::Duration(pending))
                });
            }
        }
        _ => {}
    }
}

fn pass(init: &Process, stop: &Received, until: Ktime, sink: &mut Sink<'_>) {
    let after = until.saturating_sub(stop.time);
    sink.pass(Subject::process(init), || {
        Details::new(format!(
            "acted on {} after {}",
            signal_name(stop.signal),
            Duration(after)
        ))
        .observed("latency", Value::Duration(after))
    });
}

fn fail(context: &Context<'_>, init: &Process, stop: &Received, until: Ktime, sink: &mut Sink<'_>) {
    let pending = until.saturating_sub(stop.time);
    let since = stop.time;
    let subject = Subject::process_as(init, stop.target_comm);
    ending::fail_unless_gap(context, since, sink, subject, || {
        let outcome = if init.ended.is_some() {
            "and was killed after"
        } else {
            "which has been pending for"
        };
        let (comm, pid) = (stop.target_comm, init.id.pid);
        let from = ending::from(context, init, stop);
        let details = Details::new(format!(
            "init {comm} (pid {pid}) did not act on {from} {outcome} {}",
            Duration(pending)
        ))
        .expected(
            "time to take it, at most",
            Value::Duration(context.state.limits.stop),
        )
        .observed("pending", Value::Duration(pending))
        .observed("signal", Value::Signal(stop.signal));
        ending::with_history(context, init, details)
    });
}

#[cfg(test)]
mod tests {
    use crate::signal::SIGTERM;

    use super::*;
    use crate::rules::testing::*;

    /// A container that receives SIGTERM, and SIGKILL after `meanwhile` and `ms`.
    fn killed_after(ms: u64, meanwhile: impl FnOnce(&mut Scene, ProcessId)) -> Scene {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let child = scene.fork(init);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        meanwhile(&mut scene, init);
        scene.wait_ms(ms);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGKILL));
        scene.end(child, WaitStatus::killed(SIGKILL));
        scene
    }

    #[test]
    fn a_blocked_stop_signal_fails() {
        let [verdict] = &killed_after(1_100, |_, _| {}).expect("PT308", &[Outcome::Fail])[..]
        else {
            panic!("one")
        };
        let message = &verdict.details.message;
        assert!(
            message.contains("did not act on SIGTERM from shim") && message.ends_with("1.10 s"),
            "{message}"
        );
    }

    #[test]
    fn a_second_stop_signal_that_finds_the_first_pending_fails_at_once() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::AlreadyPending);
        scene.expect("PT308", &[]);
        scene.wait_ms(1_100);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::AlreadyPending);
        scene.expect("PT308", &[Outcome::Fail]);
    }

    #[test]
    fn a_handled_signal_passes_even_if_the_end_is_slow() {
        killed_after(9_000, |scene, init| scene.handle(init, SIGTERM))
            .expect("PT308", &[Outcome::Pass]);
    }

    #[test]
    fn an_init_that_waits_for_signals_without_a_handler_does_not_fail() {
        // It needs longer than the limit, and ends by itself.
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let child = scene.fork(init);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.signal(init, child, SIGTERM, SignalResult::Delivered);
        scene.wait_ms(9_000);
        scene.end(child, WaitStatus::exited(0));
        scene.end(init, WaitStatus::exited(0));
        scene.expect("PT308", &[Outcome::Pass]);

        // Its child exceeds the grace period, and both are killed.
        let scene = killed_after(1_100, |scene, init| {
            let child = scene.fork(init);
            scene.signal(init, child, SIGTERM, SignalResult::Ignored);
        });
        scene.expect("PT308", &[]);
    }

    #[test]
    fn a_child_that_ends_may_have_been_told_and_the_child_of_a_busy_worker_was_not() {
        killed_after(1_100, |scene, init| {
            let helper = scene.fork(init);
            scene.end(helper, WaitStatus::exited(0));
        })
        .expect("PT308", &[]);

        for (is_replaced, outcomes) in [(true, &[Outcome::Fail][..]), (false, &[])] {
            let mut scene = Scene::new();
            scene.pod("p");
            let init = scene.container("p", "a");
            let worker = scene.fork(init);
            let sleep = scene.fork(worker);
            scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
            scene.end(sleep, WaitStatus::exited(0));
            if is_replaced {
                scene.fork(worker);
            }
            scene.wait_ms(1_100);
            scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
            scene.end(init, WaitStatus::killed(SIGKILL));
            scene.expect("PT308", outcomes);
        }
    }

    #[test]
    fn ignored_signals_are_not_judged_and_lost_records_are_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Ignored);
        scene.wait_ms(1_100);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGKILL));
        scene.expect("PT308", &[]);

        killed_after(1_100, |scene, _| scene.lose(Kind::SignalDeliver, 1))
            .expect("PT308", &[Outcome::Inconclusive]);
        killed_after(10, |_, _| {}).expect("PT308", &[Outcome::Inconclusive]);
    }
}
