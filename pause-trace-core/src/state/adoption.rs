//! Containers that become known only after their processes: a runtime's answer takes longer than a runtime's exec.

use super::{Change, Role, State};
use crate::event::{ContainerId, ProcessId};

impl State {
    /// Notes of a child whether it comes of the user's code in a cgroup that nobody has told us of yet.
    pub(super) fn note_unplaced(&mut self, parent: ProcessId, child: ProcessId) {
        let Some(parent) = self.processes.get(parent) else {
            return;
        };
        let place = parent
            .unplaced
            .map(|(place, _)| place)
            .or(parent.unplaced_member);
        if let Some(child) = self.processes.get_mut(child) {
            child.unplaced_member = place.filter(|place| *place == child.cgroup);
        }
    }

    /// Gives a container the processes that are in its cgroup already, as if they had come after it was declared.
    pub(super) fn adopt(&mut self, container: &ContainerId, changes: &mut Vec<Change>) {
        let is_early = |process: &&super::Process| {
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
    }

    /// Gives a container one process that is in its cgroup.
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
        // Of what was there before us, the first is the entrypoint; an orphan of it has another parent by now.
        let is_orphan = process.found && has_init && !comes_from_runtime;
        // Whoever was forked elsewhere and moved here since is not.
        if process.unplaced_member == Some(process.cgroup) || is_orphan {
            (process.role, process.session) = (Role::Member, session);
        }
        let is_alive = process.is_alive();
        let executed = process
            .unplaced
            .take()
            .filter(|(place, _)| self.cgroups.container(*place) == Some(container));
        if is_alive && is_new {
            self.count_alive(Some(container), 1);
        }
        if let Some((_, time)) = executed {
            self.executed_inside(time, id, changes);
        }
        self.adopt_ended(id);
    }

    /// What [`State::exited`] would have noted, had the container been known.
    fn adopt_ended(&mut self, id: ProcessId) {
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
        }
        if process.role.is_inside()
            && process.is_zombie()
            && let Some(pod) = process.pod.as_ref().and_then(|id| self.pods.get_mut(id))
        {
            pod.zombies += 1;
            pod.most_zombies = pod.most_zombies.max(pod.zombies);
        }
    }
}
