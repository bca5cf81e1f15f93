//! The pods as rows, read from the state.

use std::{cmp::Reverse, collections::HashMap};

use super::{finding::Finding, rates::Rates};
use crate::{
    event::{ContainerKind, Ktime, PodId, Text},
    pipeline::Core,
    rules::Counts,
    state::Container,
};

/// The worst outcome of the verdicts on a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PodStatus {
    /// The pod has no verdict yet.
    Unknown,
    Pass,
    Doubtful,
    Fail,
}

impl PodStatus {
    fn of(counts: Counts) -> Self {
        match counts {
            Counts { fail: 1.., .. } => Self::Fail,
            Counts {
                inconclusive: 1.., ..
            } => Self::Doubtful,
            Counts { pass: 1.., .. } => Self::Pass,
            _ => Self::Unknown,
        }
    }
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) pod: PodId,
    /// `default/web`, escaped.
    pub(super) title: String,
    pub(super) status: PodStatus,
    pub(super) failed: u64,
    /// Running containers, without the pause.
    pub(super) containers: usize,
    /// Processes in them.
    pub(super) members: u64,
    pub(super) zombies: u32,
    /// Signals per second.
    pub(super) signals: u64,
    /// The time since the pod's first process started, in ns.
    pub(super) age: Ktime,
    /// The rule of the newest violation.
    pub(super) newest: Option<String>,
}

/// How rows are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Worst,
    Name,
    Members,
    Zombies,
    Signals,
}

impl Sort {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Worst => Self::Name,
            Self::Name => Self::Members,
            Self::Members => Self::Zombies,
            Self::Zombies => Self::Signals,
            Self::Signals => Self::Worst,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Worst => "worst",
            Self::Name => "name",
            Self::Members => "members",
            Self::Zombies => "zombies",
            Self::Signals => "signals",
        }
    }

    /// Sorts the largest first, or by name. Equal rows are sorted by name, so that they keep their
    /// places.
    pub(super) fn apply(self, rows: &mut [Row]) {
        let key = |row: &Row| match self {
            Self::Worst => Reverse((row.status as u64, row.failed)),
            Self::Name => Reverse((0, 0)),
            Self::Members => Reverse((row.members, 0)),
            Self::Zombies => Reverse((row.zombies.into(), 0)),
            Self::Signals => Reverse((row.signals, 0)),
        };
        rows.sort_by(|one, other| {
            key(one)
                .cmp(&key(other))
                .then_with(|| one.title.cmp(&other.title))
                .then_with(|| one.pod.cmp(&other.pod))
        });
    }
}

/// The pods that exist.
pub(super) fn rows<'a>(
    core: &Core,
    rates: &Rates,
    findings: impl Iterator<Item = &'a Finding>,
    now: Ktime,
) -> Vec<Row> {
    let mut containers: HashMap<&PodId, Vec<&Container>> = HashMap::new();
    for container in core.state.containers.values() {
        containers
            .entry(&container.pod)
            .or_default()
            .push(container);
    }
    // The newest come first.
    let mut newest: HashMap<&PodId, &str> = HashMap::new();
    for finding in findings {
        if let Some(pod) = &finding.pod {
            newest.entry(pod).or_insert(&finding.rule);
        }
    }
    let pods = core.state.pods.values().filter(|pod| pod.removed.is_none());
    pods.map(|pod| {
        let own = containers
            .get(&pod.id)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let counts = core.ledger.counts_of(&pod.id);
        let apart = own
            .iter()
            .filter(|container| container.what != ContainerKind::Sandbox);
        let is_running =
            |container: &&&Container| container.init.is_some() && container.ended.is_none();
        Row {
            pod: pod.id.clone(),
            title: match pod.name.0.is_empty() {
                true => format!("pod {}", Text::new(&pod.id)),
                false => format!("{}/{}", pod.namespace, pod.name),
            },
            status: PodStatus::of(counts),
            failed: counts.fail,
            containers: apart.clone().filter(is_running).count(),
            members: apart.map(|container| u64::from(container.alive)).sum(),
            zombies: pod.zombies,
            signals: own
                .iter()
                .map(|container| rates.of(container.cgroup, now))
                .sum(),
            age: now.saturating_sub(core.state.exists_since(pod)),
            newest: newest.get(&pod.id).map(|rule| (*rule).to_owned()),
        }
    })
    .collect()
}
