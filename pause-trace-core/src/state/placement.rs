//! Containers that are declared after their processes started: the answer of a runtime takes longer
//! than the exec of the container's entrypoint.

use super::{Change, Membership, Process, Role, State, deadlines::Deadline};
use crate::event::{ContainerId, ProcessId};

impl State {
    /// Notes whether a child was forked by the user's code in a cgroup without a declared
    /// container.
    pub(super) fn note_unplaced(&mut self, parent: ProcessId, child: ProcessId) {
        let Some(parent) = self.processes.get(parent) else {
            return;
        };
        let (place, left) = (parent.place(), parent.left_place);
        if let Some(child) = self.processes.get_mut(child) {
            child.unplaced_member = place.filter(|place| *place == child.cgroup);
            child.left_place = left.or(place).filter(|left| *left != child.cgroup);
        }
    }

    /// Assigns the processes that are already in a container's cgroup to the container, as if they
    /// had started after its declaration.
    pub(super) fn place_early(&mut self, container: &ContainerId, changes: &mut Vec<Change>) {
        let is_early = |process: &&Process| {
            process.container.is_none() && self.cgroups.container(process.cgroup) == Some(container)
        };
        let mut early: Vec<_> = self
            .processes
            .iter()
            .filter(is_early)
            .map(|process| (process.forked, process.id))
            .collect();
        early.sort_unstable();
        for (_, id) in early {
            self.place(container, id, changes);
        }
        let Some(known) = self.containers.get(container) else {
            return;
        };
        let home = Membership {
            pod: known.pod.clone(),
            container: container.clone(),
        };
        for process in self.processes.iter_mut() {
            let left = process.left_place;
            if left.and_then(|left| self.cgroups.container(left)) == Some(container) {
                process.note_moved_out(Some(home.clone()));
            }
        }
    }

    /// Assigns one process in a container's cgroup to the container.
    pub(super) fn place(
        &mut self,
        container: &ContainerId,
        id: ProcessId,
        changes: &mut Vec<Change>,
    ) {
        let Some((pod, has_init)) = self
            .containers
            .get(container)
            .map(|known| (known.pod.clone(), known.init.is_some()))
        else {
            return;
        };
        let session = self
            .processes
            .get(id)
            .and_then(|process| self.processes.get(process.born_of)?.session);
        let comes_from_runtime = self
            .processes
            .get(id)
            .and_then(|process| self.processes.get(process.parent))
            .is_some_and(|parent| parent.role == Role::Runtime);
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let is_new = process.container.replace(container.clone()).is_none();
        process.pod = Some(pod);
        process.note_moved_out(None);
        let prepared = process.prepared;
        // Of the processes that were found, the first is the entrypoint. A child of it that was
        // orphaned has another parent by now.
        let is_orphan = process.found && has_init && !comes_from_runtime;
        // A process that was forked elsewhere and moved here later is not a member.
        if process.unplaced_member == Some(process.cgroup) || is_orphan {
            (process.role, process.session) = (Role::Member, session);
        }
        let (is_alive, forked) = (process.is_alive(), process.forked);
        let executed = process
            .unplaced
            .take()
            .filter(|(place, _)| self.cgroups.container(*place) == Some(container));
        if is_alive && is_new {
            self.count_alive(Some(container), 1);
        }
        self.lived(container, prepared);
        match executed {
            Some((_, time)) => self.executed_inside(time, id, changes),
            None => self.attached(forked, id),
        }
        self.place_ended(id, changes);
        self.settle_sender(id);
    }

    /// Notes what [`State::exited`] would have noted if the container had been known.
    fn place_ended(&mut self, id: ProcessId, changes: &mut Vec<Change>) {
        let Some(process) = self.processes.get(id) else {
            return;
        };
        let Some(ended) = process.ended else { return };
        if let Some(container) = process
            .container
            .as_ref()
            .and_then(|id| self.containers.get_mut(id))
            && container.init == Some(id)
        {
            container.ended = Some(ended);
            if !process.ended_unseen() {
                changes.push(Change::Ended(id));
                if process.role == Role::Pause {
                    self.pause_ended(ended.time, id);
                }
            }
        }
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if std::mem::take(&mut process.overdue_unplaced) {
            self.deadlines.arm(ended.time, Deadline::Zombie(id));
        }
        if process.role.is_inside()
            && process.is_zombie()
            && let Some(pod) = process.pod.as_ref().and_then(|id| self.pods.get_mut(id))
        {
            pod.zombies += 1;
            pod.most_zombies = pod.most_zombies.max(pod.zombies);
        }
    }

    /// Removes a process, unless it is still needed: rules need to know how a container's
    /// entrypoint ended until the pod is removed, and a container that lived for a few milliseconds
    /// may be declared only after its entrypoint was reaped.
    pub(super) fn forget_process(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get(id) else {
            return;
        };
        let is_init = self
            .container_of(process)
            .is_some_and(|container| container.init == Some(id));
        if !is_init && !self.awaits_declaration(process) {
            self.processes.remove(id);
        }
    }

    /// Forgets a reaped process that waited for a declaration, which has come or will not come.
    pub(super) fn forget_unidentified(&mut self, id: ProcessId) {
        if let Some(known) = self.processes.get_mut(id)
            && known.reaped.is_some()
        {
            known.unplaced = None;
            self.forget_process(id);
        }
    }

    /// Whether a reaped process may turn out to be the entrypoint of a container that is not
    /// declared yet. `Deadline::Identity` ends the wait.
    fn awaits_declaration(&self, process: &Process) -> bool {
        let Some((cgroup, executed)) = process.unplaced else {
            return false;
        };
        let limit = executed.saturating_add(self.limits.identity);
        process.container.is_none()
            && process.may_be_container
            && process.reaped < Some(limit)
            && !self.cgroups.is_outside(cgroup)
    }
}
