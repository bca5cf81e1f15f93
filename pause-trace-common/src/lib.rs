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
    /// A cgroup was made ([`Cgroup`]).
    CgroupMkdir = 7,
    /// A cgroup was removed ([`Cgroup`]).
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

    /// The kind with this number.
    pub fn from_u32(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
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

/// A process, so named that a reused pid is another process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// When the process (its thread group leader) started, in ns of `CLOCK_BOOTTIME`.
    pub start_ns: u64,
    /// The process id (the kernel's tgid).
    pub tgid: u32,
    /// The thread id (the kernel's pid).
    pub tid: u32,
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

/// `sched_process_fork`: the child as it was made.
#[repr(C)]
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "the fields are those of `Exec`")]
pub struct Fork {
    pub header: Header,
    pub parent: Task,
    pub child: Task,
    pub cgroup: u64,
    pub namespaces: Namespaces,
    /// The child's pid in its own pid namespace.
    pub ns_pid: u32,
    pub padding: u32,
    pub comm: [u8; COMM_LEN],
}

/// `sched_process_exec`: the moment to judge a process' membership.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Exec {
    /// Common head.
    pub header: Header,
    /// The process.
    pub task: Task,
    /// Its parent (`real_parent`).
    pub parent: Task,
    /// Its cgroup's id in the hierarchy that is watched.
    pub cgroup: u64,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Its pid in its own pid namespace.
    pub ns_pid: u32,
    /// Bytes of `file` that count.
    pub file_len: u32,
    /// Its name after the exec.
    pub comm: [u8; COMM_LEN],
    /// The executed file as it was named, not NUL-terminated.
    pub file: [u8; FILE_LEN],
}

/// `sched_process_exit` of the last thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Exit {
    /// Common head.
    pub header: Header,
    /// The process.
    pub task: Task,
    /// Who has to reap it.
    pub parent: Task,
    /// Its cgroup's id.
    pub cgroup: u64,
    /// Its namespaces, before the kernel drops them.
    pub namespaces: Namespaces,
    /// Its pid in its own pid namespace.
    pub ns_pid: u32,
    /// The status that wait(2) will report.
    pub status: u32,
    /// Its name.
    pub comm: [u8; COMM_LEN],
}

/// `sched_process_free`: the process was reaped; an RCU grace period has passed since.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Free {
    /// Common head.
    pub header: Header,
    /// The process.
    pub task: Task,
}

/// A process that an iteration over all tasks came across.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Found {
    /// Common head.
    pub header: Header,
    /// The process.
    pub task: Task,
    /// Its parent (`real_parent`).
    pub parent: Task,
    /// Its cgroup's id.
    pub cgroup: u64,
    /// Its namespaces; of a zombie, what is left of them.
    pub namespaces: Namespaces,
    /// Its pid in its own pid namespace.
    pub ns_pid: u32,
    /// 1 for a zombie.
    pub ended: u32,
    /// Of a zombie, the status that wait(2) will report.
    pub status: u32,
    /// Padding.
    pub padding: u32,
    /// Its name.
    pub comm: [u8; COMM_LEN],
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
    /// Common head.
    pub header: Header,
    /// The thread that called.
    pub task: Task,
    /// Its cgroup's id.
    pub cgroup: u64,
    /// `CLONE_NEW*` flags as asked (setns: `nstype`, which may be 0).
    pub flags: u64,
    /// Its namespaces after the call.
    pub namespaces: Namespaces,
    /// A [`NamespaceCall`].
    pub call: u32,
    /// The file descriptor of a setns.
    pub fd: i32,
    /// 0, or a negative errno.
    pub result: i32,
    /// Its pid in its own pid namespace.
    pub ns_pid: u32,
    /// Its name.
    pub comm: [u8; COMM_LEN],
}

/// `signal_generate`: who sent what to whom, and what became of it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SignalGenerate {
    /// Common head.
    pub header: Header,
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
    /// 1 when it is for the process, 0 when for one thread.
    pub group: u32,
    /// The sender's pid namespace.
    pub sender_pid_ns: u32,
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
    /// Common head.
    pub header: Header,
    /// The thread that took it.
    pub task: Task,
    /// Its cgroup's id.
    pub cgroup: u64,
    /// Signal number.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// A [`Disposition`].
    pub disposition: u32,
    /// Padding.
    pub padding: u32,
}

/// `cgroup_mkdir` and `cgroup_rmdir`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Cgroup {
    /// Common head.
    pub header: Header,
    /// The cgroup's id (its kernfs node's).
    pub id: u64,
    /// Bytes of `path` that count.
    pub path_len: u32,
    /// Padding.
    pub padding: u32,
    /// The path below the hierarchy's root, not NUL-terminated.
    pub path: [u8; CGROUP_PATH_LEN],
}

/// `cgroup_attach_task`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CgroupAttach {
    /// Common head.
    pub header: Header,
    /// The process that was moved.
    pub task: Task,
    /// The cgroup it is in now.
    pub id: u64,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Its pid in its own pid namespace.
    pub ns_pid: u32,
    /// Padding.
    pub padding: u32,
    /// Its name.
    pub comm: [u8; COMM_LEN],
}

/// `oom:mark_victim`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OomVictim {
    /// Common head.
    pub header: Header,
    /// The process id.
    pub tgid: u32,
    /// Padding.
    pub padding: u32,
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

// A change of layout shows here before it shows as garbage in the loader.
const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(size_of::<Task>() == 16);
    assert!(size_of::<Namespaces>() == 40);
    assert!(size_of::<Fork>() == 16 + 32 + 8 + 40 + 8 + 16);
    assert!(size_of::<Exec>() == 16 + 32 + 8 + 40 + 8 + 16 + FILE_LEN);
    assert!(size_of::<Exit>() == 16 + 32 + 8 + 40 + 8 + 16);
    assert!(size_of::<Found>() == 16 + 32 + 8 + 40 + 16 + 16);
    assert!(size_of::<Free>() == 32);
    assert!(size_of::<NamespaceChange>() == 16 + 16 + 16 + 40 + 16 + 16);
    assert!(size_of::<SignalGenerate>() == 16 + 32 + 8 + 24 + 32);
    assert!(size_of::<SignalDeliver>() == 16 + 16 + 8 + 16);
    assert!(size_of::<Cgroup>() == 16 + 16 + CGROUP_PATH_LEN);
    assert!(size_of::<CgroupAttach>() == 16 + 16 + 8 + 40 + 8 + 16);
    assert!(size_of::<OomVictim>() == 24);
    assert!(size_of::<Watched>() == 16);
    assert!(size_of::<FloodKey>() == 16);
    assert!(size_of::<Flood>() == 40);
};
