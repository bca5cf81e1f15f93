//! When the grace period of a stop ends.

use super::{
    case::{Case, Container, StopSent},
    cause::{Cause, Reason},
    start::described,
};
use crate::{
    event::{ContainerKind, Ktime, signal_name},
    stop_outlook::StopOutlook,
};

const SECOND: Ktime = 1_000_000_000;

/// A runtime on a busy node takes a while for a kill.
const SLACK: Ktime = 10 * SECOND;

/// A grace period in seconds, as a kubelet or an engine writes it down. Kubernetes allows no
/// negative one, and a longer one than the clock can count is no period.
pub fn parse(text: &str) -> Option<Ktime> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: u64 = text.parse().ok().filter(|_| is_number)?;
    seconds.checked_mul(SECOND)
}

/// `12 s`, `3 min`, `2 h`: what is shorter than two of the next unit is in the smaller one.
fn rough(span: Ktime) -> String {
    let seconds = span / SECOND;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

/// When the grace period of a container that is being stopped ends, as far as that is known.
pub(super) fn sentence(case: &Case, container: &Container) -> String {
    let no_history = match case.has_history {
        true => "the history does not have it",
        false => "no history was asked",
    };
    match (container.grace, &container.stop_sent) {
        (Some(grace), Some(sent)) => known(grace, sent),
        (Some(grace), None) => format!(
            "its grace period is {} s; when the stop signal was sent is not known: {no_history}",
            grace / SECOND
        ),
        (None, Some(_)) => {
            "its grace period is not known: neither the kubelet nor an engine wrote it down"
                .to_owned()
        }
        (None, None) => format!(
            "neither its grace period is known nor when the stop signal was sent: {no_history}"
        ),
    }
}

fn known(grace: Ktime, sent: &StopSent) -> String {
    let seconds = grace / SECOND;
    let period = format!("its grace period of {seconds} s");
    if let Some(killed) = sent.killed {
        return format!(
            "{period} is over: SIGKILL was sent {} ago, and it still runs",
            rough(killed)
        );
    }
    match grace.checked_sub(sent.ago) {
        Some(left) if left > 0 => format!("{period} ends in {}", rough(left)),
        _ => format!(
            "{period} ended {} ago, and it was not killed",
            rough(sent.ago.saturating_sub(grace))
        ),
    }
}

/// Whether every container that runs was sent its stop signal.
pub(super) fn is_stopping(case: &Case) -> bool {
    let mut members = case
        .containers
        .iter()
        .filter(|one| one.kind != ContainerKind::Sandbox && one.entry().is_some())
        .peekable();
    members.peek().is_some() && members.all(|one| one.stop_sent.is_some())
}

pub(super) fn reasons(case: &Case, reasons: &mut Vec<Reason>) {
    for container in &case.containers {
        let (Some((entry, outlook)), Some(sent)) = (container.outlook(), &container.stop_sent)
        else {
            continue;
        };
        let is_said = container.is_pending() && outlook != StopOutlook::TooYoung;
        let grace = container.grace.map(|grace| grace.saturating_add(SLACK));
        let is_over = grace.is_some_and(|grace| sent.ago > grace) || sent.killed.is_some();
        if is_said && !is_over {
            continue;
        }
        let title = &container.title;
        let how = outlook
            .obstacle(sent.signal)
            .map_or(String::new(), |how| format!(": it {how}"));
        let signal = signal_name(sent.signal);
        let (cause, next) = match is_over {
            true => (
                Cause::GraceOver,
                "the log of the kubelet and of the runtime say why it was not killed; a deletion \
                 can ask for a longer period (`kubectl delete --grace-period`), which \
                 deletionGracePeriodSeconds of the pod shows",
            ),
            false => (
                Cause::StopSent,
                "the runtime kills it when the grace period is over; a preStop hook uses a part \
                 of the same period",
            ),
        };
        reasons.push(Reason {
            cause,
            container: Some(title.clone()),
            sentence: format!(
                "{signal} was sent to {} (pid {}) of {title} {} ago, and it still runs{how}; {}",
                entry.comm,
                entry.pid,
                rough(sent.ago),
                sentence(case, container)
            ),
            evidence: vec![described(entry), format!("{} sent {signal}", sent.by)],
            next: next.to_owned(),
        });
    }
}
