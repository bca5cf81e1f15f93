//! The one interface between whoever knows a fact and whoever judges it.
//!
//! Everything that pause-trace knows enters its state as an [`Event`]: what the kernel reported, what a runtime or the
//! reference pod declared, what was read from `/proc`, that time has passed, and that events were lost. Everything to the
//! right of an event is pure, so the same events give the same findings on any machine.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use pause_trace_common::Task;
pub use pause_trace_common::{
    Kind, NamespaceCall, Namespaces as KernelNamespaces, TaskInfo as KernelTaskInfo,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// A process, so named that a reused pid is another process.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ProcessId {
    /// In the initial pid namespace; 0 where there is none.
    pub pid: u32,
    /// When it started.
    pub start: Ktime,
}

/// The namespaces of a process, by inode number; 0 is "none (any more)".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Mounts.
    pub mnt: u32,
    /// Host name.
    pub uts: u32,
    /// System V IPC and POSIX message queues.
    pub ipc: u32,
    /// Network.
    pub net: u32,
    /// Process ids: those by which the process is known.
    pub pid: u32,
    /// Process ids of the children it will fork.
    pub pid_children: u32,
    /// User and group ids.
    pub user: u32,
    /// The root of cgroup paths.
    pub cgroup: u32,
    /// The user namespace that owns the network namespace.
    pub net_owner: u32,
    /// Depth of the pid namespace: 0 is the initial one.
    pub pid_level: u32,
}

impl From<Task> for ProcessId {
    fn from(task: Task) -> Self {
        Self {
            pid: task.tgid,
            start: task.start_ns,
        }
    }
}

impl From<KernelNamespaces> for Namespaces {
    fn from(ns: KernelNamespaces) -> Self {
        let KernelNamespaces {
            mnt,
            uts,
            ipc,
            net,
            pid,
            pid_children,
            user,
            cgroup,
            net_owner,
            pid_level,
        } = ns;
        Self {
            mnt,
            uts,
            ipc,
            net,
            pid,
            pid_children,
            user,
            cgroup,
            net_owner,
            pid_level,
        }
    }
}

/// One of a process' namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// Mounts.
    Mnt,
    /// Host name.
    Uts,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Network.
    Net,
    /// Process ids.
    Pid,
    /// User and group ids.
    User,
    /// The root of cgroup paths.
    Cgroup,
}

impl NamespaceKind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::Net,
        Self::Ipc,
        Self::Uts,
        Self::Pid,
        Self::Mnt,
        Self::User,
        Self::Cgroup,
    ];

    /// As in `/proc/PID/ns/NAME`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mnt => "mnt",
            Self::Uts => "uts",
            Self::Ipc => "ipc",
            Self::Net => "net",
            Self::Pid => "pid",
            Self::User => "user",
            Self::Cgroup => "cgroup",
        }
    }

    /// The `CLONE_NEW*` flag (include/uapi/linux/sched.h).
    pub(crate) const fn flag(self) -> u64 {
        match self {
            Self::Mnt => 0x0002_0000,
            Self::Cgroup => 0x0200_0000,
            Self::Uts => 0x0400_0000,
            Self::Ipc => 0x0800_0000,
            Self::User => 0x1000_0000,
            Self::Pid => 0x2000_0000,
            Self::Net => 0x4000_0000,
        }
    }
}

impl Namespaces {
    /// The inode number of one namespace.
    pub fn get(&self, kind: NamespaceKind) -> u32 {
        match kind {
            NamespaceKind::Mnt => self.mnt,
            NamespaceKind::Uts => self.uts,
            NamespaceKind::Ipc => self.ipc,
            NamespaceKind::Net => self.net,
            NamespaceKind::Pid => self.pid,
            NamespaceKind::User => self.user,
            NamespaceKind::Cgroup => self.cgroup,
        }
    }

    /// The one that its next children will be in: differs from [`Namespaces::get`] after a setns or unshare of `pid`,
    /// which never moves the caller itself.
    pub(crate) fn of_children(&self, kind: NamespaceKind) -> u32 {
        match kind {
            NamespaceKind::Pid => self.pid_children,
            _ => self.get(kind),
        }
    }
}

