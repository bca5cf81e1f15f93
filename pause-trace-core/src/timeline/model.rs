//! The model of a timeline: elements in the order of their beginning, each with the evidence for
//! its attribution to the pod.

use std::net::IpAddr;

use crate::{
    event::{
        CgroupId, CniCommand, ContainerId, ContainerKind, Kind, Ktime, NamespaceKind, OciCommand,
        PodId, SignalResult, Text, WaitStatus, short_id,
    },
    news::Restart,
    verdict::ProcessRef,
};

/// The timeline of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// The pod.
    pub pod: PodId,
    pub(crate) namespace: Text,
    pub(crate) name: Text,
    /// When the runtime first did something for it; `None` if it started before the hooks were
    /// attached.
    pub began: Option<Ktime>,
    /// When the last of its containers first executed. Ephemeral containers and restarts do not
    /// count.
    pub up: Option<Ktime>,
    /// When it was removed.
    pub removed: Option<Ktime>,
    /// When a process of one of its containers first listened on a TCP port, if that was observed.
    pub first_listen: Option<Ktime>,
    /// Whether the kernel reports that processes listen.
    pub(crate) sees_listeners: bool,
    /// The time of the last event.
    pub(crate) now: Ktime,
    /// The elements, in the order of their beginning.
    pub elements: Vec<Element>,
    /// Programs that runtimes executed while the pod started, and that cannot be attributed to a
    /// pod.
    pub(crate) unassigned: Vec<Element>,
    /// How many more of those there are.
    pub(crate) more_unassigned: usize,
    pub(crate) containers: Vec<Lane>,
    /// The number of records that were lost since the pod started, by kind. The timeline may be
    /// incomplete.
    pub(crate) lost: Vec<(Kind, u64)>,
    /// Whether processes were forgotten because of the limit since the pod started.
    pub(crate) is_cut: bool,
}

/// A container of the pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lane {
    pub(crate) id: ContainerId,
    pub(crate) name: Text,
    pub(crate) kind: ContainerKind,
}

/// Something that happened to a pod or that its runtime did for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// When it happened or began.
    pub time: Ktime,
    pub(crate) extent: Extent,
    /// What happened.
    pub what: ElementKind,
    /// The container; `None` for the pod as a whole.
    pub(crate) container: Option<ContainerId>,
    /// The process that did it, or that it happened to.
    pub process: Option<ProcessRef>,
    /// The thread that did it, if it is not the first one of the process.
    pub(crate) thread: Option<u32>,
    /// How its process ended, of an element that lasts until then.
    pub(crate) status: Option<WaitStatus>,
    /// Why it is attributed to this pod.
    pub(crate) evidence: Evidence,
}

/// The extent of an element in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Moment,
    /// It ended at this time.
    Until(Ktime),
    /// It has not ended.
    Open,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum ElementKind {
    /// A CNI plugin, from fork to exit.
    Plugin {
        file: Text,
        /// Whether another plugin started it, as bridge starts host-local to get an address.
        delegated: bool,
        /// What it was asked to do, and for which interface, if that is known.
        asked: Option<(CniCommand, Text)>,
    },
    /// Another program of the runtime, from fork to exit: a shim, a monitor or runc.
    Program {
        file: Text,
        /// What it was asked to do, if it is an OCI runtime or a shim.
        asked: Option<OciCommand>,
    },
    /// The creation of a container or the sandbox: from the fork of the runtime's process that
    /// creates it to the exec of the entrypoint.
    Create,
    /// An entrypoint, from its exec to its exit.
    Run {
        file: Text,
        /// If a container of this name ran in the pod before.
        restart: Option<Restart>,
    },
    /// An exec session or a probe, from its entry into the cgroup to its exit. Records do not
    /// distinguish the two.
    Session {
        file: Text,
    },
    /// An OCI hook in the container's cgroup, from fork to exit. The entrypoint waits for it.
    Hook {
        file: Text,
    },
    /// Namespaces were created.
    Made {
        namespaces: Vec<(NamespaceKind, u32)>,
        how: CreatedBy,
    },
    /// A namespace was joined.
    Joined {
        kind: NamespaceKind,
        inode: u32,
        owner: Owner,
    },
    /// The kernel refused a join.
    Refused {
        kinds: Vec<NamespaceKind>,
        errno: i32,
    },
    CgroupMade {
        path: Text,
    },
    /// The first process entered the container's cgroup.
    CgroupEntered,
    CgroupRemoved,
    /// The network was observed to be ready, with this address.
    NetworkReady {
        address: Text,
    },
    /// A process began to listen on a TCP port.
    Listens {
        address: IpAddr,
        /// `None` if the kernel has chosen one that no record shows.
        port: Option<u16>,
        /// Whether it is the first one of its container.
        is_first: bool,
    },
    Signal {
        signal: i32,
        from: Option<ProcessRef>,
        result: SignalResult,
    },
    Exited {
        status: WaitStatus,
    },
    /// The time since its exit in ns; an upper bound.
    Reaped {
        after: Ktime,
    },
    /// All cgroups of the pod are gone.
    Removed,
}

