//! Since when pods live, which decides which losses concern them.
//!
//! A pod may be declared long after it began to live, when records of it were lost in between. The
//! kernel's start times tell when it began, also if the record of the fork is the one that was
//! lost.

use std::collections::BTreeSet;

use super::{Role, State};
use crate::{
    event::{Comm, ContainerId, Ktime, PodId, ProcessId},
    runtimes,
};

impl State {
    /// Since when a process was prepared: see [`Process::prepared`](super::Process).
    ///
    /// A daemon runs for all pods, and a shim for as long as its containers.
    pub(super) fn prepared_since(&self, parent: ProcessId, process: ProcessId) -> Ktime {
        let stays = |comm: Comm| {
            runtimes::monitor(comm.bytes()).is_some()
                || runtimes::daemons().any(|name| Comm::new(name) == comm)
        };
        let by = self
            .processes
            .get(parent)
            .filter(|parent| parent.role == Role::Runtime && !stays(parent.comm));
        by.map_or(process.start, |parent| parent.prepared.min(process.start))
    }

    /// Notes that a container, and so its pod, lived at this time.
    pub(super) fn lived(&mut self, container: &ContainerId, time: Ktime) {
        let Some(container) = self.containers.get_mut(container) else {
            return;
        };
        container.since = container.since.min(time);
        if let Some(pod) = self.pods.get_mut(&container.pod)
            && time < pod.since
        {
            pod.since = time;
            self.older.insert(pod.id.clone());
        }
    }

    /// The pods that were declared, or turned out to be older than was known, since the last call.
    pub(crate) fn take_older(&mut self) -> BTreeSet<PodId> {
        std::mem::take(&mut self.older)
    }
}
