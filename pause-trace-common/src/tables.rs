//! The tables and counters of the eBPF program, and the sizes of its rings.

use crate::Kind;

/// An entry of the table of watched processes, whose key is the pid.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Start time: a pid can be reused before the task of the old process is freed.
    pub start_ns: u64,
    /// The last exec that was reported (`task_struct.self_exec_id`); 0 for none.
    pub exec: u32,
    /// Whether its exit was reported.
    pub exited: u16,
    /// Whether it is a runtime outside every container, or was forked by one.
    pub of_runtime: u16,
}

/// An entry of the table of watched cgroups, whose key is the id.
///
/// A container may make cgroups below its own. They are counted as the container's, so that it
/// cannot get a further share of the rings, or of the table, with each of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The cgroup whose share of the rings its processes use: its own, or that of the container
    /// that made it.
    pub account: u64,
    /// The account of the container that made it, as it was then; 0 if none did.
    pub owner: u64,
}

/// Most cgroups that a container makes and that are watched at the same time. The processes in
/// further ones count as processes of the nearest watched cgroup above.
pub const MAX_NESTED: u32 = 1_024;

/// Key of the table that limits how many signals are reported: a flood in one cgroup must not hide
/// a stop signal in another.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FloodKey {
    /// The id of the target's cgroup, or of its account ([`Group`]).
    pub cgroup: u64,
    /// Signal number.
    pub signal: u32,
    /// Padding.
    pub padding: u32,
}

/// Size of the ring of lifecycle records, in bytes.
pub const LIFECYCLE_LEN: u32 = 4 << 20;
/// Size of the ring of signals, in bytes.
pub const SIGNALS_LEN: u32 = 1 << 20;

/// Key of the table that limits how many lifecycle records of one kind a pod's cgroup writes while
/// the ring fills up, so that a pod that forks without pause does not hide other pods' records.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// The id of the cgroup that is the account ([`Group`]).
    pub cgroup: u64,
    /// A [`Kind`].
    pub kind: u32,
    /// Padding.
    pub padding: u32,
}

/// The number of the counter, behind those of the losses of each [`Kind`], of all records that an
/// [`Account`] was not admitted to write.
pub const SUPPRESSED: u32 = Kind::ALL.len() as u32;

/// The number of the next counter, of the signals that were only counted because the ring was
/// filling up.
pub const SUPPRESSED_SIGNALS: u32 = SUPPRESSED + 1;

/// The counters of one processor. They fill whole cache lines, so that no two processors write to
/// the same one.
pub const COUNTERS: u32 = (SUPPRESSED_SIGNALS + 1).next_multiple_of(8);

/// Counts on one CPU of the signals of one number to one cgroup, or of the records of an
/// [`Account`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flood {
    /// Start of the current window.
    pub window_ns: u64,
    /// Signals or records in the current window.
    pub count: u64,
    /// All that were counted but not reported.
    pub suppressed: u64,
    /// Time of the first of those.
    pub first_ns: u64,
    /// Time of the last of those.
    pub last_ns: u64,
    /// All that were counted since the entry was made.
    pub total: u64,
}

const _: () = {
    assert!(size_of::<Watched>() == 16);
    assert!(size_of::<Group>() == 16);
    assert!(size_of::<FloodKey>() == 16);
    assert!(size_of::<Account>() == 16);
    assert!(size_of::<Flood>() == 48);
};
