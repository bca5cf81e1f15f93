//! The heap. These programs use only the stack unless they grow the heap.

use crate::{Errno, nr, syscall};

const PAGE: usize = 4096;
const ENOMEM: Errno = Errno(12);

/// Allocates `bytes` and writes to each page, so that the kernel must provide the memory. It is
/// never freed.
///
/// # Errors
/// If the kernel has no more memory. If the limit of a cgroup is reached, the OOM killer acts
/// instead.
pub fn grow(bytes: usize) -> Result<(), Errno> {
    let heap_end = |wanted: usize| {
        // SAFETY: the call only moves the end of the heap up, and no other code uses the heap.
        let end = unsafe { syscall(nr::BRK, wanted, 0, 0, 0) };
        end.cast_unsigned()
    };
    // `brk` returns no error but the current end of the heap.
    let start = heap_end(0);
    let end = start.checked_add(bytes).ok_or(ENOMEM)?;
    if heap_end(end) != end {
        return Err(ENOMEM);
    }
    for page in (start..end).step_by(PAGE) {
        // SAFETY: within the heap that was just grown. Volatile, because the value is never read.
        unsafe { (page as *mut u8).write_volatile(1) };
    }
    Ok(())
}
