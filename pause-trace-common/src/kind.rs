//! The kinds of records.

/// The kind of a record, which is also the index of its loss counter.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A process forked a child ([`Fork`](crate::Fork)).
    Fork = 0,
    /// A process executed a program ([`Exec`](crate::Exec)).
    Exec = 1,
    /// The last thread of a process exited ([`Exit`](crate::Exit)).
    Exit = 2,
    /// A process was reaped and its task was freed ([`Free`](crate::Free)).
    Free = 3,
    /// A thread called setns or unshare ([`NamespaceChange`](crate::NamespaceChange)).
    Namespace = 4,
    /// A signal was generated ([`SignalGenerate`](crate::SignalGenerate)).
    SignalGenerate = 5,
    /// A process took a signal ([`SignalDeliver`](crate::SignalDeliver)).
    SignalDeliver = 6,
    /// A cgroup was created ([`CgroupMkdir`](crate::CgroupMkdir)).
    CgroupMkdir = 7,
    /// A cgroup was removed ([`CgroupRmdir`](crate::CgroupRmdir)).
    CgroupRmdir = 8,
    /// A process was moved to a cgroup ([`CgroupAttach`](crate::CgroupAttach)).
    CgroupAttach = 9,
    /// The OOM killer chose a process ([`OomVictim`](crate::OomVictim)).
    OomVictim = 10,
    /// No record, only a count: a process or cgroup that should be watched was missed, because its
    /// table was full or the kernel skipped a run of the program.
    Watch = 11,
    /// A process existed before the hooks were attached ([`Found`](crate::Found)).
    Found = 12,
    /// A TCP socket began or ceased to listen ([`Listen`](crate::Listen)).
    Listen = 13,
    /// A process of a runtime executed a program outside every container, and was called with these
    /// arguments or this environment ([`Call`](crate::Call)).
    Call = 14,
}

impl Kind {
    /// Every kind, ordered by its number.
    pub const ALL: [Self; 15] = [
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
        Self::Listen,
        Self::Call,
    ];

    /// Its name in findings, reports and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Exec => "exec",
            Self::Exit => "exit",
            Self::Free => "free",
            Self::Namespace => "namespace",
            Self::SignalGenerate => "signal_generate",
            Self::SignalDeliver => "signal_deliver",
            Self::CgroupMkdir => "cgroup_mkdir",
            Self::CgroupRmdir => "cgroup_rmdir",
            Self::CgroupAttach => "cgroup_attach",
            Self::OomVictim => "oom_victim",
            Self::Watch => "watch",
            Self::Found => "found",
            Self::Listen => "listen",
            Self::Call => "call",
        }
    }

    /// Whether records of this kind are in the signal ring.
    pub const fn is_signal(self) -> bool {
        matches!(self, Self::SignalGenerate | Self::SignalDeliver)
    }

    /// The kind with this number.
    pub fn from_u32(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}
