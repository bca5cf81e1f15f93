//! `sched_process_exit`: the exit of a process, its status and its namespaces.

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::LruHashMap,
    programs::BtfTracePointContext,
};
use pause_trace_common::{Exit, Namespaces};

use crate::{
    emit, filter,
    task::{self, TaskRef},
};

/// The namespaces of processes whose first thread has exited before the last one, by pid. The
/// namespaces of a process are those of its first thread, and the kernel drops them when it exits.
#[map]
static FIRST: LruHashMap<u32, Namespaces> = LruHashMap::with_max_entries(4_096, 0);

/// Notes that the thread moved a process whose first thread has exited: the other threads speak for
/// it now.
pub(super) fn moved_by(tgid: u32, namespaces: &Namespaces) {
    let _ = FIRST.insert(tgid, namespaces, 0);
}

/// The signal in the status of a process that SIGKILL ended.
const SIGKILL: u32 = 9;

// match-proto: sched_process_exit(struct task_struct *p), since 2.6; 6.16 adds `bool group_dead` at the end
// Runs once per thread, before the namespaces are dropped (do_exit, kernel/exit.c).
#[btf_tracepoint(function = "sched_process_exit")]
fn exit(ctx: BtfTracePointContext) -> i32 {
    report(&ctx)
}

/// Reports the events for which the kernel skipped the first program (see `probes`).
#[btf_tracepoint(function = "sched_process_exit")]
fn exit_again(ctx: BtfTracePointContext) -> i32 {
    report(&ctx)
}

#[inline(always)]
fn report(ctx: &BtfTracePointContext) -> i32 {
    let thread = TaskRef::new(ctx.arg::<*const u8>(0));
    // The exiting thread is the current one.
    if !filter::is_current_watched() {
        return 0;
    }
    let is_first = thread.is_leader();
    if !thread.is_last_thread() {
        if is_first {
            let _ = FIRST.insert(thread.tgid(), thread.namespaces(), 0);
        }
        return 0;
    }
    if !filter::is_new_exit(thread.tgid()) {
        return 0;
    }
    emit::emit(|| {
        let (task, parent) = (thread.identity(), thread.parent().identity());
        // Where the first thread was is unknown if the table evicted it.
        let namespaces = match is_first {
            true => thread.namespaces(),
            false => task::namespaces_at(FIRST.get_ptr(task.tgid)),
        };
        let _ = FIRST.remove(task.tgid);
        let cgroup = filter::place(thread.cgroup()).cgroup;
        let status = thread.wait_status();
        // The kernel drops the handlers only when the process is reaped. They say what the process
        // would have done with a signal that it never got; nobody asks that of a process that ended
        // by itself.
        let (caught, own) = match status & 0x7f {
            SIGKILL => thread.handlers(),
            _ => (0, 0),
        };
        Exit {
            task: thread.info(task, parent, cgroup, namespaces),
            status,
            padding: 0,
            caught,
            own,
        }
    });
    0
}
