//! PT305: one stop has one sender.

use crate::signal::SIGTERM;

use crate::rules::{
    ending::{self, Party},
    prelude::*,
};

pub(super) const RULE: Rule = Rule {
    id: "PT305",
    name: "stop-twice",
    severity: Severity::Error,
    summary: "stop signals came from two different senders",
    doc: "\
## What it checks
The stop signals that a container's init or a pause gets for one stop must come from one sender. The runtime's tree is one \
sender, whatever process of it sends, and it may repeat itself. Signals that the pod's own processes send (a preStop hook) \
do not count, and neither do two that are further apart than a grace period.

## Why it matters
Many programs take a second stop signal for impatience and end at once, without finishing what they had begun.

## How to fix it
Find the other sender in the evidence. If it is systemd, the container's scope is stopped beside the runtime: order the \
runtime's units before it, or let the scope's KillMode be none or mixed.

## Example
    init web (pid 812) got SIGTERM from shim (pid 100, the runtime) and, 3.1 ms later, SIGTERM from systemd (pid 1, outside \
runtime and pod)

## Source
cri-o/cri-o#4539.
",
    needs: &[Kind::SignalGenerate, Kind::Fork],
    on: &[On::Signalled, On::Ended],
    judge,
};

/// Where no grace period is known: the default one, in ns.
const GRACE: Ktime = 30_000_000_000;

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
        (received.signal == container.stop_signal || received.signal == SIGTERM)
            && matches!(
                ending::party(process, received),
                Party::Runtime | Party::Foreign
            )
    };
    let mut stops = process.signals.iter().filter(is_stop);
    if matches!(change, Change::Ended(_)) {
        let Some(first) = stops.next() else { return };
        let count = 1 + stops.count() as u64;
        return sink.pass(Subject::process(process), || {
            let times = if count == 1 {
                String::new()
            } else {
                format!(" and repeated {} times", count - 1)
            };
            Details::new(format!(
                "{}{times}, no other sender",
                ending::from(context, process, first)
            ))
            .observed("stop signals", Value::Number(count))
        });
    }
    let Some(second) = process
        .signals
        .last()
        .filter(|last| last.time == context.now && is_stop(last))
    else {
        return;
    };
    let grace = ending::stopping(container, pod).map_or(GRACE, |stop| stop.grace.max(GRACE));
    let is_other = |first: &&Received| {
        first.time < second.time
            && second.time.saturating_sub(first.time) <= grace
            && !is_same_sender(process, first, second)
    };
    let Some(first) = stops.find(is_other) else {
        return;
    };
    let between = second.time.saturating_sub(first.time);
    let needs = (&[Kind::Fork][..], pod.declared);
    ending::fail_if_seen(context, needs, sink, Subject::process(process), || {
        let what = if process.role == Role::Pause {
            "the pause"
        } else {
            "init"
        };
        Details::new(format!(
            "{what} {} (pid {}) got {} and, {} later, {}",
            process.comm,
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

/// The same process, two of the runtime, or two strangers of one name: an impatient hand at a shell.
fn is_same_sender(target: &Process, first: &Received, second: &Received) -> bool {
    match (ending::party(target, first), ending::party(target, second)) {
        (Party::Runtime, Party::Runtime) => true,
        (Party::Foreign, Party::Foreign) => {
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
    fn runtime_and_stranger_fail() {
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
    fn a_prestop_hook_is_the_pods_own() {
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
    fn a_reload_hours_ago_is_not_part_of_this_stop() {
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
    fn sigkill_is_no_second_stop_signal() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Ignored);
        scene.signal(scene.stranger, init, 9, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(9));
        scene.expect("PT305", &[Outcome::Pass]);
    }

    #[test]
    fn a_sender_whose_fork_was_missed_may_be_the_runtimes() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.lose(Kind::Fork, 1);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.signal(scene.stranger, init, SIGTERM, SignalResult::Delivered);
        scene.expect("PT305", &[Outcome::Inconclusive]);
    }
}
