//! The messages between the loader, the runtime and the workload, and their transport.
//!
//! Every message is one line of JSON in one packet of a SOCK_SEQPACKET unix socket: the kernel
//! preserves message boundaries, file descriptors belong to the message they were sent with, and a
//! closed peer reads as the end of the stream. The length of a packet is limited ([`MAX_MESSAGE`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::{fmt, io};

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{event::signal_name, sys};

/// The longest message, in bytes. Messages have a few hundred bytes; a unix socket accepts packets
/// up to about 200 KiB.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024;

/// The descriptor number of a workload's control socket.
pub(crate) const AGENT_FD: i32 = 3;

/// How a process gets one of its namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Join {
    /// Stay in that of the runtime, which is the host's.
    #[default]
    Host,
    /// Create a new one (unshare).
    New,
    /// Enter the one at this path (setns).
    Path(PathBuf),
}

impl Join {
    /// Enter the namespace `kind` (`net`, `pid`, `mnt` …) of a process.
    pub(crate) fn of(pid: i32, kind: &str) -> Self {
        Self::Path(PathBuf::from(format!("/proc/{pid}/ns/{kind}")))
    }
}

/// The id map of a user namespace, for uids and gids: `count` ids from 0 inside are mapped to those
/// from `outside` on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdMap {
    pub(crate) outside: u32,
    pub(crate) count: u32,
}

/// When a process is moved to its cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EnterCgroup {
    /// Before it joins anything, as `runc create` does.
    #[default]
    First,
    /// After it has joined, right before exec, as `runc exec` does.
    AfterJoins,
    /// Not at all: a fault.
    Never,
}

/// The program that a process executes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Program {
    /// This executable, as `__workload`.
    #[default]
    Workload,
    /// A file whose descriptor is sent with the request; the process gets this name.
    File(String),
    /// A file of the host, by path.
    Path(PathBuf),
}

/// The plan of a process: a sandbox's pause, a container's init or an exec session. A fault is a
/// plan with one change.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) user: Join,
    /// Required if `user` is new.
    pub(crate) id_map: Option<IdMap>,
    pub(crate) ipc: Join,
    pub(crate) uts: Join,
    pub(crate) net: Join,
    pub(crate) pid: Join,
    pub(crate) mount: Join,
    /// The container's cgroup, one directory for each hierarchy in use.
    pub(crate) cgroup: Vec<PathBuf>,
    pub(crate) enter_cgroup: EnterCgroup,
    /// Set if `uts` is new.
    pub(crate) hostname: Option<String>,
    /// If `net` is new, loopback is brought up with this address. With `None`, the network is not
    /// set up.
    pub(crate) address: Option<Ipv4Addr>,
    /// User and group inside the user namespace. A user other than 0 has no capabilities.
    pub(crate) credentials: Option<(u32, u32)>,
    pub(crate) no_new_privs: bool,
    /// Optional: if the machine does not allow lowering it, the failure is only a note.
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) program: Program,
    pub(crate) argv: Vec<String>,
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
    /// Whether an agent's socket is sent with the request; it becomes [`AGENT_FD`].
    pub(crate) agent: bool,
    /// Whether stderr is /dev/null instead of the loader's.
    pub(crate) quiet: bool,
    /// Join everything, then wait before exec until [`ToRuntime::Release`], like a container after
    /// `runc create` without `runc start`.
    pub(crate) hold: bool,
}

/// An object that the runtime removes when it ends for any reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Owned {
    /// A cgroup directory; processes in it are killed. Parents are listed before children.
    Cgroup(PathBuf),
    /// A System V shared memory segment of the host's ipc namespace.
    SharedMemory(i32),
    /// A POSIX message queue of the host's ipc namespace.
    Queue(String),
}

/// The sender of a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Sender {
    #[default]
    Runtime,
    /// A process created for this one signal, so that the sender is not the runtime.
    Helper,
}

