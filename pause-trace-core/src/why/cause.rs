//! Reasons and their order.

/// The phase of a pod's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The runtime works on its start, or waits for the kubelet's next call.
    Starting,
    /// A container runs.
    Running,
    /// A container ended and was started again, or will be.
    Restarting,
    /// It is being stopped.
    Stopping,
    /// Every container has ended with exit code 0.
    Completed,
    /// No container runs.
    Ended,
    /// The node no longer has it, and a history is all that is left of it.
    Removed,
    /// Only its pause runs, and no runtime says whether its containers have ended.
    Empty,
}

impl Phase {
    /// Its name in JSON and text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
            Self::Completed => "completed",
            Self::Ended => "ended",
            Self::Empty => "empty",
            Self::Removed => "removed",
        }
    }
}

/// Why a pod is not as it should be, the most likely cause of trouble first: what prevents
/// everything else comes before what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The pause has ended, and with it what holds the pod together.
    PauseEnded,
    /// A part of the start takes long.
    StartSlow,
    /// A container could not be started.
    StartFailed,
    /// A part of the removal takes long.
    RemovalSlow,
    /// A cgroup is frozen.
    Frozen,
    /// A process is in an uninterruptible sleep.
    Uninterruptible,
    /// A stop signal was sent and not taken.
    StopPending,
    /// A stop signal was sent, the grace period is over, and the container was not killed.
    GraceOver,
    /// A mount of a pod of which nothing runs is left in a mount namespace that is not the node's.
    MountHeld,
    /// A namespace of a pod of which nothing runs is kept by a process outside it.
    NamespaceHeld,
    /// The OOM killer killed a process.
    OomKilled,
    /// A container ends again and again.
    Restarting,
    /// A container has failed.
    Failed,
    /// A container is in other namespaces than requested.
    WrongNamespace,
    /// The network is not set up.
    NoNetwork,
    /// Forks are refused.
    PidsLimit,
    /// Ended processes are not reaped.
    Zombies,
    /// A rule of pause-trace is broken.
    PromiseBroken,
    /// The runtime has created a container and was not asked to start it.
    NotStarted,
    /// The sandbox runs and has no container.
    NoContainer,
    /// Only the pause runs, and no runtime says why.
    OnlyPause,
    /// Processes outside the pod are in its namespaces.
    Guests,
    /// The processors are limited below what it needs.
    Throttled,
    /// A stop signal was sent, and the container still runs.
    StopSent,
    /// No process listens, or only on loopback.
    NotListening,
    /// A stop signal would have no effect.
    StopIgnored,
    /// Nothing of the pod runs, and the node still has mounts of it.
    MountLeft,
}

impl Cause {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::PauseEnded => "pause_ended",
            Self::StartSlow => "start_slow",
            Self::StartFailed => "start_failed",
            Self::RemovalSlow => "removal_slow",
            Self::Frozen => "frozen",
            Self::Uninterruptible => "uninterruptible",
            Self::StopPending => "stop_pending",
            Self::GraceOver => "grace_over",
            Self::MountHeld => "mount_held",
            Self::NamespaceHeld => "namespace_held",
            Self::OomKilled => "oom_killed",
            Self::Restarting => "restarting",
            Self::Failed => "failed",
            Self::WrongNamespace => "wrong_namespace",
            Self::NoNetwork => "no_network",
            Self::PidsLimit => "pids_limit",
            Self::Zombies => "zombies",
            Self::PromiseBroken => "promise_broken",
            Self::NotStarted => "not_started",
            Self::NoContainer => "no_container",
            Self::OnlyPause => "only_pause",
            Self::Guests => "guests",
            Self::Throttled => "throttled",
            Self::NotListening => "not_listening",
            Self::StopIgnored => "stop_ignored",
            Self::StopSent => "stop_sent",
            Self::MountLeft => "mount_left",
        }
    }

    /// Whether something is wrong. What may be intended is only a notice.
    pub fn is_problem(self) -> bool {
        self <= Self::PromiseBroken
    }

    /// Whether it is about a stop or a removal that runs.
    pub(super) fn is_of_stop(self) -> bool {
        matches!(
            self,
            Self::RemovalSlow | Self::StopPending | Self::GraceOver | Self::StopSent
        )
    }
}

/// A reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What it is.
    pub cause: Cause,
    /// The names of the containers that it is about. It is about the pod if there are none.
    pub containers: Vec<String>,
    /// The reason in a sentence.
    pub sentence: String,
    /// What shows it, a line for each.
    pub evidence: Vec<String>,
    /// What to do or to look at next.
    pub next: String,
}
