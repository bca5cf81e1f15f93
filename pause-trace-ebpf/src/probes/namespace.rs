//! setns and unshare, which have no tracepoint of their own.
//!
//! There are three ways to observe them, which report the same record. The loader uses fentry and
//! fexit if the kernel allows them (they cost other system calls nothing), otherwise a kprobe and
//! kretprobe, otherwise the tracepoints of the system calls.
//!
//! On x86_64 a 64-bit process can call setns through the 32-bit entry (`int 0x80`), which leads to
//! another wrapper; both lead to `ksys_unshare`. The tracepoints of system calls report no call
//! through that entry (`ARCH_TRACE_IGNORE_COMPAT_SYSCALLS`). Userspace notices such a call at the
//! next fork, exec or exit.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, fexit, kprobe, kretprobe, map, tracepoint},
    maps::LruHashMap,
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext, TracePointContext},
};
use pause_trace_common::{Kind, NamespaceCall, NamespaceChange, Task};

use crate::{
    emit, filter,
    task::{self, TaskRef},
};

/// The flags of calls that have not returned yet, by thread. A thread is in one system call at a
/// time, so both calls can use one table.
#[map]
static PENDING: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1_024, 0);

/// Stores the `CLONE_NEW*` flags of a call at its entry.
fn enter(flags: u64) {
    let _ = PENDING.insert(bpf_get_current_pid_tgid(), flags, 0);
}

/// Stores the second argument of a setns, of which the kernel uses only an `int`.
fn enter_setns(kind: u64) {
    enter(kind & 0xffff_ffff);
}

#[inline(always)]
fn leave(call: NamespaceCall, result: i64) {
    let thread = bpf_get_current_pid_tgid();
    let Some(pending) = PENDING.get_ptr(thread) else {
        return;
    };
    // SAFETY: a map value stays valid for the program's run, and only this thread writes it.
    let flags = unsafe { *pending };
    let _ = PENDING.remove(thread);
    report(call, flags, result);
}

#[inline(always)]
fn report(call: NamespaceCall, flags: u64, result: i64) {
    let thread = TaskRef::current();
    if !filter::is_current_watched() {
        if result != 0 || !filter::enters_watched(&thread.deciding_namespaces()) {
            return;
        }
        // The process has entered a pod, so its forks and execs matter from now on.
        filter::watch(&thread.identity());
    }
    let namespaces = thread.namespaces();
    // If the first thread has exited, this one moves the process.
    let is_first = thread.is_leader() || thread.leader().is_exiting();
    if is_first && !thread.is_leader() && result == 0 {
        super::exit::moved_by(thread.tgid(), &namespaces);
    }
    let place = filter::place(thread.cgroup());
    if !emit::admits(place.account, Kind::Namespace, false) {
        // A setns may lead into another pod's namespace, so it is not only the caller's loss.
        if matches!(call, NamespaceCall::Setns) {
            emit::lost(Kind::Namespace);
        }
        return;
    }
    emit::emit(|| NamespaceChange {
        task: thread.info(thread.identity(), Task::default(), place.cgroup, namespaces),
        flags,
        tid: if is_first {
            thread.tgid()
        } else {
            thread.tid()
        },
        call: call as u32,
        result: result as i32,
        padding: 0,
    });
}

// match-proto: long __x64_sys_setns(const struct pt_regs *regs), long __arm64_sys_setns(…), since 4.17
// The loader sets the function, which differs by architecture.
#[fentry]
fn setns_fentry(ctx: FEntryContext) -> i32 {
    let registers = ctx.arg::<*const u8>(0);
    enter_setns(task::second_argument(registers));
    0
}

#[fexit]
fn setns_fexit(ctx: FExitContext) -> i32 {
    leave(NamespaceCall::Setns, ctx.arg::<i64>(1));
    0
}

/// Reports the calls for which the kernel skipped the first program (see `probes`). Such a call
/// still has its entry in `PENDING`.
#[fexit]
fn setns_fexit_again(ctx: FExitContext) -> i32 {
    leave(NamespaceCall::Setns, ctx.arg::<i64>(1));
    0
}

