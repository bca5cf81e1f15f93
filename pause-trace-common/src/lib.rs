//! The records that the eBPF program writes and the loader reads.
//!
//! Every type is `repr(C)` with explicit padding, because the two sides are compiled for different
//! targets, and the loader reads records from raw bytes. Times are nanoseconds of `CLOCK_BOOTTIME`;
//! process ids are those of the initial pid namespace; namespaces are the inode numbers that
//! `/proc/PID/ns/*` shows.
#![no_std]

mod kind;
mod offsets;
mod tables;

pub use kind::Kind;
pub use offsets::{Config, Offsets, POISON};
pub use tables::{
    Account, COUNTERS, Flood, FloodKey, Group, LIFECYCLE_LEN, MAX_NESTED, SIGNALS_LEN, SUPPRESSED,
    SUPPRESSED_SIGNALS, Watched,
};

/// Length of a task's name in the kernel, NUL included (`TASK_COMM_LEN`, include/linux/sched.h).
pub const COMM_LEN: usize = 16;
/// Maximum length of an executed file's name in a record, in bytes.
pub const FILE_LEN: usize = 256;
/// Maximum length of a cgroup path in a record, in bytes: nested kubepods paths in systemd notation
/// stay below 400.
pub const CGROUP_PATH_LEN: usize = 512;
/// Maximum length of what a program was called with, its arguments or its environment, in bytes. A
/// plugin's environment is that of its daemon, which may have a long list of hosts without a proxy,
/// and the variables of CNI, in any order.
pub const CALL_LEN: usize = 16_384;
/// The same for what fits, which is most: a record takes as much of the ring as it may contain.
pub const MIDDLE_CALL_LEN: usize = 4096;
/// See [`MIDDLE_CALL_LEN`].
pub const SHORT_CALL_LEN: usize = 1024;

/// A record without its [`Header`].
///
/// # Safety
///
/// The type must be `repr(C)` and consist of integers and arrays of integers, without implicit
/// padding and with an alignment of at most 8 bytes: both sides treat it as plain bytes, and any
/// bytes of its size must be a valid value.
pub unsafe trait Record: Copy + 'static {
    /// The kind in its header.
    const KIND: Kind;
    /// Maximum length in bytes of the text that follows the record.
    const TEXT: usize = 0;
}

/// The first bytes of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The time of the event, in ns of `CLOCK_BOOTTIME`.
    pub ktime_ns: u64,
    /// A [`Kind`].
    pub kind: u32,
    /// The CPU that reported the event.
    pub cpu: u32,
}

/// The layout of a record in a ring.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Framed<R> {
    /// The header of the record.
    pub header: Header,
    /// The fields of this kind of record.
    pub record: R,
}

/// The layout in a ring of a record that is followed by text.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FramedText<R, const N: usize> {
    /// The header of the record.
    pub header: Header,
    /// The fields of this kind of record.
    pub record: R,
    /// The text.
    pub text: Text<N>,
}

/// Text of at most `N` bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    /// How many of `bytes` are valid.
    pub len: u32,
    /// Padding.
    pub padding: u32,
    /// The text, not NUL-terminated.
    pub bytes: [u8; N],
}

/// A process, identified by its pid and start time so that a reused pid is another process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Start time of the process (its thread group leader), in ns of `CLOCK_BOOTTIME`.
    pub start_ns: u64,
    /// The process id (the kernel's tgid).
    pub tgid: u32,
    /// Padding.
    pub padding: u32,
}

/// The namespaces of a task by inode number; 0 means that the task has no such namespace (any
/// more).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Mount namespace.
    pub mnt: u32,
    /// UTS namespace.
    pub uts: u32,
    /// IPC namespace.
    pub ipc: u32,
    /// Network namespace.
    pub net: u32,
    /// The task's own pid namespace.
    pub pid: u32,
    /// The pid namespace of the children that it will fork.
    pub pid_children: u32,
    /// User namespace of its credentials.
    pub user: u32,
    /// Cgroup namespace.
    pub cgroup: u32,
    /// The user namespace that owns the network namespace.
    pub net_owner: u32,
    /// Depth of the pid namespace: 0 is the initial one.
    pub pid_level: u32,
}

