//! Signals: dispositions, masks, and waiting for signals.

use core::ops::RangeInclusive;

use crate::{arch::RESTORER, nr, syscall};

// The numbers are the same on both architectures (include/uapi/asm-generic/signal.h,
// arch/x86/include/uapi/asm/signal.h).
/// Interrupt (Ctrl-C).
pub const SIGINT: i32 = 2;
/// Kills a process; cannot be caught.
pub const SIGKILL: i32 = 9;
/// What a program defines itself.
pub const SIGUSR1: i32 = 10;
/// The stop signal of containers whose image sets no other one.
pub const SIGTERM: i32 = 15;
/// A child exited.
pub const SIGCHLD: i32 = 17;
/// Suspends a process; cannot be caught.
pub const SIGSTOP: i32 = 19;
/// All signals, including real-time signals and the two that C libraries reserve.
pub const SIGNALS: RangeInclusive<i32> = 1..=64;

const SIG_DFL: usize = 0;
const SIG_IGN: usize = 1;
const SIG_SETMASK: usize = 2;
const SA_NOCLDSTOP: usize = 0x1;
const SA_RESTORER: usize = 0x0400_0000;
const SA_RESTART: usize = 0x1000_0000;

const EINTR: isize = 4;

/// A set of signals in the kernel's layout: bit n-1 stands for signal n.
#[repr(transparent)]
pub struct Signals(u64);
static NO_SIGNALS: Signals = Signals(0);
const SET_SIZE: usize = size_of::<Signals>();

impl Signals {
    /// All signals.
    pub const ALL: Self = Self(u64::MAX);

    /// The set of these signals.
    pub const fn of(signals: &[i32]) -> Self {
        let (mut set, mut at) = (0, 0);
        // A constant function cannot use `for`.
        while at < signals.len() {
            set |= 1 << (signals[at] - 1);
            at += 1;
        }
        Self(set)
    }
}

/// The kernel's `struct sigaction`, which differs from that of the C library.
#[repr(C)]
struct Action {
    handler: usize,
    flags: usize,
    restorer: Option<unsafe extern "C" fn() -> !>,
    /// The signals that are blocked while the handler runs, in addition to its own. The set is
    /// empty, so that a stop signal does not wait until many zombies have been reaped.
    mask: Signals,
}

/// Installs `handler` for `signal`. Returns whether the kernel accepted it.
pub fn catch(signal: i32, handler: extern "C" fn(i32)) -> bool {
    let restorer = if RESTORER.is_some() { SA_RESTORER } else { 0 };
    act(
        signal,
        handler as usize,
        SA_NOCLDSTOP | SA_RESTART | restorer,
    )
}

/// Ignores `signal`: the kernel drops it. Returns whether the kernel accepted that.
pub fn ignore(signal: i32) -> bool {
    act(signal, SIG_IGN, 0)
}

/// Restores the default action of `signal`. Returns whether the kernel accepted that.
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
    // SAFETY: `action` has the kernel's layout and outlives the call; the old action is not
    // requested. The handler is SIG_DFL, SIG_IGN or a function with the signature of a handler.
    // These programs have no mutable statics and no shared heap, so the handler cannot observe
    // half-written data.
    let result = unsafe { syscall(nr::RT_SIGACTION, signal as usize, action, 0, SET_SIZE) };
    result == 0
}

/// Unblocks all signals. Returns whether the kernel accepted that.
pub fn unblock_all() -> bool {
    mask(&NO_SIGNALS)
}

/// Blocks these signals and no others. Returns whether the kernel accepted that.
pub fn mask(blocked: &Signals) -> bool {
    let set = &raw const *blocked as usize;
    // SAFETY: the kernel reads one set that is alive; the old one is not requested.
    let result = unsafe { syscall(nr::RT_SIGPROCMASK, SIG_SETMASK, set, 0, SET_SIZE) };
    result == 0
}

/// Waits for one of these signals, which must be blocked, and consumes it. Returns `None` if a
/// handler ran for another signal.
pub fn take(signals: &Signals) -> Option<i32> {
    let set = &raw const *signals as usize;
    // SAFETY: the kernel reads one set that is alive; the `siginfo` is not requested.
    let result = unsafe { syscall(nr::RT_SIGTIMEDWAIT, set, 0, 0, SET_SIZE) };
    (result > 0).then_some(result as i32)
}

/// Sleeps until a handler has run; ignored signals do not end the sleep. Returns false if the
/// kernel refuses the call. (aarch64 has no `pause` system call; both architectures have this one.)
pub fn sleep_until_signal() -> bool {
    let none = &raw const NO_SIGNALS as usize;
    // SAFETY: the kernel reads one static set.
    let result = unsafe { syscall(nr::RT_SIGSUSPEND, none, SET_SIZE, 0, 0) };
    result == -EINTR
}
