//! Signals: how they are taken, and waiting for them.

use core::ops::RangeInclusive;

use crate::{arch::RESTORER, nr, syscall};

// The numbers below are the same on both architectures (include/uapi/asm-generic/signal.h, arch/x86/include/uapi/asm/signal.h).
/// Ctrl-C.
pub const SIGINT: i32 = 2;
/// Nobody catches it.
pub const SIGKILL: i32 = 9;
/// The stop signal, unless an image says otherwise.
pub const SIGTERM: i32 = 15;
/// A child ended.
pub const SIGCHLD: i32 = 17;
/// Nobody catches it.
pub const SIGSTOP: i32 = 19;
/// All there are, real-time ones and the two that C libraries keep for themselves included.
pub const SIGNALS: RangeInclusive<i32> = 1..=64;

const SIG_IGN: usize = 1;
const SIG_SETMASK: usize = 2;
const SA_NOCLDSTOP: usize = 0x1;
const SA_RESTORER: usize = 0x0400_0000;
const SA_RESTART: usize = 0x1000_0000;

const EINTR: isize = 4;

/// A set of signals, as the kernel has it: bit n-1 stands for signal n.
type Mask = u64;
static NO_SIGNALS: Mask = 0;
const MASK_SIZE: usize = size_of::<Mask>();

/// The kernel's `struct sigaction`, which is not the C library's.
#[repr(C)]
struct Action {
    handler: usize,
    flags: usize,
    restorer: Option<unsafe extern "C" fn() -> !>,
    /// Blocked while the handler runs, besides its own signal: nothing, so that a stop request need not wait until a storm
    /// of dead children has been reaped.
    mask: Mask,
}

/// Runs `handler` on `signal`. Says whether the kernel took it.
pub fn catch(signal: i32, handler: extern "C" fn(i32)) -> bool {
    let restorer = if RESTORER.is_some() { SA_RESTORER } else { 0 };
    act(
        signal,
        handler as usize,
        SA_NOCLDSTOP | SA_RESTART | restorer,
    )
}

/// Has the kernel drop `signal`. Says whether the kernel took it.
pub fn ignore(signal: i32) -> bool {
    act(signal, SIG_IGN, 0)
}

fn act(signal: i32, handler: usize, flags: usize) -> bool {
    let action = Action {
        handler,
        flags,
        restorer: RESTORER,
        mask: 0,
    };
    let action = &raw const action as usize;
    // SAFETY: `action` is laid out as the kernel reads it and outlives the call; the old action is not asked for. The
    // handler is SIG_IGN or a function of the kernel's handler signature; as a program here has no mutable statics and no
    // heap, it finds nothing half-written.
    let result = unsafe { syscall(nr::RT_SIGACTION, signal as usize, action, 0, MASK_SIZE) };
    result == 0
}

/// Delivers what is pending and what will come. Says whether the kernel took it.
pub fn unblock_all() -> bool {
    let none = &raw const NO_SIGNALS as usize;
    // SAFETY: reads one static mask; the old one is not asked for.
    let result = unsafe { syscall(nr::RT_SIGPROCMASK, SIG_SETMASK, none, 0, MASK_SIZE) };
    result == 0
}

/// Sleeps until a handler has run; ignored signals do not wake it. False when the kernel refuses to wait at all.
/// (aarch64 has no `pause` system call; this one is on both.)
pub fn sleep_until_signal() -> bool {
    let none = &raw const NO_SIGNALS as usize;
    // SAFETY: reads one static mask.
    let result = unsafe { syscall(nr::RT_SIGSUSPEND, none, MASK_SIZE, 0, 0) };
    result == -EINTR
}
