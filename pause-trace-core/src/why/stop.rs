//! What a stop signal does, or would do, to a container.

use super::{
    case::{Case, Container, Process, WorkKind},
    cause::{Cause, Reason},
    grace,
    start::{MAX_SHOWN, described, listed},
};
use crate::{
    event::{ContainerKind, signal_name},
    stop_outlook::{StopOutlook, bit},
};

impl Container {
    pub(super) fn entry(&self) -> Option<&Process> {
        let pid = self.entrypoint?;
        let found = self.processes.iter().find(|process| process.pid == pid)?;
        (!found.is_zombie()).then_some(found)
    }

    pub(super) fn outlook(&self) -> Option<(&Process, StopOutlook)> {
        let entry = self.entry()?;
        let outlook = StopOutlook::of(
            self.stop_signal,
            entry.signals,
            entry.ns_pid == 1,
            entry.age,
        );
        Some((entry, outlook))
    }

    /// Whether its stop signal was sent to it, and it has not taken the signal.
    pub(super) fn is_pending(&self) -> bool {
        let Some(signals) = self.entry().and_then(|entry| entry.signals) else {
            return false;
        };
        matches!(self.stop_signal, 1..=64) && signals.pending & bit(self.stop_signal) != 0
    }
}

/// Whether the pod is being stopped or removed, as far as its processes show.
pub(super) fn is_stopping(case: &Case) -> bool {
    let is_down = case.sandboxes.first().is_some_and(|one| !one.is_ready);
    case.work.iter().any(|work| work.kind.is_removal())
        || case.containers.iter().any(Container::is_pending)
        || grace::is_stopping(case)
        || is_down && (case.alive().next().is_some() || has_monitor(case))
}

fn has_monitor(case: &Case) -> bool {
    case.work.iter().any(|work| work.kind == WorkKind::Monitor)
}

pub(super) fn reasons(case: &Case, reasons: &mut Vec<Reason>) {
    for container in &case.containers {
        let Some((entry, outlook)) = container.outlook() else {
            continue;
        };
        let signal = signal_name(container.stop_signal);
        let title = &container.title;
        if container.is_pending() && outlook != StopOutlook::TooYoung {
            reasons.push(Reason {
                cause: Cause::StopPending,
                containers: vec![title.clone()],
                sentence: format!(
                    "{signal} was sent to {} (pid {}) of {title}, which has not taken it: {}",
                    entry.comm,
                    entry.pid,
                    why_not(container, outlook)
                ),
                evidence: vec![described(entry), grace::sentence(case, container)],
                next: "the runtime kills it when the grace period is over \
                       (terminationGracePeriodSeconds, 30 s unless the pod says otherwise)"
                    .to_owned(),
            });
        } else if container.kind != ContainerKind::Sandbox
            && container.stop_sent.is_none()
            && let Some((cause, sentence, doubt)) = forecast(case, container, entry, outlook)
        {
            reasons.push(Reason {
                cause,
                containers: vec![title.clone()],
                sentence,
                evidence: [described(entry)].into_iter().chain(doubt).collect(),
                next:
                    "let the program handle the signal, start it with `exec` in the shell script \
                       that starts it, or use an init such as tini"
                        .to_owned(),
            });
        }
    }
    if is_stopping(case) && case.alive().next().is_none() && has_monitor(case) {
        let monitors = case.work.iter().filter(|one| one.kind == WorkKind::Monitor);
        let shown = monitors.flat_map(|one| one.chain.first());
        reasons.push(Reason {
            cause: Cause::RemovalSlow,
            containers: Vec::new(),
            sentence: "every process of the pod has ended, and a shim of it still runs".to_owned(),
            evidence: shown.map(|step| described(&step.process)).collect(),
            next: "the runtime has not removed the sandbox: see its log, and that of the kubelet"
                .to_owned(),
        });
    }
}

/// That a stop takes the whole grace period: one that runs, or one to come. Without a history it
/// is not known whether one runs.
fn forecast(
    case: &Case,
    container: &Container,
    entry: &Process,
    outlook: StopOutlook,
) -> Option<(Cause, String, Option<String>)> {
    let title = &container.title;
    let (cause, begin, doubt) = match (is_stopping(case), case.has_history) {
        (true, _) => (
            Cause::StopSent,
            format!("the stop of {title} takes"),
            Some(grace::sentence(case, container)),
        ),
        (false, true) => (
            Cause::StopIgnored,
            format!("a stop of {title} will take"),
            None,
        ),
        (false, false) => (
            Cause::StopIgnored,
            format!("a stop of {title} takes"),
            Some("whether a stop runs already is not known: no history was asked".to_owned()),
        ),
    };
    let signal = container.stop_signal;
    let sentence = outlook.delay(&begin, entry.comm, entry.pid, signal)?;
    Some((cause, sentence, doubt))
}

/// Adds that the pod is being stopped, unless another reason is about that.
pub(super) fn running(case: &Case, reasons: &mut Vec<Reason>) {
    // A pause that died is why the sandbox is not ready, and no stop.
    let is_said = |reason: &Reason| reason.cause.is_of_stop() || reason.cause == Cause::PauseEnded;
    if reasons.iter().any(is_said) {
        return;
    }
    let left: Vec<&Container> = case.alive().collect();
    let names: Vec<&str> = left.iter().map(|one| one.title.as_str()).collect();
    if names.is_empty() {
        return;
    }
    let run = match names.len() {
        1 => "runs",
        _ => "run",
    };
    let entries = left.iter().filter_map(|one| one.entry());
    let steps = case.work.iter().filter(|work| work.kind.is_removal());
    let steps = steps.flat_map(|work| work.chain.first());
    reasons.push(Reason {
        cause: Cause::StopSent,
        containers: Vec::new(),
        sentence: format!(
            "the pod is being stopped, and {} still {run}",
            listed(&names)
        ),
        evidence: steps
            .map(|step| &step.process)
            .chain(entries)
            .take(MAX_SHOWN)
            .map(described)
            .collect(),
        next: grace::NEXT.to_owned(),
    });
}

fn why_not(container: &Container, outlook: StopOutlook) -> &'static str {
    let is = |state| container.entry().is_some_and(|entry| entry.state == state);
    match outlook {
        _ if container.limits.is_frozen => "its cgroup is frozen",
        _ if is(b'D') => "it is in an uninterruptible sleep",
        _ if is(b'T') || is(b't') => "it is stopped by SIGSTOP or a debugger",
        StopOutlook::Blocks => "it blocks the signal, and may take it yet",
        _ => "it blocks the signal",
    }
}
