//! Records of a pod that were only counted, because its processes wrote too many of them while the
//! reader was behind.
//!
//! The kernel side says how many, of which kind and of which cgroup. So unlike a loss this concerns
//! only the pod that caused it.

use std::collections::BTreeMap;

use super::{Change, State};
use crate::event::{CgroupId, ContainerId, Kind, Ktime, PodId};

/// Most cgroups without a declared container that are kept, the newest ones.
const MAX_CGROUPS: usize = 1_024;

/// Kinds of records that were suppressed in cgroups in which no container is declared.
#[derive(Debug, Default)]
pub(super) struct Suppressed(BTreeMap<CgroupId, Vec<Kind>>);

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
        if let Some(container) = self.cgroups.container(cgroup).cloned() {
            return self.suppressed_in(now, &container, kind, changes);
        }
        let cgroups = &mut self.suppressed.0;
        if cgroups.len() >= MAX_CGROUPS && !cgroups.contains_key(&cgroup) {
            cgroups.pop_first();
        }
        let kinds = cgroups.entry(cgroup).or_default();
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }

    /// Notes what was suppressed of a container before it was declared.
    pub(super) fn suppressed_early(
        &mut self,
        now: Ktime,
        container: &ContainerId,
        changes: &mut Vec<Change>,
    ) {
        let Self {
            suppressed,
            cgroups,
            ..
        } = self;
        let is_its = |id: &CgroupId| cgroups.container(*id) == Some(container);
        let its = suppressed.0.extract_if(.., |id, _| is_its(id));
        let kinds: Vec<_> = its.flat_map(|(_, kinds)| kinds).collect();
        for kind in kinds {
            self.suppressed_in(now, container, kind, changes);
        }
    }

    fn suppressed_in(
        &mut self,
        now: Ktime,
        container: &ContainerId,
        kind: Kind,
        changes: &mut Vec<Change>,
    ) {
        let Some(pod) = self.containers.get(container).map(|known| &known.pod) else {
            return;
        };
        let pod = pod.clone();
        if let Some(known) = self.pods.get_mut(&pod) {
            known.suppressed = Some(now);
        }
        changes.push(Change::RecordsSuppressed { pod, kind });
    }

    /// Whether records of a pod have been suppressed since then.
    pub(crate) fn has_suppressed(&self, pod: &PodId, since: Ktime) -> bool {
        let pod = self.pods.get(pod);
        pod.is_some_and(|pod| pod.suppressed >= Some(since))
    }
}
