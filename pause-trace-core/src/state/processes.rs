//! The table of processes.

use std::{collections::BTreeSet, hash::Hash};

use foldhash::HashMap;

use super::Process;
use crate::event::ProcessId;

/// A table that is not larger than this keeps its memory.
const KEPT: usize = 512;

/// All known processes, by identity, by pid and by parent.
#[derive(Debug, Default)]
pub struct Processes {
    by_id: HashMap<ProcessId, Process>,
    /// The latest process with each pid.
    by_pid: HashMap<u32, ProcessId>,
    /// (parent, child)
    children: BTreeSet<(ProcessId, ProcessId)>,
}

impl Processes {
    /// A process by its identity.
    pub fn get(&self, id: ProcessId) -> Option<&Process> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ProcessId) -> Option<&mut Process> {
        self.by_id.get_mut(&id)
    }

    /// The latest process that had this pid.
    pub fn by_pid(&self, pid: u32) -> Option<&Process> {
        self.by_pid.get(&pid).and_then(|id| self.by_id.get(id))
    }

    /// The pids of a process and of its known ancestors, nearest first.
    pub fn lineage(&self, id: ProcessId) -> impl Iterator<Item = u32> {
        let parent = |id: &ProcessId| self.get(*id).map(|process| process.parent);
        let line = std::iter::successors(Some(id), parent).map(|id| id.pid);
        // The parent of the topmost known process is unknown.
        line.take_while(|pid| *pid > 0)
    }

    /// All processes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.by_id.values()
    }

    /// All processes, in no order. Their identities and parents must stay.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        self.by_id.values_mut()
    }

    /// The processes that `parent` has to reap, by pid.
    pub fn children(&self, parent: ProcessId) -> impl Iterator<Item = &Process> {
        let first = (parent, ProcessId::default());
        let last = (
            parent,
            ProcessId {
                pid: u32::MAX,
                start: u64::MAX,
            },
        );
        self.children
            .range(first..=last)
            .filter_map(|(_, child)| self.by_id.get(child))
    }

    pub(super) fn insert(&mut self, process: Process) {
        self.children.insert((process.parent, process.id));
        self.by_pid.insert(process.id.pid, process.id);
        self.by_id.insert(process.id, process);
    }

    pub(super) fn remove(&mut self, id: ProcessId) -> Option<Process> {
        let process = self.by_id.remove(&id)?;
        self.children.remove(&(process.parent, id));
        if self.by_pid.get(&id.pid) == Some(&id) {
            self.by_pid.remove(&id.pid);
        }
        give_back(&mut self.by_id);
        give_back(&mut self.by_pid);
        Some(process)
    }

    pub(super) fn set_parent(&mut self, id: ProcessId, parent: ProcessId) {
        if let Some(process) = self.by_id.get_mut(&id)
            && process.parent != parent
        {
            self.children.remove(&(process.parent, id));
            process.parent = parent;
            self.children.insert((parent, id));
        }
    }
}

/// Gives back the memory of a table that a storm of processes has made large.
fn give_back<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > KEPT && table.len() < table.capacity() / 8 {
        table.shrink_to(2 * table.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_processes_leaves_no_large_table() {
        let mut processes = Processes::default();
        let id = |pid| ProcessId { pid, start: 1 };
        for pid in 1..50_000 {
            processes.insert(Process {
                id: id(pid),
                ..Process::default()
            });
        }
        for pid in 11..50_000 {
            processes.remove(id(pid));
        }
        assert_eq!(processes.iter().count(), 10);
        assert!(processes.by_id.capacity() <= 2 * KEPT);
        assert!(processes.by_pid.capacity() <= 2 * KEPT);
        assert_eq!(processes.by_pid(10).map(|known| known.id), Some(id(10)));
    }
}
