//! Reads the memory of the process that runs. No other file does.

use aya_ebpf::{cty::c_void, helpers::generated::bpf_probe_read_user};

/// Bytes of the process that runs. The kernel has just written those that an exec passes, so they
/// are in memory.
#[derive(Clone, Copy)]
pub(crate) struct UserBytes {
    end: u64,
    pub(crate) len: u64,
}

impl UserBytes {
    #[inline(always)]
    pub(crate) fn between(start: u64, end: u64) -> Self {
        // Both are read from the kernel. If one read failed, nothing is read.
        let len = if start != 0 && start < end {
            end - start
        } else {
            0
        };
        Self { end, len }
    }

    /// Copies at most the first `N - 1` bytes, and returns their number.
    #[inline(always)]
    pub(crate) fn first<const N: usize>(self, buffer: &mut [u8; N]) -> u32 {
        copy(self.end - self.len, self.len, buffer)
    }

    /// Copies at most the last `N - 1` bytes, and returns their number.
    #[inline(always)]
    pub(crate) fn last<const N: usize>(self, buffer: &mut [u8; N]) -> u32 {
        let len = if self.len < N as u64 {
            self.len
        } else {
            N as u64 - 1
        };
        copy(self.end - len, len, buffer)
    }
}

/// Copies at most `N - 1` bytes at an address of the process that runs. `N` is a power of two.
#[inline(always)]
fn copy<const N: usize>(from: u64, len: u64, buffer: &mut [u8; N]) -> u32 {
    const { assert!(N.is_power_of_two()) };
    // The verifier has to see the limit of the length.
    let len = if len < N as u64 { len } else { N as u64 - 1 };
    let len = (len & (N as u64 - 1)) as u32;
    // SAFETY: the helper checks the address, and copies at most the size of the buffer, or fails.
    let result =
        unsafe { bpf_probe_read_user(buffer.as_mut_ptr().cast(), len, from as *const c_void) };
    if result == 0 { len } else { 0 }
}
