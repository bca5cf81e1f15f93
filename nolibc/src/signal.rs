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

const SIG_DFL: usize = 0;
const SIG_IGN: usize = 1;
const SIG_SETMASK: usize = 2;
const SA_NOCLDSTOP: usize = 0x1;
const SA_RESTORER: usize = 0x0400_0000;
const SA_RESTART: usize = 0x1000_0000;

const EINTR: isize = 4;

/// A set of signals, as the kernel has it: bit n-1 stands for signal n.
#[repr(transparent)]
pub struct Signals(u64);
static NO_SIGNALS: Signals = Signals(0);
const SET_SIZE: usize = size_of::<Signals>();

impl Signals {
    /// Every one of them.
    pub const ALL: Self = Self(u64::MAX);

    /// These.
    pub const fn of(signals: &[i32]) -> Self {
        let (mut set, mut at) = (0, 0);
        // A `for` is not allowed in a constant.
        while at < signals.len() {
            set |= 1 << (signals[at] - 1);
            at += 1;
        }
        Self(set)
    }
}

/// The kernel's `struct sigaction`, which is not the C library's.
#[repr(C)]
struct Action {
    handler: usize,
    flags: usize,
    restorer: Option<unsafe extern "C" fn() -> !>,
    /// Blocked while the handler runs, besides its own signal: nothing, so that a stop request need not wait until a storm
    /// of dead children has been reaped.
    mask: Signals,
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

/// Has the kernel do with `signal` what it does by default. Says whether the kernel took it.
pub fn default(signal: i32) -> bool {
    act(signal, SIG_DFL, 0)
}

fn act(signal: i32, handler: usize, flags: usize) -> bool {
    let action = Action {
        handler,
        flags,
        restorer: RESTORER,
        mask: Signals(0),
    };
    let action = &raw const action as usize;
    // SAFETY: `action` is laid out as the kernel reads it and outlives the call; the old action is not asked for. The
    // handler is SIG_DFL, SIG_IGN or a function of the kernel's handler signature; as a program here has no mutable statics and no
    // heap, it finds nothing half-written.
    let result = unsafe { syscall(nr::RT_SIGACTION, signal as usize, action, 0, SET_SIZE) };
    result == 0
}

/// Delivers what is pending and what will come. Says whether the kernel took it.
pub fn unblock_all() -> bool {
    mask(&NO_SIGNALS)
}

/// Blocks these signals and no others. Says whether the kernel took it.
pub fn mask(blocked: &Signals) -> bool {
    let set = &raw const *blocked as usize;
    // SAFETY: reads one live set; the old one is not asked for.
    let result = unsafe { syscall(nr::RT_SIGPROCMASK, SIG_SETMASK, set, 0, SET_SIZE) };
    result == 0
}

/// Waits for one of these signals, which must be blocked, and takes it. None when a handler ran for another one.
pub fn take(signals: &Signals) -> Option<i32> {
    let set = &raw const *signals as usize;
    // SAFETY: reads one live set; what else is known of the signal is not asked for.
    let result = unsafe { syscall(nr::RT_SIGTIMEDWAIT, set, 0, 0, SET_SIZE) };
    (result > 0).then_some(result as i32)
}

/// Sleeps until a handler has run; ignored signals do not wake it. False when the kernel refuses to wait at all.
/// (aarch64 has no `pause` system call; this one is on both.)
pub fn sleep_until_signal() -> bool {
    let none = &raw const NO_SIGNALS as usize;
    // SAFETY: reads one static set.
    let result = unsafe { syscall(nr::RT_SIGSUSPEND, none, SET_SIZE, 0, 0) };
    result == -EINTR
}
