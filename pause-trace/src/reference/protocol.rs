//! What the loader, the runtime and the workload say to each other, and how it travels.
//!
//! Every message is one line of JSON in one packet of a SOCK_SEQPACKET unix socket: the kernel keeps the boundaries, file
//! descriptors belong to the message they came with, and a closed peer reads as the end. A packet is bounded ([`LONGEST`]).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sys;

/// The longest message, in bytes. All of ours are a few hundred; a unix socket takes about 200 KiB at a time.
pub(crate) const LONGEST: usize = 64 * 1024;

/// The number under which a workload finds the socket it is asked through.
pub(crate) const AGENT_FD: i32 = 3;

/// What to do about one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Join {
    /// Stay in the one of the runtime, which is the host's.
    #[default]
    Host,
    /// Make a new one (unshare).
    New,
    /// Enter the one that this file names (setns).
    Path(PathBuf),
}

impl Join {
    /// The namespace `kind` (`net`, `pid`, `mnt` …) of a process.
    pub(crate) fn of(pid: i32, kind: &str) -> Self {
        Self::Path(PathBuf::from(format!("/proc/{pid}/ns/{kind}")))
    }
}

/// A user namespace's map, the same for uids and gids: `count` ids from 0 inside are those from `outside` on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdMap {
    pub(crate) outside: u32,
    pub(crate) count: u32,
}

/// When a process is put into its cgroup.
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

/// What a process becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Program {
    /// This executable, as `__workload`.
    #[default]
    Workload,
    /// The file whose descriptor comes with the request; the name is what the process will be called.
    File(String),
    /// A file of the host, by path.
    Path(PathBuf),
}

/// How to build one process: a sandbox's pause, a container's init or an exec session. A fault is a plan with one thing
/// changed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) user: Join,
    /// Needed when `user` is new.
    pub(crate) id_map: Option<IdMap>,
    pub(crate) ipc: Join,
    pub(crate) uts: Join,
    pub(crate) net: Join,
    pub(crate) pid: Join,
    pub(crate) mount: Join,
    /// The container's cgroup, one directory for each hierarchy in use.
    pub(crate) cgroup: Vec<PathBuf>,
    pub(crate) enter_cgroup: EnterCgroup,
    /// Set when `uts` is new.
    pub(crate) hostname: Option<String>,
    /// Given to the loopback interface, which is brought up, when `net` is new. `None` leaves the network unready.
    pub(crate) address: Option<Ipv4Addr>,
    /// User and group, inside the user namespace; with another user than 0 the capabilities go too.
    pub(crate) credentials: Option<(u32, u32)>,
    pub(crate) no_new_privs: bool,
    /// Tried; a machine may forbid lowering it, which is then among the notes and no failure.
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) program: Program,
    pub(crate) argv: Vec<String>,
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
    /// Whether an agent's socket comes with the request; it becomes [`AGENT_FD`].
    pub(crate) agent: bool,
    /// Whether stderr goes to /dev/null rather than to the loader's.
    pub(crate) quiet: bool,
    /// Join everything, then wait before exec until [`ToRuntime::Release`]: what `runc create` leaves behind when `runc
    /// start` never comes.
    pub(crate) hold: bool,
}

/// What the runtime removes when it ends, whatever the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Owned {
    /// A cgroup directory; processes in it are killed. Parents before children.
    Cgroup(PathBuf),
    /// A System V shared memory segment of the host's ipc namespace.
    SharedMemory(i32),
    /// A POSIX message queue of the host's ipc namespace.
    Queue(String),
}

/// Who sends a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Sender {
    #[default]
    Runtime,
    /// A process made for this one signal, so that the kernel sees another sender.
    Helper,
}

/// A request and the number its answer will carry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Call<T> {
    pub(crate) seq: u64,
    pub(crate) request: T,
}

