//! Pods and containers: what was asked for, and who plays the parts.

use crate::event::{
    CgroupId, ContainerId, ContainerKind, Ktime, Modes, Namespaces, PodId, ProcessId, Source, Text,
};

use super::process::Ended;

/// An orderly stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    pub(crate) since: Ktime,
    /// In ns.
    pub(crate) grace: Ktime,
}

/// A container, the sandbox included.
#[derive(Clone, Debug)]
pub struct Container {
    pub(crate) id: ContainerId,
    /// The pod that it belongs to.
    pub pod: PodId,
    pub(crate) name: Text,
    /// What it is to its pod.
    pub what: ContainerKind,
    /// The sandbox that it was made for, where that is known.
    pub(crate) sandbox: Option<ContainerId>,
    /// Who told of it last.
    pub source: Source,
    /// Its cgroup; 0 until that is known.
    pub cgroup: CgroupId,
    pub(crate) modes: Modes,
    pub(crate) stop_signal: i32,
    /// The file its entrypoint is to execute, where that is known.
    pub(crate) file: Option<Text>,
    pub(crate) declared: Ktime,
    /// Its entrypoint; for a sandbox, the pause. Kept in the state until the pod is removed.
    pub init: Option<ProcessId>,
    /// The namespaces its entrypoint executed in.
    pub namespaces: Option<Namespaces>,
    /// The namespaces of the runtime that built it.
    pub(super) outside: Option<Namespaces>,
    /// When its entrypoint executed.
    pub started: Option<Ktime>,
    /// How its entrypoint ended.
    pub ended: Option<Ended>,
    pub(crate) stopping: Option<Stop>,
    /// Processes of it that live.
    pub alive: u32,
    /// Of a sandbox: whether the runtime does not know it, as far as it was asked.
    pub(crate) unknown: bool,
    /// When one of its processes (not its entrypoint, not of an exec session) last ended without a SIGKILL.
    pub(crate) member_left: Option<Ktime>,
    /// When last a signal that asks for or forces an end was counted and not reported, because there were so many.
    pub(crate) flooded: Option<Ktime>,
    /// What its processes had to reap and did: children, and orphans that fell to them.
    pub reaps: Reaps,
    /// The same of orphans of exec sessions and probes.
    pub session_reaps: Reaps,
    /// Processes of it that fell to another of the pod when their parent ended; counted when they ended themselves.
    pub(crate) adopted: u64,
}

/// A network namespace that is kept by a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub(crate) namespace: u32,
    /// Which it was made for. It stays when the sandbox is forgotten.
    pub(crate) sandbox: Option<ContainerId>,
    /// The pod of that sandbox.
    pub(crate) pod: Option<PodId>,
    pub(crate) since: Ktime,
}

/// How often something was reaped, and how long the slowest waited, in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaps {
    /// How often.
    pub count: u64,
    /// How long the slowest waited.
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
    /// When it became known.
    pub declared: Ktime,
    /// Sandboxes, oldest first: more than one when the sandbox was replaced.
    pub(crate) sandboxes: Vec<ContainerId>,
    /// The other containers, in the order they were declared. A restarted container is a new one of the same name.
    pub(crate) containers: Vec<ContainerId>,
    pub(crate) stopping: Option<Stop>,
    /// When it was removed.
    pub removed: Option<Ktime>,
    /// Processes that ended and were not reaped, and the most there ever were.
    pub zombies: u32,
    pub(crate) most_zombies: u32,
    /// Those of them that ended longer than `Limits::zombie` ago.
    pub(crate) overdue: u32,
    /// Processes reaped, and how long the slowest waited, in ns.
    pub(crate) reaped: u64,
    pub(crate) slowest_reap: u64,
    /// When its network was first observed to be ready, and when last not to be.
    pub(crate) network_ready: Option<Ktime>,
    pub(crate) network_unready: Option<Ktime>,
}

impl Pod {
    /// The sandbox that counts now.
    pub fn sandbox(&self) -> Option<&ContainerId> {
        self.sandboxes.last()
    }
}
