//! What the program in the kernel adds to a look at the node's pods: verdicts, and signals that were seen.

use std::collections::HashMap;

use crate::{
    event::{Comm, ContainerId, Ktime, PodId, SignalResult},
    live::Live,
    report::Names,
    state::{Process, State},
    verdict::{ProcessRef, Subject, Verdict},
};

/// What was judged and seen.
#[derive(Debug)]
pub(crate) struct Judged {
    /// What stands: of each rule, pod and container the worst, several where several processes fail.
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) names: Names,
    /// Oldest first.
    pub(crate) signals: Vec<SignalSeen>,
    /// How many of the kernel's records were dropped.
    pub(crate) lost: u64,
    /// Whether runtimes were still being asked at the end.
    pub(crate) is_early: bool,
}

/// A signal to a pod's process. A process that ends takes those to it along when it is reaped, but for entrypoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignalSeen {
    pub(crate) time: Ktime,
    pub(crate) pod: PodId,
    pub(crate) container: Option<ContainerId>,
    pub(crate) target: ProcessRef,
    pub(crate) signal: i32,
    pub(crate) result: SignalResult,
    /// Who sent it: pid and name; `None` for the kernel.
    pub(crate) from: Option<(u32, Comm)>,
    /// Whether a handler took it.
    pub(crate) handled: bool,
    /// How many of this number came; more than one only where the last stands for all.
    pub(crate) count: u64,
}

impl Judged {
    /// As things are: `verdicts` stand, and the rest is what is known now.
    pub(crate) fn now(live: &Live, verdicts: Vec<Verdict>, is_early: bool) -> Self {
        live.look(|core| Self {
            verdicts,
            names: core.names.clone(),
            signals: signals(&core.state),
            lost: core.records.lost_in_all(),
            is_early,
        })
    }
}

/// What stands: the worst on each subject.
pub(crate) fn standing(mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let about = |verdict: &Verdict| {
        let Subject { pod, container, .. } = &verdict.subject;
        (verdict.rule.id, pod.clone(), container.clone())
    };
    let mut worst = HashMap::new();
    for verdict in &verdicts {
        let outcome = worst.entry(about(verdict)).or_insert(verdict.outcome);
        *outcome = (*outcome).max(verdict.outcome);
    }
    verdicts.retain(|verdict| worst.get(&about(verdict)) == Some(&verdict.outcome));
    verdicts
}

fn signals(state: &State) -> Vec<SignalSeen> {
    let mut seen: Vec<_> = state.processes.iter().flat_map(to_process).collect();
    seen.sort_by_key(|signal| (signal.time, signal.target.id));
    seen
}

fn to_process(process: &Process) -> Vec<SignalSeen> {
    let Some(pod) = &process.pod else {
        return Vec::new();
    };
    let each = process.signals.iter().map(|received| (received, 1));
    let others = process
        .others
        .iter()
        .map(|other| (&other.last, other.count));
    each.chain(others)
        .map(|(received, count)| SignalSeen {
            time: received.time,
            pod: pod.clone(),
            container: process.container.clone(),
            target: ProcessRef {
                id: process.id,
                ns_pid: process.ns_pid,
                comm: process.comm,
            },
            signal: received.signal,
            result: received.result,
            from: received
                .sender
                .map(|sender| (sender.pid, received.sender_comm)),
            handled: received.handled.is_some(),
            count,
        })
        .collect()
}
