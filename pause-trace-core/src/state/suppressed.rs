//! Records of a pod that were only counted, because its processes wrote too many of them while the
//! reader was behind.
//!
//! The kernel side says how many, of which kind and of which container's cgroup. So unlike a loss
//! this concerns only the pod that caused it, or the pods of a container that acts as a node.

use std::collections::BTreeMap;

use super::{Change, State};
use crate::event::{CgroupId, ContainerId, Kind, Ktime, PodId};

/// Most cgroups that are kept, the newest ones.
const MAX_CGROUPS: usize = 1_024;

/// What was suppressed, by cgroup, for containers that are declared later.
#[derive(Debug, Default)]
pub(super) struct Suppressed(BTreeMap<CgroupId, Counted>);

/// What was suppressed of a cgroup.
#[derive(Debug, Default)]
struct Counted {
    kinds: Vec<Kind>,
    last: Ktime,
}

impl Suppressed {
    pub(super) fn forget(&mut self, cgroup: CgroupId) {
        self.0.remove(&cgroup);
    }
}

impl State {
    /// The kind of evidence that is missing if records of this kind were suppressed. A child whose
    /// fork is not recorded is not watched at all.
    pub(crate) fn missing_by(suppressed: Kind) -> Kind {
        match suppressed {
            Kind::Fork => Kind::Watch,
            other => other,
        }
    }

    pub(super) fn records_suppressed(
        &mut self,
        now: Ktime,
        cgroup: CgroupId,
        kind: Kind,
        changes: &mut Vec<Change>,
    ) {
        // No rule depends on who listens.
        if kind == Kind::Listen {
            return;
        }
        let own = self.cgroups.container(cgroup).cloned();
        let is_in_it = |other: CgroupId| self.cgroups.is_below(other, cgroup);
        let containers = self.containers.iter();
        let mut inner: Vec<_> = containers
            .filter(|(id, known)| Some(*id) != own.as_ref() && is_in_it(known.cgroup))
            .map(|(id, _)| id.clone())
            .collect();
        inner.sort_unstable();
        for container in own.iter().chain(&inner) {
            self.suppressed_in(now, container, kind, changes);
        }
        let cgroups = &mut self.suppressed.0;
        if cgroups.len() >= MAX_CGROUPS && !cgroups.contains_key(&cgroup) {
            cgroups.pop_first();
        }
        let counted = cgroups.entry(cgroup).or_default();
        counted.last = now;
        if !counted.kinds.contains(&kind) {
            counted.kinds.push(kind);
        }
    }

    /// Notes what was suppressed of a container before it was declared. Until then its records
    /// counted as those of a container around it, if there is one.
    pub(super) fn suppressed_early(&mut self, container: &ContainerId, changes: &mut Vec<Change>) {
        let Some(own) = self.containers.get(container).map(|known| known.cgroup) else {
            return;
        };
        let made = self.cgroups.made(own);
        let concerns_it = |(id, counted): &(&CgroupId, &Counted)| {
            self.cgroups.container(**id) == Some(container)
                || (self.cgroups.is_below(own, **id) && Some(counted.last) >= made)
        };
        let mut early = Vec::new();
        for (_, counted) in self.suppressed.0.iter().filter(concerns_it) {
            early.extend(counted.kinds.iter().map(|kind| (counted.last, *kind)));
        }
        for (last, kind) in early {
            self.suppressed_in(last, container, kind, changes);
        }
    }

    fn suppressed_in(
        &mut self,
        when: Ktime,
        container: &ContainerId,
        kind: Kind,
        changes: &mut Vec<Change>,
    ) {
        let Some(pod) = self.containers.get(container).map(|known| &known.pod) else {
            return;
        };
        let pod = pod.clone();
        if let Some(known) = self.pods.get_mut(&pod) {
            known.suppressed = known.suppressed.max(Some(when));
        }
        changes.push(Change::RecordsSuppressed { pod, kind });
    }

    /// Whether records of a pod have been suppressed since then.
    pub(crate) fn has_suppressed(&self, pod: &PodId, since: Ktime) -> bool {
        let pod = self.pods.get(pod);
        pod.is_some_and(|pod| pod.suppressed >= Some(since))
    }
}
