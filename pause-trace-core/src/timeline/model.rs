//! A pod's timeline: elements in the order they began, each with the evidence that it is this pod's.

use crate::{
    event::{
        CgroupId, ContainerId, ContainerKind, Kind, Ktime, NamespaceKind, PodId, SignalResult,
        Text, WaitStatus,
    },
    verdict::ProcessRef,
};

/// What is known of how a pod came to be, and went.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// The pod.
    pub pod: PodId,
    pub(crate) namespace: Text,
    pub(crate) name: Text,
    /// The first that the runtime was seen to do for it; `None` where it ran before anybody watched.
    pub began: Option<Ktime>,
    /// When the last of its containers executed first; containers that debug it and restarts do not count.
    pub up: Option<Ktime>,
    /// When the runtime was done with it.
    pub removed: Option<Ktime>,
    /// Until when this was seen.
    pub(crate) now: Ktime,
    /// In the order they began.
    pub elements: Vec<Element>,
    /// What runtimes executed while the pod started, and nothing tells for which pod.
    pub(crate) unassigned: Vec<Element>,
    /// How many more of those there were.
    pub(crate) more_unassigned: usize,
    pub(crate) containers: Vec<Lane>,
    /// Records of these kinds were lost meanwhile: there may be more to tell.
    pub(crate) lost: Vec<(Kind, u64)>,
    /// There was no room for all processes that ran meanwhile.
    pub(crate) is_cut: bool,
}

/// A container of the pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lane {
    pub(crate) id: ContainerId,
    pub(crate) name: Text,
    pub(crate) kind: ContainerKind,
}

/// Something that happened for a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// When it happened or began.
    pub time: Ktime,
    pub(crate) extent: Extent,
    /// What happened.
    pub what: What,
    /// `None` for the pod as a whole.
    pub(crate) container: Option<ContainerId>,
    /// Who did it, or whom it befell.
    pub process: Option<ProcessRef>,
    /// Why it is this pod's.
    pub(crate) evidence: Evidence,
}

/// How long something lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Moment,
    /// Until then.
    Until(Ktime),
    /// Still.
    Open,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A CNI plugin ran, from fork to exit.
    Plugin {
        file: Text,
        /// Another plugin asked it, as bridge asks host-local for an address.
        delegated: bool,
    },
    /// Another program of the runtime ran, from fork to exit: a shim, a monitor, runc.
    Program {
        file: Text,
    },
    /// A container (or the sandbox) was created and started: from the fork of the runtime's process that does it to the exec
    /// of the entrypoint.
    Create,
    /// An entrypoint ran, from its exec to its exit.
    Run {
        file: Text,
    },
    /// An exec session or a probe ran, which look the same: from its cgroup to its exit.
    Session {
        file: Text,
    },
    /// Namespaces were made.
    Made {
        namespaces: Vec<(NamespaceKind, u32)>,
        how: Making,
    },
    /// A namespace was joined.
    Joined {
        kind: NamespaceKind,
        inode: u32,
        whose: Whose,
    },
    /// The kernel refused a join.
    Refused {
        kinds: Vec<NamespaceKind>,
        errno: i32,
    },
    CgroupMade {
        path: Text,
    },
    /// The first process is in the container's cgroup.
    CgroupEntered,
    CgroupRemoved,
    /// The network was looked at, and has an address.
    NetworkReady {
        address: Text,
    },
    Signal {
        signal: i32,
        from: Option<ProcessRef>,
        result: SignalResult,
    },
    Exited {
        status: WaitStatus,
    },
    /// In ns after its end; an upper bound.
    Reaped {
        after: Ktime,
    },
    /// All cgroups of the pod are gone.
    Removed,
}

/// How a namespace is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    Unshare,
    Clone,
}

/// Whose a namespace is that was joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Pod,
    Host,
    /// Another container's, or one that nobody has executed in.
    Other,
}

/// Why something is a pod's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// It was made or entered by this process, and the pod's pause (or file) has it.
    Namespace(u32),
    /// It happened in the container's cgroup.
    Cgroup(CgroupId),
    /// It descends from this process, which is the pod's.
    DescendsFrom(u32),
    /// The pod's entrypoint descends from it.
    AncestorOf(u32),
    /// The runtime, or who looked at the pod, names it.
    Named,
    /// Nothing tells.
    None,
}

impl Element {
    /// When it was over, as far as it is.
    pub fn end(&self) -> Option<Ktime> {
        match self.extent {
            Extent::Moment => Some(self.time),
            Extent::Until(end) => Some(end),
            Extent::Open => None,
        }
    }

    /// How long it took, of what takes its time and is over.
    pub(crate) fn took(&self) -> Option<Ktime> {
        match self.extent {
            Extent::Until(end) => Some(end.saturating_sub(self.time)),
            Extent::Moment | Extent::Open => None,
        }
    }
}

impl What {
    /// As machines call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Plugin { .. } => "cni",
            Self::Program { .. } => "program",
            Self::Create => "create",
            Self::Run { .. } => "run",
            Self::Session { .. } => "session",
            Self::Made { .. } => "made",
            Self::Joined { .. } => "joined",
            Self::Refused { .. } => "refused",
            Self::CgroupMade { .. } => "cgroup_made",
            Self::CgroupEntered => "cgroup_entered",
            Self::CgroupRemoved => "cgroup_removed",
            Self::NetworkReady { .. } => "network_ready",
            Self::Signal { .. } => "signal",
            Self::Exited { .. } => "exited",
            Self::Reaped { .. } => "reaped",
            Self::Removed => "removed",
        }
    }
}

impl Timeline {
    /// `default/web`, escaped.
    pub(crate) fn title(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// A container's name, escaped; the beginning of its id where it has none.
    pub(crate) fn container_title(&self, id: &ContainerId) -> String {
        let lane = self.containers.iter().find(|lane| lane.id == *id);
        match lane {
            Some(lane) if !lane.name.0.is_empty() => lane.name.to_string(),
            _ => Text::new(id.get(..12).unwrap_or(id)).to_string(),
        }
    }
}