/// A task's name, as the kernel keeps it: at most 15 bytes, any bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Comm(pub [u8; 16]);

impl Comm {
    /// A name of at most 15 bytes; what is longer is cut, as the kernel does.
    pub fn new(name: &str) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
            *to = from;
        }
        Self(bytes)
    }

    fn bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.bytes(), f)
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Bytes that a pod chose (a file name, a cgroup path): bounded by the record they came in, escaped wherever shown.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(pub Bytes);

impl Text {
    /// The bytes of a string.
    pub fn new(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A copy of its own, so that keeping it does not keep the whole batch of records it was read with.
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.0, f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Writes printable text as it is and everything else (control characters, broken UTF-8, bidirectional marks, the
/// backslash) as an escape, so that no output of a pod can pose as something else.
pub fn escape(bytes: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let hidden = character.is_control()
                || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
            match character {
                '\\' => f.write_str("\\\\")?,
                _ if hidden => write!(f, "{}", character.escape_unicode())?,
                _ => f.write_char(character)?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// Undoes [`escape`].
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        if let Some(after) = escaped.strip_prefix('\\') {
            bytes.push(b'\\');
            rest = after;
        } else if let Some(hex) = escaped.strip_prefix('x') {
            bytes.push(u8::from_str_radix(hex.get(..2)?, 16).ok()?);
            rest = hex.get(2..)?;
        } else {
            let (code, after) = escaped.strip_prefix("u{")?.split_once('}')?;
            let character = char::from_u32(u32::from_str_radix(code, 16).ok()?)?;
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            rest = after;
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

/// For people's formats the escaped text; for others the bytes, which are shorter and need no reading.
macro_rules! serde_as_text_or_bytes {
    ($type:ty, $bytes:expr, $make:expr) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match serializer.is_human_readable() {
                    true => serializer.collect_str(self),
                    false => serializer.serialize_bytes($bytes(self)),
                }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if !deserializer.is_human_readable() {
                    return <&[u8]>::deserialize(deserializer).map($make);
                }
                let text = String::deserialize(deserializer)?;
                let bytes =
                    unescape(&text).ok_or_else(|| serde::de::Error::custom("malformed escape"))?;
                Ok($make(&bytes))
            }
        }
    };
}

serde_as_text_or_bytes!(Text, Text::bytes, |bytes: &[u8]| Self(
    Bytes::copy_from_slice(bytes)
));
serde_as_text_or_bytes!(Comm, Comm::bytes, |bytes: &[u8]| {
    let mut comm = [0; 16];
    for (to, from) in comm.iter_mut().take(15).zip(bytes) {
        *to = *from;
    }
    Self(comm)
});

/// What the kernel says of a task whenever it speaks of one in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// Its process.
    pub process: ProcessId,
    /// Its parent, which has to reap it; pid 0 where the record does not say.
    pub parent: ProcessId,
    /// Its cgroup.
    pub cgroup: CgroupId,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Its pid in its own pid namespace.
    pub ns_pid: u32,
    /// Its name.
    pub comm: Comm,
}

impl From<KernelTaskInfo> for TaskInfo {
    fn from(task: KernelTaskInfo) -> Self {
        Self {
            process: task.task.into(),
            parent: task.parent.into(),
            cgroup: task.cgroup,
            namespaces: task.namespaces.into(),
            ns_pid: task.ns_pid,
            comm: Comm(task.comm),
        }
    }
}

/// What wait(2) reports of a process that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitStatus(pub u32);

impl WaitStatus {
    /// The status of a process that exited with a code.
    pub fn exited(code: u8) -> Self {
        Self(u32::from(code) << 8)
    }

    /// The status of a process that a signal ended.
    pub fn killed(signal: i32) -> Self {
        Self(signal as u32)
    }

    /// The exit code, if it exited.
    pub fn code(self) -> Option<u8> {
        (self.0 & 0x7f == 0).then_some((self.0 >> 8) as u8)
    }

    /// The signal that ended it, if one did.
    pub fn signal(self) -> Option<i32> {
        (self.0 & 0x7f != 0).then_some((self.0 & 0x7f) as i32)
    }
}

impl fmt::Display for WaitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code(), self.signal()) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (_, Some(signal)) => write!(f, "killed by {}", signal_name(signal)),
            (None, None) => write!(f, "status {:#x}", self.0),
        }
    }
}

