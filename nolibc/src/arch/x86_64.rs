//! x86_64: numbers from arch/x86/entry/syscalls/syscall_64.tbl.

use core::arch::{asm, naked_asm};

pub(crate) mod nr {
    pub(crate) const WRITE: usize = 1;
    pub(crate) const RT_SIGACTION: usize = 13;
    pub(crate) const RT_SIGPROCMASK: usize = 14;
    pub(crate) const GETPID: usize = 39;
    pub(crate) const WAIT4: usize = 61;
    pub(crate) const RT_SIGSUSPEND: usize = 130;
    pub(crate) const EXIT_GROUP: usize = 231;
}

/// What a signal handler returns to: x86_64 kernels want every program to bring its own (`x64_setup_rt_frame`).
pub(crate) const RESTORER: Option<unsafe extern "C" fn() -> !> = Some(restorer);

/// rt_sigreturn. Debuggers know a signal frame by these very bytes.
#[unsafe(naked)]
unsafe extern "C" fn restorer() -> ! {
    naked_asm!("mov rax, 15", "syscall")
}

/// The kernel starts here, the stack pointer 16-byte aligned and at argc; the call leaves it as the ABI wants it. A zero
/// frame pointer ends backtraces.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("xor ebp, ebp", "mov rdi, rsp", "call {entry}", entry = sym crate::start::entry)
}

/// # Safety
/// The arguments must be what the system call takes: pointers valid for it, sizes true.
pub(crate) unsafe fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    // SAFETY: the kernel keeps every register but rax, rcx and r11; memory it may touch is vouched for by the caller.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack, preserves_flags),
        );
    }
    result
}