/// A request and its number, which the answer repeats.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Call<T> {
    pub(crate) seq: u64,
    pub(crate) request: T,
}

/// A request from the loader to the runtime.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ToRuntime {
    /// Remove these at the end.
    Own(Vec<Owned>),
    /// Start a process. The answer is sent after its exec, or when it is held.
    Spawn(Box<Plan>),
    /// Send a signal to a process that this runtime started or that is in one of its cgroups.
    Kill {
        pid: i32,
        signal: i32,
        sender: Sender,
    },
    /// Let a held process continue to its exec.
    Release { pid: i32 },
    /// Do not reap this process, like a runtime that hangs.
    LeaveUnreaped { pid: i32 },
    /// Reap this process again.
    ReapAgain { pid: i32 },
}

/// A message from the runtime.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum FromRuntime {
    Answer {
        seq: u64,
        result: Result<Done, Failure>,
    },
    /// Processes that it has reaped, in order: its own children and reparented orphans.
    Exited(Vec<Exit>),
}

/// The answer to a successful request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// The new process, for a `Spawn`.
    pub(crate) pid: i32,
    /// Steps that failed and were not essential.
    pub(crate) notes: Vec<Failure>,
}

/// A step that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{step}: {}", Errno::from_raw(*.errno).desc())]
pub(crate) struct Failure {
    pub(crate) step: String,
    pub(crate) errno: i32,
}

impl Failure {
    pub(crate) fn new(step: impl Into<String>, errno: Errno) -> Self {
        Self {
            step: step.into(),
            errno: errno as i32,
        }
    }

    pub(crate) fn errno(&self) -> Errno {
        Errno::from_raw(self.errno)
    }
}

/// Names the step that a result belongs to.
pub(crate) trait Step<T> {
    fn step(self, step: impl Into<String>) -> Result<T, Failure>;
}

impl<T> Step<T> for nix::Result<T> {
    fn step(self, step: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|errno| Failure::new(step, errno))
    }
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, step: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            step: step.into(),
            errno: error.raw_os_error().unwrap_or(Errno::EIO as i32),
        })
    }
}

/// The end of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    pub(crate) pid: i32,
    pub(crate) status: Status,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Status {
    Exited(i32),
    Signaled(i32),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signaled(signal) => write!(f, "killed by {}", signal_name(signal)),
        }
    }
}

/// What a workload does on SIGTERM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnTerm {
    /// A handler that exits with 0.
    #[default]
    Exit,
    /// No handler: SIGTERM ends an ordinary process, but is dropped for pid 1 of a pid namespace.
    Default,
    /// SIG_IGN.
    Ignore,
    /// Blocked: SIGTERM stays pending.
    Block,
    /// A handler that does nothing, like a shell that does not forward signals.
    Swallow,
}

