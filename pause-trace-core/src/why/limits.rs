//! Limits of a container's cgroup that slow it down or stop it.

use super::{
    case::{Case, Container},
    cause::{Cause, Reason},
    processes::processes,
};
use crate::text::counted;

/// A container that is throttled in a smaller part of its periods, in percent, is not slow because
/// of that.
const THROTTLED: u64 = 25;

/// Periods after which the part means something: 5 s at the usual 100 ms.
const PERIODS: u64 = 50;

pub(super) fn reasons(case: &Case, reasons: &mut Vec<Reason>) {
    for container in &case.containers {
        reasons.extend(pids(container));
        reasons.extend(throttled(container));
    }
}

fn pids(container: &Container) -> Option<Reason> {
    let limits = &container.limits;
    if limits.pids_refused == 0 {
        return None;
    }
    let limit = limits
        .pids
        .map_or(String::new(), |limit| format!(" of {limit} tasks"));
    Some(Reason {
        cause: Cause::PidsLimit,
        containers: vec![container.title.clone()],
        sentence: format!(
            "{} in {} failed because of the limit{limit} of its cgroup",
            counted(limits.pids_refused, "fork"),
            container.title
        ),
        evidence: vec![format!(
            "it has {} now",
            processes(container.processes.len() as u64)
        )],
        next: "raise the kubelet's podPidsLimit, or find what forks: threads count too, and so \
               do zombies"
            .to_owned(),
    })
}

fn throttled(container: &Container) -> Option<Reason> {
    let limits = &container.limits;
    let periods = limits.cpu_periods;
    if periods < PERIODS || limits.cpu_throttled.saturating_mul(100) / periods < THROTTLED {
        return None;
    }
    Some(Reason {
        cause: Cause::Throttled,
        containers: vec![container.title.clone()],
        sentence: format!(
            "{} was throttled in {} % of its scheduling periods: its CPU limit is lower than what it \
             uses",
            container.title,
            limits.cpu_throttled.saturating_mul(100) / periods
        ),
        evidence: vec![format!(
            "{} of {periods} periods since its start",
            limits.cpu_throttled
        )],
        next: "raise the CPU limit, or remove it: a container that is slow to start is often only \
               throttled"
            .to_owned(),
    })
}
