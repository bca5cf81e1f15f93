//! The only file of the probe with `unsafe`: converts bytes of the ring to records, and values to
//! bytes for the kernel.

use aya::Pod;
use pause_trace_common::{self as common, Framed, Header, Record};

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
