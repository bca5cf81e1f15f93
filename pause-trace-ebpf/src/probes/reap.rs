//! `sched_process_free`: the process was reaped.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pause_trace_common::Free;

use crate::{emit, filter, task::TaskArgument};

// match-proto: sched_process_free(struct task_struct *p), since 2.6
// Reported from delayed_put_task_struct (kernel/exit.c), an RCU grace period after release_task.
// The process that reaped it is no longer visible here; userspace derives it from the process tree.
#[btf_tracepoint(function = "sched_process_free")]
fn reap(ctx: BtfTracePointContext) -> i32 {
    let process = TaskArgument::new(&ctx, 0);
    if !filter::is_watched(process.tgid()) {
        return 0;
    }
    let process = process.task();
    if !process.is_leader() {
        return 0;
    }
    let task = process.identity();
    filter::forget(&task);
    emit::emit(|| Free { task });
    0
}
