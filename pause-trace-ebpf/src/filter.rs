//! Decides which tasks and cgroups are watched. A process that has nothing to do with pods costs
//! one map lookup per hook.
//!
//! Watched are: processes and cgroups that the loader names, processes that a watched process
//! forks, processes that are moved into a watched cgroup, and processes that enter a namespace in
//! which a watched process executed.

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::bpf_get_current_pid_tgid,
    macros::map,
    maps::{HashMap, LruHashMap},
};
use pause_trace_common::{COMM_LEN, Group, Kind, MAX_NESTED, Namespaces, Task, Watched};

use crate::{
    emit,
    task::{CgroupRef, TaskRef},
};

/// Watched processes by pid. Preallocated: older kernels refuse run-time allocation in tracing
/// programs.
#[map]
static WATCHED: HashMap<u32, Watched> = HashMap::with_max_entries(32_768, 0);

/// Watched cgroups by id. A cgroup that is created in a watched one is added.
#[map]
static CGROUPS: HashMap<u64, Group> = HashMap::with_max_entries(16_384, 0);

/// How many of them each container made, by their owner.
#[map]
static NESTED: HashMap<u64, u32> = HashMap::with_max_entries(1_024, 0);

/// Names of container runtimes. Empty while only the reference pod is watched.
#[map]
static RUNTIMES: HashMap<[u8; COMM_LEN], u32> = HashMap::with_max_entries(32, 0);

/// Namespaces, by inode number, in which watched processes executed.
#[map]
static NAMESPACES: LruHashMap<u32, u32> = LruHashMap::with_max_entries(4_096, 0);

/// The host's namespaces, which are not specific to a pod.
#[map]
static HOST: HashMap<u32, u32> = HashMap::with_max_entries(16, 0);

/// Has an entry while the task iterator reports the processes that are watched already, because
/// records of them may have been lost.
#[map]
static SURVEY: HashMap<u32, u32> = HashMap::with_max_entries(1, 0);

/// Whether processes that are watched already are to be reported.
pub(crate) fn is_survey() -> bool {
    SURVEY.get_ptr(0).is_some()
}

#[inline(always)]
pub(crate) fn is_watched(tgid: u32) -> bool {
    WATCHED.get_ptr(tgid).is_some()
}

/// Whether the current process is watched. Getting its pid needs no read of kernel memory.
#[inline(always)]
pub(crate) fn is_current_watched() -> bool {
    is_watched((bpf_get_current_pid_tgid() >> 32) as u32)
}

pub(crate) fn watch(process: &Task) {
    watch_as(process, 0);
}

/// Watches a process. `of_runtime` is 1 if it is a runtime's.
#[inline(always)]
pub(crate) fn watch_as(process: &Task, of_runtime: u16) {
    let watched = Watched {
        start_ns: process.start_ns,
        exec: 0,
        exited: 0,
        of_runtime,
    };
    if WATCHED
        .insert(process.tgid, watched, u64::from(BPF_ANY))
        .is_err()
    {
        emit::lost(Kind::Watch);
    }
}

/// Whether this process is watched, and not an earlier one with the same pid.
#[inline(always)]
pub(crate) fn is_watching(process: &Task) -> bool {
    let Some(watched) = WATCHED.get_ptr(process.tgid) else {
        return false;
    };
    // SAFETY: a map value stays valid for the program's run, and its start time never changes.
    unsafe { (*watched).start_ns == process.start_ns }
}

/// Whether this exec of the current process has not been reported yet. Marks it as reported.
#[inline(always)]
pub(crate) fn is_new_exec(tgid: u32, exec: u32) -> bool {
    let Some(watched) = WATCHED.get_ptr_mut(tgid) else {
        return true;
    };
    // SAFETY: a map value stays valid for the program's run. A process that executes has only this
    // thread.
    unsafe {
        let is_new = (*watched).exec != exec;
        (*watched).exec = exec;
        is_new
    }
}

/// Whether the exit of the current process has not been reported yet. Marks it as reported.
#[inline(always)]
pub(crate) fn is_new_exit(tgid: u32) -> bool {
    let Some(watched) = WATCHED.get_ptr_mut(tgid) else {
        return false;
    };
    // SAFETY: a map value stays valid for the program's run. If the last two threads exit at the
    // same time, both may find the exit new.
    unsafe {
        let is_new = (*watched).exited == 0;
        (*watched).exited = 1;
        is_new
    }
}

/// 1 if the process is watched as a runtime's, or was forked by one; else 0.
#[inline(always)]
pub(crate) fn of_runtime(tgid: u32) -> u16 {
    let Some(watched) = WATCHED.get_ptr(tgid) else {
        return 0;
    };
    // SAFETY: a map value stays valid for the program's run.
    unsafe { (*watched).of_runtime }
}

/// The same of the current process.
#[inline(always)]
pub(crate) fn current_of_runtime() -> u16 {
    of_runtime((bpf_get_current_pid_tgid() >> 32) as u32)
}

/// Notes that a watched process is a runtime outside every container.
#[inline(always)]
pub(crate) fn becomes_runtime(tgid: u32) {
    if let Some(watched) = WATCHED.get_ptr_mut(tgid) {
        // SAFETY: a map value stays valid for the program's run. A process that executes has only
        // this thread.
        unsafe { (*watched).of_runtime = 1 };
    }
}

