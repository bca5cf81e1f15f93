//! What a stop signal does, or would do, to a container.

use super::{
    case::{Case, Container, Process, Signals, WorkKind},
    cause::{Cause, Reason},
    grace,
    start::described,
};
use crate::event::{ContainerKind, Ktime, signal_name};

/// A process installs its handlers when it has loaded its libraries and read its configuration.
const YOUNG: Ktime = 5_000_000_000;

/// What happens to a process that a stop signal is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopOutlook {
    /// It takes the signal: with a handler, by reading it, or by its default action.
    Stops,
    /// It ignores the signal.
    Ignores,
    /// It blocks the signal, and nothing reads it.
    Blocks,
    /// It blocks the signal now and has a handler for it: event loops take signals only while they
    /// wait.
    Later,
    /// It is pid 1 of its pid namespace and has no handler: the kernel drops the signal.
    Drops,
    /// It started a short time ago, and may install a handler yet.
    TooYoung,
    /// The signal is unknown, or the sets cannot be read.
    Unknown,
}

impl StopOutlook {
    /// What happens to a process with these signal sets. `signal` may be 0, which is unknown.
    pub fn of(signal: i32, signals: Option<Signals>, is_pid_1: bool, age: Ktime) -> Self {
        let (Some(signals), 1..=64) = (signals, signal) else {
            return Self::Unknown;
        };
        if is_lethal(signal) {
            return Self::Stops;
        }
        let has = |set: u64| set & bit(signal) != 0;
        let outlook = if has(signals.read) {
            Self::Stops
        } else if has(signals.blocked) && has(signals.caught) {
            Self::Later
        } else if has(signals.blocked) {
            Self::Blocks
        } else if has(signals.caught) {
            Self::Stops
        } else if has(signals.ignored) {
            Self::Ignores
        } else if is_pid_1 {
            Self::Drops
        } else {
            Self::Stops
        };
        match outlook {
            Self::Stops | Self::Later => outlook,
            _ if age < YOUNG => Self::TooYoung,
            other => other,
        }
    }

    /// Why a stop takes the whole grace period, as what is said of the process; `None` if it does
    /// not, or if that is not known.
    pub fn obstacle(self, signal: i32) -> Option<String> {
        let signal = signal_name(signal);
        match self {
            Self::Ignores => Some(format!("ignores {signal}")),
            Self::Blocks => Some(format!("blocks {signal}, and nothing reads it")),
            Self::Drops => Some(format!(
                "is pid 1 of its pid namespace and has no handler for {signal}, so the kernel \
                 drops it"
            )),
            Self::Stops | Self::Later | Self::TooYoung | Self::Unknown => None,
        }
    }

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stops => "stops",
            Self::Ignores => "ignores",
            Self::Blocks => "blocks",
            Self::Later => "later",
            Self::Drops => "drops",
            Self::TooYoung => "too_young",
            Self::Unknown => "unknown",
        }
    }
}

/// SIGKILL and SIGSTOP, which no process can refuse.
fn is_lethal(signal: i32) -> bool {
    matches!(signal, 9 | 19)
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

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
        let name = format!("{} (pid {})", entry.comm, entry.pid);
        if container.is_pending() && outlook != StopOutlook::TooYoung {
            reasons.push(Reason {
                cause: Cause::StopPending,
                container: Some(title.clone()),
                sentence: format!(
                    "{signal} was sent to {name} of {title}, which has not taken it: {}",
                    why_not(container, outlook)
                ),
                evidence: vec![described(entry), grace::sentence(case, container)],
                next: "the runtime kills it when the grace period is over \
                       (terminationGracePeriodSeconds, 30 s unless the pod says otherwise)"
                    .to_owned(),
            });
        } else if let Some(how) = outlook.obstacle(container.stop_signal)
            && container.kind != ContainerKind::Sandbox
            && container.stop_sent.is_none()
        {
            reasons.push(Reason {
                cause: Cause::StopIgnored,
                container: Some(title.clone()),
                sentence: format!(
                    "a stop of {title} will take the whole grace period: {name} {how}"
                ),
                evidence: vec![described(entry)],
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
            container: None,
            sentence: "every process of the pod has ended, and a shim of it still runs".to_owned(),
            evidence: shown.map(|step| described(&step.process)).collect(),
            next: "the runtime has not removed the sandbox: see its log, and that of the kubelet"
                .to_owned(),
        });
    }
}

fn why_not(container: &Container, outlook: StopOutlook) -> &'static str {
    let is = |state| container.entry().is_some_and(|entry| entry.state == state);
    match outlook {
        _ if container.limits.is_frozen => "its cgroup is frozen",
        _ if is(b'D') => "it is in an uninterruptible sleep",
        _ if is(b'T') || is(b't') => "it is stopped by SIGSTOP or a debugger",
        StopOutlook::Blocks => "it blocks the signal, and nothing reads it",
        _ => "it blocks the signal",
    }
}
