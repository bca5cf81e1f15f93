//! PT304: an init that handles its stop signal ends or forwards it.

use crate::signal::SIGKILL;

use crate::{
    rules::{
        ending::{self, AFTER, Party},
        prelude::*,
    },
    state::{Handlers, Worker},
};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT304",
        name: "stop-not-forwarded",
        severity: Severity::Error,
        summary: "a container's init kept its stop signal from children that handle it, and all were killed",
        doc: "\
## What it checks
An init with child processes that handles its stop signal must end or forward the signal. It fails \
if all of this is true:
- The init handled the signal and did not end. The runtime killed it with SIGKILL.
- SIGKILL also ended processes of the container that ran when the stop signal was sent.
- At least one of these had a handler of its own for the stop signal, which it would have acted on.
- None of the processes that ran at that time was sent another signal after it.
- No child of the init ended after it, and neither did another process that ran at that time. A \
process that its parent replaced by a new one does not count: a worker that was told nothing goes \
on with its work, and may start programs and wait for their end.

If no process had a handler of its own, the finding is an info: an init may tell its children to \
end over a socket, a pipe or shared memory, which pause-trace does not see. Exec sessions and \
probes do not count. Of a child that has a handler but waits to be told over a socket, and did not \
end in time, this rule cannot know better.

## Why it matters
The program that does the work runs below a shell or a wrapper. It never receives the stop signal, \
and is killed while it works.

## How to fix it
`exec` the program instead of running it as a child, or use an init that forwards signals (tini, \
dumb-init). In a shell script: `trap 'kill -TERM \"$child\"; wait \"$child\"' TERM`.

## Example
    init sh (pid 812) handled SIGTERM 90 µs after shim sent it, but did not forward it to app (pid \
815), with a handler for it; all were killed after 30.0 s

## Source
Kubernetes: Pod lifecycle, \"Termination of Pods\"; coreos/etcd-operator#1680.
",
        needs: &[
            Kind::SignalGenerate,
            Kind::SignalDeliver,
            Kind::Fork,
            Kind::Exit,
        ],
    },
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

/// Judges when no process of the container is left. The children end after the init, and what they
/// had handlers for is known only then.
fn judge_end(context: &Context<'_>, process: ProcessId, sink: &mut Sink<'_>) {
    let Some((init, ended, container)) = ending::init_of_ended(context, process) else {
        return;
    };
    if ending::is_stop_unknown(context, init, container, sink) {
        return;
    }
    let Some((stop, handled)) = handled_stop(init, container) else {
        return;
    };
    let kill = ending::fatal(init).filter(|kill| kill.signal == SIGKILL && kill.time > handled);
    let Some(kill) = kill.filter(|kill| ending::party(init, kill) == Party::Runtime) else {
        return;
    };
    let since_stop = |time: Option<Ktime>| time.is_some_and(|time| time >= stop.time);
    let killed = container.cut.of(init.id).iter();
    let mut children: Vec<_> = killed.filter(|child| child.forked <= stop.time).collect();
    if children.is_empty()
        || context.state.has_left_since(&container.id, stop.time)
        || since_stop(container.member_told)
        || children.iter().any(|child| since_stop(child.signalled))
    {
        return; // it was slow, which PT302 reports
    }
    let could_act = |child: &&Worker| {
        child
            .handlers
            .is_some_and(|known| Handlers::has(known.own, stop.signal))
    };
    let is_proven = children.iter().any(could_act);
    children.retain(|child| !is_proven || could_act(child));
    children.sort_by_key(|child| child.id);
    let grace = kill.time.saturating_sub(stop.time);
    let since = stop.time;
    ending::fail_unless_gap(context, since, sink, Subject::process(init), || {
        let (comm, pid, signal) = (stop.target_comm, init.id.pid, signal_name(stop.signal));
        let latency = Duration(handled.saturating_sub(stop.time));
        let (sender, names) = (stop.sender_comm, ending::named(&children));
        let grace_text = Duration(grace);
        let message = match is_proven {
            true => format!(
                "init {comm} (pid {pid}) handled {signal} {latency} after {sender} sent it, but did not \
                 forward it to {names}, with a handler for it; all were killed after {grace_text}"
            ),
            false => format!(
                "init {comm} (pid {pid}) handled {signal} {latency} after {sender} sent it and signalled \
                 none of its children; if it did not tell {names} in another way, that is why all were \
                 killed after {grace_text}"
            ),
        };
        let details = Details::new(message)
            .expected(
                "children that got a stop signal",
                Value::Number(children.len() as u64),
            )
            .observed("children that got a stop signal", Value::Number(0))
            .observed(AFTER, Value::Duration(grace))
            .observed("end", Value::Status(ended.status));
        let details = ending::with_history(context, init, details);
        let details = ending::with_workers(&children, stop.signal, details);
        match is_proven {
            true => details,
            false => details.milder(Severity::Info),
        }
    });
}

