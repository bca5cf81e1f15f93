//! The effects of an event on the state. Rules see nothing else.

use super::{StepEnd, listeners::Listener, moves::Door};
use crate::event::{
    CgroupId, ContainerId, Kind, Ktime, Namespaces, Observation, PauseStatus, PodId, ProcessId,
    Signal, SignalMasks, Text,
};

/// An effect of one event. Rules receive it after the state has changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A process executed a file inside a container's cgroup. The state has its role and
    /// namespaces.
    Executed(ProcessId),
    /// A thread called setns or unshare, or a process turned out to be in other namespaces.
    NamespaceChanged {
        /// The process that the thread belongs to.
        process: ProcessId,
        /// The thread, unless it is the process' first one, whose namespaces are those of the
        /// process.
        thread: Option<u32>,
        /// Which call it was, or how the process came there without one.
        door: Door,
        /// The requested `CLONE_NEW*` flags. A setns with 0 accepts a descriptor of any namespace.
        /// Without a call, those of the namespaces in question.
        flags: u64,
        /// 0, or the errno.
        errno: i32,
        /// The namespaces of the process before the call. At a fork, those of its parent.
        before: Namespaces,
        /// Those of the thread after it.
        after: Namespaces,
        /// Without a call, the flags of those of the namespaces of which it was unknown whose they
        /// are. An exec then assigns them to the pod.
        unowned: u64,
    },
    /// A process of the runtime exited after the kernel refused a setns that did not succeed later,
    /// and none of its children is alive.
    JoinsRefused(ProcessId),
    /// A signal was generated for a process in a pod or by a process in a pod.
    Signalled(Signal),
    /// A process took a signal. `handled` is set if a handler ran.
    SignalTaken {
        /// The process.
        process: ProcessId,
        /// The signal's number.
        signal: i32,
        /// Whether a handler took it, rather than the default action.
        handled: bool,
    },
    /// A process of a container exited. The pause counts, too.
    Ended(ProcessId),
    /// A shim or a conmon ended, and containers that it is the parent of still run.
    SupervisorEnded(ProcessId),
    /// A program of the runtime ended that was asked for a step of a start: a CNI plugin that adds
    /// an interface, an OCI runtime that creates or starts a container, the start of a shim.
    StepEnded(Box<StepEnd>),
    /// A process was reaped. The state forgets it after this change.
    Reaped(ProcessId),
    /// A process exited `Limits::zombie` ago and has not been reaped.
    ZombieDue(ProcessId),
    /// A stop signal was sent to an init or a pause `Limits::stop` ago (see `Process::signals`).
    StopDue {
        /// The init or pause.
        process: ProcessId,
        /// The signal's number.
        signal: i32,
        /// When it was sent.
        sent: Ktime,
    },
    /// A process of the runtime entered a container's cgroup `Limits::init` ago and has not
    /// executed.
    InitDue {
        /// The runtime's process.
        process: ProcessId,
        /// The container.
        container: ContainerId,
    },
    /// The init of a pid namespace exited `Limits::teardown` ago, and other processes remain in it.
    TeardownDue {
        /// The inode of the pid namespace.
        pid_namespace: u32,
        /// Its pid 1.
        init: ProcessId,
    },
    /// A pod was removed `Limits::removal` ago.
    RemovalDue(PodId),
    /// The runtime has not known a sandbox for `Limits::removal`, and its pause is running.
    SandboxDue(ContainerId),
    /// The pause of a sandbox ended `Limits::stop` ago, and the runtime is not stopping one
    /// container of the pod after the other. Earlier if the watch ends.
    PauseEndDue(ContainerId),
    /// A pinned network namespace has had no sandbox for `Limits::pin`.
    PinDue(Text),
    /// A process executed in a cgroup `Limits::identity` ago, and no container has been declared
    /// for the cgroup.
    IdentityDue {
        /// The process.
        process: ProcessId,
        /// The cgroup.
        cgroup: CgroupId,
    },
    /// A pod was declared.
    PodDeclared(PodId),
    /// A container was declared. A sandbox may be a new one of a known pod.
    ContainerDeclared(ContainerId),
    /// The orderly stop of a pod began.
    PodStopping(PodId),
    /// The orderly stop of a container began.
    ContainerStopping(ContainerId),
    /// The owner of a pod is done with it. Rules now give their verdicts on its whole life.
    PodRemoved(PodId),
    /// An operation was tried from inside a container.
    Observed(Observation),
    /// The state of a pause was read.
    PauseStatus(PauseStatus),
    /// The state of a pause that has just executed was read.
    PauseStarted(PauseStatus),
    /// The state of a pause could not be read.
    PauseUnmeasured {
        /// Its pod.
        pod: PodId,
        /// The pause.
        process: ProcessId,
        /// Why, escaped.
        reason: String,
    },
    /// How the entrypoint of a container treats signals was read.
    SignalMasks {
        /// The entrypoint.
        process: ProcessId,
        /// What was read.
        masks: SignalMasks,
    },
    /// A process of a container ended because the OOM killer killed it. Comes before its `Ended`.
    OomKilled(ProcessId),
    /// Processes of a container have been listening on a TCP port that was not reported before.
    Listens {
        /// The container.
        container: ContainerId,
        /// The address and port, and who began to listen on it.
        listener: Listener,
    },
    /// Events were lost.
    Lost {
        /// The kind of the records.
        kind: Kind,
        /// How many.
        count: u64,
    },
    /// Records of a pod's processes were counted and not recorded, because it wrote too many.
    RecordsSuppressed {
        /// The pod.
        pod: PodId,
        /// The kind of the records.
        kind: Kind,
    },
    /// The kernel has no hook for a kind of record.
    HookMissing {
        /// The kind of record.
        kind: Kind,
        /// What the kernel answered, escaped.
        reason: String,
    },
}