/// A request from the loader to a workload's agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The process's ids and namespaces.
    Status,
    Hostname,
    /// The addresses of its network namespace's interfaces.
    Addresses,
    /// Takes the interface of this name down, or removes its address if it is an alias.
    TakeDown {
        interface: String,
    },
    /// Listens on TCP; with port 0 on a free port. Answers the port. Each connection gets its data
    /// echoed once.
    Listen {
        address: Ipv4Addr,
        port: u16,
    },
    /// Connects to another agent of the pod, sends `nonce` and answers the data that is echoed.
    Connect {
        address: Ipv4Addr,
        port: u16,
        nonce: String,
    },
    ShmPut {
        key: i32,
        bytes: Vec<u8>,
    },
    ShmGet {
        key: i32,
    },
    ShmRemove {
        key: i32,
    },
    /// `name` begins with a slash.
    MqPut {
        name: String,
        bytes: Vec<u8>,
    },
    /// Does not block: EAGAIN if the queue is empty.
    MqGet {
        name: String,
    },
    MqRemove {
        name: String,
    },
    /// Creates `count` orphans, which exit after their parent has died. Answers when all have
    /// exited, before they are reaped.
    Orphans {
        count: u32,
    },
    /// Creates an orphan that lives until `Release`. Answers its pid in the agent's pid namespace.
    Orphan,
    /// Lets all orphans and children exit.
    Release,
    /// Creates a child that exits with 0 at once. Answers its pid when it has exited. It is not
    /// reaped if the agent was started with `--reap=no`.
    Zombie,
    /// Reaps all exited children and answers their number.
    Reap,
    /// Creates a child that lives until it receives SIGTERM, which it notes, or `Release`. Answers
    /// its pid.
    Child {
        ignores_term: bool,
    },
    /// Creates a child that nothing but a signal ends. Answers its pid.
    Stray,
    /// Creates a child that allocates memory until it is killed. Answers its pid when that has
    /// happened.
    Hungry,
    /// The children created by `Child`, and which of them received SIGTERM.
    Children,
    Setns {
        path: PathBuf,
    },
    /// Creates a child that enters a namespace through the 32-bit entry of the kernel and exits.
    /// Answers its pid.
    JoinUnseen {
        path: PathBuf,
    },
    /// Creates a child, a thread of which enters a namespace and then executes. Answers its pid.
    JoinInThreadAndExecute {
        path: PathBuf,
    },
    /// Clones a child into new namespaces, where it exits. Answers its pid.
    Clone {
        kinds: Vec<String>,
    },
    /// Unmounts a path in its mount namespace.
    Unmount {
        path: PathBuf,
    },
    /// Namespace kinds, as in /proc/PID/ns.
    Unshare {
        kinds: Vec<String>,
    },
    /// The same in a thread other than the first, which ends afterwards.
    UnshareInThread {
        kinds: Vec<String>,
    },
    /// Enters namespaces of another process, given by its pid in the agent's pid namespace.
    JoinOf {
        pid: i32,
        kinds: Vec<String>,
    },
    /// Sends a signal to a process of its pid namespace.
    SendSignal {
        pid: i32,
        signal: i32,
    },
    /// Exits without an answer.
    Exit {
        code: i32,
    },
    /// Ends with a segmentation fault, without an answer.
    Crash,
}

/// An answer of an agent; `seq` 0 is the message that it is ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) seq: u64,
    pub(crate) result: Result<Answer, Failure>,
}

/// The result of a successful request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Ready,
    Done,
    Text(String),
    Bytes(Vec<u8>),
    Port(u16),
    Pid(i32),
    Count(u32),
    Addresses(Vec<IpAddr>),
    Children(Vec<ChildNote>),
    Process(ProcessStatus),
}

/// One child of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChildNote {
    pub(crate) pid: i32,
    pub(crate) got_term: bool,
}

/// What a process reads about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessStatus {
    pub(crate) pid: i32,
    pub(crate) ppid: i32,
    pub(crate) uid: u32,
    /// Inode numbers by kind, as in /proc/self/ns.
    pub(crate) namespaces: BTreeMap<String, u64>,
}

/// Sends one message.
pub(crate) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
    flags: MsgFlags,
) -> io::Result<()> {
    Ok(sys::send_packet(socket, &line(message)?, fds, flags)?)
}

/// Encodes a message.
pub(crate) fn line<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(b'\n');
    if bytes.len() > MAX_MESSAGE {
        return Err(Errno::EMSGSIZE.into());
    }
    Ok(bytes)
}

/// Receives one message and its file descriptors; `None` if the other side has closed the socket.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    flags: MsgFlags,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; MAX_MESSAGE];
    let (length, fds) = loop {
        match sys::receive_packet(socket, &mut buffer, flags) {
            Err(Errno::EINTR) => {}
            // The peer was killed before it read the last message.
            Err(Errno::ECONNRESET) => return Ok(None),
            other => break other?,
        }
    };
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&buffer[..length])?, fds)))
}
