//! PT307: only a stop signal ends the pause.

use crate::signal::SIGKILL;

use crate::rules::{
    ending::{self, Cause},
    prelude::*,
};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT307",
        name: "pause-fragile",
        severity: Severity::Error,
        summary: "the pause ended on a signal that must not end it",
        doc: "\
## What it checks
SIGCHLD, SIGHUP, SIGUSR1 and all other signals that are not stop signals must leave the pause \
running. The rule fails if such a signal killed the pause, or if the pause exited right after \
handling it. Fault signals from the kernel (SIGSEGV …) are crashes, which PT202 reports. A SIGCHLD \
does not count if the program has forked a process itself: a shell ends with its last child.

## Why it matters
In a shared pid namespace every orphan that ends sends the pause a SIGCHLD. A pause that exits on \
it ends the whole pod as soon as the first exec session is closed.

## How to fix it
Use the runtime's own pause image. In a custom pause, call `pause()` or `sigsuspend()` in a loop: \
they return after every handled signal.

## Example
    the pause (pid 812) ended (exit code 0) 40 µs after it handled SIGCHLD from the kernel

## Source
Kubernetes: `build/pause/linux/pause.c`; kubernetes/kubernetes#50865.
",
        needs: &[Kind::SignalGenerate, Kind::SignalDeliver, Kind::Exit],
    },
    on: &[On::Ended, On::PodRemoved],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let pause = match change {
        Change::Ended(process) => context.state.processes.get(*process),
        Change::PodRemoved(pod) => context
            .state
            .pods
            .get(pod)
            .and_then(|pod| context.state.pause_of(pod)),
        _ => None,
    };
    let Some((pause, sandbox, _)) = pause.and_then(|pause| context.inside(pause.id)) else {
        return;
    };
    if pause.role != Role::Pause {
        return;
    }
    match (
        pause.ended,
        ending::cause(pause, sandbox, &context.state.limits),
    ) {
        (Some(ended), Some(Cause::Fragile(by))) => judge_fragile(context, pause, ended, by, sink),
        _ => pass(pause, sandbox, sink),
    }
}

fn judge_fragile(
    context: &Context<'_>,
    pause: &Process,
    ended: Ended,
    by: &Received,
    sink: &mut Sink<'_>,
) {
    sink.fail(Subject::process(pause), || {
        let after = ended.time.saturating_sub(by.handled.unwrap_or(by.time));
        let verb = if by.handled.is_some() {
            "handled"
        } else {
            "received"
        };
        let from = ending::from(context, pause, by);
        let details = Details::new(format!(
            "the pause (pid {}) ended ({}) {} after it {verb} {from}",
            pause.id.pid,
            ended.status,
            Duration(after)
        ))
        .expected("after it", Value::Text("alive".to_owned()))
        .observed("after it", Value::Status(ended.status))
        .observed("signal", Value::Signal(by.signal))
        .observed("latency", Value::Duration(after));
        let details = if pause.signals.contains(by) {
            details
        } else {
            details.evidence(by.time, ending::line(context, pause, by))
        };
        ending::with_history(context, pause, details)
    });
}

/// Passes with the harmless signals that the pause survived.
fn pass(pause: &Process, sandbox: &Container, sink: &mut Sink<'_>) {
    let harmless = |received: &&Received| {
        received.signal != SIGKILL && !ending::is_pause_stop(sandbox, received.signal)
    };
    let recorded = pause
        .signals
        .iter()
        .filter(harmless)
        .map(|received| (received.signal, 1));
    let others = pause
        .others
        .iter()
        .map(|other| (other.last.signal, other.count));
    let mut survived: Vec<(i32, u64)> = Vec::new();
    for (signal, count) in recorded.chain(others) {
        match survived.iter_mut().find(|(known, _)| *known == signal) {
            Some((_, known)) => *known = known.saturating_add(count),
            None => survived.push((signal, count)),
        }
    }
    if survived.is_empty() {
        return;
    }
    survived.sort_unstable();
    sink.pass(Subject::process(pause), || {
        let names: Vec<_> = survived
            .iter()
            .map(|(signal, count)| format!("{} ×{count}", signal_name(*signal)))
            .collect();
        Details::new(format!("survived {}", names.join(", "))).observed(
            "signals survived",
            Value::Number(
                survived
                    .iter()
                    .fold(0, |sum: u64, (_, count)| sum.saturating_add(*count)),
            ),
        )
    });
}

