//! Which tasks and cgroups are watched. A process that has nothing to do with pods costs one map lookup per hook.
//!
//! Watched are the processes and cgroups that the loader names, what they fork, what is moved into a watched cgroup, and
//! who enters a namespace that a watched process executed in.

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::bpf_get_current_pid_tgid,
    macros::map,
    maps::{HashMap, LruHashMap},
};
use pause_trace_common::{COMM_LEN, Kind, Namespaces, Task, Watched};

use crate::{emit, task::TaskRef};

/// Watched processes by pid. Preallocated: run-time allocation is refused to tracing programs on older kernels.
#[map]
static WATCHED: HashMap<u32, Watched> = HashMap::with_max_entries(32_768, 0);

/// Watched cgroups by id. New ones below a watched one are added as they are made.
#[map]
static CGROUPS: HashMap<u64, u32> = HashMap::with_max_entries(8_192, 0);

/// Names of container runtimes. Empty while the reference pod alone is watched.
#[map]
static RUNTIMES: HashMap<[u8; COMM_LEN], u32> = HashMap::with_max_entries(32, 0);

/// Namespaces, by inode number, that watched processes executed in.
#[map]
static NAMESPACES: LruHashMap<u32, u32> = LruHashMap::with_max_entries(4_096, 0);

/// Namespaces that are the host's: these are everybody's.
#[map]
static HOST: HashMap<u32, u32> = HashMap::with_max_entries(16, 0);

#[inline(always)]
pub(crate) fn is_watched(tgid: u32) -> bool {
    WATCHED.get_ptr(tgid).is_some()
}

/// Whether the process that runs is watched: its pid takes no read of kernel memory.
#[inline(always)]
pub(crate) fn is_current_watched() -> bool {
    is_watched((bpf_get_current_pid_tgid() >> 32) as u32)
}

pub(crate) fn watch(process: &Task) {
    let watched = Watched {
        start_ns: process.start_ns,
        exec: 0,
        exited: 0,
    };
    if WATCHED
        .insert(process.tgid, watched, u64::from(BPF_ANY))
        .is_err()
    {
        emit::lost(Kind::Watch);
    }
}

/// Whether this very process is watched, and not one that had its pid before.
#[inline(always)]
pub(crate) fn is_watching(process: &Task) -> bool {
    let Some(watched) = WATCHED.get_ptr(process.tgid) else {
        return false;
    };
    // SAFETY: a map value stays valid for the program's run; its start is written with it.
    unsafe { (*watched).start_ns == process.start_ns }
}

/// Whether this exec of the process that runs is not reported yet; now it is.
#[inline(always)]
pub(crate) fn is_new_exec(tgid: u32, exec: u32) -> bool {
    let Some(watched) = WATCHED.get_ptr_mut(tgid) else {
        return true;
    };
    // SAFETY: a map value stays valid for the program's run. A process that executes has one thread, which is this one.
    unsafe {
        let is_new = (*watched).exec != exec;
        (*watched).exec = exec;
        is_new
    }
}

/// Whether the end of the process that runs is not reported yet; now it is.
#[inline(always)]
pub(crate) fn is_new_exit(tgid: u32) -> bool {
    let Some(watched) = WATCHED.get_ptr_mut(tgid) else {
        return false;
    };
    // SAFETY: a map value stays valid for the program's run. Two last threads that end at once may both find it new.
    unsafe {
        let is_new = (*watched).exited == 0;
        (*watched).exited = 1;
        is_new
    }
}

/// Stops watching a process, unless its pid is another's by now.
pub(crate) fn forget(process: &Task) {
    if is_watching(process) {
        let _ = WATCHED.remove(process.tgid);
    }
}

/// Whether a process of this name plays the container runtime.
#[inline(always)]
pub(crate) fn is_runtime(comm: &[u8; COMM_LEN]) -> bool {
    RUNTIMES.get_ptr(comm).is_some()
}

pub(crate) fn is_watched_cgroup(id: u64) -> bool {
    CGROUPS.get_ptr(id).is_some()
}

pub(crate) fn watch_cgroup(id: u64) {
    if CGROUPS.insert(id, 1, u64::from(BPF_ANY)).is_err() {
        emit::lost(Kind::Watch);
    }
}

pub(crate) fn forget_cgroup(id: u64) {
    let _ = CGROUPS.remove(id);
}

/// Remembers the namespaces that a watched process executes in, so that a stranger who enters one is noticed.
#[inline(always)]
pub(crate) fn remember(namespaces: &Namespaces) {
    remember_one(namespaces.net);
    remember_one(namespaces.ipc);
    remember_one(namespaces.pid);
    remember_one(namespaces.mnt);
}

#[inline(always)]
fn remember_one(inum: u32) {
    if NAMESPACES.get_ptr(inum).is_none() && HOST.get_ptr(inum).is_none() {
        // The table keeps the most recently used: at worst an old pod's visitor goes unnoticed, never a member.
        let _ = NAMESPACES.insert(inum, 1, u64::from(BPF_ANY));
    }
}

/// Whether a namespace of these is a pod's.
#[inline(always)]
pub(crate) fn enters_watched(namespaces: &Namespaces) -> bool {
    NAMESPACES.get_ptr(namespaces.net).is_some()
        || NAMESPACES.get_ptr(namespaces.ipc).is_some()
        || NAMESPACES.get_ptr(namespaces.pid_children).is_some()
        || NAMESPACES.get_ptr(namespaces.mnt).is_some()
}

/// Whether `child` is to be watched although its parent is not: made in a watched cgroup by `CLONE_INTO_CGROUP`.
#[inline(always)]
pub(crate) fn is_cloned_into_watched(parent: TaskRef, child: TaskRef) -> bool {
    parent.css_set() != child.css_set() && is_watched_cgroup(child.cgroup())
}
