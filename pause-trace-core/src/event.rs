//! The one interface between whoever knows a fact and whoever judges it.
//!
//! Everything that pause-trace knows enters its state as an [`Event`]: what the kernel reported, what a runtime or the
//! reference pod declared, what was read from `/proc`, that time has passed, and that events were lost. Everything to the
//! right of an event is pure, so the same events give the same findings on any machine.

mod declared;
mod namespaces;
mod observed;
mod signal;
mod task;
mod text;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use declared::{ContainerFact, ContainerKind, Mode, Modes, PodFact, Source};
pub use namespaces::{NamespaceKind, Namespaces};
pub use observed::{Observation, Observed, PauseStatus};
pub use pause_trace_common::{
    Kind, NamespaceCall, Namespaces as KernelNamespaces, TaskInfo as KernelTaskInfo,
};
pub use signal::{Signal, SignalResult, signal_name};
pub use task::{ProcessId, TaskInfo, WaitStatus};
pub use text::{Comm, Text, escape};

/// A point of kernel time: ns of `CLOCK_BOOTTIME`.
pub type Ktime = u64;
/// A cgroup's id in the watched hierarchy.
pub type CgroupId = u64;
/// The pod's uid.
pub type PodId = Arc<str>;
/// A container's id; a sandbox has one too.
pub type ContainerId = Arc<str>;

/// One fact and when it became so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened.
    pub time: Ktime,
    /// What happened.
    pub fact: Fact,
}

/// What can be known.
///
/// Recordings keep these as they are declared: a change here is another version of their format (see `record`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "a field is called what it holds; what else there is to know stands at the field"
)]
pub enum Fact {
    /// Kernel: a process was forked, by its parent.
    Fork { task: TaskInfo },
    /// Kernel: a process executed a file.
    Exec { task: TaskInfo, file: Text },
    /// Kernel: a process' last thread ended; its parent has to reap it.
    Exit { task: TaskInfo, status: WaitStatus },
    /// Kernel: a process that was there before the hooks were.
    Found {
        task: TaskInfo,
        /// Of a zombie, how it ended.
        ended: Option<WaitStatus>,
    },
    /// Kernel: a process was reaped, at most an RCU grace period ago.
    Reaped { process: ProcessId },
    /// Kernel: a thread called setns or unshare.
    NamespaceChange {
        /// The thread after the call, without its parent.
        task: TaskInfo,
        tid: u32,
        #[serde(with = "call")]
        call: NamespaceCall,
        /// `CLONE_NEW*` as asked.
        flags: u64,
        /// 0, or the errno.
        errno: i32,
    },
    /// Kernel: a signal was generated.
    Signal(Signal),
    /// Kernel: a signal was taken.
    SignalDelivered {
        process: ProcessId,
        signal: i32,
        /// Whether a handler ran (the only case in which this is the truth).
        handled: bool,
    },
    /// Kernel: signals past the rate, counted only.
    SignalsSuppressed {
        cgroup: CgroupId,
        signal: i32,
        count: u64,
        first: Ktime,
        last: Ktime,
    },
    /// Kernel: a cgroup was made.
    CgroupMade { cgroup: CgroupId, path: Text },
    /// Kernel: a cgroup was removed.
    CgroupRemoved { cgroup: CgroupId, path: Text },
    /// Kernel: a process was moved into its cgroup. The record does not say its parent.
    CgroupAttached { task: TaskInfo },
    /// Kernel: the OOM killer chose a process.
    OomVictim { pid: u32 },
    /// The host's namespaces.
    Host { namespaces: Namespaces },
    /// A process that plays the container runtime: what it does to pods is no stranger's doing.
    Runtime { process: ProcessId },
    /// Names by which the node's container runtimes are known: whoever executes as one of these outside every container is
    /// the runtime.
    RuntimeNames { names: Vec<Comm> },
    /// A pod was asked for.
    Pod(PodFact),
    /// A container was asked for.
    Container(ContainerFact),
    /// The pod is being stopped, with a grace period in ns.
    PodStopping { pod: PodId, grace: Ktime },
    /// A container is being stopped, with a grace period in ns.
    ContainerStopping {
        container: ContainerId,
        grace: Ktime,
    },
    /// The pod is gone as far as its owner is concerned: nothing of it may be left.
    PodRemoved { pod: PodId },
    /// The container runtime does not know a sandbox whose pause runs.
    SandboxUnknown { container: ContainerId },
    /// What runs in a cgroup is in no pod, and nothing was promised of it.
    NotInPod { cgroup: CgroupId },
    /// A sandbox without a pause: its namespaces are kept by files. What it has none of is 0.
    SandboxPinned {
        container: ContainerId,
        namespaces: Namespaces,
    },
    /// A network namespace is kept by a mount, as CNI has it; for which sandbox, where that is known.
    NamespacePinned {
        path: Text,
        namespace: u32,
        sandbox: Option<ContainerId>,
    },
    /// The mount is gone.
    NamespaceUnpinned { path: Text },
    /// Something was tried inside a container.
    Observed(Observation),
    /// A pause process was looked at.
    PauseStatus(PauseStatus),
    /// The kernel lacks the hook for a kind of record.
    HookMissing {
        #[serde(with = "kind")]
        kind: Kind,
        reason: Text,
    },
    /// Records of a kind found no room since the last such event.
    Lost {
        #[serde(with = "kind")]
        kind: Kind,
        count: u64,
    },
    /// Time has passed.
    Tick,
}

impl Fact {
    /// The kind of record that the kernel said it with, if the kernel did.
    pub(crate) fn record(&self) -> Option<Kind> {
        Some(match self {
            Self::Fork { .. } => Kind::Fork,
            Self::Exec { .. } => Kind::Exec,
            Self::Exit { .. } => Kind::Exit,
            Self::Found { .. } => Kind::Found,
            Self::Reaped { .. } => Kind::Free,
            Self::NamespaceChange { .. } => Kind::Namespace,
            Self::Signal(_) => Kind::SignalGenerate,
            Self::SignalDelivered { .. } => Kind::SignalDeliver,
            Self::CgroupMade { .. } => Kind::CgroupMkdir,
            Self::CgroupRemoved { .. } => Kind::CgroupRmdir,
            Self::CgroupAttached { .. } => Kind::CgroupAttach,
            Self::OomVictim { .. } => Kind::OomVictim,
            _ => return None,
        })
    }
}

pub(crate) mod call {
    use super::NamespaceCall;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        call: &NamespaceCall,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(*call as u32)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<NamespaceCall, D::Error> {
        match u32::deserialize(deserializer)? {
            0 => Ok(NamespaceCall::Setns),
            1 => Ok(NamespaceCall::Unshare),
            _ => Err(serde::de::Error::custom("neither setns nor unshare")),
        }
    }
}

pub(crate) mod kind {
    use super::Kind;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(*kind as u32)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Kind, D::Error> {
        let number = u32::deserialize(deserializer)?;
        Kind::from_u32(number).ok_or_else(|| serde::de::Error::custom("unknown kind of record"))
    }
}
