//! PT311: an init that ends on its stop signal does not leave workers to be killed unasked.

use crate::{
    rules::{ending, prelude::*},
    signal::SIGKILL,
    state::{Handlers, Worker},
};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT311",
        name: "workers-cut-off",
        severity: Severity::Error,
        summary: "a container's init ended on its stop signal, and processes that handle it were killed before they received the signal",
        doc: "\
## What it checks
When a container's init ends on its stop signal, no process of the container may be left that has \
a handler for this signal and was never sent it: the kernel kills every process of a pid namespace \
with its init, and where containers share one, the runtime kills those that are left. It fails if \
the init ended at once, within 1 s. If it ended later, the verdict is inconclusive, because it may \
have told its workers to end in a way that leaves no signal. If the workers only have the handler \
of the process that forked them, the finding is a warning, because it may do nothing in them; if they \
were forked less than 1 s before the stop signal, it is inconclusive, because they may have been \
about to execute a program, which would not have had the handler. \
Processes without a handler for the signal, exec sessions and probes do not count.

## Why it matters
The workers do the work, and would have saved it: the handler that they installed for this moment \
never runs. The container exits with 0 and within its grace period, so nothing else shows the loss.

## How to fix it
Let the init forward the signal and wait for its children: run it under an init that does (tini -g, \
dumb-init), or `trap 'kill -TERM \"$child\"; wait \"$child\"' TERM` in a shell script. `exec` a \
single program instead of running it as a child.

## Example
    init sh (pid 812) ended 1.2 ms after SIGTERM from shim (pid 100, the runtime), and app (pid 815), \
with a handler for SIGTERM, was killed before it received the signal

## Source
pid_namespaces(7); Linux `zap_pid_ns_processes` (kernel/pid_namespace.c); Kubernetes: Pod \
lifecycle, \"Termination of Pods\".
",
        needs: &[Kind::SignalGenerate, Kind::Fork, Kind::Exit],
    },
    on: &[On::Ended],
    judge,
};

/// An init that ends later may have told its workers in a way that leaves no signal.
const AT_ONCE: Ktime = 1_000_000_000;

/// How long a child may take from its fork to its exec, which takes the inherited handlers away. It
/// takes a starved machine tens of milliseconds.
const TO_EXEC: Ktime = 1_000_000_000;

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::Ended(process) = change else {
        return;
    };
    let Some((init, ended, container)) = ending::init_of_ended(context, *process) else {
        return;
    };
    if ended.status.signal() == Some(SIGKILL)
        || ending::is_stop_unknown(context, init, container, sink)
    {
        return; // PT302, PT304 and PT310 say what happened
    }
    let Some(stop) = ending::stops(init, container).find(|stop| ending::was_queued(stop)) else {
        return;
    };
    let is_left = |worker: &&Worker| {
        worker.forked <= stop.time
            && worker.ended >= ended.time
            && !worker.asked
            && worker
                .signalled
                .is_none_or(|signalled| signalled < stop.time)
    };
    let handles = |worker: &&Worker| {
        let known = worker.handlers;
        known.is_none_or(|known| Handlers::has(known.caught, stop.signal))
    };
    let left = container.cut.of(init.id).iter().filter(is_left);
    let mut workers: Vec<_> = left.filter(handles).collect();
    workers.sort_by_key(|worker| worker.id);
    let signal = signal_name(stop.signal);
    let took = ended.time.saturating_sub(stop.time);
    if workers.is_empty() {
        return sink.pass(Subject::process(init), || {
            Details::new(format!(
                "ended {} after {signal}, and left no process with a handler for it",
                Duration(took)
            ))
            .observed("workers cut off", Value::Number(0))
        });
    }
    let details = |message: String| {
        let details = Details::new(message)
            .expected("workers cut off", Value::Number(0))
            .observed("workers cut off", Value::Number(workers.len() as u64))
            .observed("time to end", Value::Duration(took))
            .observed("end", Value::Status(ended.status));
        let details = ending::with_history(context, init, details);
        ending::with_workers(&workers, stop.signal, details)
    };
    let names = ending::named(&workers);
    let (were, they) = match workers.len() {
        1 => ("was", "it"),
        _ => ("were", "they"),
    };
    let what = format!(
        "init {} (pid {}) ended {} after {}",
        init.comm,
        init.id.pid,
        Duration(took),
        ending::from(context, init, stop)
    );
    if workers.iter().any(|worker| worker.handlers.is_none()) {
        return sink.inconclusive(Subject::process(init), || {
            details(format!(
                "{what}, and {names} {were} killed before {they} received the signal; whether {they} \
                 had a handler was not recorded"
            ))
        });
    }
    let has_own = |worker: &Worker| {
        let known = worker.handlers;
        known.is_some_and(|known| Handlers::has(known.own, stop.signal))
    };
    let is_young = |worker: &Worker| stop.time.saturating_sub(worker.forked) < TO_EXEC;
    if workers
        .iter()
        .all(|worker| !has_own(worker) && is_young(worker))
    {
        return sink.inconclusive(Subject::process(init), || {
            details(format!(
                "{what}, and {names}, with an inherited handler for {signal}, {were} killed before \
                 {they} received the signal; {they} {were} forked less than {} before it, and may have \
                 been about to execute a program",
                Duration(TO_EXEC)
            ))
        });
    }
    let is_own = workers.iter().any(|worker| has_own(worker));
    let handler = if is_own {
        format!("with a handler for {signal}")
    } else {
        format!("with an inherited handler for {signal}")
    };
    let message =
        format!("{what}, and {names}, {handler}, {were} killed before {they} received the signal");
    if took > AT_ONCE {
        return sink.inconclusive(Subject::process(init), || {
            details(format!(
                "{message}; the init may have told them in a way that leaves no signal"
            ))
        });
    }
    let since = stop.time;
    ending::fail_unless_gap(context, since, sink, Subject::process(init), || {
        match is_own {
            true => details(message),
            // Whether it would have done anything with it is not known.
            false => details(message).milder(Severity::Warning),
        }
    });
}

