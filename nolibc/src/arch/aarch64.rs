//! aarch64. The system call numbers are from include/uapi/asm-generic/unistd.h.

use core::arch::{asm, naked_asm};

pub(crate) mod nr {
    pub(crate) const OPENAT: usize = 56;
    pub(crate) const CLOSE: usize = 57;
    pub(crate) const WRITE: usize = 64;
    pub(crate) const PPOLL: usize = 73;
    pub(crate) const EXIT_GROUP: usize = 94;
    pub(crate) const UNSHARE: usize = 97;
    pub(crate) const KILL: usize = 129;
    pub(crate) const RT_SIGSUSPEND: usize = 133;
    pub(crate) const RT_SIGACTION: usize = 134;
    pub(crate) const RT_SIGPROCMASK: usize = 135;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 137;
    pub(crate) const GETPID: usize = 172;
    pub(crate) const SOCKET: usize = 198;
    pub(crate) const BIND: usize = 200;
    pub(crate) const LISTEN: usize = 201;
    pub(crate) const CONNECT: usize = 203;
    pub(crate) const SETSOCKOPT: usize = 208;
    pub(crate) const BRK: usize = 214;
    pub(crate) const CLONE: usize = 220;
    pub(crate) const EXECVE: usize = 221;
    pub(crate) const ACCEPT4: usize = 242;
    pub(crate) const WAIT4: usize = 260;
    pub(crate) const SETNS: usize = 268;
    pub(crate) const PIDFD_OPEN: usize = 434;
    pub(crate) const CLOSE_RANGE: usize = 436;
}

/// Signal handlers return into the vDSO, which calls rt_sigreturn (`setup_return`,
/// arch/arm64/kernel/signal.c).
pub(crate) const RESTORER: Option<unsafe extern "C" fn() -> !> = None;

/// The entry point. The stack pointer is 16-byte aligned and points to argc. A zero frame pointer
/// ends backtraces.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("mov x29, xzr", "mov x30, xzr", "mov x0, sp", "b {entry}", entry = sym crate::start::entry)
}

/// # Safety
/// The arguments must be those of the system call: valid pointers and correct sizes.
pub(crate) unsafe fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    // SAFETY: the kernel keeps every register but x0; the caller guarantees the memory that it may
    // access.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            options(nostack, preserves_flags),
        );
    }
    result
}

/// A system call with five arguments. A separate function, because the fifth argument costs code
/// size.
///
/// # Safety
/// See [`syscall`].
pub(crate) unsafe fn syscall5(number: usize, args: [usize; 5]) -> isize {
    let [a, b, c, d, e] = args;
    let result;
    // SAFETY: as in `syscall`.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            options(nostack, preserves_flags),
        );
    }
    result
}

/// A 64-bit program has no 32-bit entry here: ENOSYS.
pub(crate) fn compat_setns(_file: usize) -> isize {
    -38
}

/// Causes a page fault.
pub(crate) fn fault() {
    // SAFETY: the page at 0 is never mapped (vm.mmap_min_addr), so the write changes no memory and
    // ends the process.
    unsafe { asm!("strb wzr, [{null}]", null = in(reg) 0_usize, options(nostack)) };
}
