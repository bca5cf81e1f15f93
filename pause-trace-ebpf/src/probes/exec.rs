//! `sched_process_exec`, at which the verifier judges a process's membership.
//!
//! A CNI plugin is told in its environment what it is to do for which pod, and an OCI runtime in
//! its arguments: no cgroup and no namespace says so before the pod has some. Only of processes of
//! a runtime outside every container are they read, and the loader keeps nothing of them but these
//! few values.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pause_trace_common::{
    CALL_LEN, Call, CallPart, Exec, FILE_LEN, Kind, MIDDLE_CALL_LEN, SHORT_CALL_LEN,
};

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
    let tgid = process.tgid();
    if !filter::is_new_exec(tgid, process.exec_id()) {
        return 0;
    }
    let place = filter::place(process.cgroup());
    if !place.is_watched() {
        report_call(process, tgid);
    }
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

/// Reports what a program outside every container was called with, if the process is a runtime's:
/// the arguments of a program of the runtime, and the environment of any other.
#[inline(always)]
fn report_call(process: TaskRef, tgid: u32) {
    let comm = process.comm();
    let is_runtime = filter::is_runtime(&comm);
    if is_runtime {
        filter::becomes_runtime(tgid);
    } else if filter::of_runtime(tgid) == 0 {
        return;
    }
    let bytes = match is_runtime {
        true => process.arguments(),
        false => process.environment(),
    };
    let call = |part: CallPart| Call {
        task: process.identity(),
        part: part as u32,
        whole: bytes.len as u32,
        comm,
    };
    if is_runtime {
        emit::emit_with_text(
            || call(CallPart::Arguments),
            |text: &mut [u8; SHORT_CALL_LEN]| bytes.first(text),
        );
    } else if bytes.len < SHORT_CALL_LEN as u64 {
        emit::emit_with_text(
            || call(CallPart::Environment),
            |text: &mut [u8; SHORT_CALL_LEN]| bytes.last(text),
        );
    } else if bytes.len < MIDDLE_CALL_LEN as u64 {
        emit::emit_with_text(
            || call(CallPart::Environment),
            |text: &mut [u8; MIDDLE_CALL_LEN]| bytes.last(text),
        );
    } else {
        emit::emit_with_text(
            || call(CallPart::Environment),
            |text: &mut [u8; CALL_LEN]| bytes.last(text),
        );
    }
}
