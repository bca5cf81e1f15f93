//! Why a process ended and who sent the signals: what PT2xx and PT3xx share.

use crate::signal::{
    SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGINT, SIGKILL, SIGSEGV, SIGSYS, SIGTERM, SIGTRAP,
};

use crate::{
    rules::prelude::*,
    state::{Limits, State, Stop},
};

/// Most processes that one verdict lists.
pub(super) const MAX_LISTED: usize = 8;

/// The sender of a signal, seen from its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    /// The kernel: OOM killer, fault, terminal, the end of a pid namespace.
    Kernel,
    /// A process of the container runtime. All of them count as one sender.
    Runtime,
    /// A process of the same pod.
    Pod,
    /// Any other process, such as one of another pod.
    Foreign,
}

pub(super) fn party(target: &Process, received: &Received) -> Party {
    match received.sender {
        None => Party::Kernel,
        Some(_) if received.sender_role == Role::Runtime => Party::Runtime,
        Some(sender) if sender == target.id => Party::Pod,
        Some(_) if received.sender_pod.is_some() && received.sender_pod == target.pod => Party::Pod,
        Some(_) => Party::Foreign,
    }
}

/// Whether the signal was queued for its target, which then handles it or has it pending.
pub(super) fn was_queued(received: &Received) -> bool {
    use SignalResult::{AlreadyPending, Delivered, LoseInfo, Unknown};
    matches!(
        received.result,
        Delivered | AlreadyPending | LoseInfo | Unknown
    )
}

/// Whether a signal must end a pause.
pub(super) fn is_pause_stop(container: &Container, signal: i32) -> bool {
    signal == SIGTERM || signal == SIGINT || signal == container.stop_signal
}

/// The stop signals that a container's process got from outside its pod, oldest first. Signals
/// between processes of a pod are not judged.
pub(super) fn stops<'a>(
    process: &'a Process,
    container: &Container,
) -> impl Iterator<Item = &'a Received> {
    let stop_signal = container.stop_signal;
    process.signals.iter().filter(move |received| {
        received.signal == stop_signal
            && received.signal != SIGKILL
            && matches!(party(process, received), Party::Runtime | Party::Foreign)
    })
}

/// The signal that killed a process, if one did and it was recorded.
pub(super) fn fatal(process: &Process) -> Option<&Received> {
    let signal = process.ended?.status.signal()?;
    let others = process.others.iter().map(|other| &other.last);
    process.signals.iter().chain(others).find(|received| {
        received.signal == signal && was_queued(received) && received.handled.is_none()
    })
}

/// The orderly stop that a container is in: its own, else its pod's.
pub(super) fn stopping(container: &Container, pod: &Pod) -> Option<Stop> {
    container.stopping.or(pod.stopping)
}

/// Why a pause ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause<'a> {
    /// The OOM killer chose it.
    Oom,
    /// This signal killed it; with the sender, if that was recorded.
    Killed(i32, Option<&'a Received>),
    /// It crashed with this signal.
    Crashed(i32),
    /// It exited after a stop signal.
    Stopped(&'a Received),
    /// It ended because of a signal that must not end it.
    Fragile(&'a Received),
    /// It exited without a stop signal.
    Exited,
}

/// Why a pause ended; `None` while it lives.
pub(super) fn cause<'a>(
    pause: &'a Process,
    container: &Container,
    limits: &Limits,
) -> Option<Cause<'a>> {
    let ended = pause.ended?;
    if let Some(signal) = ended.status.signal() {
        let by = fatal(pause);
        let is_own = by.is_none_or(|by| by.sender.is_none_or(|sender| sender == pause.id));
        return Some(match signal {
            SIGKILL if pause.oom.is_some() => Cause::Oom,
            SIGKILL => Cause::Killed(signal, by),
            SIGSEGV | SIGBUS | SIGILL | SIGFPE | SIGTRAP | SIGSYS | SIGABRT if is_own => {
                Cause::Crashed(signal)
            }
            _ if is_pause_stop(container, signal) => Cause::Killed(signal, by),
            _ => by.map_or(Cause::Killed(signal, by), Cause::Fragile),
        });
    }
    if let Some(stop) = pause_stop(pause, container) {
        return Some(Cause::Stopped(stop));
    }
    let at_once = |received: &&Received| {
        received.signal != SIGKILL
            && was_queued(received)
            && ended
                .time
                .saturating_sub(received.handled.unwrap_or(received.time))
                <= limits.reaction
    };
    let others = pause.others.iter().map(|other| &other.last);
    let last = pause
        .signals
        .iter()
        .chain(others)
        .filter(at_once)
        .max_by_key(|received| received.handled.unwrap_or(received.time));
    Some(last.map_or(Cause::Exited, Cause::Fragile))
}

