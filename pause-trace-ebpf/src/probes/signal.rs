//! Signals: their generation (sender, target, result) and their delivery.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pause_trace_common::{Disposition, SignalDeliver, SignalGenerate};

use crate::{
    emit::{self, Admission},
    filter,
    task::{self, TaskArgument, TaskRef},
};

// match-proto: signal_generate(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result),
// since 3.4
#[btf_tracepoint(function = "signal_generate")]
fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    let target = TaskArgument::new(&ctx, 2);
    if !filter::is_current_watched() && !filter::is_watched(target.tgid()) {
        return 0;
    }
    let (sender, target) = (TaskRef::current(), target.task());
    let signal = ctx.arg::<i32>(0);
    let cgroup = filter::place(target.cgroup()).counted();
    let admission = emit::admit(cgroup, signal);
    if admission == Admission::Counted {
        return 0;
    }
    emit::emit(|| SignalGenerate {
        sender: sender.identity(),
        target: target.identity(),
        cgroup,
        signal,
        code: task::signal_code(ctx.arg::<*const u8>(1)),
        result: ctx.arg(4),
        flooding: u32::from(admission == Admission::Last),
        sender_comm: sender.leader().comm(),
        target_comm: target.leader().comm(),
    });
    0
}

// match-proto: signal_deliver(int sig, struct kernel_siginfo *info, struct k_sigaction *ka), since 2.6.34
#[btf_tracepoint(function = "signal_deliver")]
fn signal_deliver(ctx: BtfTracePointContext) -> i32 {
    if !filter::is_current_watched() {
        return 0;
    }
    let thread = TaskRef::current();
    let signal = ctx.arg::<i32>(0);
    // Deliveries have a rate limit of their own. Signal numbers end at 64, so this bit is free.
    const DELIVER: i32 = 0x100;
    let cgroup = filter::place(thread.cgroup()).counted();
    if emit::admit(cgroup, signal | DELIVER) == Admission::Counted {
        return 0;
    }
    emit::emit(|| {
        let disposition = match task::signal_handler(ctx.arg::<*const u8>(2)) {
            0 => Disposition::Default,
            1 => Disposition::Ignore,
            _ => Disposition::Handler,
        };
        SignalDeliver {
            task: thread.identity(),
            signal,
            disposition: disposition as u32,
        }
    });
    0
}
