//! `oom:mark_victim`: the OOM killer chose a process, whose SIGKILL no process sent.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pause_trace_common::OomVictim;

use crate::{
    emit, filter,
    task::{self, TaskRef},
};

// match-proto: mark_victim(int pid), since 4.14; mark_victim(struct task_struct *task, uid_t uid), since 6.8
#[btf_tracepoint(function = "mark_victim")]
fn oom(ctx: BtfTracePointContext) -> i32 {
    let tgid = if task::oom_passes_task() {
        TaskRef::new(ctx.arg::<*const u8>(0)).tgid()
    } else {
        ctx.arg::<u32>(0)
    };
    if !filter::is_watched(tgid) {
        return 0;
    }
    emit::emit(|| OomVictim { tgid, padding: 0 });
    0
}
