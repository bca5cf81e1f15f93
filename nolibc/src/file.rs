//! Open files.

use crate::{Arg, Errno, check, nr, syscall};

/// Standard output.
pub const STDOUT: usize = 1;
/// Standard error.
pub const STDERR: usize = 2;

const AT_FDCWD: usize = -100_isize as usize;
const O_CLOEXEC: usize = 0o2_000_000;

/// An open file, which is closed when it is dropped.
pub struct File(pub(crate) usize);

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn open(path: &Arg) -> Result<Self, Errno> {
        // SAFETY: `path` is a C string, which the kernel reads.
        let result =
            unsafe { syscall(nr::OPENAT, AT_FDCWD, path.pointer() as usize, O_CLOEXEC, 0) };
        check(result).map(Self)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: only this value uses the descriptor, and it is not used afterwards.
        unsafe { syscall(nr::CLOSE, self.0, 0, 0, 0) };
    }
}

/// Closes every open file, including those that the program inherited.
///
/// # Errors
/// The error of the kernel.
pub fn close_all() -> Result<(), Errno> {
    // SAFETY: no code here depends on a descriptor that must stay open.
    let result = unsafe { syscall(nr::CLOSE_RANGE, 0, u32::MAX as usize, 0, 0) };
    check(result).map(drop)
}

/// Writes a line with one system call. Returns whether all of it was written; most callers cannot
/// report an error anywhere.
pub fn write(file: usize, line: &[u8]) -> bool {
    // SAFETY: the kernel reads `line.len()` bytes of a live slice.
    let written = unsafe { syscall(nr::WRITE, file, line.as_ptr() as usize, line.len(), 0) };
    written == line.len() as isize
}