/// How a namespace was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreatedBy {
    Unshare,
    Clone,
}

/// The owner of a namespace that was joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Pod,
    Host,
    /// Another container, or none that is known.
    Other,
}

/// Why something is attributed to the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// The process created or entered this namespace, which is the network namespace of the pod.
    Namespace(u32),
    /// It was asked to do something for the sandbox or the container with this id.
    Asked(Text),
    /// It happened in the container's cgroup.
    Cgroup(CgroupId),
    /// It descends from this process, which is attributed to the pod.
    DescendsFrom(u32),
    /// This entrypoint of the pod descends from it.
    AncestorOf(u32),
    /// The event names the pod.
    Named,
    /// There is no evidence.
    None,
}

impl Element {
    /// When it ended; `None` if it has not.
    pub fn end(&self) -> Option<Ktime> {
        match self.extent {
            Extent::Moment => Some(self.time),
            Extent::Until(end) => Some(end),
            Extent::Open => None,
        }
    }

    /// How its process ended, if it ended otherwise than with 0.
    pub(crate) fn failure(&self) -> Option<WaitStatus> {
        self.status
            .filter(|status| *status != WaitStatus::exited(0))
    }

    /// How long it took; `None` for a moment or if it has not ended.
    pub(crate) fn duration(&self) -> Option<Ktime> {
        match self.extent {
            Extent::Until(end) => Some(end.saturating_sub(self.time)),
            Extent::Moment | Extent::Open => None,
        }
    }
}

impl ElementKind {
    /// Whether it lasts until its process ends.
    pub(crate) fn ends_with_process(&self) -> bool {
        matches!(
            self,
            Self::Plugin { .. }
                | Self::Program { .. }
                | Self::Run { .. }
                | Self::Session { .. }
                | Self::Hook { .. }
        )
    }

    /// Its name in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Plugin { .. } => "cni",
            Self::Program { .. } => "program",
            Self::Create => "create",
            Self::Run { .. } => "run",
            Self::Session { .. } => "session",
            Self::Hook { .. } => "hook",
            Self::Made { .. } => "made",
            Self::Joined { .. } => "joined",
            Self::Refused { .. } => "refused",
            Self::CgroupMade { .. } => "cgroup_made",
            Self::CgroupEntered => "cgroup_entered",
            Self::CgroupRemoved => "cgroup_removed",
            Self::NetworkReady { .. } => "network_ready",
            Self::Listens { .. } => "listens",
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

    /// A container's name, escaped; the beginning of its id if it has none.
    pub(crate) fn container_title(&self, id: &ContainerId) -> String {
        let lane = self.containers.iter().find(|lane| lane.id == *id);
        match lane {
            Some(lane) if !lane.name.0.is_empty() => lane.name.to_string(),
            _ => short_id(id),
        }
    }
}
