//! The parts of a snapshot that need the eBPF program: verdicts and signals.

use std::collections::HashMap;

use super::runs;
use crate::{
    event::{Comm, ContainerId, Ktime, Namespaces, PodId, SignalResult},
    pipeline::Core,
    report::Names,
    state::{Process, State},
    verdict::{ProcessRef, Subject, Verdict},
};

/// Verdicts and signals.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// The worst verdicts of each rule, pod and container; several if several processes fail.
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) names: Names,
    /// Oldest first.
    pub(crate) signals: Vec<ObservedSignal>,
    /// The host's namespaces as each container's runtime has them, by the container's id.
    pub(crate) hosts: HashMap<ContainerId, Namespaces>,
    /// How many of the kernel's records were dropped.
    pub(crate) lost: u64,
    /// Whether some runtimes had not answered by then.
    pub(crate) is_early: bool,
}

/// A signal to a process of a pod. The signals of a process are forgotten when it is reaped, except
/// for entrypoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObservedSignal {
    pub(crate) time: Ktime,
    pub(crate) pod: PodId,
    pub(crate) container: Option<ContainerId>,
    pub(crate) target: ProcessRef,
    pub(crate) signal: i32,
    pub(crate) result: SignalResult,
    /// The sender's pid and name; `None` for the kernel.
    pub(crate) from: Option<(u32, Comm)>,
    /// Whether a handler took it.
    pub(crate) handled: bool,
    /// The number of signals of this kind; more than one if the last one represents all.
    pub(crate) count: u64,
}

impl Judged {
    /// Combines `verdicts` with the names and signals that are known now.
    pub(crate) fn of(core: &Core, verdicts: Vec<Verdict>, is_early: bool) -> Self {
        Self {
            verdicts,
            names: core.names.clone(),
            signals: signals(&core.state),
            hosts: hosts(&core.state),
            lost: core.records.lost_in_all(),
            is_early,
        }
    }
}

/// Keeps the worst verdicts on each subject.
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

fn signals(state: &State) -> Vec<ObservedSignal> {
    let mut signals: Vec<_> = state.processes.iter().flat_map(to_process).collect();
    signals.sort_by_key(|signal| (signal.time, signal.target.id));
    signals
}

/// Runs of a container have the same runtime.
fn hosts(state: &State) -> HashMap<ContainerId, Namespaces> {
    let containers = state.containers.iter();
    let executed = containers.filter(|(_, container)| container.init.is_some());
    executed
        .map(|(run, container)| (runs::container(run).into(), state.host_of(container)))
        .collect()
}

fn to_process(process: &Process) -> Vec<ObservedSignal> {
    let Some(pod) = &process.pod else {
        return Vec::new();
    };
    let each = process.signals.iter().map(|received| (received, 1));
    let others = process
        .others
        .iter()
        .map(|other| (&other.last, other.count));
    each.chain(others)
        .map(|(received, count)| ObservedSignal {
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
