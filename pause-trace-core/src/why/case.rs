//! What a node shows of one pod at one moment.

use crate::event::{
    CniCommand, Comm, ContainerId, ContainerKind, Grace, Ktime, OciCommand, SignalMasks,
};

/// A pod. Spans of time are in ns and end now. Text is escaped.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// Its sandboxes as its runtime lists them, the newest first. Empty if no runtime lists any.
    pub sandboxes: Vec<Sandbox>,
    /// Its containers, the sandbox's pause first. Of the runs of a container the newest.
    pub containers: Vec<Container>,
    /// The programs of the runtime that work for it outside its containers.
    pub work: Vec<Work>,
    /// Its network; `None` if it is the host's, or if no process is left in it.
    pub network: Option<Network>,
    /// The rules whose promise it breaks now.
    pub broken: Vec<Promise>,
    /// Processes outside its containers that are in its network namespace.
    pub guests: Vec<Process>,
    /// What holds a part of it, if nothing of it runs any more.
    pub holders: Vec<Holder>,
    /// Whether a history was asked when signals were sent.
    pub has_history: bool,
}

/// A sandbox as its runtime lists it.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Its id.
    pub id: ContainerId,
    /// Whether the runtime calls it ready.
    pub is_ready: bool,
    /// The time since its creation.
    pub age: Ktime,
}

/// A container or sandbox.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its name, or the beginning of its id.
    pub title: String,
    /// What it is.
    pub kind: ContainerKind,
    /// Its newest run.
    pub run: Run,
    /// How often the kubelet has started it again.
    pub attempt: u32,
    /// Earlier runs that the runtime still lists, the newest first.
    pub earlier: Vec<Ended>,
    /// Its processes, sorted by pid.
    pub processes: Vec<Process>,
    /// The pid of its entrypoint, if it runs.
    pub entrypoint: Option<u32>,
    /// The signal that stops it; 0 if unknown.
    pub stop_signal: i32,
    /// What its cgroup allows and has counted.
    pub limits: Limits,
    /// The namespaces that differ from the requested ones, a sentence for each.
    pub misfits: Vec<String>,
    /// Its grace period; `None` if unknown.
    pub grace: Option<Grace>,
    /// The stop signal that the runtime sent to its entrypoint, if a history has it.
    pub stop_sent: Option<StopSent>,
}

/// A stop signal that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopSent {
    /// The signal's number.
    pub signal: i32,
    /// The time since.
    pub ago: Ktime,
    /// Who sent it: `runc (pid 12)`, escaped.
    pub by: String,
    /// The time since a SIGKILL after it, if one was sent.
    pub killed: Option<Ktime>,
}

/// A process outside the pod that keeps a part of it.
#[derive(Clone, Debug)]
pub struct Holder {
    /// What it keeps.
    pub what: Held,
    /// The process, or the first of several.
    pub process: Process,
    /// How many others keep the same.
    pub others: usize,
}

/// A part of a pod that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Mounts, in a mount namespace that the process is in.
    Mounts {
        /// The mount points, escaped.
        paths: Vec<String>,
        /// How many there are in all.
        count: usize,
        /// Whether it is the mount namespace of the node, in which kubelet and runtime mount.
        is_nodes: bool,
    },
    /// A namespace of the sandbox.
    Namespace {
        /// `net`
        kind: &'static str,
        /// Its inode number.
        inode: u32,
        /// The file that is open, such as `/proc/12/fd/3`; `None` if the process is in it.
        open: Option<String>,
    },
    /// A mount that pins the network namespace.
    Pin {
        /// The mount point, escaped.
        path: String,
    },
}

