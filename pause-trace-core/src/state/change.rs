//! What an event did to the state: all that a rule ever sees.

use crate::event::{
    CgroupId, ContainerId, Kind, Ktime, NamespaceCall, Namespaces, Observation, PauseStatus, PodId,
    ProcessId, Signal, Text,
};

/// A consequence of one event, given to the rules after the state has taken it in.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A process executed a file inside a container's cgroup: its role and namespaces are in the state.
    Executed(ProcessId),
    /// A thread called setns or unshare.
    NamespaceChanged {
        /// The process that the thread belongs to.
        process: ProcessId,
        /// Which call it was.
        call: NamespaceCall,
        /// `CLONE_NEW*` as asked; a setns may ask for 0, "whatever the descriptor is".
        flags: u64,
        /// 0, or the errno.
        errno: i32,
        /// The namespaces of the process before the call.
        before: Namespaces,
        /// Those of the thread after it.
        after: Namespaces,
    },
    /// A process of the runtime ended with a setns refused and not made good since, and no child of it goes on.
    JoinsRefused(ProcessId),
    /// A signal was generated for a process that is in a pod, or by one that is.
    Signalled(Signal),
    /// A process took a signal; `handled` by a handler.
    SignalTaken {
        /// The process.
        process: ProcessId,
        /// The signal's number.
        signal: i32,
        /// Whether a handler took it, rather than the default action.
        handled: bool,
    },
    /// A process of a container (the pause too) ended.
    Ended(ProcessId),
    /// It was reaped. It is in the state for this change still, and then no more.
    Reaped(ProcessId),
    /// It ended `Limits::zombie` ago and was not reaped.
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
    /// A runtime's process entered a container's cgroup `Limits::init` ago.
    InitDue {
        /// The runtime's process.
        process: ProcessId,
        /// The container.
        container: ContainerId,
    },
    /// The init of a pid namespace ended `Limits::teardown` ago.
    TeardownDue {
        /// The inode of the pid namespace.
        pid_namespace: u32,
        /// Its pid 1.
        init: ProcessId,
    },
    /// A pod was removed `Limits::removal` ago.
    RemovalDue(PodId),
    /// The runtime has not known a sandbox for `Limits::removal`, and its pause runs.
    SandboxDue(ContainerId),
    /// A pinned network namespace has had no sandbox for `Limits::pin`.
    PinDue(Text),
    /// A cgroup that nobody declared was entered `Limits::identity` ago by a process that executed in it.
    IdentityDue {
        /// The process.
        process: ProcessId,
        /// The cgroup.
        cgroup: CgroupId,
    },
    /// A pod was declared.
    PodDeclared(PodId),
    /// A container was declared; for a sandbox, perhaps a new one of a known pod.
    ContainerDeclared(ContainerId),
    /// A pod's orderly stop began.
    PodStopping(PodId),
    /// A container's orderly stop began.
    ContainerStopping(ContainerId),
    /// A pod's owner is done with it. Time to say what was proven over its life.
    PodRemoved(PodId),
    /// Something was tried from inside.
    Observed(Observation),
    /// A pause was looked at.
    PauseStatus(PauseStatus),
    /// The OOM killer chose a process.
    OomKilled(ProcessId),
    /// Events were lost.
    Lost {
        /// The kind of the records.
        kind: Kind,
        /// How many.
        count: u64,
    },
    /// The kernel has no hook for a kind of record.
    HookMissing {
        /// The kind of record.
        kind: Kind,
        /// What the kernel answered, escaped.
        reason: String,
    },
}

/// The kinds of [`Change`], by which a rule says what it wants to see; documented there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum On {
    Executed,
    NamespaceChanged,
    JoinsRefused,
    Signalled,
    SignalTaken,
    Ended,
    Reaped,
    ZombieDue,
    StopDue,
    InitDue,
    TeardownDue,
    RemovalDue,
    SandboxDue,
    PinDue,
    IdentityDue,
    PodDeclared,
    ContainerDeclared,
    PodStopping,
    ContainerStopping,
    PodRemoved,
    Observed,
    PauseStatus,
    OomKilled,
    Lost,
    HookMissing,
}

impl On {
    /// How many there are.
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
            Self::Reaped(_) => On::Reaped,
            Self::ZombieDue(_) => On::ZombieDue,
            Self::StopDue { .. } => On::StopDue,
            Self::InitDue { .. } => On::InitDue,
            Self::TeardownDue { .. } => On::TeardownDue,
            Self::RemovalDue(_) => On::RemovalDue,
            Self::SandboxDue(_) => On::SandboxDue,
            Self::PinDue(_) => On::PinDue,
            Self::IdentityDue { .. } => On::IdentityDue,
            Self::PodDeclared(_) => On::PodDeclared,
            Self::ContainerDeclared(_) => On::ContainerDeclared,
            Self::PodStopping(_) => On::PodStopping,
            Self::ContainerStopping(_) => On::ContainerStopping,
            Self::PodRemoved(_) => On::PodRemoved,
            Self::Observed(_) => On::Observed,
            Self::PauseStatus(_) => On::PauseStatus,
            Self::OomKilled(_) => On::OomKilled,
            Self::Lost { .. } => On::Lost,
            Self::HookMissing { .. } => On::HookMissing,
        }
    }
}
