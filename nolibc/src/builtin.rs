//! What the compiler calls, as if there were a C library, to copy and to fill; optimized programs hardly ever do.
//!
//! Byte by byte and volatile: a plain loop would be recognized for what it is, and become a call to itself.

/// # Safety
/// As C's: both are valid for `count` bytes, and do not overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    for at in 0..count {
        // SAFETY: within both, as the caller vouches.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
    }
    to
}

/// # Safety
/// As C's: both are valid for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.cast_const() < from {
        // SAFETY: as the caller vouches; forwards, each byte is read before it is written over.
        return unsafe { memcpy(to, from, count) };
    }
    for at in (0..count).rev() {
        // SAFETY: within both, as the caller vouches.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
    }
    to
}

/// # Safety
/// As C's: `to` is valid for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    for at in 0..count {
        // SAFETY: within `to`, as the caller vouches.
        unsafe { to.add(at).write_volatile(byte as u8) };
    }
    to
}
