//! Files.

use crate::{nr, syscall};

/// What programs read and write by convention.
pub const STDOUT: usize = 1;
/// Where they complain.
pub const STDERR: usize = 2;

/// Writes a line in one go. Says whether all of it was taken; there is nobody to tell when it was not.
pub fn write(file: usize, line: &[u8]) -> bool {
    // SAFETY: the kernel reads `line.len()` bytes of a live slice.
    let written = unsafe { syscall(nr::WRITE, file, line.as_ptr() as usize, line.len(), 0) };
    written == line.len() as isize
}
