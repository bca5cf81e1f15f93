//! The only file of the probe with `unsafe`: converts bytes of the ring to records, and values to
//! bytes for the kernel, and maps counters.

use std::{
    num::NonZeroUsize,
    os::fd::BorrowedFd,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::Pod;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use pause_trace_common::{self as common, COUNTERS, Framed, Header, Record};

/// The header at the start of `bytes`, if they are long enough.
pub(super) fn header(bytes: &[u8]) -> Option<Header> {
    let bytes = bytes.get(..size_of::<Header>())?;
    // SAFETY: the slice has the header's length; a header consists of integers, so any bytes are
    // valid; `read_unaligned` needs no alignment.
    Some(unsafe { bytes.as_ptr().cast::<Header>().read_unaligned() })
}

/// The record after the header, if `bytes` are long enough.
pub(super) fn record<R: Record>(bytes: &[u8]) -> Option<R> {
    let bytes = bytes.get(size_of::<Header>()..size_of::<Framed<R>>())?;
    // SAFETY: the slice contains the whole record, because `Record` requires that `Framed` has no
    // padding. Any bytes are a valid record; `read_unaligned` needs no alignment.
    Some(unsafe { bytes.as_ptr().cast::<R>().read_unaligned() })
}

/// A value that is copied to or from the kernel with its memory layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub(super) struct Plain<T: Copy + 'static>(pub(super) T);

// SAFETY: these are `repr(C)`, hold integers only, and have explicit padding.
unsafe impl Pod for Plain<common::Offsets> {}
// SAFETY: as above.
unsafe impl Pod for Plain<common::Config> {}
// SAFETY: as above.
unsafe impl Pod for Plain<common::Watched> {}
// SAFETY: as above.
unsafe impl Pod for Plain<common::Group> {}
// SAFETY: as above.
unsafe impl Pod for Plain<common::FloodKey> {}
// SAFETY: as above.
unsafe impl Pod for Plain<common::Account> {}
// SAFETY: as above.
unsafe impl Pod for Plain<common::Flood> {}

/// The counters of all processors, which the program adds to.
pub(super) struct Counters {
    first: NonNull<AtomicU64>,
    len: usize,
}

impl Counters {
    /// Maps an array of `len` counters.
    pub(super) fn map(array: BorrowedFd<'_>, len: u32) -> nix::Result<Self> {
        let len = len as usize;
        let bytes = NonZeroUsize::new(len * size_of::<u64>()).ok_or(nix::Error::EINVAL)?;
        // SAFETY: the kernel chooses a free address.
        let first = unsafe {
            mmap(
                None,
                bytes,
                ProtFlags::PROT_READ,
                MapFlags::MAP_SHARED,
                array,
                0,
            )?
        };
        let first = first.cast();
        Ok(Self { first, len })
    }

    /// The sum of a counter over all processors.
    pub(super) fn sum(&self, counter: u32) -> u64 {
        // SAFETY: so much is mapped until this is dropped, a page is aligned, and the kernel writes
        // each value with one instruction.
        let all = unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) };
        let own = all.iter().skip(counter as usize);
        own.step_by(COUNTERS as usize)
            .map(|count| count.load(Ordering::Acquire))
            .sum()
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and no reference to it remains.
        let unmapped = unsafe { munmap(self.first.cast(), self.len * size_of::<u64>()) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}