/// Stops watching a process, unless another process has its pid now.
pub(crate) fn forget(process: &Task) {
    if is_watching(process) {
        let _ = WATCHED.remove(process.tgid);
    }
}

/// Whether this is the name of a container runtime's program.
#[inline(always)]
pub(crate) fn is_runtime(comm: &[u8; COMM_LEN]) -> bool {
    RUNTIMES.get_ptr(comm).is_some()
}

/// What a cgroup is in records.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The id that records contain: that of the nearest watched cgroup, the cgroup itself or one
    /// above it; its own if none of them is watched.
    pub(crate) cgroup: u64,
    /// The cgroup whose share of the rings is used; 0 if no cgroup here is watched.
    pub(crate) account: u64,
}

impl Place {
    pub(crate) fn is_watched(self) -> bool {
        self.account != 0
    }

    /// The cgroup whose signals are counted together.
    #[inline(always)]
    pub(crate) fn counted(self) -> u64 {
        match self.is_watched() {
            true => self.account,
            false => self.cgroup,
        }
    }
}

/// How far above a cgroup a watched one is looked for. The cgroups of containers are watched, so
/// one lookup is the rule. Only a container that makes more cgroups than are watched, each below
/// the last, gets further.
const MAX_LEVELS: u32 = 16;

#[inline(always)]
pub(crate) fn place(cgroup: CgroupRef) -> Place {
    let mut at = cgroup;
    let mut level = 0;
    while level < MAX_LEVELS && !at.is_null() {
        let id = at.id();
        if let Some(group) = CGROUPS.get_ptr(id) {
            // SAFETY: a map value stays valid for the program's run.
            let account = unsafe { (*group).account };
            return Place {
                cgroup: id,
                account,
            };
        }
        at = at.parent();
        level += 1;
    }
    Place {
        cgroup: cgroup.id(),
        account: 0,
    }
}

/// Watches a cgroup that no container made.
#[inline(always)]
pub(crate) fn watch_cgroup(id: u64) {
    insert(
        id,
        Group {
            account: id,
            owner: 0,
        },
    );
}

/// Watches a cgroup that the container with this account made, unless it has made too many.
/// Returns whether the cgroup is watched.
#[inline(always)]
pub(crate) fn watch_nested(id: u64, account: u64) -> bool {
    match NESTED.get_ptr_mut(account) {
        // SAFETY: a map value stays valid for the program's run, and the kernel holds its mutex of
        // cgroups while one is made or removed.
        Some(count) => unsafe {
            if *count >= MAX_NESTED {
                return false;
            }
            *count += 1;
        },
        None => {
            if NESTED.insert(account, 1, u64::from(BPF_ANY)).is_err() {
                return false;
            }
        }
    }
    insert(
        id,
        Group {
            account,
            owner: account,
        },
    );
    true
}

#[inline(always)]
fn insert(id: u64, group: Group) {
    if CGROUPS.insert(id, group, u64::from(BPF_ANY)).is_err() {
        emit::lost(Kind::Watch);
    }
}

/// Stops watching a cgroup. Returns whether it was watched.
#[inline(always)]
pub(crate) fn forget_cgroup(id: u64) -> bool {
    let Some(group) = CGROUPS.get_ptr(id) else {
        return false;
    };
    // SAFETY: a map value stays valid for the program's run.
    let owner = unsafe { (*group).owner };
    let _ = CGROUPS.remove(id);
    if owner != 0
        && let Some(count) = NESTED.get_ptr_mut(owner)
    {
        // SAFETY: as in `watch_nested`.
        unsafe {
            if *count > 1 {
                *count -= 1;
                return true;
            }
        }
        let _ = NESTED.remove(owner);
    }
    true
}

/// Remembers the namespaces in which a watched process executes, so that another process that
/// enters one of them is reported.
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
        // The table evicts the least recently used entry. At worst a process that enters an old
        // pod's namespace is not reported; members of the pod always are.
        let _ = NAMESPACES.insert(inum, 1, u64::from(BPF_ANY));
    }
}

/// Whether this network namespace, which is not the host's, belongs to a pod.
#[inline(always)]
pub(crate) fn is_pods_network(inum: u32) -> bool {
    NAMESPACES.get_ptr(inum).is_some()
}

/// Whether one of these namespaces belongs to a pod.
#[inline(always)]
pub(crate) fn enters_watched(namespaces: &Namespaces) -> bool {
    NAMESPACES.get_ptr(namespaces.net).is_some()
        || NAMESPACES.get_ptr(namespaces.ipc).is_some()
        || NAMESPACES.get_ptr(namespaces.pid_children).is_some()
        || NAMESPACES.get_ptr(namespaces.mnt).is_some()
}

/// Whether `child` must be watched although its parent is not, because `CLONE_INTO_CGROUP` created
/// it in a watched cgroup.
#[inline(always)]
pub(crate) fn is_cloned_into_watched(parent: TaskRef, child: TaskRef) -> bool {
    parent.css_set() != child.css_set() && place(child.cgroup()).is_watched()
}