/// The description of a task.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskInfo {
    /// Its process.
    pub task: Task,
    /// Its parent (`real_parent`), which has to reap it; zero in records that do not report it.
    pub parent: Task,
    /// The id of its cgroup in the watched hierarchy, or of the nearest watched cgroup above it.
    pub cgroup: u64,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Its pid in its own pid namespace.
    pub ns_pid: u32,
    /// Padding.
    pub padding: u32,
    /// Its name.
    pub comm: [u8; COMM_LEN],
}

/// `sched_process_fork`: the new child. `parent` is the process that forked it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Fork {
    /// The child.
    pub task: TaskInfo,
    /// The `CLONE_NEW*` flags of the namespaces that the clone may have created: 0 if parent and
    /// child share all.
    pub made: u64,
}

/// `sched_process_exec`: the moment at which a process's membership is judged. The path that was
/// passed to the exec follows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Exec {
    /// The process, with its name after the exec.
    pub task: TaskInfo,
}

/// What a [`Call`] contains.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPart {
    /// The beginning of the arguments.
    Arguments = 0,
    /// The end of the environment.
    Environment = 1,
}

/// `sched_process_exec` of a process of a runtime outside every container: what the program was
/// called with. The strings follow, each with its NUL. Written before the [`Exec`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    /// The process.
    pub task: Task,
    /// A [`CallPart`].
    pub part: u32,
    /// The length of the whole part in bytes, of which the record may contain less.
    pub whole: u32,
    /// The name after the exec.
    pub comm: [u8; COMM_LEN],
}

/// `sched_process_exit` of the last thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Exit {
    /// The process. Its namespaces are those of its first thread, before the kernel drops them;
    /// they are 0 if they are unknown because the first thread has exited before.
    pub task: TaskInfo,
    /// The status that wait(2) will return.
    pub status: u32,
    /// Padding.
    pub padding: u32,
    /// If SIGKILL ended it, the signals that it had handlers for: bit 0 is signal 1.
    pub caught: u64,
    /// Those of `caught` whose handlers it installed itself, and did not get from the process that
    /// forked it.
    pub own: u64,
}

/// `sched_process_free`: the process was reaped, and an RCU grace period has passed since then.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Free {
    /// The process.
    pub task: Task,
}

/// `iter/task`: a process that existed before the hooks were attached.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Found {
    /// The process; a zombie has only those namespaces that the kernel has not dropped yet.
    pub task: TaskInfo,
    /// 1 for a zombie.
    pub ended: u32,
    /// For a zombie, the status that wait(2) will return.
    pub status: u32,
}

/// The system call behind a [`NamespaceChange`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceCall {
    /// setns(2).
    Setns = 0,
    /// unshare(2).
    Unshare = 1,
}

/// setns or unshare: the arguments, the result, and the namespaces after the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NamespaceChange {
    /// The calling thread after the call, without its parent.
    pub task: TaskInfo,
    /// The requested `CLONE_NEW*` flags (for setns `nstype`, which can be 0).
    pub flags: u64,
    /// The thread's id (the kernel's pid). If the first thread has exited, the pid of the process:
    /// any thread then speaks for it.
    pub tid: u32,
    /// A [`NamespaceCall`].
    pub call: u32,
    /// 0, or a negative errno.
    pub result: i32,
    /// Padding.
    pub padding: u32,
}

/// `signal_generate`: the signal, its sender, its target and the result.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SignalGenerate {
    /// The task that was running, which is the sender if `code` shows that a process sent the
    /// signal.
    pub sender: Task,
    /// The process that the signal is for.
    pub target: Task,
    /// The id of the target's cgroup, or of its account ([`Group`]).
    pub cgroup: u64,
    /// Signal number.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// `TRACE_SIGNAL_*` (include/trace/events/signal.h): 0 delivered, 1 ignored, 2 already pending,
    /// 3 overflow, 4 information lost.
    pub result: i32,
    /// 1 if further signals in this window on this CPU are only counted ([`Flood`]).
    pub flooding: u32,
    /// The sender's name.
    pub sender_comm: [u8; COMM_LEN],
    /// The target's name.
    pub target_comm: [u8; COMM_LEN],
}