#[cfg(test)]
mod tests {
    use crate::signal::{SIGINT, SIGTERM, SIGUSR1};

    use super::*;
    use crate::rules::testing::*;

    /// A container whose init handles SIGTERM, and is killed with its child after `meanwhile`. The
    /// child has these handlers.
    fn stopped_with(
        caught: &[i32],
        own: &[i32],
        meanwhile: impl FnOnce(&mut Scene, ProcessId, ProcessId),
    ) -> Scene {
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
        if !scene.has_ended(child) {
            scene.cut_off(init, child, caught, own);
        }
        scene.reap(init);
        scene
    }

    fn stopped(meanwhile: impl FnOnce(&mut Scene, ProcessId, ProcessId)) -> Scene {
        stopped_with(&[SIGTERM], &[SIGTERM], meanwhile)
    }

    #[test]
    fn a_child_with_a_handler_and_without_a_signal_fails() {
        let scene = stopped(|_, _, _| {});
        let [verdict] = &scene.expect("PT304", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Error);
        let message = &verdict.details.message;
        assert!(
            message.contains("; all were killed after 1.10 s"),
            "{message}"
        );
    }

    #[test]
    fn an_init_whose_children_have_no_handler_of_their_own_may_have_told_them_otherwise() {
        for (caught, own) in [
            (&[][..], &[][..]),
            (&[SIGTERM], &[]),
            (&[SIGINT], &[SIGINT]),
        ] {
            let scene = stopped_with(caught, own, |_, _, _| {});
            let [verdict] = &scene.expect("PT304", &[Outcome::Fail])[..] else {
                panic!("one verdict")
            };
            assert_eq!(verdict.severity(), Severity::Info);
            let message = &verdict.details.message;
            assert!(message.contains("in another way"), "{message}");
        }
    }

    #[test]
    fn an_init_that_drains_and_signals_its_children_in_another_way_is_not_accused() {
        for signal in [SIGUSR1, 37] {
            stopped(|scene, init, child| {
                scene.signal(init, child, signal, SignalResult::Delivered)
            })
            .expect("PT304", &[]);
        }
    }

