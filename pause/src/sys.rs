//! The kernel as this program sees it: seven system calls, each behind a safe function.
//!
//! All `unsafe` of the crate is here and in the file of the architecture, which knows the registers, the numbers, and how
//! a process and a signal handler begin and end.

use core::ops::RangeInclusive;

#[cfg_attr(target_arch = "x86_64", path = "sys/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "sys/aarch64.rs")]
mod arch;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("pause knows the system calls of x86_64 and aarch64 only");

use arch::{RESTORER, nr, syscall};

pub(crate) const STDOUT: usize = 1;
pub(crate) const STDERR: usize = 2;

// The numbers below are the same on both architectures (include/uapi/asm-generic/signal.h, arch/x86/include/uapi/asm/signal.h).
pub(crate) const SIGINT: i32 = 2;
pub(crate) const SIGKILL: i32 = 9;
pub(crate) const SIGTERM: i32 = 15;
pub(crate) const SIGCHLD: i32 = 17;
pub(crate) const SIGSTOP: i32 = 19;
/// All there are, real-time ones and the two that C libraries keep for themselves included.
pub(crate) const SIGNALS: RangeInclusive<i32> = 1..=64;

const SIG_IGN: usize = 1;
const SIG_SETMASK: usize = 2;
const SA_NOCLDSTOP: usize = 0x1;
const SA_RESTORER: usize = 0x0400_0000;
const SA_RESTART: usize = 0x1000_0000;

const EINTR: isize = 4;
const WNOHANG: usize = 0x1;
const WALL: usize = 0x4000_0000;

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
pub(crate) fn catch(signal: i32, handler: extern "C" fn(i32)) -> bool {
    let restorer = if RESTORER.is_some() { SA_RESTORER } else { 0 };
    act(
        signal,
        handler as usize,
        SA_NOCLDSTOP | SA_RESTART | restorer,
    )
}

/// Has the kernel drop `signal`. Says whether the kernel took it.
pub(crate) fn ignore(signal: i32) -> bool {
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
    // handler is SIG_IGN or a function of the kernel's handler signature that touches no memory.
    let result = unsafe { syscall(nr::RT_SIGACTION, signal as usize, action, 0, MASK_SIZE) };
    result == 0
}

/// Delivers what is pending and what will come. Says whether the kernel took it.
pub(crate) fn unblock_all() -> bool {
    let none = &raw const NO_SIGNALS as usize;
    // SAFETY: reads one static mask; the old one is not asked for.
    let result = unsafe { syscall(nr::RT_SIGPROCMASK, SIG_SETMASK, none, 0, MASK_SIZE) };
    result == 0
}

/// Sleeps until a handler has run; ignored signals do not wake it. False when the kernel refuses to wait at all.
/// (aarch64 has no `pause` system call; this one is on both.)
pub(crate) fn sleep_until_signal() -> bool {
    let none = &raw const NO_SIGNALS as usize;
    // SAFETY: reads one static mask.
    let result = unsafe { syscall(nr::RT_SIGSUSPEND, none, MASK_SIZE, 0, 0) };
    result == -EINTR
}

/// Reaps one dead child. False when none is dead.
///
/// `__WALL` takes a child that was cloned with another exit signal than SIGCHLD, or none, by whoever executed this
/// program: the kernel sends SIGCHLD for it since its parent's exec (`do_notify_parent`, kernel/signal.c), but a plain
/// wait still passes it over (`eligible_child`, kernel/exit.c).
pub(crate) fn reap_one() -> bool {
    const ANY_CHILD: usize = -1_isize as usize;
    // SAFETY: asks for neither status nor resource usage, so the kernel writes nothing.
    let result = unsafe { syscall(nr::WAIT4, ANY_CHILD, 0, WNOHANG | WALL, 0) };
    result > 0
}

pub(crate) fn getpid() -> isize {
    // SAFETY: takes nothing, touches nothing.
    unsafe { syscall(nr::GETPID, 0, 0, 0, 0) }
}

/// Writes a line in one go. Says whether all of it was taken; there is nobody to tell when it was not.
pub(crate) fn write(file: usize, line: &[u8]) -> bool {
    // SAFETY: the kernel reads `line.len()` bytes of a live slice.
    let written = unsafe { syscall(nr::WRITE, file, line.as_ptr() as usize, line.len(), 0) };
    written == line.len() as isize
}

pub(crate) fn exit(code: usize) -> ! {
    loop {
        // SAFETY: ends the process; no memory is touched.
        unsafe { syscall(nr::EXIT_GROUP, code, 0, 0, 0) };
    }
}

/// What the program was called with, its own name left out.
pub(crate) struct Args {
    next: *const *const u8,
    /// Whether there is any.
    pub(crate) given: bool,
}

/// One argument: a C string on the first stack, which is never given back.
pub(crate) struct Arg(*const u8);

impl Iterator for Args {
    type Item = Arg;

    fn next(&mut self) -> Option<Arg> {
        // SAFETY: `next` is within argv, at most at its closing null, which it never passes.
        let arg = unsafe { *self.next };
        if arg.is_null() {
            return None;
        }
        // SAFETY: not yet at the closing null, so one further is still within argv.
        self.next = unsafe { self.next.add(1) };
        Some(Arg(arg))
    }
}

impl Arg {
    /// Compares byte by byte: `memcmp` and `strlen` are what a C library would bring.
    pub(crate) fn is(&self, expected: &[u8]) -> bool {
        let mut at = self.0;
        for &byte in expected {
            // SAFETY: each byte so far equalled one of `expected`, which has no NUL, so `at` has not passed the end.
            if unsafe { *at } != byte {
                return false;
            }
            // SAFETY: the byte at `at` was not the closing NUL, so there is one more.
            at = unsafe { at.add(1) };
        }
        // SAFETY: as above; at the latest this is the closing NUL.
        unsafe { *at == 0 }
    }
}

/// Where `_start` goes, with the stack as the kernel made it: argc, then argv with a closing null.
extern "C" fn entry(stack: *const usize) -> ! {
    // SAFETY: only `_start` calls this, with the stack pointer the kernel gave it (`create_elf_tables`, fs/binfmt_elf.c).
    let argc = unsafe { *stack };
    // A process can be executed with no argv at all, not even a name: then the null is the first word. (Kernels since
    // 5.18 add an empty name.)
    let own_name = usize::from(argc > 0);
    // SAFETY: argv is the next word of the same stack, `argc` pointers and a null; its name is skipped only if there is one.
    let next = unsafe { stack.add(1 + own_name) }.cast::<*const u8>();
    crate::main(Args {
        next,
        given: argc > 1,
    })
}