/// The first stop signal that was queued for a pause.
pub(super) fn pause_stop<'a>(pause: &'a Process, container: &Container) -> Option<&'a Received> {
    pause
        .signals
        .iter()
        .find(|received| is_pause_stop(container, received.signal) && was_queued(received))
}

/// Whether a pause is being stopped: its pod is, or the runtime sent the pause a stop signal or
/// SIGKILL.
pub(super) fn is_being_stopped(pause: &Process, container: &Container, pod: &Pod) -> bool {
    let is_stop = |received: &Received| {
        (is_pause_stop(container, received.signal) || received.signal == SIGKILL)
            && party(pause, received) == Party::Runtime
            && was_queued(received)
    };
    stopping(container, pod).is_some() || pod.removed.is_some() || pause.signals.iter().any(is_stop)
}

/// The sandbox that a container was created for. If no source reported it, the newest sandbox at
/// the time when the container was declared, or started if it was declared later.
pub(super) fn sandbox_for<'a>(
    state: &'a State,
    container: &Container,
    pod: &Pod,
) -> Option<&'a Container> {
    let declared = container
        .sandbox
        .as_ref()
        .filter(|id| pod.sandboxes.contains(id));
    if let Some(sandbox) = declared.and_then(|id| state.containers.get(id)) {
        return Some(sandbox);
    }
    let since = |container: &Container| {
        container
            .started
            .map_or(container.declared, |at| at.min(container.declared))
    };
    let sandboxes = || {
        pod.sandboxes
            .iter()
            .filter_map(|id| state.containers.get(id))
    };
    let before = |sandbox: &&Container| since(sandbox) <= since(container);
    sandboxes()
        .filter(before)
        .max_by_key(|sandbox| since(sandbox))
        .or_else(|| sandboxes().next())
}

/// The running containers of a sandbox, whose entrypoints have executed and not ended, with these.
pub(super) fn running<'a>(
    state: &'a State,
    sandbox: &'a Container,
    pod: &'a Pod,
) -> impl Iterator<Item = (&'a Container, &'a Process)> {
    let containers = pod
        .containers
        .iter()
        .filter_map(|id| state.containers.get(id));
    containers.filter_map(move |container| {
        let init = state.processes.get(container.init?)?;
        let is_its = sandbox_for(state, container, pod).is_some_and(|its| its.id == sandbox.id);
        (init.is_alive() && is_its).then_some((container, init))
    })
}

/// Fails if no record that the rule needs was lost since then; otherwise the verdict is
/// inconclusive. For violations that follow from the *absence* of a record.
pub(super) fn fail_unless_gap(
    context: &Context<'_>,
    since: Ktime,
    sink: &mut Sink<'_>,
    subject: Subject,
    details: impl FnOnce() -> Details,
) {
    let kinds = sink.needs();
    let flooded = || {
        let container = context.state.containers.get(subject.container.as_ref()?)?;
        let is_about_signals =
            kinds.contains(&Kind::SignalGenerate) || kinds.contains(&Kind::SignalDeliver);
        (is_about_signals && container.flooded? >= since)
            .then(|| "too many signals to the container were sent to record each one".to_owned())
    };
    let gap = |kinds: &[Kind]| context.state.gap(kinds, since);
    match gap(kinds).or_else(|| gap(&[Kind::Watch])).or_else(flooded) {
        None => sink.fail(subject, details),
        Some(why) => sink.inconclusive(subject, || {
            let details = details();
            Details {
                message: format!("{why}, so this may be wrong: {}", details.message),
                ..details
            }
        }),
    }
}