/// `SIGTERM`, or `signal 40` for one that has no name.
pub fn signal_name(signal: i32) -> String {
    match crate::signal::name(signal) {
        Some(name) => name.to_owned(),
        None => format!("signal {signal}"),
    }
}

/// What became of a generated signal (`TRACE_SIGNAL_*`, include/trace/events/signal.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignalResult {
    /// It was queued for the target.
    Delivered,
    /// The target ignores it, or is protected from it as pid 1 of its namespace.
    Ignored,
    /// One of that number was pending already.
    AlreadyPending,
    /// The queue was full.
    OverflowFail,
    /// Its information was lost, not the signal.
    LoseInfo,
    /// A number this program does not know.
    Unknown,
}

/// `SIGNAL` with sender and target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Who was running. Meaningful only where [`Signal::is_from_process`] says so.
    pub sender: ProcessId,
    /// The sender's name.
    pub sender_comm: Comm,
    /// The process that the signal was generated for.
    pub target: ProcessId,
    /// The target's name.
    pub target_comm: Comm,
    /// The target's cgroup.
    pub cgroup: CgroupId,
    /// The signal's number.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// What became of it.
    pub result: SignalResult,
}

impl Signal {
    /// Whether a process sent it (kill, tkill, sigqueue, pidfd_send_signal: `si_code` ≤ 0, but timers are not), rather
    /// than the kernel.
    pub fn is_from_process(&self) -> bool {
        matches!(self.code, 0 | -1 | -6)
    }
}

/// Why a container has its namespaces: CRI's `NamespaceMode`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Shared with the pod's sandbox.
    Pod,
    /// The container's own.
    Container,
    /// The node's.
    Node,
    /// Another container's.
    Target(ContainerId),
    /// Nobody could say.
    Unknown,
}

/// What was asked for, per namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modes {
    /// Of the network namespace.
    pub net: Mode,
    /// Of the IPC namespace.
    pub ipc: Mode,
    /// Of the UTS namespace.
    pub uts: Mode,
    /// Of the pid namespace.
    pub pid: Mode,
    /// `Node`: the host's. `Pod`: the pod has a user namespace of its own.
    pub user: Mode,
}

impl Modes {
    /// A plain pod's: everything but pids and users is the pod's.
    pub fn plain() -> Self {
        Self {
            net: Mode::Pod,
            ipc: Mode::Pod,
            uts: Mode::Pod,
            pid: Mode::Container,
            user: Mode::Node,
        }
    }

    /// Of a container that nobody has described.
    pub fn unknown() -> Self {
        Self {
            net: Mode::Unknown,
            ipc: Mode::Unknown,
            uts: Mode::Unknown,
            pid: Mode::Unknown,
            user: Mode::Unknown,
        }
    }

    /// The mode of one namespace.
    pub fn get(&self, kind: NamespaceKind) -> &Mode {
        match kind {
            NamespaceKind::Net => &self.net,
            NamespaceKind::Ipc => &self.ipc,
            NamespaceKind::Uts => &self.uts,
            NamespaceKind::Pid => &self.pid,
            NamespaceKind::User => &self.user,
            NamespaceKind::Mnt => &Mode::Container,
            NamespaceKind::Cgroup => &Mode::Node,
        }
    }
}

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContainerKind {
    /// Holds the pod's namespaces; its process is the pause.
    Sandbox,
    /// An init container.
    Init,
    /// A container of the pod's own.
    App,
    /// A container that was added to debug the pod.
    Ephemeral,
}

/// Who says so, of a fact that is not the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The reference pod, of itself.
    Reference,
    /// The container runtime's CRI.
    Cri,
    /// An OCI bundle.
    Bundle,
    /// `/proc`.
    Proc,
}

