//! PT305: the signals of one stop come from one sender.

use crate::signal::SIGTERM;

use crate::rules::{
    ending::{self, Party},
    prelude::*,
};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT305",
        name: "stop-twice",
        severity: Severity::Error,
        summary: "a container or pause received stop signals from two different senders",
        doc: "\
## What it checks
All stop signals that a container's init or a pause receives for one stop must come from one \
sender. All processes of the runtime count as one sender, which may repeat the signal. Signals \
from the pod's own processes (a preStop hook) do not count, nor do two signals that are further \
apart than the grace period.

## Why it matters
Many programs treat a second stop signal as a request to end at once, and abandon unfinished work.

## How to fix it
The evidence names both senders. If one is systemd, it stops the container's scope while the \
runtime stops the container: order the runtime's units before the scope, or set the scope's \
KillMode to none or mixed.

## Example
    init web (pid 812) received SIGTERM from shim (pid 100, the runtime) and, 3.1 ms later, \
SIGTERM from systemd (pid 1, outside the pod and its runtime)

## Source
cri-o/cri-o#4539.
",
        needs: &[Kind::SignalGenerate, Kind::Fork],
    },
    on: &[On::Signalled, On::Ended],
    judge,
};

/// Kubernetes' default grace period in ns, and the least time within which two signals belong to
/// one stop.
const DEFAULT_GRACE: Ktime = 30_000_000_000;

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let (Change::Ended(process)
    | Change::Signalled(Signal {
        target: process, ..
    })) = change
    else {
        return;
    };
    let Some((process, container, pod)) = context.inside(*process) else {
        return;
    };
    if !matches!(process.role, Role::Init | Role::Pause) {
        return;
    }
    let is_stop = |received: &&Received| {
        (Some(received.signal) == container.stop_signal || received.signal == SIGTERM)
            && ending::is_from_outside(process, received)
    };
    let mut stops = process.signals.iter().filter(is_stop);
    if matches!(change, Change::Ended(_)) {
        let Some(first) = stops.next() else { return };
        let count = 1 + stops.count() as u64;
        return sink.pass(Subject::process(process), || {
            let first = ending::from(context, process, first);
            let message = if count == 1 {
                format!("one stop signal: {first}")
            } else {
                format!("{count} stop signals, from one sender for each stop; the first: {first}")
            };
            Details::new(message).observed("stop signals", Value::Number(count))
        });
    }
    let Some(second) = process
        .signals
        .last()
        .filter(|last| last.time == context.now && is_stop(last))
    else {
        return;
    };
    let grace = ending::stopping(container, pod)
        .map_or(DEFAULT_GRACE, |stop| stop.grace.max(DEFAULT_GRACE));
    let is_other = |first: &&Received| {
        first.time < second.time
            && second.time.saturating_sub(first.time) <= grace
            && !is_same_sender(process, first, second)
    };
    let Some(first) = stops.find(is_other) else {
        return;
    };
    let between = second.time.saturating_sub(first.time);
    let needs = (sink.needs(), pod.since);
    let subject = Subject::process(process);
    ending::fail_if_proven(context, [first, second], needs, sink, subject, || {
        let name = if process.role == Role::Pause {
            "the pause".to_owned()
        } else {
            format!("init {}", second.target_comm)
        };
        Details::new(format!(
            "{name} (pid {}) received {} and, {} later, {}",
            process.id.pid,
            ending::from(context, process, first),
            Duration(between),
            ending::from(context, process, second)
        ))
        .expected("senders", Value::Number(1))
        .observed("senders", Value::Number(2))
        .observed("between them", Value::Duration(between))
        .evidence(first.time, ending::line(context, process, first))
        .evidence(second.time, ending::line(context, process, second))
    });
}

/// Whether two signals come from one sender: the same process, the runtime, or two foreign
/// processes of the same name, such as `kill` run twice in a shell.
fn is_same_sender(target: &Process, first: &Received, second: &Received) -> bool {
    match (ending::party(target, first), ending::party(target, second)) {
        (Party::Runtime, Party::Runtime) => true,
        (Party::Foreign, Party::Foreign) | (Party::Unproven, Party::Unproven) => {
            first.sender == second.sender || first.sender_comm == second.sender_comm
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn signals_from_the_runtime_and_a_foreign_process_fail() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.signal(scene.stranger, init, SIGTERM, SignalResult::AlreadyPending);
        scene.end(init, WaitStatus::exited(0));
        let [verdict] = &scene.expect("PT305", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        let message = &verdict.details.message;
        assert!(
            message.contains("from shim") && message.contains("from stranger"),
            "{message}"
        );
    }

    #[test]
    fn two_processes_of_the_runtime_are_one_sender() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let helper = scene.fork(scene.runtime);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.signal(helper, init, SIGTERM, SignalResult::Delivered);
        scene.end(init, WaitStatus::exited(0));
        let [verdict] = &scene.expect("PT305", &[Outcome::Pass])[..] else {
            panic!("one verdict")
        };
        assert_eq!(
            verdict.details.observed,
            [("stop signals", Value::Number(2))]
        );
    }

    #[test]
    fn a_signal_from_a_prestop_hook_does_not_count() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let hook = scene.session_with(init, |_| {});
        scene.signal(hook, init, SIGTERM, SignalResult::Delivered);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.end(init, WaitStatus::exited(0));
        scene.expect("PT305", &[Outcome::Pass]);
    }

    #[test]
    fn a_signal_an_hour_before_is_not_part_of_the_stop() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.signal(scene.stranger, init, SIGTERM, SignalResult::Delivered);
        scene.handle(init, SIGTERM);
        scene.wait_ms(3_600_000);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.end(init, WaitStatus::exited(0));
        scene.expect("PT305", &[Outcome::Pass]);
    }

    #[test]
    fn sigkill_does_not_count_as_a_stop_signal() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Ignored);
        scene.signal(scene.stranger, init, 9, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(9));
        scene.expect("PT305", &[Outcome::Pass]);
    }

    #[test]
    fn lost_forks_make_it_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.lose(Kind::Fork, 1);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.signal(scene.stranger, init, SIGTERM, SignalResult::Delivered);
        scene.expect("PT305", &[Outcome::Inconclusive]);
    }
}
