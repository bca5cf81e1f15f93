//! The functions of the C library that the compiler calls to copy and fill memory. Optimized
//! programs rarely need them.
//!
//! They access memory byte by byte and volatile: the compiler would recognize a plain loop and
//! replace it by a call of the function itself.

/// # Safety
/// As in C: both pointers are valid for `count` bytes, and the areas do not overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    for at in 0..count {
        // SAFETY: within both areas, as the caller guarantees.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
    }
    to
}

/// # Safety
/// As in C: both pointers are valid for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.cast_const() < from {
        // SAFETY: guaranteed by the caller. Forwards, each byte is read before it is overwritten.
        return unsafe { memcpy(to, from, count) };
    }
    for at in (0..count).rev() {
        // SAFETY: within both areas, as the caller guarantees.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
    }
    to
}

/// # Safety
/// As in C: `to` is valid for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    for at in 0..count {
        // SAFETY: within the area, as the caller guarantees.
        unsafe { to.add(at).write_volatile(byte as u8) };
    }
    to
}
