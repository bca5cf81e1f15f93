//! PT304: an init that handles its stop signal ends or forwards it.

use crate::signal::SIGKILL;

use crate::rules::{
    ending::{self, Party},
    prelude::*,
};

pub(super) const RULE: Rule = Rule {
    id: "PT304",
    name: "stop-not-forwarded",
    severity: Severity::Error,
    summary: "a container's init handled its stop signal without ending its children, and all were killed",
    doc: "\
## What it checks
If an init with children handles its stop signal, it must end or forward the signal. It fails if \
it did not end, no child received a signal or ended, and SIGKILL ended them all. Exec sessions and \
probes do not count as its children.

## Why it matters
The program that does the work runs below a shell or a wrapper. It never receives the stop signal, \
and is killed while it works.

## How to fix it
`exec` the program instead of running it as a child, or use an init that forwards signals (tini, \
dumb-init). In a shell script: `trap 'kill -TERM \"$child\"; wait \"$child\"' TERM`.

## Example
    init sh (pid 812) handled SIGTERM 90 µs after shim sent it, but did not forward it to app (pid \
815); all were killed after 30.0 s

## Source
Kubernetes: Pod lifecycle, \"Termination of Pods\"; coreos/etcd-operator#1680.
",
    needs: &[
        Kind::SignalGenerate,
        Kind::SignalDeliver,
        Kind::Fork,
        Kind::Exit,
    ],
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

/// The first stop signal that an init handled, and when.
fn handled_stop<'a>(init: &'a Process, container: &Container) -> Option<(&'a Received, Ktime)> {
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
    let Some((stop, _)) =
        handled_stop(init, container).filter(|_| is_its && signal.signal != SIGKILL)
    else {
        return;
    };
    let after = context.now.saturating_sub(stop.time);
    sink.pass(Subject::process(init), || {
        let (comm, pid) = (child.comm, child.id.pid);
        Details::new(format!(
            "forwarded the stop to {comm} (pid {pid}) after {}",
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
    let Some((stop, handled)) = handled_stop(init, container) else {
        return;
    };
    let kill = ending::fatal(init).filter(|kill| kill.signal == SIGKILL && kill.time > handled);
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
    let was_signalled = |child: &&Process| {
        child
            .signals
            .iter()
            .any(|received| received.signal != SIGKILL && received.time >= stop.time)
    };
    let left = container.member_left.is_some_and(|left| left >= stop.time);
    if children.is_empty() || left || children.iter().any(was_signalled) {
        return; // it was slow, which PT302 reports
    }
    let grace = kill.time.saturating_sub(stop.time);
    let since = stop.time;
    ending::fail_unless_gap(context, since, sink, Subject::process(init), || {
        let listed = children.iter().take(ending::MAX_LISTED);
        let names: Vec<_> = listed
            .clone()
            .map(|child| format!("{} (pid {})", child.comm, child.id.pid))
            .collect();
        let (comm, pid, signal) = (init.comm, init.id.pid, signal_name(stop.signal));
        let latency = Duration(handled.saturating_sub(stop.time));
        let details = Details::new(format!(
            "init {comm} (pid {pid}) handled {signal} {latency} after {} sent it, but did not forward it to {}; all were killed after {}",
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
                "fork of {} (pid {}) in the container",
                child.comm, child.id.pid
            );
            details.evidence(child.forked, what)
        });
        ending::with_history(context, init, details)
    });
}

#[cfg(test)]
mod tests {
    use crate::signal::SIGTERM;

    use super::*;
    use crate::rules::testing::*;

    /// A container whose init handles SIGTERM, and is killed with its child after `meanwhile`.
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
    fn a_child_without_a_signal_fails() {
        let scene = stopped(|_, _, _| {});
        let [verdict] = &scene.expect("PT304", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        let message = &verdict.details.message;
        assert!(
            message.contains("; all were killed after 1.10 s"),
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
    fn children_that_ended_or_were_signalled_by_others_do_not_fail() {
        stopped(|scene, _, child| scene.end(child, WaitStatus::exited(0))).expect("PT304", &[]);
        stopped(|scene, _, child| {
            scene.signal(scene.runtime, child, SIGTERM, SignalResult::Ignored)
        })
        .expect("PT304", &[]);
    }

    #[test]
    fn exec_sessions_and_later_children_do_not_count() {
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
    fn an_init_that_did_not_handle_the_signal_is_not_judged() {
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
