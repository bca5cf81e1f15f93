//! Events: the only input of the state.
//!
//! Everything that pause-trace knows enters its state as an [`Event`]: records of the kernel,
//! declarations of a runtime or of the reference pod, values read from `/proc`, the passage of
//! time, and lost records. Everything that is computed from events is pure, so the same events give
//! the same findings on any machine.

mod called;
mod declared;
mod listen;
mod namespaces;
mod observed;
mod outsider;
mod program;
mod run;
mod signal;
mod task;
mod text;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use called::Asked;
pub use called::{Called, CniCommand, CniRequest, OciCommand, OciRequest, Request};
pub use declared::{
    ContainerFact, ContainerKind, Grace, GraceSource, Mode, Modes, PodFact, Source,
};
pub use listen::Listen;
pub use namespaces::{NamespaceKind, Namespaces};
pub use observed::{Observation, Observed, PauseStatus};
pub use outsider::Outsider;
pub use pause_trace_common::{
    Kind, NamespaceCall, Namespaces as KernelNamespaces, TaskInfo as KernelTaskInfo,
};
pub use program::{Program, ProgramFile, Proof};
pub use run::{run_container, run_id, run_number};
pub use signal::{Signal, SignalMasks, SignalResult, signal_name};
pub use task::{ProcessId, TaskInfo, WaitStatus};
pub use text::{Comm, Text, escape, short_id};

/// A time of the kernel, in ns of `CLOCK_BOOTTIME`.
pub type Ktime = u64;
/// A cgroup's id in the watched hierarchy.
pub type CgroupId = u64;
/// A pod's uid.
pub type PodId = Arc<str>;
/// A container's id; a sandbox has one too.
///
/// Docker and Podman start a container again under the same id. Each run is a container of its own:
/// the first one has the container's id, later ones the id that [`run_id`] makes of it.
pub type ContainerId = Arc<str>;

/// A fact and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened.
    pub time: Ktime,
    /// What happened.
    pub fact: Fact,
}

