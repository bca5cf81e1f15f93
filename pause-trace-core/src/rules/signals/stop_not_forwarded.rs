//! PT304: an init that takes the stop signal passes it on.

use crate::signal::SIGKILL;

use crate::rules::{
    ending::{self, Party},
    prelude::*,
};

pub(super) const RULE: Rule = Rule {
    id: "PT304",
    name: "stop-not-forwarded",
    severity: Severity::Error,
    summary: "init took the stop signal, its children got none, and all were killed",
    doc: "\
## What it checks
An init whose handler took the stop signal and that had children must either end or pass the signal on. It is at fault when \
it did not end, none of its children got any signal to end or left by itself, and SIGKILL ended them all. Exec sessions and \
probes are not its children.

## Why it matters
The program that does the work, below a shell or a wrapper, never hears of the stop and is killed in the middle of it.

## How to fix it
`exec` the program instead of running it as a child, or use an init that forwards (tini, dumb-init). In a shell script: \
`trap 'kill -TERM \"$child\"; wait \"$child\"' TERM`.

## Example
    init sh (pid 812) took SIGTERM 90 µs after shim sent it; app (pid 815) got none and all were killed after 30.0 s

## Source
Kubernetes: Pod lifecycle, \"Termination of Pods\"; coreos/etcd-operator#1680.
",
    needs: &[Kind::SignalGenerate, Kind::SignalDeliver, Kind::Fork, Kind::Exit],
    on: &[On::Signalled, On::Ended],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    match change {
        Change::Signalled(signal) => judge_forwarding(context, signal, sink),
        Change::Ended(process) => judge_end(context, *process, sink),
        _ => {}
    }
}

/// The stop signal that an init took first.
fn taken<'a>(init: &'a Process, container: &Container) -> Option<(&'a Received, Ktime)> {
    ending::stops(init, container).find_map(|stop| Some((stop, stop.handled?)))
}

fn judge_forwarding(context: &Context<'_>, signal: &Signal, sink: &mut Sink<'_>) {
    let Some((init, container, _)) = context.inside(signal.sender) else {
        return;
    };
    let Some((child, of, _)) = context.inside(signal.target) else {
        return;
    };
    let Some(forwarded) = child
        .signals
        .last()
        .filter(|received| received.time == context.now)
    else {
        return;
    };
    let is_its = init.role == Role::Init && of.id == container.id && child.id != init.id;
    let Some((stop, _)) = taken(init, container).filter(|_| is_its && signal.signal != SIGKILL)
    else {
        return;
    };
    let after = context.now.saturating_sub(stop.time);
    sink.pass(Subject::process(init), || {
        let (comm, pid) = (child.comm, child.id.pid);
        Details::new(format!(
            "passed the stop on to {comm} (pid {pid}) after {}",
            Duration(after)
        ))
        .observed("latency", Value::Duration(after))
        .evidence(stop.time, ending::line(context, init, stop))
        .evidence(context.now, ending::line(context, child, forwarded))
    });
}