/// `1 container`, `2 containers`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// `SIGTERM from shim (pid 100, the runtime)`.
pub(super) fn from(context: &Context<'_>, target: &Process, received: &Received) -> String {
    let signal = signal_name(received.signal);
    let Some(sender) = received.sender else {
        return format!("{signal} from the kernel");
    };
    let comm = received.sender_comm;
    let who = match party(target, received) {
        Party::Runtime => "the runtime".to_owned(),
        _ if sender == target.id => "itself".to_owned(),
        Party::Pod => {
            let container = context
                .state
                .processes
                .get(sender)
                .and_then(|sender| sender.container.as_ref());
            container.map_or("of the same pod".to_owned(), |container| {
                format!(
                    "in container {} of the same pod",
                    context.container_name(container)
                )
            })
        }
        _ => received.sender_pod.as_ref().map_or(
            "outside the pod and its runtime".to_owned(),
            |pod| {
                let name = context.state.pods.get(pod).map_or(pod.to_string(), |pod| {
                    format!("{}/{}", pod.namespace, pod.name)
                });
                format!("in another pod, {name}")
            },
        ),
    };
    format!("{signal} from {comm} (pid {}, {who})", sender.pid)
}

/// A signal, its target and its result, as a line of evidence.
pub(super) fn line(context: &Context<'_>, target: &Process, received: &Received) -> String {
    let result = match (received.result, received.handled) {
        (_, Some(handled)) => {
            format!(
                "handled after {}",
                Duration(handled.saturating_sub(received.time))
            )
        }
        (SignalResult::Ignored, _) => "ignored".to_owned(),
        (SignalResult::AlreadyPending, _) => "the same signal was already pending".to_owned(),
        (SignalResult::OverflowFail, _) => "not queued".to_owned(),
        (_, None) => "queued, no handler ran".to_owned(),
    };
    format!(
        "{} to {} (pid {}): {result}",
        from(context, target, received),
        target.comm,
        target.id.pid
    )
}

