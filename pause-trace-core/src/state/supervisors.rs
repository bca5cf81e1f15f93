//! The runtime's processes that stay with a container, containerd's shim or conmon, and what is
//! left when one ends before its containers.

use super::{Change, Process, Role, State};
use crate::{
    event::{ContainerId, Ktime, ProcessId},
    runtimes,
    signal::SIGKILL,
};

impl State {
    /// Declares a process of a runtime.
    pub(super) fn runtime(&mut self, id: ProcessId) {
        if self.processes.get(id).is_none() {
            self.processes.insert(Process {
                id,
                ..Process::default()
            });
        }
        if let Some(process) = self.processes.get_mut(id) {
            process.role = Role::Runtime;
            process.prepared = Ktime::MAX; // it runs for all pods
        }
    }

    /// Whether a process of the runtime stays with the containers that it is the parent of. Tools
    /// such as runc also fork the first process of a container, but end when it has started.
    pub(crate) fn is_supervisor(&self, process: &Process) -> bool {
        process.role == Role::Runtime
            && process.container.is_none()
            && runtimes::monitor(process.comm.bytes()).is_some()
    }

    /// Notes of each container that still runs that its supervisor has ended. Called before the
    /// container's processes are reparented.
    pub(super) fn supervisor_ended(&mut self, id: ProcessId, changes: &mut Vec<Change>) {
        let Some(process) = self
            .processes
            .get(id)
            .filter(|process| self.is_supervisor(process))
        else {
            return;
        };
        // If everything is killed at once, as when a node shuts down, the container only ends
        // later.
        let is_dying = |child: &Process| {
            let mut signals = child.signals.iter();
            signals.any(|received| received.signal == SIGKILL && received.was_queued())
        };
        let left = self.processes.children(id).filter(|child| {
            matches!(child.role, Role::Pause | Role::Init) && child.is_alive() && !is_dying(child)
        });
        let left: Vec<ContainerId> = left.filter_map(|child| child.container.clone()).collect();
        if left.is_empty() {
            return;
        }
        let ended = Box::new(process.clone());
        for container in left {
            if let Some(container) = self.containers.get_mut(&container) {
                container.orphaned = Some(ended.clone());
            }
        }
        changes.push(Change::SupervisorEnded(id));
    }
}