/// What a task does with a delivered signal.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// `SIG_DFL`: the default action. Not reliable for fatal signals, because the kernel turns them
    /// into SIGKILL first.
    Default = 0,
    /// `SIG_IGN`.
    Ignore = 1,
    /// A handler.
    Handler = 2,
}

/// `signal_deliver`: the target took a signal. The disposition is reliable only for caught signals.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SignalDeliver {
    /// The process that took the signal.
    pub task: Task,
    /// Signal number.
    pub signal: i32,
    /// A [`Disposition`].
    pub disposition: u32,
}

/// `cgroup_mkdir`. The path below the hierarchy's root follows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CgroupMkdir {
    /// The cgroup's id (its kernfs node's).
    pub id: u64,
}

/// `cgroup_rmdir`. The path below the hierarchy's root follows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CgroupRmdir {
    /// The cgroup's id (its kernfs node's).
    pub id: u64,
}

/// `cgroup_attach_task`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CgroupAttach {
    /// The process that was moved, with its new cgroup, without its parent.
    pub task: TaskInfo,
}

/// `oom:mark_victim`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OomVictim {
    /// The process id.
    pub tgid: u32,
    /// Padding.
    pub padding: u32,
}

/// `inet_sock_set_state` to or from `TCP_LISTEN`. The kernel announces that a socket listens before
/// it knows whether the port is free; if it is not, the end follows at once.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Listen {
    /// The process that was running. If the socket begins to listen, the one that called listen.
    pub task: Task,
    /// The id of its cgroup.
    pub cgroup: u64,
    /// Its name.
    pub comm: [u8; COMM_LEN],
    /// The address that the socket is bound to, in network byte order; of IPv4 the first 4 bytes.
    pub address: [u8; 16],
    /// The network namespace of the socket.
    pub net: u32,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// The port; 0 if the kernel has not chosen one yet.
    pub port: u16,
    /// 1 if the socket ceases to listen.
    pub ended: u32,
    /// Padding.
    pub padding: u32,
}

/// `AF_INET` and `AF_INET6` (include/linux/socket.h).
pub const AF_INET: u16 = 2;
/// See [`AF_INET`].
pub const AF_INET6: u16 = 10;

macro_rules! records {
    ($($record:ident => $kind:ident, $size:expr $(, text $text:expr)?;)*) => {
        $(
            // SAFETY: the type is declared above as the trait requires, and has the size of its
            // fields.
            unsafe impl Record for $record {
                const KIND: Kind = Kind::$kind;
                $(const TEXT: usize = $text;)?
            }
            // A change of layout fails here instead of producing garbage in the loader.
            const _: () = assert!(size_of::<$record>() == $size && align_of::<$record>() <= 8);
        )*
    };
}

/// Bytes of a [`TaskInfo`].
const TASK_INFO: usize = 16 + 16 + 8 + 40 + 8 + 16;

// Each record with its kind and its size in bytes.
records! {
    Fork => Fork, TASK_INFO + 8;
    Exec => Exec, TASK_INFO, text FILE_LEN;
    Call => Call, 16 + 8 + 16, text CALL_LEN;
    Exit => Exit, TASK_INFO + 8 + 16;
    Free => Free, 16;
    Found => Found, TASK_INFO + 8;
    NamespaceChange => Namespace, TASK_INFO + 8 + 16;
    SignalGenerate => SignalGenerate, 32 + 8 + 16 + 32;
    SignalDeliver => SignalDeliver, 16 + 8;
    CgroupMkdir => CgroupMkdir, 8, text CGROUP_PATH_LEN;
    CgroupRmdir => CgroupRmdir, 8, text CGROUP_PATH_LEN;
    CgroupAttach => CgroupAttach, TASK_INFO;
    OomVictim => OomVictim, 8;
    Listen => Listen, 16 + 8 + 16 + 16 + 16;
}

const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(size_of::<Task>() == 16);
    assert!(size_of::<Namespaces>() == 40);
    assert!(size_of::<TaskInfo>() == TASK_INFO);
    assert!(size_of::<FramedText<Exec, FILE_LEN>>() == 16 + TASK_INFO + 8 + FILE_LEN);
};
