//! Memory, of which these programs have none but the stack, unless they ask.

use crate::{Errno, nr, syscall};

const PAGE: usize = 4096;
const ENOMEM: Errno = Errno(12);

/// Takes `bytes` more and touches each page, so that the kernel has to find them. They are never given back.
///
/// # Errors
/// When the kernel has no more to give. When a cgroup has not, it kills.
pub fn grow(bytes: usize) -> Result<(), Errno> {
    let heap_end = |wanted: usize| {
        // SAFETY: only ever moves the end of the heap up, and nothing else here has one.
        let end = unsafe { syscall(nr::BRK, wanted, 0, 0, 0) };
        end.cast_unsigned()
    };
    // `brk` never says no: it answers with the end as it is.
    let start = heap_end(0);
    let end = start.checked_add(bytes).ok_or(ENOMEM)?;
    if heap_end(end) != end {
        return Err(ENOMEM);
    }
    for page in (start..end).step_by(PAGE) {
        // SAFETY: within the heap that was just grown; volatile, as nobody ever reads it.
        unsafe { (page as *mut u8).write_volatile(1) };
    }
    Ok(())
}