/// What the loader asks of the runtime.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ToRuntime {
    /// Remove these at the end.
    Own(Vec<Owned>),
    /// Build a process. The answer comes when its exec has happened (or when it is held).
    Spawn(Box<Plan>),
    /// Send a signal to a process that this runtime started, or that sits in one of its cgroups.
    Kill {
        pid: i32,
        signal: i32,
        sender: Sender,
    },
    /// Let a held process go on to its exec.
    Release { pid: i32 },
    /// Do not reap this one: a runtime that hangs.
    LeaveUnreaped { pid: i32 },
    /// Reap it after all.
    ReapAgain { pid: i32 },
}

/// What the runtime sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum FromRuntime {
    Answer {
        seq: u64,
        result: Result<Done, Failure>,
    },
    /// Processes it has reaped, in that order: its own, and orphans that fell to it.
    Exited(Vec<Exit>),
}

/// The good answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// The new process, for a `Spawn`.
    pub(crate) pid: i32,
    /// What did not work and was not essential.
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

/// What a workload does about SIGTERM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnTerm {
    /// A handler that exits with 0.
    #[default]
    Exit,
    /// No handler: ends an ordinary process, is dropped for pid 1 of a pid namespace.
    Default,
    /// SIG_IGN.
    Ignore,
    /// Blocked: stays pending.
    Block,
    /// A handler that does nothing, like a shell that does not forward.
    Swallow,
}

/// What the loader asks of a workload's agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Who and where it is.
    Status,
    Hostname,
    /// The addresses of its network namespace's interfaces.
    Addresses,
    /// Listens on TCP; port 0 takes a free one. Answers the port. What connects gets back what it sends, once.
    Listen {
        address: Ipv4Addr,
        port: u16,
    },
    /// Connects to another agent of the pod, sends `nonce` and answers what came back.
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
    /// Does not wait: EAGAIN when the queue is empty.
    MqGet {
        name: String,
    },
    MqRemove {
        name: String,
    },
    /// Makes so many orphans: each lives until after its parent has died, then exits. Answers when all have exited (not:
    /// have been reaped).
    Orphans {
        count: u32,
    },
    /// Makes one orphan that lives until `Release`. Answers its pid, as seen here.
    Orphan,
    /// Lets the orphans and children made so far exit.
    Release,
    /// Makes a child that exits with 0 at once. Answers its pid when it has exited. Unreaped where the agent was started with
    /// `--reap=no`.
    Zombie,
    /// Reaps what has exited; answers how many.
    Reap,
    /// Makes a child that lives until it gets SIGTERM (and notes it) or `Release`. Answers its pid.
    Child {
        ignores_term: bool,
    },
    /// The children made by `Child`, and which of them got SIGTERM.
    Children,
    Setns {
        path: PathBuf,
    },
    /// Takes a mount away from its mount namespace.
    Unmount {
        path: PathBuf,
    },
    /// Namespace kinds, as in /proc/PID/ns.
    Unshare {
        kinds: Vec<String>,
    },
    /// Enters namespaces of another process, named by its pid as seen here.
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
    /// Dies of a real fault, without an answer.
    Crash,
}

/// What an agent answers; `seq` 0 is the line with which it says that it is ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) seq: u64,
    pub(crate) result: Result<Answer, Failure>,
}

/// The good answers.
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

/// What a process sees of itself.
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

/// A message as it travels.
pub(crate) fn line<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(b'\n');
    if bytes.len() > LONGEST {
        return Err(Errno::EMSGSIZE.into());
    }
    Ok(bytes)
}

/// Receives one message and what came with it; `None` when the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    flags: MsgFlags,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; LONGEST];
    let (length, fds) = loop {
        match sys::receive_packet(socket, &mut buffer, flags) {
            Err(Errno::EINTR) => {}
            // A peer that was killed with our last message unread.
            Err(Errno::ECONNRESET) => return Ok(None),
            other => break other?,
        }
    };
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&buffer[..length])?, fds)))
}
