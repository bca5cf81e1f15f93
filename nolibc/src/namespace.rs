//! Namespaces: unshare and setns.

use crate::{Errno, File, arch, check, nr, syscall};

/// A kind of namespace, as the kernel numbers it (include/uapi/linux/sched.h).
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Namespace {
    /// Host and domain name.
    Uts = 0x0400_0000,
    /// System V IPC and POSIX message queues.
    Ipc = 0x0800_0000,
    /// Interfaces, addresses, ports.
    Net = 0x4000_0000,
}

/// Moves this process into a new namespace of this kind.
///
/// # Errors
/// EPERM without `CAP_SYS_ADMIN`.
pub fn unshare(namespace: Namespace) -> Result<(), Errno> {
    // SAFETY: none of these kinds affects memory, files or threads.
    let result = unsafe { syscall(nr::UNSHARE, namespace as usize, 0, 0, 0) };
    check(result).map(drop)
}

/// Moves this process into the namespace that `file` refers to.
///
/// # Errors
/// EPERM without `CAP_SYS_ADMIN`, EINVAL if it is not a namespace.
pub fn join(file: &File) -> Result<(), Errno> {
    const ANY_KIND: usize = 0;
    // SAFETY: the call does not affect the memory of this process.
    let result = unsafe { syscall(nr::SETNS, file.0, ANY_KIND, 0, 0) };
    check(result).map(drop)
}

/// The same through the 32-bit entry of the kernel, which not every hook of setns sees.
///
/// # Errors
/// As [`join`], and ENOSYS on a processor without such an entry for 64-bit programs. If the kernel
/// has none, the process crashes.
pub fn join_unseen(file: &File) -> Result<(), Errno> {
    check(arch::compat_setns(file.0)).map(drop)
}
