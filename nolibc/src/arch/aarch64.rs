//! aarch64: numbers from include/uapi/asm-generic/unistd.h.

use core::arch::{asm, naked_asm};

pub(crate) mod nr {
    pub(crate) const WRITE: usize = 64;
    pub(crate) const EXIT_GROUP: usize = 94;
    pub(crate) const RT_SIGSUSPEND: usize = 133;
    pub(crate) const RT_SIGACTION: usize = 134;
    pub(crate) const RT_SIGPROCMASK: usize = 135;
    pub(crate) const GETPID: usize = 172;
    pub(crate) const WAIT4: usize = 260;
}

/// Signal handlers return into the vDSO, which calls rt_sigreturn for us (`setup_return`, arch/arm64/kernel/signal.c).
pub(crate) const RESTORER: Option<unsafe extern "C" fn() -> !> = None;

/// The kernel starts here, the stack pointer 16-byte aligned and at argc. A zero frame pointer ends backtraces.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("mov x29, xzr", "mov x30, xzr", "mov x0, sp", "b {entry}", entry = sym crate::start::entry)
}

/// # Safety
/// The arguments must be what the system call takes: pointers valid for it, sizes true.
pub(crate) unsafe fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    // SAFETY: the kernel keeps every register but x0; memory it may touch is vouched for by the caller.
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
