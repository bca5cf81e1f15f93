//! What happened in containers before they were declared, and was therefore not judged.
//!
//! The exec and the end of an entrypoint are judged when the container is declared. Of anything else
//! only its kind is kept: the rules that judge changes of that kind do not pass for the pod.

use std::collections::BTreeMap;

use super::{On, Process, Role, State};
use crate::event::{
    CgroupId, ContainerId, ContainerKind, Ktime, NamespaceKind, Namespaces, PodId, ProcessId,
};

/// Kinds of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OnSet(u64);

const _: () = assert!(On::COUNT <= 64);

impl OnSet {
    fn add(&mut self, on: On) {
        self.0 |= 1 << on as u32;
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it contains one of these.
    pub(crate) fn has_any(self, on: &[On]) -> bool {
        on.iter().any(|on| self.0 & (1 << *on as u32) != 0)
    }
}

/// What is known of a cgroup in which no container is declared.
#[derive(Debug, Default)]
struct Undeclared {
    kinds: OnSet,
    /// When a process first executed in it.
    started: Option<Ktime>,
}

/// The kinds of changes that were not judged.
#[derive(Debug, Default)]
pub(super) struct Unjudged {
    /// By the cgroup in which no container is declared.
    by_cgroup: BTreeMap<CgroupId, Undeclared>,
    /// Of containers that were declared since the last call of [`State::take_unjudged`].
    declared: Vec<(PodId, OnSet)>,
}

/// Most cgroups that are kept. The ids of new cgroups are higher (`kernfs_new_node`), so the oldest
/// ones are dropped.
const MAX_CGROUPS: usize = 4096;

impl Unjudged {
    /// Forgets a cgroup that is in no pod.
    pub(super) fn forget(&mut self, cgroup: CgroupId) {
        self.by_cgroup.remove(&cgroup);
    }

    /// Notes that a process executed in a cgroup in which no container is declared.
    pub(super) fn executed(&mut self, now: Ktime, cgroup: CgroupId) {
        self.of(cgroup).started.get_or_insert(now);
    }

    fn of(&mut self, cgroup: CgroupId) -> &mut Undeclared {
        if self.by_cgroup.len() >= MAX_CGROUPS && !self.by_cgroup.contains_key(&cgroup) {
            self.by_cgroup.pop_first();
        }
        self.by_cgroup.entry(cgroup).or_default()
    }
}

impl State {
    /// Notes that a change was not judged because the container of this process, which executed
    /// there or was forked there, is not declared.
    pub(super) fn unjudged(&mut self, process: ProcessId, on: On) {
        let is_inside = |process: &&Process| {
            process.container.is_none()
                && (process.unplaced.is_some() || process.unplaced_member.is_some())
        };
        let Some(cgroup) = self
            .processes
            .get(process)
            .filter(is_inside)
            .map(|process| process.cgroup)
            .filter(|cgroup| !self.cgroups.is_outside(*cgroup))
        else {
            return;
        };
        self.unjudged.of(cgroup).kinds.add(on);
    }

    /// Notes that a process entered namespaces in which processes of containers are that are not
    /// declared.
    pub(super) fn unjudged_of_entered(
        &mut self,
        process: ProcessId,
        before: Namespaces,
        after: Namespaces,
    ) {
        let is_outside = |process: &Process| process.role == Role::Stranger;
        if !self.processes.get(process).is_some_and(is_outside) {
            return;
        }
        let is_entered = |of: &Namespaces| {
            NamespaceKind::ALL.into_iter().any(|kind| {
                let entered = after.of_children(kind);
                entered != before.of_children(kind) && of.get(kind) == entered
            })
        };
        let holders: Vec<_> = self
            .processes
            .iter()
            .filter(|holder| holder.unplaced.is_some() && is_entered(&holder.namespaces))
            .map(|holder| holder.id)
            .collect();
        for holder in holders {
            self.unjudged(holder, On::NamespaceChanged);
        }
    }

    /// Notes what was not judged of a container that is declared only now.
    pub(super) fn judge_late(&mut self, cgroup: CgroupId, container: &ContainerId) {
        let undeclared = self.unjudged.by_cgroup.remove(&cgroup).unwrap_or_default();
        let Undeclared { mut kinds, started } = undeclared;
        let Some(known) = self.containers.get(container) else {
            return;
        };
        let Some(pod) = self.pods.get(&known.pod) else {
            return;
        };
        // What was said then of the pod did not count this container.
        let before = |judged: Option<Ktime>| started.is_some_and(|at| judged >= Some(at));
        if known.what != ContainerKind::Sandbox && before(pod.pause_ended) {
            kinds.add(On::Ended);
        }
        // A namespace that was left or entered was not compared with those of this sandbox.
        let has_run = |id| {
            let member = self.containers.get(id);
            member.is_some_and(|member| member.init.is_some())
        };
        if known.what == ContainerKind::Sandbox
            && pod.sandboxes.len() == 1
            && known.init.is_none()
            && pod.containers.iter().any(has_run)
        {
            kinds.add(On::NamespaceChanged);
        }
        if before(pod.removed) {
            kinds.add(On::PodRemoved);
        }
        if !kinds.is_empty() {
            self.unjudged.declared.push((known.pod.clone(), kinds));
        }
    }

    /// The pods of which changes were not judged, since the last call.
    pub(crate) fn take_unjudged(&mut self) -> Vec<(PodId, OnSet)> {
        std::mem::take(&mut self.unjudged.declared)
    }
}
