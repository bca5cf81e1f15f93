//! PT308: a container's init takes its stop signal.

use crate::signal::SIGKILL;

use crate::rules::{
    ending::{self, Party},
    prelude::*,
};

pub(super) const RULE: Rule = Rule {
    id: "PT308",
    name: "stop-pending",
    severity: Severity::Error,
    summary: "a stop signal was generated and never taken",
    doc: "\
## What it checks
A container's init whose stop signal was queued must take it. It did not when another one, later than a limit, finds the \
first still pending; or when SIGKILL ends it after the grace period without a handler having run and without any sign that \
it acted on the stop: no signal passed on, no child that left. (Programs that wait for their signals with sigwait or a \
signalfd, as tini does, take them unseen: an init that ends in time is never accused.) A pause that blocks its stop signal is \
PT306's.

## Why it matters
A blocked signal never arrives: the container hears nothing of its stop and is killed at the end of the grace period. The \
mask is inherited through fork and exec, so often a wrapper is to blame and not the program.

## How to fix it
`grep SigBlk /proc/PID/status`, and unblock the signal in whoever starts the program; or read what was blocked, with sigwait \
or a signalfd. If nothing is blocked, the process was frozen or waited for storage.

## Example
    init web (pid 812) never took SIGTERM from shim (pid 100, the runtime), and was killed after 30.0 s

## Source
signal(7), pthread_sigmask(3).
",
    needs: &[Kind::SignalGenerate, Kind::SignalDeliver, Kind::Exit],
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
    let mut stops = ending::stops(init, container).filter(|stop| ending::landed(stop));
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
            let acted = init
                .sent
                .max(container.member_left)
                .is_some_and(|acted| acted >= stop.time);
            let kill = ending::fatal(init).filter(|kill| {
                let party = ending::party(init, kill);
                matches!(party, Party::Runtime | Party::Foreign) && init.oom.is_none()
            });
            let Some(kill) = kill.filter(|kill| !acted && kill.time > stop.time) else {
                return;
            };
            let pending = kill.time.saturating_sub(stop.time);
            if pending >= context.state.limits.stop {
                fail(context, init, stop, kill.time, sink);
            } else {
                sink.inconclusive(Subject::process(init), || {
                    Details::new(format!(
                        "it was killed {} after its stop signal, too soon to tell",
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
    let needs = (&[Kind::SignalGenerate, Kind::SignalDeliver][..], stop.time);
    ending::fail_if_seen(context, needs, sink, Subject::process(init), || {
        let end = if init.ended.is_some() {
            "was killed after"
        } else {
            "has it pending since"
        };
        let (comm, pid, from) = (init.comm, init.id.pid, ending::from(context, init, stop));
        let details = Details::new(format!(
            "init {comm} (pid {pid}) never took {from}, and {end} {}",
            Duration(pending)
        ))
        .expected(
            "time to take it, at most",
            Value::Duration(context.state.limits.stop),
        )
        .observed("pending", Value::Duration(pending))
        .observed("signal", Value::Signal(stop.signal));
        ending::story(context, init, details)
    });
}

#[cfg(test)]
mod tests {
    use crate::signal::SIGTERM;

    use super::*;
    use crate::rules::testing::*;

    /// A container that gets SIGTERM, and SIGKILL after what `meanwhile` does and `ms`.
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
            message.contains("never took SIGTERM from shim") && message.ends_with("1.10 s"),
            "{message}"
        );
    }

    #[test]
    fn a_second_one_that_finds_the_first_pending_proves_it_at_once() {
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
    fn a_handler_passes_however_slow_the_end() {
        killed_after(9_000, |scene, init| scene.handle(init, SIGTERM))
            .expect("PT308", &[Outcome::Pass]);
    }

    #[test]
    fn a_small_init_that_waits_for_its_signals_unseen_is_not_accused() {
        // It drains for longer than the limit, and ends by itself.
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

        // Its child overruns the grace, and both are killed.
        let scene = killed_after(1_100, |scene, init| {
            let child = scene.fork(init);
            scene.signal(init, child, SIGTERM, SignalResult::Ignored);
        });
        scene.expect("PT308", &[]);
    }

    #[test]
    fn ignored_and_unseen_signals_are_not_pending_ones() {
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