fn judge_end(context: &Context<'_>, init: ProcessId, sink: &mut Sink<'_>) {
    let Some((init, container, _)) = context.inside(init) else {
        return;
    };
    let Some(ended) = init.ended.filter(|_| init.role == Role::Init) else {
        return;
    };
    let Some((stop, taken)) = taken(init, container) else {
        return;
    };
    let kill = ending::fatal(init).filter(|kill| kill.signal == SIGKILL && kill.time > taken);
    let Some(kill) = kill.filter(|kill| ending::party(init, kill) == Party::Runtime) else {
        return;
    };
    let is_child = |process: &&Process| {
        process.container.as_ref() == Some(&container.id)
            && process.role == Role::Member
            && process.session.is_none()
            && process.forked <= stop.time
    };
    let mut children: Vec<_> = context.state.processes.iter().filter(is_child).collect();
    children.sort_by_key(|child| child.id);
    let got = |child: &&Process| {
        child
            .signals
            .iter()
            .any(|received| received.signal != SIGKILL && received.time >= stop.time)
    };
    let left = container.member_left.is_some_and(|left| left >= stop.time);
    if children.is_empty() || left || children.iter().any(got) {
        return; // slow, but not deaf: PT302 says by how much
    }
    let grace = kill.time.saturating_sub(stop.time);
    let needs = (&[Kind::SignalGenerate, Kind::Exit][..], stop.time);
    ending::fail_if_seen(context, needs, sink, Subject::process(init), || {
        let listed = children.iter().take(ending::MAX_LISTED);
        let names: Vec<_> = listed
            .clone()
            .map(|child| format!("{} (pid {})", child.comm, child.id.pid))
            .collect();
        let (comm, pid, signal) = (init.comm, init.id.pid, signal_name(stop.signal));
        let latency = Duration(taken.saturating_sub(stop.time));
        let details = Details::new(format!(
            "init {comm} (pid {pid}) took {signal} {latency} after {} sent it; {} got none and all were killed after {}",
            stop.sender_comm,
            names.join(", "),
            Duration(grace)
        ))
        .expected("children that got a stop signal", Value::Number(children.len() as u64))
        .observed("children that got a stop signal", Value::Number(0))
        .observed("grace", Value::Duration(grace))
        .observed("end", Value::Status(ended.status));
        let details = listed.fold(details, |details, child| {
            let what = format!(
                "fork of {} (pid {}), a child in the container",
                child.comm, child.id.pid
            );
            details.evidence(child.forked, what)
        });
        ending::story(context, init, details)
    });
}

#[cfg(test)]
mod tests {
    use crate::signal::SIGTERM;

    use super::*;
    use crate::rules::testing::*;

    /// A container whose init takes SIGTERM, and is killed with its child after what `meanwhile` does.
    fn stopped(meanwhile: impl FnOnce(&mut Scene, ProcessId, ProcessId)) -> Scene {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let child = scene.fork(init);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.handle(init, SIGTERM);
        meanwhile(&mut scene, init, child);
        scene.wait_ms(1_100);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.exit(init, WaitStatus::killed(SIGKILL));
        scene
    }

    #[test]
    fn a_child_that_heard_nothing_fails() {
        let scene = stopped(|_, _, _| {});
        let [verdict] = &scene.expect("PT304", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        let message = &verdict.details.message;
        assert!(
            message.contains("got none and all were killed after 1.10 s"),
            "{message}"
        );
    }

    #[test]
    fn a_forwarded_stop_passes_even_if_the_child_is_slow() {
        let scene = stopped(|scene, init, child| {
            scene.signal(init, child, SIGTERM, SignalResult::Delivered)
        });
        scene.expect("PT304", &[Outcome::Pass]);
    }

    #[test]
    fn children_that_left_or_were_told_by_others_are_no_proof() {
        stopped(|scene, _, child| scene.end(child, WaitStatus::exited(0))).expect("PT304", &[]);
        stopped(|scene, _, child| {
            scene.signal(scene.runtime, child, SIGTERM, SignalResult::Ignored)
        })
        .expect("PT304", &[]);
    }

    #[test]
    fn exec_sessions_and_later_children_are_not_meant() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let session = scene.session_with(init, |_| {});
        scene.fork(session);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.handle(init, SIGTERM);
        scene.fork(init);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.exit(init, WaitStatus::killed(SIGKILL));
        scene.expect("PT304", &[]);
    }

    #[test]
    fn an_init_that_never_took_it_is_not_meant() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.fork(init);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Ignored);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.exit(init, WaitStatus::killed(SIGKILL));
        scene.expect("PT304", &[]);
    }

    #[test]
    fn lost_signals_make_it_inconclusive() {
        let scene = stopped(|scene, _, _| scene.lose(Kind::SignalGenerate, 1));
        scene.expect("PT304", &[Outcome::Inconclusive]);
    }
}
