//! `sched_process_fork`: the process tree.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pause_trace_common::{Fork, Kind, Task};

use crate::{emit, filter, task::TaskRef};

// match-proto: sched_process_fork(struct task_struct *parent, struct task_struct *child), since 2.6
// Reported after copy_process: the child's namespaces, cgroup and pids are final (kernel/fork.c).
#[btf_tracepoint(function = "sched_process_fork")]
fn fork(ctx: BtfTracePointContext) -> i32 {
    if let Some((parent, child)) = watched(&ctx) {
        report(parent, child, child.identity());
    }
    0
}

/// The same, where the kernel left out the first. Where tracepoints may be preempted, a program that another process on this CPU
/// is half-way through is not run for a second one (bpf_trace_run, kernel/trace/bpf_trace.c), and a fork that nobody heard of is
/// a process that nobody watches. Whoever is half-way through the first program is not in this one.
#[btf_tracepoint(function = "sched_process_fork")]
fn fork_again(ctx: BtfTracePointContext) -> i32 {
    let Some((parent, child)) = watched(&ctx) else {
        return 0;
    };
    let process = child.identity();
    if !filter::is_watching(&process) {
        report(parent, child, process);
    }
    0
}

/// Parent and child, where a new process is to be watched.
#[inline(always)]
fn watched(ctx: &BtfTracePointContext) -> Option<(TaskRef, TaskRef)> {
    let (parent, child) = (
        TaskRef::new(ctx.arg::<*const u8>(0)),
        TaskRef::new(ctx.arg::<*const u8>(1)),
    );
    // The parent is the process that runs.
    if !filter::is_current_watched() && !filter::is_cloned_into_watched(parent, child) {
        return None;
    }
    // Else a thread.
    child.is_leader().then_some((parent, child))
}

#[inline(always)]
fn report(parent: TaskRef, child: TaskRef, process: Task) {
    filter::watch(&process);
    emit::lifecycle::<Fork>(Kind::Fork, |record, header| {
        let fork = Fork {
            header,
            parent: parent.identity(),
            child: process,
            cgroup: child.cgroup(),
            namespaces: child.namespaces(),
            ns_pid: child.ns_pid(),
            padding: 0,
            comm: child.comm(),
        };
        // SAFETY: the reservation is as large as the record.
        unsafe { record.write(fork) };
    });
}