/// Adds the signals that a process received, and its end, as evidence.
pub(super) fn with_history(context: &Context<'_>, process: &Process, details: Details) -> Details {
    let mut details = details;
    for received in &process.signals {
        details = details.evidence(received.time, line(context, process, received));
    }
    if let Some(at) = process.oom {
        details = details.evidence(
            at,
            format!(
                "the OOM killer chose {} (pid {})",
                process.comm, process.id.pid
            ),
        );
    }
    if let Some(ended) = process.ended {
        let what = format!(
            "{} (pid {}) ended: {}",
            process.comm, process.id.pid, ended.status
        );
        details = details.evidence(ended.time, what);
    }
    details
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::signal::{SIGCHLD, SIGUSR1};

    use super::*;
    use crate::{
        rules::{Ledger, testing::*},
        state::Limits,
    };

    /// The rules that fail for a scene at error level, those that fail below it, and the
    /// inconclusive ones.
    fn judged(scene: &Scene) -> [BTreeSet<&'static str>; 3] {
        let mut state = State::new(Limits::REFERENCE);
        let mut ledger = Ledger::new(|_| true);
        for event in &scene.events {
            ledger.judge(&mut state, event, |_, _, _| ());
        }
        let verdicts = ledger.take();
        let rules_where = |is: &dyn Fn(&crate::verdict::Verdict) -> bool| {
            verdicts
                .iter()
                .filter(|verdict| is(verdict))
                .map(|verdict| verdict.rule.id)
                .collect()
        };
        [
            rules_where(&|verdict| {
                verdict.outcome == Outcome::Fail && verdict.severity() == Severity::Error
            }),
            rules_where(&|verdict| {
                verdict.outcome == Outcome::Fail && verdict.severity() < Severity::Error
            }),
            rules_where(&|verdict| verdict.outcome == Outcome::Inconclusive),
        ]
    }

    /// What `play` does to a pause, a container's init and its child, and the rules that must fail.
    struct Fault {
        error: Option<&'static str>,
        warning: Option<&'static str>,
        shared: bool,
        play: fn(&mut Scene, [ProcessId; 3]),
    }

    fn kill(scene: &mut Scene, process: ProcessId) {
        scene.signal(scene.runtime, process, SIGKILL, SignalResult::Delivered);
        scene.end(process, WaitStatus::killed(SIGKILL));
    }

    /// Ends a container with SIGKILL to its init, and its child by the end of their pid namespace.
    fn kill_all(scene: &mut Scene, [_, init, child]: [ProcessId; 3]) {
        scene.wait_ms(1_200);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.exit(init, WaitStatus::killed(SIGKILL));
        scene.signal_with_code(init, child, SIGKILL, SignalResult::Delivered, SI_KERNEL);
        scene.exit_to(child, init, WaitStatus::killed(SIGKILL));
        scene.reap(child);
        scene.reap(init);
    }

    fn stop_pause(scene: &mut Scene, pause: ProcessId) {
        scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
        scene.handle(pause, SIGTERM);
        scene.end(pause, WaitStatus::exited(0));
    }

    const FAULTS: &[Fault] = &[
        Fault {
            error: None,
            warning: None,
            shared: false,
            play: |scene, [pause, init, child]| {
                scene.signal_with_code(pause, pause, SIGCHLD, SignalResult::Delivered, 1);
                scene.handle(pause, SIGCHLD);
                scene.stop_pod("p", 5_000);
                scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
                scene.handle(init, SIGTERM);
                scene.signal(init, child, SIGTERM, SignalResult::Delivered);
                scene.end(child, WaitStatus::killed(SIGTERM));
                scene.end(init, WaitStatus::exited(0));
                stop_pause(scene, pause);
            },
        },
        Fault {
            error: Some("PT202"),
            warning: None,
            shared: true,
            play: |scene, [pause, init, child]| {
                scene.signal(scene.stranger, pause, SIGKILL, SignalResult::Delivered);
                scene.exit(pause, WaitStatus::killed(SIGKILL));
                for process in [init, child] {
                    scene.signal_with_code(
                        pause,
                        process,
                        SIGKILL,
                        SignalResult::Delivered,
                        SI_KERNEL,
                    );
                    scene.end(process, WaitStatus::killed(SIGKILL));
                }
                scene.reap(pause);
            },
        },
        Fault {
            error: Some("PT301"),
            warning: Some("PT302"),
            shared: false,
            play: |scene, [pause, init, child]| {
                scene.stop_pod("p", 1_200);
                scene.signal(scene.runtime, init, SIGTERM, SignalResult::Ignored);
                kill_all(scene, [pause, init, child]);
                stop_pause(scene, pause);
            },
        },
        Fault {
            error: Some("PT304"),
            warning: Some("PT302"),
            shared: false,
            play: |scene, [pause, init, child]| {
                scene.stop_pod("p", 1_200);
                scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
                scene.handle(init, SIGTERM);
                kill_all(scene, [pause, init, child]);
                stop_pause(scene, pause);
            },
        },
        Fault {
            error: Some("PT308"),
            warning: Some("PT302"),
            shared: false,
            play: |scene, [pause, init, child]| {
                scene.stop_pod("p", 1_200);
                scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
                kill_all(scene, [pause, init, child]);
                stop_pause(scene, pause);
            },
        },
        Fault {
            error: Some("PT303"),
            warning: None,
            shared: false,
            play: |scene, processes| {
                scene.stop_pod("p", 1_200);
                kill_all(scene, processes);
                stop_pause(scene, processes[0]);
            },
        },
        Fault {
            error: Some("PT305"),
            warning: None,
            shared: false,
            play: |scene, [pause, init, child]| {
                scene.stop_pod("p", 1_200);
                scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
                scene.signal(scene.stranger, init, SIGTERM, SignalResult::Delivered);
                scene.handle(init, SIGTERM);
                scene.end(child, WaitStatus::exited(0));
                scene.end(init, WaitStatus::exited(0));
                stop_pause(scene, pause);
            },
        },
        Fault {
            error: Some("PT306"),
            warning: None,
            shared: false,
            play: |scene, [pause, init, child]| {
                scene.end(child, WaitStatus::exited(0));
                scene.end(init, WaitStatus::exited(0));
                scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
                scene.wait_ms(1_200);
                kill(scene, pause);
            },
        },
        Fault {
            error: Some("PT306"),
            warning: None,
            shared: false,
            play: |scene, [pause, init, child]| {
                scene.end(child, WaitStatus::exited(0));
                scene.end(init, WaitStatus::exited(0));
                scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
                scene.handle(pause, SIGTERM);
                scene.end(pause, WaitStatus::exited(1));
            },
        },
        Fault {
            error: Some("PT307"),
            warning: None,
            shared: true,
            play: |scene, [pause, init, child]| {
                scene.signal(scene.stranger, pause, SIGUSR1, SignalResult::Delivered);
                scene.handle(pause, SIGUSR1);
                scene.exit(pause, WaitStatus::exited(0));
                for process in [init, child] {
                    scene.signal_with_code(
                        pause,
                        process,
                        SIGKILL,
                        SignalResult::Delivered,
                        SI_KERNEL,
                    );
                    scene.end(process, WaitStatus::killed(SIGKILL));
                }
                scene.reap(pause);
            },
        },
        Fault {
            error: Some("PT309"),
            warning: None,
            shared: false,
            play: |scene, [pause, init, child]| {
                scene.stop_pod("p", 1_200);
                stop_pause(scene, pause);
                scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
                scene.handle(init, SIGTERM);
                scene.end(child, WaitStatus::exited(0));
                scene.end(init, WaitStatus::exited(0));
            },
        },
        Fault {
            error: Some("PT310"),
            warning: None,
            shared: true,
            play: |scene, [pause, init, child]| {
                scene.signal(scene.stranger, init, SIGKILL, SignalResult::Delivered);
                scene.end(init, WaitStatus::killed(SIGKILL));
                scene.exit_to(child, pause, WaitStatus::exited(0));
                scene.reap(child);
                stop_pause(scene, pause);
            },
        },
    ];

    #[test]
    fn one_fault_is_one_error_and_a_healthy_stop_is_none() {
        for (index, fault) in FAULTS.iter().enumerate() {
            let mut scene = Scene::new();
            let pause = if fault.shared {
                scene.shared_pid_pod("p")
            } else {
                scene.pod("p")
            };
            let init = scene.container("p", "a");
            let child = scene.fork(init);
            scene.wait_ms(500);
            (fault.play)(&mut scene, [pause, init, child]);
            scene.remove_pod("p");
            scene.wait_ms(1_200);
            let [errors, warnings, inconclusive] = judged(&scene);
            assert_eq!(
                errors,
                BTreeSet::from_iter(fault.error),
                "errors of fault {index}"
            );
            assert_eq!(
                warnings,
                BTreeSet::from_iter(fault.warning),
                "warnings of fault {index}"
            );
            assert_eq!(
                inconclusive,
                BTreeSet::new(),
                "inconclusive for fault {index}"
            );
        }
    }
}