// match-proto: long __ia32_sys_setns(const struct pt_regs *regs), since 4.17, on x86_64
#[fentry]
fn setns_compat_fentry(ctx: FEntryContext) -> i32 {
    let registers = ctx.arg::<*const u8>(0);
    enter_setns(task::second_compat_argument(registers));
    0
}

#[fexit]
fn setns_compat_fexit(ctx: FExitContext) -> i32 {
    leave(NamespaceCall::Setns, ctx.arg::<i64>(1));
    0
}

/// See `setns_fexit_again`.
#[fexit]
fn setns_compat_fexit_again(ctx: FExitContext) -> i32 {
    leave(NamespaceCall::Setns, ctx.arg::<i64>(1));
    0
}

// match-proto: int ksys_unshare(unsigned long unshare_flags), since 4.17
#[fentry]
fn unshare_fentry(ctx: FEntryContext) -> i32 {
    enter(ctx.arg(0));
    0
}

#[fexit]
fn unshare_fexit(ctx: FExitContext) -> i32 {
    leave(NamespaceCall::Unshare, i64::from(ctx.arg::<i32>(1)));
    0
}

/// See `setns_fexit_again`.
#[fexit]
fn unshare_fexit_again(ctx: FExitContext) -> i32 {
    leave(NamespaceCall::Unshare, i64::from(ctx.arg::<i32>(1)));
    0
}

// match-proto: as setns_fentry
#[kprobe]
fn setns_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(registers) = ctx.arg::<*const u8>(0) {
        enter_setns(task::second_argument(registers));
    }
    0
}

// match-proto: as setns_compat_fentry
#[kprobe]
fn setns_compat_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(registers) = ctx.arg::<*const u8>(0) {
        enter_setns(task::second_compat_argument(registers));
    }
    0
}

#[kretprobe]
fn setns_compat_kretprobe(ctx: RetProbeContext) -> u32 {
    leave(NamespaceCall::Setns, ctx.ret::<i64>());
    0
}

#[kretprobe]
fn setns_kretprobe(ctx: RetProbeContext) -> u32 {
    leave(NamespaceCall::Setns, ctx.ret::<i64>());
    0
}

// match-proto: as unshare_fentry
#[kprobe]
fn unshare_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(flags) = ctx.arg::<u64>(0) {
        enter(flags);
    }
    0
}

#[kretprobe]
fn unshare_kretprobe(ctx: RetProbeContext) -> u32 {
    leave(NamespaceCall::Unshare, i64::from(ctx.ret::<i32>()));
    0
}

/// A field of a system call's tracepoint: 8 bytes of common fields, 8 bytes for the number, then 8
/// bytes for each argument or the result (`syscall_trace_enter`, `syscall_trace_exit`:
/// kernel/trace/trace.h).
#[inline(always)]
fn field(ctx: &TracePointContext, index: usize) -> u64 {
    // SAFETY: the offset is within the record of these tracepoints, and the helper checks the read.
    unsafe { ctx.read_at::<u64>(16 + 8 * index) }.unwrap_or(0)
}

// match-proto: sys_enter_setns(int fd, int nstype)
#[tracepoint]
fn setns_enter(ctx: TracePointContext) -> u32 {
    enter_setns(field(&ctx, 1));
    0
}

#[tracepoint]
fn setns_exit(ctx: TracePointContext) -> u32 {
    leave(NamespaceCall::Setns, field(&ctx, 0) as i64);
    0
}

// match-proto: sys_enter_unshare(unsigned long unshare_flags)
#[tracepoint]
fn unshare_enter(ctx: TracePointContext) -> u32 {
    enter(field(&ctx, 0));
    0
}

#[tracepoint]
fn unshare_exit(ctx: TracePointContext) -> u32 {
    leave(NamespaceCall::Unshare, field(&ctx, 0) as i64);
    0
}
