//! `iter/task`: the processes that were there before the hooks were.
//!
//! The loader attaches the hooks, names the cgroups of containers, and then reads the iterator: what happens meanwhile is
//! reported by a hook, by the iterator, or by both, and never by neither. A child of a watched process whose pid is lower
//! (pids wrap) is found by the next reading.

use aya_ebpf::cty::c_void;
use pause_trace_common::Found;

use crate::{emit, filter, task::TaskRef};

/// `struct bpf_iter__task` (kernel/bpf/task_iter.c, since 5.8): what the program is called with.
#[repr(C)]
struct Iteration {
    meta: *const c_void,
    /// Null once, after the last.
    task: *const c_void,
}

/// Reports a process of a container or of the runtime that is not watched yet, and watches it.
///
/// aya has no attribute for iterators: the section's name says what it is.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn found(iteration: *const Iteration) -> i32 {
    // SAFETY: the kernel calls it with its own context, and the verifier has checked the access.
    let pointer = unsafe { (*iteration).task };
    if pointer.is_null() {
        return 0;
    }
    let process = TaskRef::new(pointer);
    let (tgid, cgroup) = (process.tgid(), process.cgroup());
    if !process.is_leader() || filter::is_watched(tgid) {
        return 0;
    }
    let is_contained = filter::is_watched_cgroup(cgroup);
    let comm = process.comm();
    if !is_contained && !filter::is_runtime(&comm) && !filter::is_watched(process.parent().tgid()) {
        return 0;
    }
    let task = process.identity();
    filter::watch(&task);
    let namespaces = process.namespaces();
    if is_contained {
        filter::remember(&namespaces);
    }
    emit::emit(|| Found {
        task: process.info(task, process.parent().identity(), cgroup, namespaces),
        ended: u32::from(process.is_last_thread()),
        status: process.wait_status(),
    });
    0
}
