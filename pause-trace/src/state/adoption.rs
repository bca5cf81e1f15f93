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
            .or(parent.is_unplaced_member.then_some(parent.cgroup));
        if let Some(child) = self.processes.get_mut(child) {
            child.is_unplaced_member = place == Some(child.cgroup);
        }
    }

    /// Gives a container the processes that are in its cgroup already, as if they had come after it was declared.
    pub(super) fn adopt(&mut self, container: &ContainerId, changes: &mut Vec<Change>) {
        let Some(known) = self.containers.get(container) else {
            return;
        };
        let (cgroup, pod) = (known.cgroup, known.pod.clone());
        let is_early = |process: &&super::Process| {
            process.container.is_none() && process.cgroup == cgroup && cgroup != 0
        };
        let mut early: Vec<_> = self
            .processes
            .iter()
            .filter(is_early)
            .map(|process| (process.forked, process.id))
            .collect();
        early.sort_unstable();
        for (_, id) in early {
            let session = self
                .processes
                .get(id)
                .and_then(|process| self.processes.get(process.born_of)?.session);
            let Some(process) = self.processes.get_mut(id) else {
                continue;
            };
            process.container = Some(container.clone());
            process.pod = Some(pod.clone());
            if process.is_unplaced_member {
                (process.role, process.session) = (Role::Member, session);
            }
            let is_alive = process.is_alive();
            let executed = process
                .unplaced
                .take()
                .filter(|(place, _)| *place == cgroup);
            if is_alive {
                self.count_alive(Some(container), 1);
            }
            if let Some((_, time)) = executed {
                self.executed_inside(time, id, changes);
            }
            self.adopt_ended(id);
        }
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