#[cfg(test)]
mod tests {
    use crate::signal::{SIGCHLD, SIGHUP, SIGSEGV, SIGTERM, SIGUSR1};

    use super::*;
    use crate::rules::testing::*;

    /// Docker's containers may join the network of any other: of a shell, which ends with its last
    /// child.
    #[test]
    fn a_program_that_ends_with_its_own_child_is_not_fragile() {
        for (is_own, outcomes) in [(true, &[Outcome::Fail][..]), (false, &[])] {
            let mut scene = Scene::new();
            let holder = scene.shared_pid_pod("p");
            let app = scene.container("p", "a");
            let parent = if is_own { holder } else { app };
            let child = scene.fork(parent);
            scene.reparent(child, holder);
            scene.end(child, WaitStatus::exited(0));
            scene.signal_with_code(holder, holder, SIGCHLD, SignalResult::Delivered, 1);
            scene.handle(holder, SIGCHLD);
            scene.end(holder, WaitStatus::exited(0));
            // It is still the holder of the other's namespaces.
            scene.expect("PT202", outcomes);
            let fragile = scene.verdicts("PT307");
            let fails = fragile.iter().filter(|it| it.outcome == Outcome::Fail);
            assert_eq!(fails.count(), usize::from(!is_own), "{is_own}");
        }
    }

    #[test]
    fn a_pause_that_exits_on_sigchld_fails() {
        let mut scene = Scene::new();
        let pause = scene.shared_pid_pod("p");
        scene.signal_with_code(pause, pause, SIGCHLD, SignalResult::Delivered, 1);
        scene.handle(pause, SIGCHLD);
        scene.end(pause, WaitStatus::exited(0));
        let [verdict] = &scene.expect("PT307", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        let message = &verdict.details.message;
        assert!(
            message.contains("exit code 0") && message.ends_with("SIGCHLD from the kernel"),
            "{message}"
        );
    }

    #[test]
    fn a_pause_that_a_harmless_signal_kills_fails() {
        for signal in [SIGHUP, SIGUSR1] {
            let mut scene = Scene::new();
            let pause = scene.pod("p");
            scene.signal(scene.stranger, pause, signal, SignalResult::Delivered);
            scene.end(pause, WaitStatus::killed(signal));
            scene.expect("PT307", &[Outcome::Fail]);
        }
    }

    #[test]
    fn survived_signals_are_counted() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        for signal in [SIGHUP, SIGUSR1, SIGCHLD, SIGCHLD] {
            scene.signal(scene.stranger, pause, signal, SignalResult::Delivered);
            scene.handle(pause, signal);
        }
        scene.wait_ms(200);
        scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
        scene.end(pause, WaitStatus::exited(0));
        let [verdict] = &scene.expect("PT307", &[Outcome::Pass])[..] else {
            panic!("one verdict")
        };
        assert_eq!(
            verdict.details.message,
            "survived SIGHUP ×1, SIGUSR1 ×1, SIGCHLD ×2"
        );
    }

    #[test]
    fn a_stop_between_two_sigchlds_is_a_stop() {
        let mut scene = Scene::new();
        let pause = scene.shared_pid_pod("p");
        scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
        scene.handle(pause, SIGTERM);
        scene.signal_with_code(pause, pause, SIGCHLD, SignalResult::Delivered, 1);
        scene.handle(pause, SIGCHLD);
        scene.end(pause, WaitStatus::exited(0));
        scene.expect("PT307", &[Outcome::Pass]);
    }

    #[test]
    fn crashes_kills_and_exits_without_a_signal_do_not_fail() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.signal_with_code(pause, pause, SIGSEGV, SignalResult::Delivered, 1);
        scene.end(pause, WaitStatus::killed(SIGSEGV));
        assert!(
            scene
                .verdicts("PT307")
                .iter()
                .all(|verdict| verdict.outcome != Outcome::Fail)
        );

        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.signal(scene.stranger, pause, SIGKILL, SignalResult::Delivered);
        scene.end(pause, WaitStatus::killed(SIGKILL));
        scene.expect("PT307", &[]);

        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.signal(scene.stranger, pause, SIGHUP, SignalResult::Ignored);
        scene.end(pause, WaitStatus::exited(1));
        scene.expect("PT307", &[Outcome::Pass]);
    }
}
