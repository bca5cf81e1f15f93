//! x86_64. The system call numbers are from arch/x86/entry/syscalls/syscall_64.tbl.

use core::arch::{asm, naked_asm};

pub(crate) mod nr {
    pub(crate) const WRITE: usize = 1;
    pub(crate) const CLOSE: usize = 3;
    pub(crate) const BRK: usize = 12;
    pub(crate) const RT_SIGACTION: usize = 13;
    pub(crate) const RT_SIGPROCMASK: usize = 14;
    pub(crate) const GETPID: usize = 39;
    pub(crate) const SOCKET: usize = 41;
    pub(crate) const CONNECT: usize = 42;
    pub(crate) const BIND: usize = 49;
    pub(crate) const LISTEN: usize = 50;
    pub(crate) const SETSOCKOPT: usize = 54;
    pub(crate) const CLONE: usize = 56;
    pub(crate) const EXECVE: usize = 59;
    pub(crate) const WAIT4: usize = 61;
    pub(crate) const KILL: usize = 62;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 128;
    pub(crate) const RT_SIGSUSPEND: usize = 130;
    pub(crate) const EXIT_GROUP: usize = 231;
    pub(crate) const OPENAT: usize = 257;
    pub(crate) const PPOLL: usize = 271;
    pub(crate) const UNSHARE: usize = 272;
    pub(crate) const ACCEPT4: usize = 288;
    pub(crate) const SETNS: usize = 308;
    pub(crate) const PIDFD_OPEN: usize = 434;
    pub(crate) const CLOSE_RANGE: usize = 436;
}

/// The code that a signal handler returns to. On x86_64 every program has to provide it
/// (`x64_setup_rt_frame`).
pub(crate) const RESTORER: Option<unsafe extern "C" fn() -> !> = Some(restorer);

/// Calls rt_sigreturn. Debuggers recognize a signal frame by exactly these bytes.
#[unsafe(naked)]
unsafe extern "C" fn restorer() -> ! {
    naked_asm!("mov rax, 15", "syscall")
}

/// The entry point. The stack pointer is 16-byte aligned and points to argc; the call aligns it as
/// the ABI requires. A zero frame pointer ends backtraces.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("xor ebp, ebp", "mov rdi, rsp", "call {entry}", entry = sym crate::start::entry)
}

/// # Safety
/// The arguments must be those of the system call: valid pointers and correct sizes.
pub(crate) unsafe fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    // SAFETY: the kernel keeps every register but rax, rcx and r11; the caller guarantees the
    // memory that it may access.
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
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack, preserves_flags),
        );
    }
    result
}

/// setns(file, 0) through the 32-bit entry, where it is number 346
/// (arch/x86/entry/syscalls/syscall_32.tbl).
pub(crate) fn compat_setns(file: usize) -> isize {
    let result: i32;
    // SAFETY: the call does not access the memory of this process. rbx, which the compiler may need
    // itself, has the first argument meanwhile. Kernels before 4.17 do not keep r8 to r11.
    unsafe {
        asm!(
            "xchg rbx, {file}",
            "int 0x80",
            "xchg rbx, {file}",
            file = inout(reg) file => _,
            inlateout("eax") 346 => result,
            in("ecx") 0,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result as isize
}

/// Causes a page fault.
pub(crate) fn fault() {
    // SAFETY: the page at 0 is never mapped (vm.mmap_min_addr), so the write changes no memory and
    // ends the process.
    unsafe { asm!("mov byte ptr [{null}], 0", null = in(reg) 0_usize, options(nostack)) };
}
