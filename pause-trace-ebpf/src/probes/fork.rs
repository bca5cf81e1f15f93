//! `sched_process_fork`: the process tree.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pause_trace_common::{Fork, Kind};

use crate::{emit, filter, task::TaskRef};

// match-proto: sched_process_fork(struct task_struct *parent, struct task_struct *child), since 2.6
// Reported after copy_process: the child's namespaces, cgroup and pids are final (kernel/fork.c).
#[btf_tracepoint(function = "sched_process_fork")]
fn fork(ctx: BtfTracePointContext) -> i32 {
    report(&ctx, false)
}

/// Reports the events for which the kernel skipped the first program (see `probes`).
#[btf_tracepoint(function = "sched_process_fork")]
fn fork_again(ctx: BtfTracePointContext) -> i32 {
    report(&ctx, true)
}

#[inline(always)]
fn report(ctx: &BtfTracePointContext, again: bool) -> i32 {
    let (parent, child) = (
        TaskRef::new(ctx.arg::<*const u8>(0)),
        TaskRef::new(ctx.arg::<*const u8>(1)),
    );
    // The parent is the current process.
    if !filter::is_current_watched() && !filter::is_cloned_into_watched(parent, child) {
        return 0;
    }
    // Otherwise the child is a thread.
    if !child.is_leader() {
        return 0;
    }
    let process = child.identity();
    // The child has not run yet. If it is watched, its fork was reported already (by the other
    // program), or the task iterator has just found it.
    if filter::is_watching(&process) {
        return 0;
    }
    let place = filter::place(child.cgroup());
    // A child that is not reported is not watched, so it has no further records.
    if !emit::admits(place.account, Kind::Fork, again) {
        return 0;
    }
    filter::watch_as(&process, filter::current_of_runtime());
    emit::emit(|| Fork {
        task: child.info(process, parent.identity(), place.cgroup, child.namespaces()),
        made: parent.made_for(child),
    });
    0
}
