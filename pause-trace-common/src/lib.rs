//! The records that the eBPF program writes and the loader reads.
//!
//! Everything here is `repr(C)` with explicit padding: the two sides are compiled by different compilers for different
//! targets, and a record is read back from raw bytes. Times are nanoseconds of `CLOCK_BOOTTIME`; process ids are those of
//! the initial pid namespace; namespaces are the inode numbers that `/proc/PID/ns/*` shows.
#![no_std]

mod offsets;

pub use offsets::{Config, Offsets, POISON};

/// Length of a task's name in the kernel, NUL included (`TASK_COMM_LEN`, include/linux/sched.h).
pub const COMM_LEN: usize = 16;
/// Most bytes of an executed file's name that a record keeps.
pub const FILE_LEN: usize = 256;
/// Most bytes of a cgroup path that a record keeps: nested kubepods in systemd notation stay below 400.
pub const CGROUP_PATH_LEN: usize = 512;

/// What a record reports; also the index of its loss counter.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A process was forked ([`Fork`]).
    Fork = 0,
    /// A process executed a program ([`Exec`]).
    Exec = 1,
    /// A process ended: its last thread did ([`Exit`]).
    Exit = 2,
    /// A process was reaped and its task freed ([`Free`]).
    Free = 3,
    /// A thread called setns or unshare ([`NamespaceChange`]).
    Namespace = 4,
    /// A signal was generated ([`SignalGenerate`]).
    SignalGenerate = 5,
    /// A signal was taken by its target ([`SignalDeliver`]).
    SignalDeliver = 6,
    /// A cgroup was made ([`CgroupMkdir`]).
    CgroupMkdir = 7,
    /// A cgroup was removed ([`CgroupRmdir`]).
    CgroupRmdir = 8,
    /// A process was moved to a cgroup ([`CgroupAttach`]).
    CgroupAttach = 9,
    /// The OOM killer chose a process ([`OomVictim`]).
    OomVictim = 10,
    /// No record: a process that should be watched found no room in the table of watched ones.
    Watch = 11,
    /// A process that was there before the hooks were ([`Found`]).
    Found = 12,
}

impl Kind {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 13] = [
        Self::Fork,
        Self::Exec,
        Self::Exit,
        Self::Free,
        Self::Namespace,
        Self::SignalGenerate,
        Self::SignalDeliver,
        Self::CgroupMkdir,
        Self::CgroupRmdir,
        Self::CgroupAttach,
        Self::OomVictim,
        Self::Watch,
        Self::Found,
    ];

    /// Whether its records are in the ring of signals.
    pub const fn is_signal(self) -> bool {
        matches!(self, Self::SignalGenerate | Self::SignalDeliver)
    }

    /// The kind with this number.
    pub fn from_u32(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}

/// A record, apart from its [`Header`].
///
/// # Safety
///
/// The type is `repr(C)` and consists of integers and arrays of them, without implicit padding and aligned to at most 8
/// bytes: both sides treat it as plain bytes, and any bytes of its size are a value of it.
pub unsafe trait Record: Copy + 'static {
    /// The kind that its header names.
    const KIND: Kind;
    /// Most bytes of text that follow it.
    const TEXT: usize = 0;
}

/// The first bytes of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// When it happened, in ns of `CLOCK_BOOTTIME`.
    pub ktime_ns: u64,
    /// A [`Kind`].
    pub kind: u32,
    /// The CPU it happened on.
    pub cpu: u32,
}

/// A record as it lies in a ring.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Framed<R> {
    /// What all records begin with.
    pub header: Header,
    /// What this one says.
    pub record: R,
}

/// A record that text follows, as it lies in a ring.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FramedText<R, const N: usize> {
    /// What all records begin with.
    pub header: Header,
    /// What this one says.
    pub record: R,
    /// The text.
    pub text: Text<N>,
}

/// Text of at most `N` bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    /// Bytes that count.
    pub len: u32,
    /// Padding.
    pub padding: u32,
    /// The text, not NUL-terminated.
    pub bytes: [u8; N],
}

/// A process, so named that a reused pid is another process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// When the process (its thread group leader) started, in ns of `CLOCK_BOOTTIME`.
    pub start_ns: u64,
    /// The process id (the kernel's tgid).
    pub tgid: u32,
    /// Padding.
    pub padding: u32,
}

/// The namespaces of a task, by inode number; 0 where it has none (any more).
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
    /// The pid namespace the task lives in.
    pub pid: u32,
    /// The pid namespace its next children will live in.
    pub pid_children: u32,
    /// User namespace of its credentials.
    pub user: u32,
    /// Cgroup namespace.
    pub cgroup: u32,
    /// The user namespace that owns the network namespace.
    pub net_owner: u32,
    /// How deep the pid namespace is: 0 is the initial one.
    pub pid_level: u32,
}

/// What there is to know about a task.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskInfo {
    /// Its process.
    pub task: Task,
    /// Its parent (`real_parent`): who has to reap it. Zero in records that do not read it.
    pub parent: Task,
    /// The id of its cgroup in the hierarchy that is watched.
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

/// `sched_process_fork`: the child as it was made. `parent` is who forked it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Fork {
    /// The child.
    pub task: TaskInfo,
}

/// `sched_process_exec`: the moment to judge a process' membership. The executed file as it was named follows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Exec {
    /// The process, with its name after the exec.
    pub task: TaskInfo,
}