    #[test]
    fn the_whole_container_may_be_killed_at_once_and_the_init_may_end_last() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let child = scene.fork(init);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.handle(init, SIGTERM);
        scene.wait_ms(1_100);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.signal(scene.runtime, child, SIGKILL, SignalResult::Delivered);
        scene.handlers(child, &[SIGTERM], &[SIGTERM]);
        scene.end(child, WaitStatus::killed(SIGKILL));
        scene.end(init, WaitStatus::killed(SIGKILL));
        scene.expect("PT304", &[Outcome::Fail]);
    }

    #[test]
    fn an_unknown_stop_signal_makes_it_inconclusive() {
        let mut scene = stopped(|_, _, _| {});
        scene.forget_stop_signals();
        for rule in ["PT301", "PT302", "PT304", "PT308"] {
            let [verdict] = &scene.expect(rule, &[Outcome::Inconclusive])[..] else {
                panic!("one verdict")
            };
            let message = &verdict.details.message;
            assert!(message.contains("its stop signal"), "{message}");
        }
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

    /// A container whose init handles SIGTERM and has a worker with a handler for it. The worker
    /// has these children when the stop is sent; all that is left is killed after `meanwhile`.
    fn stopped_with_grandchildren(
        count: usize,
        meanwhile: impl FnOnce(&mut Scene, ProcessId, ProcessId, &[ProcessId]),
    ) -> Scene {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let worker = scene.fork(init);
        let children: Vec<_> = (0..count).map(|_| scene.fork(worker)).collect();
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.handle(init, SIGTERM);
        meanwhile(&mut scene, init, worker, &children);
        scene.wait_ms(1_100);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.exit(init, WaitStatus::killed(SIGKILL));
        for child in children {
            if !scene.has_ended(child) {
                scene.cut_off(worker, child, &[], &[]);
            }
        }
        if !scene.has_ended(worker) {
            scene.cut_off(init, worker, &[SIGTERM], &[SIGTERM]);
        }
        scene.reap(init);
        scene
    }

    #[test]
    fn a_worker_that_goes_on_with_its_work_does_not_hide_the_finding() {
        // `while :; do sleep 1; done`
        let scene = stopped_with_grandchildren(1, |scene, _, worker, sleeps| {
            scene.end(sleeps[0], WaitStatus::exited(0));
            for _ in 0..2 {
                scene.wait_ms(1_000);
                let sleep = scene.fork(worker);
                scene.end(sleep, WaitStatus::exited(0));
            }
        });
        let verdicts = scene.expect("PT304", &[Outcome::Fail]);
        assert_eq!(verdicts[0].severity(), Severity::Error);

        // `while :; do timeout 1 work; done`
        let scene = stopped_with_grandchildren(1, |scene, _, worker, sleeps| {
            scene.end(sleeps[0], WaitStatus::exited(0));
            let work = scene.fork(worker);
            scene.signal(worker, work, SIGTERM, SignalResult::Delivered);
            scene.end(work, WaitStatus::killed(SIGTERM));
        });
        scene.expect("PT304", &[Outcome::Fail]);
    }

    #[test]
    fn workers_of_a_manager_that_end_may_have_been_told_over_a_socket() {
        stopped_with_grandchildren(3, |scene, _, _, workers| {
            scene.end(workers[0], WaitStatus::exited(0));
        })
        .expect("PT304", &[]);

        // Their manager starts something else.
        stopped_with_grandchildren(3, |scene, _, manager, workers| {
            let helper = scene.fork(manager);
            scene.end(helper, WaitStatus::exited(0));
            scene.end(workers[0], WaitStatus::exited(0));
            scene.end(workers[1], WaitStatus::exited(0));
        })
        .expect("PT304", &[]);

        // A second stop signal does not change what the first one did.
        stopped_with_grandchildren(3, |scene, init, manager, workers| {
            scene.end(workers[0], WaitStatus::exited(0));
            scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
            scene.handle(init, SIGTERM);
            scene.fork(manager);
        })
        .expect("PT304", &[]);
    }

    #[test]
    fn an_orphan_that_ends_may_have_been_told_over_a_socket() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let worker = scene.fork(init);
        let middle = scene.fork(worker);
        let daemon = scene.fork(middle);
        scene.end(middle, WaitStatus::exited(0));
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.handle(init, SIGTERM);
        scene.exit_to(daemon, init, WaitStatus::exited(0));
        scene.reap(daemon);
        scene.wait_ms(1_100);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.exit(init, WaitStatus::killed(SIGKILL));
        scene.cut_off(init, worker, &[SIGTERM], &[SIGTERM]);
        scene.expect("PT304", &[]);
    }

    #[test]
    fn an_init_may_start_a_program_that_tells_its_workers() {
        // `trap 'redis-cli shutdown; wait' TERM`
        stopped(|scene, init, _| {
            let helper = scene.fork(init);
            scene.end(helper, WaitStatus::exited(0));
        })
        .expect("PT304", &[]);
    }

    #[test]
    fn exec_sessions_and_later_children_do_not_count() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let session = scene.session_with(init, |_| {});
        let ofs = scene.fork(session);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.handle(init, SIGTERM);
        let late = scene.fork(init);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.exit(init, WaitStatus::killed(SIGKILL));
        for process in [late, ofs, session] {
            scene.cut_off(init, process, &[SIGTERM], &[SIGTERM]);
        }
        scene.expect("PT304", &[]);
    }

    #[test]
    fn an_init_that_did_not_handle_the_signal_is_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let child = scene.fork(init);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Ignored);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.exit(init, WaitStatus::killed(SIGKILL));
        scene.cut_off(init, child, &[SIGTERM], &[SIGTERM]);
        scene.expect("PT304", &[]);
    }

    #[test]
    fn lost_signals_make_it_inconclusive() {
        let scene = stopped(|scene, _, _| scene.lose(Kind::SignalGenerate, 1));
        scene.expect("PT304", &[Outcome::Inconclusive]);
    }
}
