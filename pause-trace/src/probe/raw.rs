//! The one file of the probe with `unsafe`: bytes of the ring become records, records become bytes for the kernel.

use aya::Pod;
use pause_trace_common::{self as common, Framed, Header, Record};

/// The header at the start of `bytes`, if they are long enough.
pub(super) fn header(bytes: &[u8]) -> Option<Header> {
    let bytes = bytes.get(..size_of::<Header>())?;
    // SAFETY: the slice has the header's length; a header is plain integers, so any bytes are valid; the read does not ask
    // for alignment.
    Some(unsafe { bytes.as_ptr().cast::<Header>().read_unaligned() })
}

/// The record behind the header, if `bytes` are long enough.
pub(super) fn record<R: Record>(bytes: &[u8]) -> Option<R> {
    let bytes = bytes.get(size_of::<Header>()..size_of::<Framed<R>>())?;
    // SAFETY: the slice holds the record: `Framed` has no padding, as `Record` asks for. Any bytes are a value of a record;
    // the read does not ask for alignment.
    Some(unsafe { bytes.as_ptr().cast::<R>().read_unaligned() })
}

/// A value that is copied to or from the kernel as it lies in memory.
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
unsafe impl Pod for Plain<common::FloodKey> {}
// SAFETY: as above.
unsafe impl Pod for Plain<common::Flood> {}