#[cfg(test)]
mod tests {
    use crate::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};

    use super::*;
    use crate::rules::testing::*;

    /// A container whose init ends 5 ms after its stop signal, and whose worker, with handlers for
    /// these signals, is killed with it.
    fn left_behind(caught: &[i32], before: impl FnOnce(&mut Scene, ProcessId, ProcessId)) -> Scene {
        left_behind_with(caught, caught, before)
    }

    fn left_behind_with(
        caught: &[i32],
        own: &[i32],
        before: impl FnOnce(&mut Scene, ProcessId, ProcessId),
    ) -> Scene {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let worker = scene.fork(init);
        scene.wait_ms(2_000);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.handle(init, SIGTERM);
        before(&mut scene, init, worker);
        scene.wait_ms(5);
        scene.exit(init, WaitStatus::exited(0));
        if !scene.has_ended(worker) {
            scene.cut_off(init, worker, caught, own);
        }
        scene.reap(init);
        scene
    }

    #[test]
    fn a_worker_with_a_handler_that_was_never_told_fails() {
        let scene = left_behind(&[SIGHUP, SIGTERM], |_, _, _| {});
        let [verdict] = &scene.expect("PT311", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        let message = &verdict.details.message;
        assert!(
            message.contains("ended 5.0 ms after SIGTERM from shim")
                && message.ends_with(
                    "with a handler for SIGTERM, was killed before it received the signal"
                ),
            "{message}"
        );
        assert_eq!(verdict.severity(), Severity::Error);
        assert!(!verdict.details.evidence.is_empty());
    }

    #[test]
    fn an_inherited_handler_is_a_warning() {
        let scene = left_behind_with(&[SIGTERM], &[], |_, _, _| {});
        let [verdict] = &scene.expect("PT311", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Warning);
    }

    /// As the child of a shell is, which is stopped right after it has started.
    #[test]
    fn a_child_that_may_have_been_about_to_execute_is_inconclusive() {
        let young = |own: &[i32], age| {
            let mut scene = Scene::new();
            scene.pod("p");
            let init = scene.container("p", "a");
            let worker = scene.fork(init);
            scene.wait_ms(age);
            scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
            scene.handle(init, SIGTERM);
            scene.exit(init, WaitStatus::exited(0));
            scene.cut_off(init, worker, &[SIGTERM], own);
            scene
        };
        let verdicts = young(&[], 30).expect("PT311", &[Outcome::Inconclusive]);
        let message = &verdicts[0].details.message;
        assert!(
            message.ends_with("may have been about to execute a program"),
            "{message}"
        );
        young(&[], 1_100).expect("PT311", &[Outcome::Fail]);
        young(&[SIGTERM], 30).expect("PT311", &[Outcome::Fail]);
    }

    #[test]
    fn a_worker_without_a_handler_for_the_stop_signal_passes() {
        left_behind(&[], |_, _, _| {}).expect("PT311", &[Outcome::Pass]);
        left_behind(&[SIGHUP, SIGINT], |_, _, _| {}).expect("PT311", &[Outcome::Pass]);
    }

    #[test]
    fn a_worker_that_was_told_passes_whoever_told_it() {
        for signal in [SIGTERM, SIGUSR2, 37] {
            left_behind(&[SIGTERM], |scene, init, worker| {
                scene.signal(init, worker, signal, SignalResult::Delivered);
            })
            .expect("PT311", &[Outcome::Pass]);
        }
        left_behind(&[SIGTERM], |scene, init, worker| {
            let hook = scene.session_with(init, |_| {});
            scene.signal(hook, worker, SIGTERM, SignalResult::Delivered);
            scene.end(hook, WaitStatus::exited(0));
        })
        .expect("PT311", &[Outcome::Pass]);
    }

    #[test]
    fn a_signal_long_before_the_stop_tells_nothing() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let worker = scene.fork(init);
        scene.signal(init, worker, SIGHUP, SignalResult::Delivered);
        scene.wait_ms(10_000);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.exit(init, WaitStatus::exited(0));
        scene.cut_off(init, worker, &[SIGTERM], &[]);
        scene.expect("PT311", &[Outcome::Fail]);
    }

    #[test]
    fn a_worker_or_daemon_that_ended_by_itself_passes() {
        left_behind(&[SIGTERM], |scene, init, worker| {
            let daemon = scene.fork(worker);
            scene.end(worker, WaitStatus::exited(0));
            scene.exit_to(daemon, init, WaitStatus::exited(0));
            scene.reap(daemon);
        })
        .expect("PT311", &[Outcome::Pass]);
    }

    #[test]
    fn an_init_that_took_its_time_may_have_told_them_otherwise() {
        left_behind(&[SIGTERM], |scene, _, _| scene.wait_ms(3_000))
            .expect("PT311", &[Outcome::Inconclusive]);
    }

    #[test]
    fn sessions_late_children_and_children_that_the_pod_killed_do_not_count() {
        let scene = left_behind(&[], |scene, init, worker| {
            let late = scene.fork(init);
            scene.signal(init, worker, SIGKILL, SignalResult::Delivered);
            scene.handlers(worker, &[SIGTERM], &[SIGTERM]);
            scene.end(worker, WaitStatus::killed(SIGKILL));
            scene.handlers(late, &[SIGTERM], &[SIGTERM]);
            scene.end(late, WaitStatus::killed(SIGKILL));
        });
        scene.expect("PT311", &[Outcome::Pass]);
    }

    #[test]
    fn the_runtime_kills_what_is_left_in_a_shared_pid_namespace() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        let init = scene.container("p", "a");
        let worker = scene.fork(init);
        scene.wait_ms(2_000);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGTERM));
        scene.signal(scene.runtime, worker, SIGKILL, SignalResult::Delivered);
        scene.handlers(worker, &[SIGTERM], &[]);
        scene.end(worker, WaitStatus::killed(SIGKILL));
        scene.expect("PT311", &[Outcome::Fail]);
    }

    #[test]
    fn an_init_that_ends_without_a_stop_or_is_killed_is_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let worker = scene.fork(init);
        scene.exit(init, WaitStatus::exited(0));
        scene.cut_off(init, worker, &[SIGTERM], &[SIGTERM]);
        let init = scene.container("p", "b");
        let worker = scene.fork(init);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.exit(init, WaitStatus::killed(SIGKILL));
        scene.cut_off(init, worker, &[SIGTERM], &[SIGTERM]);
        scene.expect("PT311", &[]);
    }

    #[test]
    fn what_was_not_recorded_makes_it_inconclusive() {
        let mut scene = left_behind(&[SIGTERM], |_, _, _| {});
        scene
            .events
            .retain(|event| !matches!(event.fact, Fact::Handlers { .. }));
        scene.expect("PT311", &[Outcome::Inconclusive]);

        left_behind(&[SIGTERM], |scene, _, _| {
            scene.lose(Kind::SignalGenerate, 1)
        })
        .expect("PT311", &[Outcome::Inconclusive]);

        let mut scene = left_behind(&[SIGTERM], |_, _, _| {});
        scene.forget_stop_signals();
        scene.expect("PT311", &[Outcome::Inconclusive]);
    }
}