/// The state of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// It was created and has not started.
    Created {
        /// The time since its creation.
        age: Ktime,
    },
    /// Its entrypoint runs.
    Running {
        /// The time since its start.
        age: Ktime,
    },
    /// It has ended.
    Ended(Ended),
    /// No runtime describes it, and it has no process.
    Unknown,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code as a shell has it: 128 and the signal's number for a signal.
    pub code: i32,
    /// The runtime's word, such as `OOMKilled`.
    pub reason: String,
    /// The runtime's message.
    pub message: String,
    /// The time since the end.
    pub ago: Ktime,
    /// The time from its start to its end; `None` if it never started.
    pub lived: Option<Ktime>,
}

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its pid on the node.
    pub pid: u32,
    /// Its pid in its own pid namespace.
    pub ns_pid: u32,
    /// The pid of its parent on the node.
    pub parent: u32,
    /// Its name.
    pub comm: Comm,
    /// A letter of proc_pid_stat(5). `Z` and `D` have lasted for more than a moment.
    pub state: u8,
    /// The function of the kernel that it waits in, if the kernel tells.
    pub wait: Option<String>,
    /// The time since its start.
    pub age: Ktime,
    /// How it treats signals, if it is an entrypoint.
    pub signals: Option<SignalMasks>,
}

impl Process {
    pub(super) fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// What the cgroup of a container allows and has counted. `None` is unknown or no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory that are charged now.
    pub memory_used: Option<u64>,
    /// Processes that the OOM killer has killed in it.
    pub oom_kills: u64,
    /// Whether it is frozen.
    pub is_frozen: bool,
    /// Periods in which it ran.
    pub cpu_periods: u64,
    /// Periods in which it used up its share of the processors before their end.
    pub cpu_throttled: u64,
    /// Tasks.
    pub pids: Option<u64>,
    /// Forks that were refused because of that limit.
    pub pids_refused: u64,
}

/// A network namespace.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Whether loopback is up.
    pub is_loopback_up: bool,
    /// Addresses other than loopback's and link-local ones.
    pub addresses: Vec<String>,
    /// Listening TCP sockets.
    pub listeners: Vec<Listener>,
}

/// A listening TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address and port.
    pub address: String,
    /// Whether only processes in the pod can connect to it.
    pub is_loopback: bool,
    /// Who has it open: `nginx (pid 12) of app`; `None` if that is not known.
    pub by: Option<String>,
}

/// A program of the runtime that works for the pod.
#[derive(Clone, Debug)]
pub struct Work {
    /// What it does.
    pub kind: WorkKind,
    /// The container that it works for.
    pub container: Option<String>,
    /// The program, then what it waits for: the youngest child of each.
    pub chain: Vec<Step>,
}

/// A process of a program and its children.
#[derive(Clone, Debug)]
pub struct Step {
    /// The process.
    pub process: Process,
    /// Its arguments, bounded and escaped.
    pub command: String,
}

/// What a program of the runtime does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// A CNI plugin.
    Plugin {
        /// What it is to do.
        command: CniCommand,
        /// The interface.
        interface: String,
    },
    /// An OCI runtime.
    Oci {
        /// What it is to do.
        command: OciCommand,
    },
    /// The container's process before it executes the entrypoint.
    Init,
    /// A shim or monitor, which lives as long as the pod.
    Monitor,
}

impl WorkKind {
    /// Whether it is part of a start.
    pub(super) fn is_start(&self) -> bool {
        match self {
            Self::Plugin { command, .. } => *command == CniCommand::Add,
            Self::Oci { command } => {
                use OciCommand::{Create, Run, Start};
                matches!(command, Create | Start | Run)
            }
            Self::Init => true,
            Self::Monitor => false,
        }
    }

    /// Whether it is part of a removal.
    pub(super) fn is_removal(&self) -> bool {
        match self {
            Self::Plugin { command, .. } => *command == CniCommand::Del,
            Self::Oci { command } => matches!(command, OciCommand::Delete | OciCommand::Kill),
            Self::Init | Self::Monitor => false,
        }
    }
}

/// A rule whose promise is broken.
#[derive(Clone, Debug)]
pub struct Promise {
    /// `PT401`.
    pub rule: &'static str,
    /// The rule's name.
    pub name: &'static str,
    /// The container.
    pub container: Option<String>,
    /// Whether it is about the pause.
    pub is_of_pause: bool,
    /// What was seen.
    pub sentence: String,
}
