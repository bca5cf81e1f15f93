//! PT301: a container's init does not ignore its stop signal.

use crate::signal::SIGKILL;

use crate::{
    rules::{ending, prelude::*},
    state::Limits,
};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT301",
        name: "stop-ignored",
        severity: Severity::Error,
        summary: "a container's init ignored its stop signal",
        doc: "\
## What it checks
When the runtime, or any other process outside the pod, sends a container's init its stop signal, \
the kernel must not drop it. The kernel drops a signal that is set to SIG_IGN, and for pid 1 of a \
pid namespace also a signal without a handler. It also drops signals to a process that is already \
ending; such an init is not reported. Signals between the pod's own processes are not checked.

## Why it matters
The program never receives the stop signal: every rollout waits for the whole grace period, and \
then SIGKILL interrupts open requests and loses unwritten data.

## How to fix it
Install a handler for the signal, run the program under a small init (tini, `docker-init`), share \
the pod's pid namespace, or set STOPSIGNAL to a signal that the program handles. In a shell \
entrypoint, `exec` the program.

## Example
    init web (pid 812, pid 1 of its pid namespace) ignored SIGTERM from shim (pid 100, the \
runtime)

## Source
signal(7); pid_namespaces(7): pid 1 gets only signals it has handlers for; Linux `prepare_signal` \
(kernel/signal.c); kubernetes/kubernetes#127188.
",
        needs: &[Kind::SignalGenerate],
    },
    on: &[On::SignalTaken, On::StopDue, On::Ended],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let (Change::Ended(process)
    | Change::SignalTaken { process, .. }
    | Change::StopDue { process, .. }) = change
    else {
        return;
    };
    let Some((init, container, _)) = context.inside(*process) else {
        return;
    };
    if init.role != Role::Init {
        return;
    }
    match change {
        Change::StopDue { sent, .. } => {
            let ignored = ignored(init, container).filter(|stop| stop.time <= *sent);
            if let Some(stop) = ignored {
                judge_ignored(context, init, stop, sink);
            }
        }
        Change::SignalTaken {
            signal,
            handled: true,
            ..
        } if Some(*signal) == container.stop_signal => {
            let Some(stop) = ending::stops(init, container)
                .filter(|stop| stop.handled.is_some())
                .last()
            else {
                return;
            };
            let after = stop
                .handled
                .map_or(0, |handled| handled.saturating_sub(stop.time));
            sink.pass(Subject::process(init), || {
                Details::new(format!(
                    "handled {} after {}",
                    signal_name(*signal),
                    Duration(after)
                ))
                .observed("latency", Value::Duration(after))
            });
        }
        Change::Ended(_) if ending::is_stop_unknown(context, init, container, sink) => {}
        Change::Ended(_) => {
            if let Some(stop) = ignored(init, container) {
                if !was_dying(init, stop, &context.state.limits) {
                    judge_ignored(context, init, stop, sink);
                }
                return;
            }
            let Some(stop) = ending::stops(init, container).find(|stop| ending::was_queued(stop))
            else {
                return;
            };
            let Some(ended) = init
                .ended
                .filter(|ended| ended.status.signal() != Some(SIGKILL))
            else {
                return;
            };
            let after = ended.time.saturating_sub(stop.time);
            sink.pass(Subject::process(init), || {
                let signal = signal_name(stop.signal);
                Details::new(format!(
                    "ended {} after {signal}: {}",
                    Duration(after),
                    ended.status
                ))
                .observed("latency", Value::Duration(after))
            });
        }
        _ => {}
    }
}

/// The first stop signal that the kernel dropped.
fn ignored<'a>(init: &'a Process, container: &Container) -> Option<&'a Received> {
    ending::stops(init, container).find(|stop| stop.result == SignalResult::Ignored)
}

/// Whether an init that has ended may already have been ending when the stop signal was sent: it
/// had called exit, or received SIGKILL before the stop signal.
fn was_dying(init: &Process, stop: &Received, limits: &Limits) -> bool {
    let Some(ended) = init.ended else {
        return false;
    };
    match ended.status.signal() {
        Some(_) => ending::fatal(init).is_none_or(|kill| kill.time < stop.time),
        None => ended.time.saturating_sub(stop.time) <= limits.reaction,
    }
}

