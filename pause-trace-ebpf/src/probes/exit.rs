//! `sched_process_exit`: the exit of a process, its status and its namespaces.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pause_trace_common::Exit;

use crate::{emit, filter, task::TaskRef};

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
    if !filter::is_current_watched() || !thread.is_last_thread() {
        return 0;
    }
    if !filter::is_new_exit(thread.tgid()) {
        return 0;
    }
    emit::emit(|| {
        let (task, parent) = (thread.identity(), thread.parent().identity());
        let status = thread.wait_status();
        // The kernel drops the handlers only when the process is reaped. They say what the process
        // would have done with a signal that it never got; nobody asks that of a process that ended
        // by itself.
        let (caught, own) = match status & 0x7f {
            SIGKILL => thread.handlers(),
            _ => (0, 0),
        };
        Exit {
            task: thread.info(task, parent, thread.cgroup(), thread.namespaces()),
            status,
            padding: 0,
            caught,
            own,
        }
    });
    0
}
