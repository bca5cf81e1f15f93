//! How findings say who sent a signal, why a process ended, and what happened to it before.

use super::{Party, fatal, party};
use crate::{
    rules::prelude::*,
    signal::SIGKILL,
    state::{Doubt, OomKilled, Reason},
};

/// How the OOM killer killed a process, if it did.
pub(in crate::rules) fn oom(process: &Process) -> Option<String> {
    let reason = fatal(process).map(|by| by.reason);
    process.is_oom_killed().then(|| match reason {
        Some(Reason::OomShared { victim, comm }) => format!(
            "the OOM killer killed it with {comm} (pid {}), whose memory it shared",
            victim.pid
        ),
        _ => "the OOM killer chose it".to_owned(),
    })
}

/// `SIGTERM from shim (pid 100, the runtime)`. A sender outside the pods is described by its parent
/// and its command line, if those are known.
pub(in crate::rules) fn from(
    context: &Context<'_>,
    target: &Process,
    received: &Received,
) -> String {
    let signal = signal_name(received.signal);
    let Some(sender) = received.sender else {
        return match received.reason {
            Reason::Unseen if received.signal == SIGKILL => format!(
                "{signal} from the kernel, for a reason that was not seen (RLIMIT_CPU, a tracer \
                 that ended, or the OOM killer for memory that it shared)"
            ),
            Reason::Unseen => format!("{signal} from the kernel"),
            Reason::Teardown => format!(
                "{signal} from the kernel, because pid 1 of its pid namespace (pid {}) ended",
                received.running.pid
            ),
            Reason::Oom => format!("{signal} from the OOM killer"),
            Reason::OomShared { victim, comm } => format!(
                "{signal} from the OOM killer, which chose {comm} (pid {}), whose memory it shared",
                victim.pid
            ),
        };
    };
    let comm = received.sender_comm;
    let who = match party(target, received) {
        Party::Runtime => "the runtime".to_owned(),
        Party::Unproven => {
            let why = received.sender_doubt.map_or("", Doubt::why);
            let outsider = received.outsider.as_deref();
            let outsider = outsider.map_or(String::new(), ToString::to_string);
            format!("perhaps the runtime: {why}{outsider}")
        }
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
        _ => match (&received.sender_pod, &received.outsider) {
            (Some(pod), _) => {
                let name = context.state.pods.get(pod).map_or(pod.to_string(), |pod| {
                    format!("{}/{}", pod.namespace, pod.name)
                });
                match target.pod {
                    Some(_) => format!("in another pod, {name}"),
                    None => format!("in pod {name}"),
                }
            }
            (None, Some(outsider)) => format!("outside the pod and its runtime{outsider}"),
            (None, None) => "outside the pod and its runtime".to_owned(),
        },
    };
    format!("{signal} from {comm} (pid {}, {who})", sender.pid)
}

/// A signal, its target and its result, as a line of evidence.
pub(in crate::rules) fn line(
    context: &Context<'_>,
    target: &Process,
    received: &Received,
) -> String {
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
        received.target_comm,
        target.id.pid
    )
}

/// Adds the signals that a process received, its last exec if that came after the first of them,
/// and its end, as evidence.
pub(in crate::rules) fn with_history(
    context: &Context<'_>,
    process: &Process,
    details: Details,
) -> Details {
    let mut details = details;
    let first = process.signals.first();
    let mut exec = first.and_then(|first| process.exec_after(first.time));
    for received in &process.signals {
        if let Some((at, what)) = exec.take_if(|(at, _)| *at < received.time) {
            details = details.evidence(at, what);
        }
        details = details.evidence(received.time, line(context, process, received));
    }
    if let Some((at, what)) = exec {
        details = details.evidence(at, what);
    }
    if let Some(at) = process.oom {
        let (comm, pid) = (process.comm, process.id.pid);
        let chose = match process.ended.is_some() && !process.is_oom_killed() {
            true => format!("the OOM killer marked {comm} (pid {pid}), which was already ending"),
            false => format!("the OOM killer chose {comm} (pid {pid})"),
        };
        details = details.evidence(at, chose);
    }
    let container = context.state.container_of(process);
    if let Some((supervisor, ended)) = container.and_then(supervisor) {
        let (comm, pid) = (supervisor.comm, supervisor.id.pid);
        let what = format!("its {comm} (pid {pid}) ended: {}", why(context, supervisor));
        details = details.evidence(ended.time, what);
    }
    if let Some(killed) = container.and_then(|container| container.oom)
        && killed.id != process.id
    {
        details = details.evidence(killed.time, oom_kills(&killed));
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

/// The shim or conmon of a container and its end, if it ended before the container.
fn supervisor(container: &Container) -> Option<(&Process, Ended)> {
    let supervisor = container.orphaned.as_deref()?;
    Some((supervisor, supervisor.ended?))
}

/// Why a process of the runtime ended.
pub(in crate::rules) fn why(context: &Context<'_>, process: &Process) -> String {
    let Some(ended) = process.ended else {
        return "it is alive".to_owned();
    };
    if let Some(oom) = oom(process) {
        return oom;
    }
    if let Some(signal) = ended.status.signal() {
        return match fatal(process) {
            Some(by)
                if signal != SIGKILL && by.sender.is_none_or(|sender| sender == process.id) =>
            {
                format!("it crashed, {}", signal_name(signal))
            }
            Some(by) => from(context, process, by),
            None => format!("{} from an unknown sender", signal_name(signal)),
        };
    }
    let reaction = context.state.limits.reaction;
    let asked = process.signals.iter().rfind(|received| {
        let taken = received.handled.unwrap_or(received.time);
        received.sender.is_some_and(|sender| sender != process.id)
            && received.was_queued()
            && ended.time.saturating_sub(taken) <= reaction
    });
    match asked {
        Some(by) => format!("{} after {}", ended.status, from(context, process, by)),
        None => format!("it exited by itself, {}", ended.status),
    }
}

/// Makes a finding about what the runtime did to a container an info, if it follows from the end of
/// the container's shim or conmon, which PT210 reports.
pub(in crate::rules) fn as_consequence(container: &Container, details: Details) -> Details {
    let Some((supervisor, _)) = supervisor(container) else {
        return details;
    };
    let (comm, pid) = (supervisor.comm, supervisor.id.pid);
    let message = format!(
        "{}, after its {comm} (pid {pid}) had ended (PT210)",
        details.message
    );
    Details { message, ..details }.milder(Severity::Info)
}

/// Which processes of a container the OOM killer killed.
fn oom_kills(killed: &OomKilled) -> String {
    let OomKilled { comm, id, .. } = killed;
    match killed.count {
        1 => format!(
            "the OOM killer killed {comm} (pid {}) of its container",
            id.pid
        ),
        count => format!(
            "the OOM killer killed {count} processes of its container, the last was {comm} (pid {})",
            id.pid
        ),
    }
}
