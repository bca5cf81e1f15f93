//! `iter/task`: the processes that existed before the hooks were attached.
//!
//! The loader attaches the hooks, adds the cgroups of containers to the filter, and then reads the
//! iterator. A process that starts meanwhile is reported by a hook, by the iterator, or by both. A
//! child of a watched process with a lower pid than its parent (pids wrap) is found by the next
//! read.

use aya_ebpf::cty::c_void;
use pause_trace_common::Found;

use crate::{emit, filter, task::TaskRef};

/// `struct bpf_iter__task` (kernel/bpf/task_iter.c, since 5.8), the argument of the program.
#[repr(C)]
struct Iteration {
    meta: *const c_void,
    /// Null in the last call, after the last task.
    task: *const c_void,
}

/// Reports a process of a container or of the runtime that is not watched yet, and watches it. In
/// the survey after a loss, those that are watched are reported, too.
///
/// aya has no attribute for iterators; the section name defines the program type.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn found(iteration: *const Iteration) -> i32 {
    // SAFETY: the kernel passes its own context, and the verifier has checked the access.
    let pointer = unsafe { (*iteration).task };
    if pointer.is_null() {
        return 0;
    }
    let process = TaskRef::new(pointer);
    let (tgid, place) = (process.tgid(), filter::place(process.cgroup()));
    let is_watched = filter::is_watched(tgid);
    if !process.is_leader() || (is_watched && !filter::is_survey()) {
        return 0;
    }
    let is_contained = place.is_watched();
    let comm = process.comm();
    if !is_watched
        && !is_contained
        && !filter::is_runtime(&comm)
        && !filter::is_watched(process.parent().tgid())
    {
        return 0;
    }
    let task = process.identity();
    if !is_watched {
        let is_runtime = !is_contained && filter::is_runtime(&comm);
        let of_runtime = match is_runtime {
            true => 1,
            false => filter::of_runtime(process.parent().tgid()),
        };
        filter::watch_as(&task, of_runtime);
    }
    let namespaces = process.namespaces();
    if is_contained {
        filter::remember(&namespaces);
    }
    emit::emit(|| Found {
        task: process.info(task, process.parent().identity(), place.cgroup, namespaces),
        ended: u32::from(process.is_last_thread()),
        status: process.wait_status(),
    });
    0
}
