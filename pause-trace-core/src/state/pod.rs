//! Pods and containers: what was declared, and which processes run in them.

use crate::event::{
    CgroupId, Comm, ContainerId, ContainerKind, Grace, Ktime, Modes, Namespaces, PauseStatus,
    PodId, ProcessId, Source, Text,
};

use super::{
    kills::OomKilled,
    listeners::Listeners,
    network::Network,
    process::{Ended, Handlers, Process},
};

/// An orderly stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    pub(crate) since: Ktime,
    /// In ns.
    pub(crate) grace: Ktime,
}

/// A container or a sandbox.
#[derive(Clone, Debug)]
pub struct Container {
    pub(crate) id: ContainerId,
    /// The pod that it belongs to.
    pub pod: PodId,
    pub(crate) name: Text,
    /// Its kind.
    pub what: ContainerKind,
    /// The sandbox that it was created for, if that is known.
    pub(crate) sandbox: Option<ContainerId>,
    /// The source of the latest declaration.
    pub source: Source,
    /// Its cgroup; 0 until it is known.
    pub cgroup: CgroupId,
    pub(crate) modes: Modes,
    /// The signal that asks it to stop, if that is known.
    pub(crate) stop_signal: Option<i32>,
    /// The file that its entrypoint is to execute, if that is known.
    pub(crate) file: Option<Text>,
    pub(crate) declared: Ktime,
    /// Since when processes of it, or of the runtime for it, have run, as far as is known.
    pub(crate) since: Ktime,
    /// Its entrypoint; for a sandbox, the pause. The state keeps this process until the pod is
    /// removed.
    pub init: Option<ProcessId>,
    /// The namespaces in which its entrypoint executed.
    pub namespaces: Option<Namespaces>,
    /// The namespaces of the runtime that created it.
    pub(super) outside: Option<Namespaces>,
    /// When its entrypoint executed.
    pub started: Option<Ktime>,
    /// The exit of its entrypoint.
    pub ended: Option<Ended>,
    pub(crate) stopping: Option<Stop>,
    /// Of a sandbox whose pause ended: until when its runtime has the time to tell the containers
    /// of the pod to stop.
    pub(crate) stops_until: Option<Ktime>,
    /// The number of its processes that are alive.
    pub alive: u32,
    /// Whether the runtime, when queried, did not know this sandbox.
    pub(crate) unknown: bool,
    /// When a process of it last exited without a SIGKILL in a way that its entrypoint, after its
    /// stop signal, may have caused. See `state/drain.rs`.
    pub(crate) member_left: Option<Ktime>,
    /// When a process that ran when the entrypoint was sent its stop signal was last sent a signal
    /// other than SIGKILL by another process. The entrypoint and exec sessions do not count.
    pub(crate) member_told: Option<Ktime>,
    /// Its processes that the kernel or the runtime killed, since its entrypoint was sent a signal
    /// to end.
    pub(crate) cut: Cut,
    /// Its shim or conmon, as it was when it ended, if it ended before the container.
    pub(crate) orphaned: Option<Box<Process>>,
    /// Its processes that the OOM killer killed.
    pub(crate) oom: Option<OomKilled>,
    /// The memory limit in bytes that it was created with, if there is one and a bundle says so.
    pub(crate) memory_limit: Option<u64>,
    /// The grace period that it was created with, if that is known.
    pub(crate) grace: Option<Grace>,
    /// The TCP ports on which its processes listen, as far as hooks have reported them.
    pub listeners: Listeners,
    /// When a signal to end a process was last counted without being reported, because of the rate
    /// limit.
    pub(crate) flooded: Option<Ktime>,
    /// What its processes reaped: children, and orphans that were reparented to them.
    pub reaps: Reaps,
    /// The same, for orphans of exec sessions and probes.
    pub session_reaps: Reaps,
    /// The number of its processes that were reparented to another process of the pod. They are
    /// counted when they exit.
    pub(crate) adopted: u64,
}

/// Most killed processes of a container that are kept.
const MAX_CUT: usize = 16;

/// The processes of one run of a container that SIGKILL of the kernel or the runtime ended. The
/// state has forgotten them when the last one is gone, and only then it is known who was left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// The entrypoint of that run.
    init: ProcessId,
    /// Those that are kept: the ones with handlers take precedence.
    pub(crate) workers: Vec<Worker>,
}

