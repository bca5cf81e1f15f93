//! When the grace period of a stop ends.

use super::{
    case::{Case, Container, StopSent},
    cause::{Cause, Reason},
    start::described,
};
use crate::{
    event::{ContainerKind, Grace, Ktime, signal_name},
    stop_outlook::StopOutlook,
    verdict::Age,
};

const SECOND: Ktime = 1_000_000_000;

/// A runtime on a busy node takes a while for a kill.
const SLACK: Ktime = 10 * SECOND;

/// What to do about a stop that runs.
pub(super) const NEXT: &str = "wait until the runtime kills it at the end of the grace period \
     (deletionGracePeriodSeconds of the pod), or see what it is doing in its log; `kubectl delete \
     --force --grace-period=0`, `docker kill` or `podman kill` ends it at once, without what it \
     has not written yet";

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
            grace.period / SECOND
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

fn known(grace: Grace, sent: &StopSent) -> String {
    let period = format!("its grace period of {} s", grace.period / SECOND);
    if let Some(killed) = sent.killed {
        return format!(
            "{period} is over: SIGKILL was sent {} ago, and it still runs",
            Age(killed)
        );
    }
    let past = Age(sent.ago.saturating_sub(grace.period));
    let left = grace.period.saturating_sub(sent.ago);
    match (left, grace.doubt()) {
        (0, None) => format!("{period} ended {past} ago, and it was not killed"),
        (0, Some(doubt)) => format!("{period} ended {past} ago, {doubt}"),
        (_, None) => format!("{period} ends in {}", Age(left)),
        (_, Some(doubt)) => format!("{period} ends in {}, {doubt}", Age(left)),
    }
}

/// Whether the grace period of a stop is certainly over, and the container was not killed. A period
/// that the stop may have replaced by a longer one proves nothing.
fn is_over(container: &Container, sent: &StopSent) -> bool {
    let certain = container.grace.filter(|grace| grace.doubt().is_none());
    let limit = certain.map(|grace| grace.period.saturating_add(SLACK));
    limit.is_some_and(|limit| sent.ago > limit) || sent.killed.is_some()
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
        let is_over = is_over(container, sent);
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
                "the logs of the kubelet and of the runtime say why it was not killed",
            ),
            false => (Cause::StopSent, NEXT),
        };
        reasons.push(Reason {
            cause,
            containers: vec![title.clone()],
            sentence: format!(
                "{signal} was sent to {} (pid {}) of {title} {} ago, and it still runs{how}; {}",
                entry.comm,
                entry.pid,
                Age(sent.ago),
                sentence(case, container)
            ),
            evidence: vec![described(entry), format!("{} sent {signal}", sent.by)],
            next: next.to_owned(),
        });
    }
}
