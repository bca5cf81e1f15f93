//! System calls through the 32-bit entry of the kernel, for the reference pod.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;

/// setns through the 32-bit entry of the kernel, where its number is 346
/// (arch/x86/entry/syscalls/syscall_32.tbl). If the kernel has no such entry, the process crashes.
#[cfg(target_arch = "x86_64")]
pub(crate) fn setns(namespace: BorrowedFd<'_>) -> nix::Result<()> {
    let file = std::os::fd::AsRawFd::as_raw_fd(&namespace) as u64;
    let result: i32;
    // SAFETY: the call does not access the memory of this process. rbx, which the compiler may need
    // itself, has the first argument meanwhile. Kernels before 4.17 do not keep r8 to r11.
    unsafe {
        std::arch::asm!(
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
    match result {
        0.. => Ok(()),
        errno => Err(Errno::from_raw(-errno)),
    }
}

/// A 64-bit program has no 32-bit entry on this processor.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn setns(_namespace: BorrowedFd<'_>) -> nix::Result<()> {
    Err(Errno::ENOSYS)
}