/// `sched_process_exit` of the last thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Exit {
    /// The process, before the kernel drops its namespaces.
    pub task: TaskInfo,
    /// The status that wait(2) will report.
    pub status: u32,
    /// Padding.
    pub padding: u32,
}

/// `sched_process_free`: the process was reaped; an RCU grace period has passed since.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Free {
    /// The process.
    pub task: Task,
}

/// A process that an iteration over all tasks came across.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Found {
    /// The process; of a zombie, what is left of its namespaces.
    pub task: TaskInfo,
    /// 1 for a zombie.
    pub ended: u32,
    /// Of a zombie, the status that wait(2) will report.
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

/// setns or unshare: what was asked, what the kernel answered, and the namespaces after.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NamespaceChange {
    /// The thread that called, after the call; without its parent.
    pub task: TaskInfo,
    /// `CLONE_NEW*` flags as asked (setns: `nstype`, which may be 0).
    pub flags: u64,
    /// The thread's id (the kernel's pid).
    pub tid: u32,
    /// A [`NamespaceCall`].
    pub call: u32,
    /// 0, or a negative errno.
    pub result: i32,
    /// Padding.
    pub padding: u32,
}

/// `signal_generate`: who sent what to whom, and what became of it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SignalGenerate {
    /// The task that was running: the sender, where `code` says that a process sent it.
    pub sender: Task,
    /// Who it is for.
    pub target: Task,
    /// The target's cgroup id.
    pub cgroup: u64,
    /// Signal number.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// `TRACE_SIGNAL_*` (include/trace/events/signal.h): 0 delivered, 1 ignored, 2 already pending, 3 overflow, 4 lost.
    pub result: i32,
    /// 1 when what follows in this window on this CPU is only counted ([`Flood`]).
    pub flooding: u32,
    /// The sender's name.
    pub sender_comm: [u8; COMM_LEN],
    /// The target's name.
    pub target_comm: [u8; COMM_LEN],
}

/// What a task does with a signal that it takes.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// `SIG_DFL`: the default action. Not to be relied on for fatal signals, which the kernel turns into SIGKILL first.
    Default = 0,
    /// `SIG_IGN`.
    Ignore = 1,
    /// A handler.
    Handler = 2,
}

/// `signal_deliver`: the target took a signal. The truth only for caught signals.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SignalDeliver {
    /// The process that took it.
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
    /// The process that was moved, with the cgroup that it is in now; without its parent.
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

macro_rules! records {
    ($($record:ident => $kind:ident, $size:expr $(, text $text:expr)?;)*) => {
        $(
            // SAFETY: it is declared above as the trait asks, and has the size of its fields.
            unsafe impl Record for $record {
                const KIND: Kind = Kind::$kind;
                $(const TEXT: usize = $text;)?
            }
            // A change of layout shows here before it shows as garbage in the loader.
            const _: () = assert!(size_of::<$record>() == $size && align_of::<$record>() <= 8);
        )*
    };
}

/// Bytes of a [`TaskInfo`].
const TASK_INFO: usize = 16 + 16 + 8 + 40 + 8 + 16;

// Each record with its kind and its size in bytes.
records! {
    Fork => Fork, TASK_INFO;
    Exec => Exec, TASK_INFO, text FILE_LEN;
    Exit => Exit, TASK_INFO + 8;
    Free => Free, 16;
    Found => Found, TASK_INFO + 8;
    NamespaceChange => Namespace, TASK_INFO + 8 + 16;
    SignalGenerate => SignalGenerate, 32 + 8 + 16 + 32;
    SignalDeliver => SignalDeliver, 16 + 8;
    CgroupMkdir => CgroupMkdir, 8, text CGROUP_PATH_LEN;
    CgroupRmdir => CgroupRmdir, 8, text CGROUP_PATH_LEN;
    CgroupAttach => CgroupAttach, TASK_INFO;
    OomVictim => OomVictim, 8;
}

/// A watched process, in the table that has them by pid.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// When it started: a pid is free for another process before the old one's task is freed.
    pub start_ns: u64,
    /// Its last exec that was reported (`task_struct.self_exec_id`); 0 for none.
    pub exec: u32,
    /// Whether its end was reported.
    pub exited: u32,
}

/// Key of the table that bounds how many signals are reported: one cgroup's flood must not hide another's stop.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FloodKey {
    /// The target's cgroup id.
    pub cgroup: u64,
    /// Signal number.
    pub signal: u32,
    /// Padding.
    pub padding: u32,
}

/// What became of one cgroup's signals of one number on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flood {
    /// When the present window began.
    pub window_ns: u64,
    /// Signals in this window.
    pub count: u64,
    /// Signals that were counted and not reported, ever.
    pub suppressed: u64,
    /// When the first of those came.
    pub first_ns: u64,
    /// When the last of those came.
    pub last_ns: u64,
}

const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(size_of::<Task>() == 16);
    assert!(size_of::<Namespaces>() == 40);
    assert!(size_of::<TaskInfo>() == TASK_INFO);
    assert!(size_of::<FramedText<Exec, FILE_LEN>>() == 16 + TASK_INFO + 8 + FILE_LEN);
    assert!(size_of::<Watched>() == 16);
    assert!(size_of::<FloodKey>() == 16);
    assert!(size_of::<Flood>() == 40);
};
