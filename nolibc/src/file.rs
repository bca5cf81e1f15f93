//! Files, which are open descriptors.

use crate::{Arg, Errno, check, nr, syscall};

/// What programs write to by convention.
pub const STDOUT: usize = 1;
/// Where they complain.
pub const STDERR: usize = 2;

const AT_FDCWD: usize = -100_isize as usize;
const O_CLOEXEC: usize = 0o2_000_000;

/// An open file of this program; closed when it is dropped.
pub struct File(pub(crate) usize);

impl File {
    /// Opens it for reading.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(path: &Arg) -> Result<Self, Errno> {
        // SAFETY: the kernel reads the C string that `path` is.
        let result =
            unsafe { syscall(nr::OPENAT, AT_FDCWD, path.pointer() as usize, O_CLOEXEC, 0) };
        check(result).map(Self)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the descriptor is this value's own, and nobody has it after this.
        unsafe { syscall(nr::CLOSE, self.0, 0, 0, 0) };
    }
}

/// Closes every open file, also those that the program did not open.
///
/// # Errors
/// What the kernel says.
pub fn close_all() -> Result<(), Errno> {
    // SAFETY: nothing here reads or writes through a descriptor that must stay open.
    let result = unsafe { syscall(nr::CLOSE_RANGE, 0, u32::MAX as usize, 0, 0) };
    check(result).map(drop)
}

/// Writes a line in one go. Says whether all of it was taken; there is nobody to tell when it was not.
pub fn write(file: usize, line: &[u8]) -> bool {
    // SAFETY: the kernel reads `line.len()` bytes of a live slice.
    let written = unsafe { syscall(nr::WRITE, file, line.as_ptr() as usize, line.len(), 0) };
    written == line.len() as isize
}
