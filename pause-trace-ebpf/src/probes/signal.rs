//! Signals: who sent what to whom, what became of it, and who took it.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pause_trace_common::{Disposition, Kind, SignalDeliver, SignalGenerate};

use crate::{
    emit::{self, Admission},
    filter,
    task::{self, TaskRef},
};

// match-proto: signal_generate(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result),
// since 3.4
#[btf_tracepoint(function = "signal_generate")]
fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    let sender = TaskRef::current();
    let target = TaskRef::new(ctx.arg::<*const u8>(2));
    if !filter::is_current_watched() && !filter::is_watched(target.tgid()) {
        return 0;
    }
    let signal = ctx.arg::<i32>(0);
    let cgroup = target.cgroup();
    let admission = emit::admit(cgroup, signal);
    if admission == Admission::Counted {
        return 0;
    }
    emit::signal::<SignalGenerate>(Kind::SignalGenerate, |record, header| {
        let generate = SignalGenerate {
            header,
            sender: sender.identity(),
            target: target.identity(),
            cgroup,
            signal,
            code: task::signal_code(ctx.arg::<*const u8>(1)),
            result: ctx.arg(4),
            group: u32::from(ctx.arg::<i32>(3) != 0),
            sender_pid_ns: sender.pid_namespace(),
            flooding: u32::from(admission == Admission::Last),
            sender_comm: sender.comm(),
            target_comm: target.comm(),
        };
        // SAFETY: the reservation is as large as the record.
        unsafe { record.write(generate) };
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
    let cgroup = thread.cgroup();
    // Deliveries have a rate of their own: real signal numbers end at 64.
    const DELIVER: i32 = 0x100;
    if emit::admit(cgroup, signal | DELIVER) == Admission::Counted {
        return 0;
    }
    emit::signal::<SignalDeliver>(Kind::SignalDeliver, |record, header| {
        let disposition = match task::signal_handler(ctx.arg::<*const u8>(2)) {
            0 => Disposition::Default,
            1 => Disposition::Ignore,
            _ => Disposition::Handler,
        };
        let deliver = SignalDeliver {
            header,
            task: thread.identity(),
            cgroup,
            signal,
            code: task::signal_code(ctx.arg::<*const u8>(1)),
            disposition: disposition as u32,
            padding: 0,
        };
        // SAFETY: the reservation is as large as the record.
        unsafe { record.write(deliver) };
    });
    0
}