/// The kinds of [`Change`], with which a rule selects the changes it receives. [`Change`] documents
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum On {
    Executed,
    NamespaceChanged,
    JoinsRefused,
    Signalled,
    SignalTaken,
    Ended,
    SupervisorEnded,
    StepEnded,
    Reaped,
    ZombieDue,
    StopDue,
    InitDue,
    TeardownDue,
    RemovalDue,
    SandboxDue,
    PauseEndDue,
    PinDue,
    IdentityDue,
    PodDeclared,
    ContainerDeclared,
    PodStopping,
    ContainerStopping,
    PodRemoved,
    Observed,
    PauseStatus,
    PauseStarted,
    PauseUnmeasured,
    SignalMasks,
    OomKilled,
    Listens,
    Lost,
    RecordsSuppressed,
    HookMissing,
}

impl On {
    /// The number of kinds.
    pub(crate) const COUNT: usize = Self::HookMissing as usize + 1;
}

impl Change {
    /// Its kind.
    pub(crate) fn on(&self) -> On {
        match self {
            Self::Executed(_) => On::Executed,
            Self::NamespaceChanged { .. } => On::NamespaceChanged,
            Self::JoinsRefused(_) => On::JoinsRefused,
            Self::Signalled(_) => On::Signalled,
            Self::SignalTaken { .. } => On::SignalTaken,
            Self::Ended(_) => On::Ended,
            Self::SupervisorEnded(_) => On::SupervisorEnded,
            Self::StepEnded(_) => On::StepEnded,
            Self::Reaped(_) => On::Reaped,
            Self::ZombieDue(_) => On::ZombieDue,
            Self::StopDue { .. } => On::StopDue,
            Self::InitDue { .. } => On::InitDue,
            Self::TeardownDue { .. } => On::TeardownDue,
            Self::RemovalDue(_) => On::RemovalDue,
            Self::SandboxDue(_) => On::SandboxDue,
            Self::PauseEndDue(_) => On::PauseEndDue,
            Self::PinDue(_) => On::PinDue,
            Self::IdentityDue { .. } => On::IdentityDue,
            Self::PodDeclared(_) => On::PodDeclared,
            Self::ContainerDeclared(_) => On::ContainerDeclared,
            Self::PodStopping(_) => On::PodStopping,
            Self::ContainerStopping(_) => On::ContainerStopping,
            Self::PodRemoved(_) => On::PodRemoved,
            Self::Observed(_) => On::Observed,
            Self::PauseStatus(_) => On::PauseStatus,
            Self::PauseStarted(_) => On::PauseStarted,
            Self::PauseUnmeasured { .. } => On::PauseUnmeasured,
            Self::SignalMasks { .. } => On::SignalMasks,
            Self::OomKilled(_) => On::OomKilled,
            Self::Listens { .. } => On::Listens,
            Self::Lost { .. } => On::Lost,
            Self::RecordsSuppressed { .. } => On::RecordsSuppressed,
            Self::HookMissing { .. } => On::HookMissing,
        }
    }
}