/// A fact that the state can learn.
///
/// Recordings encode this type as it is declared, so a change here changes their format (see
/// `record`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the name of a field says what it holds; a field that needs more has a comment"
)]
pub enum Fact {
    /// Kernel: the parent forked a process.
    Fork { task: TaskInfo },
    /// Kernel: a process executed a file.
    Exec { task: TaskInfo, file: Text },
    /// Kernel: the last thread of a process exited. Its parent has to reap it.
    Exit { task: TaskInfo, status: WaitStatus },
    /// Kernel: the task iterator found a process that started before the hooks were attached.
    Found {
        task: TaskInfo,
        /// The exit status, if it is a zombie.
        ended: Option<WaitStatus>,
    },
    /// Kernel: a process was reaped. The record comes up to an RCU grace period later.
    Reaped { process: ProcessId },
    /// Kernel: a thread called setns or unshare.
    NamespaceChange {
        /// The thread after the call. Its parent is not set.
        task: TaskInfo,
        tid: u32,
        #[serde(with = "call")]
        call: NamespaceCall,
        /// The requested `CLONE_NEW*` flags.
        flags: u64,
        /// 0, or the errno.
        errno: i32,
    },
    /// Kernel: a signal was generated.
    Signal(Signal),
    /// Kernel: a process took a signal.
    SignalDelivered {
        process: ProcessId,
        signal: i32,
        /// Whether a handler ran. The record is reliable only if one did.
        handled: bool,
    },
    /// Kernel: signals above the rate limit, which were counted and not reported one by one.
    SignalsSuppressed {
        cgroup: CgroupId,
        signal: i32,
        count: u64,
        first: Ktime,
        last: Ktime,
    },
    /// Kernel: a cgroup was created.
    CgroupMade { cgroup: CgroupId, path: Text },
    /// Kernel: a cgroup was removed.
    CgroupRemoved { cgroup: CgroupId, path: Text },
    /// Kernel: a process was moved into its cgroup. Its parent is not set.
    CgroupAttached { task: TaskInfo },
    /// Kernel: the OOM killer chose a process.
    OomVictim { pid: u32 },
    /// The host's namespaces.
    Host { namespaces: Namespaces },
    /// A process that acts as the container runtime: it may enter and signal pods.
    Runtime { process: ProcessId },
    /// The program names of container runtimes. A process that executes under one of them outside
    /// every container belongs to the runtime.
    RuntimeNames { names: Vec<Comm> },
    /// A pod was declared.
    Pod(PodFact),
    /// A container was declared.
    Container(ContainerFact),
    /// The pod is being stopped, with a grace period in ns.
    PodStopping { pod: PodId, grace: Ktime },
    /// A container is being stopped, with a grace period in ns.
    ContainerStopping {
        container: ContainerId,
        grace: Ktime,
    },
    /// The owner of the pod is done with it: no process of it may remain.
    PodRemoved { pod: PodId },
    /// The container runtime does not know a sandbox whose pause is running.
    SandboxUnknown { container: ContainerId },
    /// The processes of a cgroup are in no pod, so no rule applies to them.
    NotInPod { cgroup: CgroupId },
    /// A sandbox without a pause: files pin its namespaces. A namespace that it does not have is 0.
    SandboxPinned {
        container: ContainerId,
        namespaces: Namespaces,
    },
    /// A mount pins a network namespace, as CNI plugins do. The sandbox is set if it is known.
    NamespacePinned {
        path: Text,
        namespace: u32,
        sandbox: Option<ContainerId>,
    },
    /// The mount that pinned a network namespace is gone.
    NamespaceUnpinned { path: Text },
    /// An operation was tried from inside a container.
    Observed(Observation),
    /// The state of a pause process was read from `/proc`.
    PauseStatus(PauseStatus),
    /// The kernel has no hook for a kind of record.
    HookMissing {
        #[serde(with = "kind")]
        kind: Kind,
        reason: Text,
    },
    /// Records of a kind were dropped since the last such event.
    Lost {
        #[serde(with = "kind")]
        kind: Kind,
        count: u64,
    },
    /// Time has passed.
    Tick,
    /// The state of a pause process was read from `/proc` as soon as it had executed: its
    /// privileges are final, and what it uses is not.
    PauseStarted(PauseStatus),
    /// The state of a pause process could not be read.
    PauseUnmeasured {
        pod: PodId,
        process: ProcessId,
        reason: Text,
    },
    /// Kernel: the handlers of a process that SIGKILL ended, as sets of signals in which bit 0 is
    /// signal 1. Comes right before its `Exit`, from the same record.
    Handlers {
        process: ProcessId,
        /// Those that it had.
        caught: u64,
        /// Those of them that it installed itself, and did not get from the process that forked it.
        own: u64,
    },
    /// Who a process outside the pods is, read from `/proc` when it acted on a pod. Comes right
    /// before the event in which it does so.
    Outsider(Outsider),
    /// The name of a process, read from `/proc` some time after it executed itself: the exec named
    /// it `exe` or by the number of a descriptor, and such programs then name themselves.
    Named { process: ProcessId, comm: Comm },
    /// Kernel: a process is about to be reported as forked by a clone that created namespaces.
    /// Comes right before its `Fork`, from the same record.
    Cloned {
        process: ProcessId,
        /// The `CLONE_NEW*` flags of those namespaces, and of others in which the child is also in
        /// another one than its parent's children.
        flags: u64,
    },
    /// From now on a process that has the name of a runtime has to be shown by [`Fact::Program`].
    /// Older recordings do not contain this, and their names are believed.
    ProofRequired,
    /// What `/proc` shows of a process that may be the runtime. Comes right before the event that
    /// decides whether it is: its exec, that it was found, or what it does to a pod.
    Program(Program),
    /// The program stops watching. What would be judged after a deadline that has not passed is
    /// judged now, and a failure is inconclusive.
    WatchEnded,
    /// Records of the processes in a cgroup were only counted, because it wrote too many while the
    /// ring was filling up. A fork that is not recorded means that the child is not watched.
    RecordsSuppressed {
        cgroup: CgroupId,
        #[serde(with = "kind")]
        kind: Kind,
        count: u64,
    },
    /// Kernel: a TCP socket began or ceased to listen.
    Listen(Listen),
    /// The most memory that a container may use, in bytes, as its runtime was asked when it created
    /// the container. Comes right after its declaration.
    MemoryLimit { container: ContainerId, bytes: u64 },
    /// Kernel: what the program is asked to do that a process of a runtime executes outside every
    /// container. Comes right before the `Exec`.
    Called(Called),
    /// How the entrypoint of a container treats signals, read from `/proc` some time after it
    /// executed. The stop signal of the container was known by then.
    SignalMasks {
        process: ProcessId,
        masks: SignalMasks,
    },
    /// How long the runtime waits between the stop signal of a container and SIGKILL, as the
    /// container was created. Comes right after its declaration.
    GracePeriod {
        container: ContainerId,
        grace: Grace,
    },
}

impl Fact {
    /// The kind of kernel record behind this fact; `None` if it is not the kernel's.
    pub(crate) fn record(&self) -> Option<Kind> {
        Some(match self {
            Self::Fork { .. } | Self::Cloned { .. } => Kind::Fork,
            Self::Exec { .. } => Kind::Exec,
            Self::Exit { .. } | Self::Handlers { .. } => Kind::Exit,
            Self::Found { .. } => Kind::Found,
            Self::Called(_) => Kind::Call,
            Self::Reaped { .. } => Kind::Free,
            Self::NamespaceChange { .. } => Kind::Namespace,
            Self::Signal(_) => Kind::SignalGenerate,
            Self::SignalDelivered { .. } => Kind::SignalDeliver,
            Self::CgroupMade { .. } => Kind::CgroupMkdir,
            Self::CgroupRemoved { .. } => Kind::CgroupRmdir,
            Self::CgroupAttached { .. } => Kind::CgroupAttach,
            Self::OomVictim { .. } => Kind::OomVictim,
            Self::Listen(_) => Kind::Listen,
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
