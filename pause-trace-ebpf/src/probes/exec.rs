//! `sched_process_exec`, at which the verifier judges a process's membership.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pause_trace_common::{Exec, FILE_LEN, Kind};

use crate::{
    emit, filter,
    task::{self, TaskRef},
};

// match-proto: sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm), since 3.4
#[btf_tracepoint(function = "sched_process_exec")]
fn exec(ctx: BtfTracePointContext) -> i32 {
    report(&ctx)
}

/// Reports the events for which the kernel skipped the first program (see `probes`).
#[btf_tracepoint(function = "sched_process_exec")]
fn exec_again(ctx: BtfTracePointContext) -> i32 {
    report(&ctx)
}

#[inline(always)]
fn report(ctx: &BtfTracePointContext) -> i32 {
    let process = TaskRef::new(ctx.arg::<*const u8>(0));
    let bprm = ctx.arg::<*const u8>(2);
    // The process that executes is the one that runs.
    if !filter::is_current_watched() {
        // A runtime may be started later. The name is already the new one (begin_new_exec,
        // fs/exec.c).
        if !filter::is_runtime(&process.comm()) {
            return 0;
        }
        filter::watch(&process.identity());
    }
    if !filter::is_new_exec(process.tgid(), process.exec_id()) {
        return 0;
    }
    let place = filter::place(process.cgroup());
    if !emit::admits(place.account, Kind::Exec, false) {
        return 0;
    }
    aya_log_ebpf::debug!(ctx, "exec {}", process.tgid());
    emit::emit_with_text(
        || {
            let namespaces = process.namespaces();
            filter::remember(&namespaces);
            let (task, parent) = (process.identity(), process.parent().identity());
            Exec {
                task: process.info(task, parent, place.cgroup, namespaces),
            }
        },
        |file: &mut [u8; FILE_LEN]| task::executed_file(bprm, file),
    );
    0
}
