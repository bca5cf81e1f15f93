//! `sched_process_exit`: the exit of a process, its status and its namespaces.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pause_trace_common::Exit;

use crate::{emit, filter, task::TaskRef};

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
    if !filter::is_current_watched() || !thread.is_last_thread() {
        return 0;
    }
    if !filter::is_new_exit(thread.tgid()) {
        return 0;
    }
    emit::emit(|| {
        let (task, parent) = (thread.identity(), thread.parent().identity());
        Exit {
            task: thread.info(task, parent, thread.cgroup(), thread.namespaces()),
            status: thread.wait_status(),
            padding: 0,
        }
    });
    0
}
