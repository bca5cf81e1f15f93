//! What processes are called: as in `/proc/PID/comm`, which a process can change without an event.
//!
//! An exec gives a process the name of the file. busybox executes itself for its applets, and runc
//! and others execute copies of themselves: the kernel calls such a process `exe` or by the number
//! of a descriptor, until it names itself.

use super::{Deadline, Process, Role, State};
use crate::event::{Comm, Ktime, ProcessId};

/// How long after a process executed itself its name is read from `/proc`, in ns. Programs that
/// name themselves do so at once.
const OWN_NAME: Ktime = 100_000_000;

impl State {
    /// Notes what a process is called now. An empty name could not be read.
    pub(super) fn rename(&mut self, id: ProcessId, comm: Comm) {
        if let Some(process) = self.processes.get_mut(id)
            && comm != Comm::default()
        {
            process.comm = comm;
        }
    }

    /// Notes that a child with this name was forked: it begins with its parent's name, which the
    /// parent may have given itself.
    pub(super) fn named_like(&mut self, parent: ProcessId, comm: Comm) {
        let parent = self.processes.get(parent);
        if let Some(parent) = parent.filter(|parent| parent.is_nameless()) {
            self.rename(parent.id, comm);
        }
    }

    /// Has the name of a process read that has just executed itself.
    pub(super) fn await_name(&mut self, now: Ktime, id: ProcessId) {
        let process = self.processes.get(id);
        if process.is_some_and(|process| process.is_nameless() && process.role != Role::Stranger) {
            self.deadlines
                .arm(now.saturating_add(OWN_NAME), Deadline::Name(id));
        }
    }

    /// The processes that executed themselves some time before `now` and whose name is not known,
    /// and the time of the first deadline that has passed; `None` if there are none. A caller that
    /// can look at `/proc` reports what they are called, at a time before the deadline.
    pub fn nameless(&self, now: Ktime) -> Option<(Ktime, Vec<ProcessId>)> {
        let (first, due) = self.deadlines.due_by(now)?;
        let is_nameless = |id: &ProcessId| {
            let process = self.processes.get(*id);
            process.is_some_and(Process::is_nameless)
        };
        let mut processes: Vec<_> = due
            .into_iter()
            .filter_map(|deadline| match deadline {
                Deadline::Name(process) => Some(*process),
                _ => None,
            })
            .filter(is_nameless)
            .collect();
        processes.sort_unstable();
        processes.dedup();
        (!processes.is_empty()).then_some((first, processes))
    }
}