/// A process that was killed, and what it could have done before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    pub(crate) id: ProcessId,
    pub(crate) comm: Comm,
    pub(crate) forked: Ktime,
    pub(crate) ended: Ktime,
    /// Its handlers; `None` if they were not recorded.
    pub(crate) handlers: Option<Handlers>,
    /// When another process last sent it a signal other than SIGKILL.
    pub(crate) signalled: Option<Ktime>,
    /// Whether another process ever sent it a signal that asks it to end.
    pub(crate) asked: bool,
}

impl Cut {
    /// Adds a process of the run of this entrypoint.
    pub(super) fn add(&mut self, init: ProcessId, worker: Worker) {
        if self.init != init {
            *self = Self {
                init,
                workers: Vec::new(),
            };
        }
        let has_none = |worker: &Worker| worker.handlers.is_some_and(|known| known.caught == 0);
        if self.workers.len() < MAX_CUT {
            self.workers.push(worker);
        } else if let Some(other) = self.workers.iter_mut().find(|known| has_none(known))
            && !has_none(&worker)
        {
            *other = worker;
        }
    }

    /// Those of the run of this entrypoint.
    pub(crate) fn of(&self, init: ProcessId) -> &[Worker] {
        match self.init == init {
            true => &self.workers,
            false => &[],
        }
    }
}

/// A network namespace that a mount pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub(crate) namespace: u32,
    /// The sandbox that it was created for. It stays set when the sandbox is forgotten.
    pub(crate) sandbox: Option<ContainerId>,
    /// The pod of that sandbox.
    pub(crate) pod: Option<PodId>,
    pub(crate) since: Ktime,
}

/// The number of reaped processes, and the longest time that one was a zombie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaps {
    /// The number of reaped processes.
    pub count: u64,
    /// The longest time that one was a zombie, in ns.
    pub slowest: Ktime,
}

impl Reaps {
    pub(super) fn add(&mut self, latency: Ktime) {
        self.count += 1;
        self.slowest = self.slowest.max(latency);
    }
}

/// A pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its id.
    pub id: PodId,
    /// The Kubernetes namespace that it is in.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
    /// The modes of its sandbox.
    pub modes: Modes,
    /// When it was first declared.
    pub declared: Ktime,
    /// Since when processes of it, or of the runtime for it, have run, as far as is known.
    pub(crate) since: Ktime,
    /// Its sandboxes, oldest first. There is more than one if the sandbox was replaced.
    pub(crate) sandboxes: Vec<ContainerId>,
    /// The other containers, in the order of their declaration. A restarted container is a new one
    /// of the same name.
    pub(crate) containers: Vec<ContainerId>,
    pub(crate) stopping: Option<Stop>,
    /// When records of it were last counted and not recorded.
    pub(super) suppressed: Option<Ktime>,
    /// When a pause of it last ended.
    pub(super) pause_ended: Option<Ktime>,
    /// When it was removed.
    pub removed: Option<Ktime>,
    /// The number of zombies, and the highest number so far.
    pub zombies: u32,
    pub(crate) most_zombies: u32,
    /// The number of zombies that exited longer than `Limits::zombie` ago.
    pub(crate) overdue: u32,
    /// The number of reaped processes, and the longest time that one was a zombie, in ns.
    pub(crate) reaped: u64,
    pub(crate) slowest_reap: u64,
    /// When its network was first observed to be ready, and last observed not to be.
    pub(crate) network_ready: Option<Ktime>,
    pub(crate) network_unready: Option<Ktime>,
    /// The network namespace in which it was last seen to be ready.
    pub(crate) network: Option<Network>,
    /// The last measurement of its pause, and the one before it.
    pub(crate) measured: Option<PauseStatus>,
    pub(crate) measured_before: Option<PauseStatus>,
    /// Its pause as it was when it had just executed.
    pub(crate) at_start: Option<PauseStatus>,
    /// Whether somebody tried to measure its pause, as is done for the pods of Kubernetes.
    pub(crate) has_measured_pause: bool,
}

impl Pod {
    /// The sandbox that counts now.
    pub fn sandbox(&self) -> Option<&ContainerId> {
        self.sandboxes.last()
    }
}