fn judge_ignored(context: &Context<'_>, init: &Process, stop: &Received, sink: &mut Sink<'_>) {
    // The name that it had then: a shell may have executed an init since.
    let comm = stop.target_comm;
    sink.fail(Subject::process_as(init, comm), || {
        let (what, why) = if init.is_namespace_init() {
            (", pid 1 of its pid namespace", "no handler, or SIG_IGN")
        } else {
            ("", "SIG_IGN")
        };
        let details = Details::new(format!(
            "init {comm} (pid {}{what}) ignored {}",
            init.id.pid,
            ending::from(context, init, stop)
        ))
        .expected("disposition", Value::Text("handler".to_owned()))
        .observed("disposition", Value::Text(why.to_owned()))
        .observed("signal", Value::Signal(stop.signal))
        .evidence(stop.time, ending::line(context, init, stop));
        match init.exec_after(stop.time) {
            Some((at, what)) => details.evidence(at, what),
            None => details,
        }
    });
}

#[cfg(test)]
mod tests {
    use crate::signal::{SIGQUIT, SIGTERM};

    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn an_init_that_drops_sigterm_fails_once() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Ignored);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Ignored);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGKILL));
        let [verdict] = &scene.expect("PT301", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        let message = &verdict.details.message;
        assert!(
            message.contains("pid 1 of its pid namespace) ignored SIGTERM from shim"),
            "{message}"
        );
    }

    #[test]
    fn a_shell_that_becomes_an_init_later_is_named_as_the_shell() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.exec_as(init, "/bin/sh");
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Ignored);
        scene.wait_ms(900);
        scene.exec_as(init, "/sbin/tini");
        scene.wait_ms(200);
        let [verdict] = &scene.expect("PT301", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        let Details {
            message, evidence, ..
        } = &verdict.details;
        assert!(message.starts_with("init sh (pid"), "{message}");
        let process = verdict.subject.process.expect("the init");
        assert_eq!(process.comm.to_string(), "sh");
        let lines: Vec<_> = evidence.iter().map(|line| &line.what[..]).collect();
        let pid = init.pid;
        assert_eq!(
            lines,
            [
                format!("SIGTERM from shim (pid 100, the runtime) to sh (pid {pid}): ignored"),
                format!("pid {pid} executed /sbin/tini and was called tini from then on"),
            ]
        );
    }

    #[test]
    fn an_init_that_was_exec_d_before_the_signal_has_no_later_exec() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.exec_as(init, "/sbin/tini");
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Ignored);
        scene.wait_ms(1_100);
        let [verdict] = &scene.expect("PT301", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.details.evidence.len(), 1);
    }

    #[test]
    fn an_init_that_drops_sigterm_and_continues_fails() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Ignored);
        scene.wait_ms(1_100);
        scene.expect("PT301", &[Outcome::Fail]);
    }

    #[test]
    fn an_init_that_was_already_ending_does_not_fail() {
        let mut scene = Scene::new();
        scene.pod("p");
        let exits = scene.container("p", "a");
        let killed = scene.container("p", "b");
        scene.signal(scene.runtime, exits, SIGTERM, SignalResult::Ignored);
        scene.end(exits, WaitStatus::exited(0));
        scene.signal(scene.runtime, killed, SIGKILL, SignalResult::Delivered);
        scene.signal(scene.runtime, killed, SIGTERM, SignalResult::Ignored);
        scene.end(killed, WaitStatus::killed(SIGKILL));
        scene.expect("PT301", &[]);
    }

    #[test]
    fn a_handler_or_a_kill_by_the_signal_passes() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        let handles = scene.container("p", "a");
        let dies = scene.container("p", "b");
        scene.signal(scene.runtime, handles, SIGTERM, SignalResult::Delivered);
        scene.handle(handles, SIGTERM);
        scene.end(handles, WaitStatus::exited(0));
        scene.signal(scene.runtime, dies, SIGTERM, SignalResult::Delivered);
        scene.end(dies, WaitStatus::killed(SIGTERM));
        scene.expect("PT301", &[Outcome::Pass, Outcome::Pass]);
    }

    #[test]
    fn other_signals_signals_within_the_pod_and_the_pause_are_not_judged() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let init = scene.container("p", "a");
        let child = scene.fork(init);
        scene.signal(scene.runtime, init, SIGQUIT, SignalResult::Ignored);
        scene.signal(child, init, SIGTERM, SignalResult::Ignored);
        scene.signal(init, init, SIGTERM, SignalResult::Ignored);
        scene.signal(scene.runtime, child, SIGTERM, SignalResult::Ignored);
        scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Ignored);
        scene.expect("PT301", &[]);
    }

    #[test]
    fn a_blocked_signal_is_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.wait_ms(1_100);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGKILL));
        scene.expect("PT301", &[]);
    }
}