/// A pod as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFact {
    /// The pod.
    pub pod: PodId,
    /// The Kubernetes namespace that it is in.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
    /// The sandbox' own modes. `pid` is `Pod` for a shared pid namespace.
    pub modes: Modes,
    /// Who says so.
    pub source: Source,
}

/// A container as it was asked for; for `Sandbox`, the pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFact {
    /// The container.
    pub container: ContainerId,
    /// The pod that it belongs to.
    pub pod: PodId,
    /// Its name in the pod.
    pub name: Text,
    /// What it is to its pod.
    pub what: ContainerKind,
    /// The sandbox that it was made for, where that is known; its own id, for a sandbox.
    pub sandbox: Option<ContainerId>,
    /// Its cgroup, once known.
    pub cgroup: CgroupId,
    /// Why it has its namespaces.
    pub modes: Modes,
    /// The signal that asks it to stop.
    pub stop_signal: i32,
    /// The file its entrypoint is to execute, where that is known.
    pub file: Option<Text>,
    /// Who says so.
    pub source: Source,
}

/// Something tried from inside a container: what the namespaces are *for*.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The pod that it was tried in.
    pub pod: PodId,
    /// The container that it was tried from.
    pub container: ContainerId,
    /// What was tried.
    pub what: Observed,
    /// Whether it came out as promised.
    pub holds: bool,
    /// What came out: an address, a value, an errno.
    pub detail: Text,
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observed {
    /// A connection over localhost to another container of the pod.
    Localhost,
    /// A port that another container has is refused.
    PortSpace,
    /// The same addresses as another container.
    Addresses,
    /// Loopback is up and, but for host-network pods, there is an address.
    NetworkReady,
    /// A System V shared memory segment of another container.
    SharedMemory,
    /// A POSIX message queue of another container.
    MessageQueue,
    /// The same host name.
    Hostname,
}

/// The state of a pause process, as `/proc` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseStatus {
    /// The pod whose pause it is.
    pub pod: PodId,
    /// The pause process.
    pub process: ProcessId,
    /// Proportional set size in bytes.
    pub pss_bytes: u64,
    /// Number of threads.
    pub threads: u32,
    /// Open file descriptors.
    pub descriptors: u32,
    /// How many of them are sockets; stdin, stdout and stderr are not counted, which whoever made it may have inherited.
    pub sockets: u32,
    /// Living children and zombies.
    pub children: u32,
    /// CPU time in ns.
    pub cpu_ns: u64,
    /// Age in ns when its CPU time was read.
    pub age_ns: u64,
    /// Effective user id.
    pub uid: u32,
    /// Effective capabilities (a mask).
    pub capabilities: u64,
    /// Whether `no_new_privs` is set.
    pub no_new_privs: bool,
    /// Its OOM score adjustment.
    pub oom_score_adj: i32,
    /// Whether the OOM score could have been lowered by who made it.
    pub oom_adjustable: bool,
    /// Signals blocked (a mask; bit 0 is signal 1).
    pub blocked: u64,
    /// Signals ignored (a mask).
    pub ignored: u64,
    /// Signals that have a handler (a mask).
    pub caught: u64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_shown_as_escapes_and_survives_a_recording() {
        let hostile = Text(Bytes::from_static(b"\x1b[2Jred\\\xff\n\xe2\x80\xae"));
        let shown = hostile.to_string();
        assert_eq!(shown, r"\u{1b}[2Jred\\\xff\u{a}\u{202e}");
        let json = serde_json::to_string(&hostile).expect("text is JSON");
        assert_eq!(
            serde_json::from_str::<Text>(&json).expect("JSON is text"),
            hostile
        );
        let bytes = postcard::to_allocvec(&hostile).expect("text is bytes");
        assert_eq!(
            postcard::from_bytes::<Text>(&bytes).expect("bytes are text"),
            hostile
        );
    }

    #[test]
    fn wait_status_tells_exit_from_signal() {
        assert_eq!(WaitStatus(0x0700).code(), Some(7));
        assert_eq!(WaitStatus(0x0700).signal(), None);
        assert_eq!(WaitStatus(0x8b).signal(), Some(11));
        assert_eq!(WaitStatus::killed(9).to_string(), "killed by SIGKILL");
    }
}
