//! What happened in containers before they were declared, and was therefore not judged.
//!
//! The exec and the end of an entrypoint are judged when the container is declared. Of anything
//! else only its kind is kept: the rules that judge changes of that kind do not pass for the pod.

use std::collections::BTreeMap;

use super::{On, Process, Role, State};
use crate::event::{
    CgroupId, ContainerId, ContainerKind, Kind, Ktime, NamespaceKind, Namespaces, PodId, ProcessId,
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
    /// Of pods that became known since the last call of [`State::take_unjudged`].
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

    /// What is known of these cgroups.
    fn take(&mut self, is_its: impl Fn(&CgroupId) -> bool) -> Undeclared {
        let its = self.by_cgroup.extract_if(.., |id, _| is_its(id));
        its.fold(Undeclared::default(), |all, (_, of)| Undeclared {
            kinds: OnSet(all.kinds.0 | of.kinds.0),
            started: all.started.into_iter().chain(of.started).min(),
        })
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
            let is_there = process.container.is_none() && process.place().is_some();
            // What the runtime starts on its way into a container has not executed there.
            is_there && (process.role != Role::Runtime || process.is_in_place())
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

    /// The namespaces that a process of a container that is not declared was last known to be in.
    pub(super) fn undeclared_namespaces(&self, id: ProcessId) -> Option<Namespaces> {
        let process = self.processes.get(id)?;
        let runtimes = process.outside.unwrap_or(self.host);
        let is_users = process.role != Role::Runtime || process.namespaces.mnt != runtimes.mnt;
        let is_compared = process.is_in_place() && is_users && process.is_alive();
        Some(process.namespaces).filter(|known| is_compared && known.are_known())
    }

    /// Notes that nobody judged the namespaces that a process turned out to be in, of a container
    /// that is not declared, or in which processes of such a container are.
    pub(super) fn unjudged_move(&mut self, id: ProcessId, before: Option<Namespaces>) {
        let (Some(process), Some(before)) = (self.processes.get(id), before) else {
            return;
        };
        let after = process.namespaces;
        let differs = |kind| {
            let (from, to) = (before.of_children(kind), after.of_children(kind));
            from != to && from != 0 && to != 0
        };
        if NamespaceKind::ALL.into_iter().any(differs) {
            self.unjudged(id, On::NamespaceChanged);
            self.unjudged_of_entered(id, before, after, false);
        }
    }

    /// Notes that a process entered namespaces in which processes of containers are that are not
    /// declared; or those of a pod, if it is itself of a container that is not declared. `call`
    /// says whether a call was seen.
    pub(super) fn unjudged_of_entered(
        &mut self,
        process: ProcessId,
        before: Namespaces,
        after: Namespaces,
        call: bool,
    ) {
        let Some(visitor) = self.processes.get(process) else {
            return;
        };
        // A runtime may, but not what it started in a container.
        let runtimes = visitor.outside.unwrap_or(self.host);
        let is_cgroup_lost = self.cgroups.path(visitor.cgroup).is_none()
            && self.lost.contains_key(&Kind::CgroupMkdir)
            && before.mnt != runtimes.mnt;
        let has_unknown_owner = self.cgroups.has_unknown_owner(visitor.cgroup);
        let may_be_users = visitor.is_in_place() && (has_unknown_owner || is_cgroup_lost);
        let is_runtimes = visitor.role == Role::Runtime && visitor.doubt.is_none();
        if is_runtimes && !may_be_users {
            return;
        }
        let entered = |kind: &NamespaceKind| after.of_children(*kind) != before.of_children(*kind);
        let entered: Vec<_> = NamespaceKind::ALL.into_iter().filter(entered).collect();
        let is_of =
            |of: &Namespaces, kind: &NamespaceKind| of.get(*kind) == after.of_children(*kind);
        let is_entered = |of: &Namespaces| entered.iter().any(|kind| is_of(of, kind));
        // The rules judge the calls of others.
        let is_judged = visitor.container.is_some() || (call && !is_runtimes);
        let owners = entered.iter().filter(|_| !is_judged);
        let owners = owners.filter_map(|kind| {
            let inode = after.of_children(*kind);
            self.owner_of(inode)
                .filter(|owner| self.is_held_by(owner, inode))
        });
        let mut kinds = OnSet::default();
        kinds.add(On::NamespaceChanged);
        let owners: Vec<_> = owners.map(|owner| (owner.clone(), kinds)).collect();
        let holders: Vec<_> = self
            .processes
            .iter()
            .filter(|holder| holder.unplaced.is_some() && is_entered(&holder.namespaces))
            .map(|holder| holder.id)
            .collect();
        self.unjudged.declared.extend(owners);
        for holder in holders {
            self.unjudged(holder, On::NamespaceChanged);
        }
    }

    /// Notes what was not judged of a container that is declared only now.
    pub(super) fn judge_late(&mut self, cgroup: CgroupId, container: &ContainerId) {
        let is_its =
            |id: &CgroupId| *id == cgroup || self.cgroups.container(*id) == Some(container);
        let Undeclared { mut kinds, started } = self.unjudged.take(is_its);
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
            kinds.add(On::PauseEndDue);
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
