//! The one file of the probe with `unsafe`: bytes of the ring become records, records become bytes for the kernel.

use aya::Pod;
use pause_trace_common as record;

/// A record that any bytes of its length are a value of.
pub(super) trait Record: Copy {}
impl Record for record::Header {}
impl Record for record::Fork {}
impl Record for record::Exec {}
impl Record for record::Exit {}
impl Record for record::Found {}
impl Record for record::Free {}
impl Record for record::NamespaceChange {}
impl Record for record::SignalGenerate {}
impl Record for record::SignalDeliver {}
impl Record for record::Cgroup {}
impl Record for record::CgroupAttach {}
impl Record for record::OomVictim {}

/// The record at the start of `bytes`, if they are long enough.
pub(super) fn read<T: Record>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: the slice has the record's length; records are plain integers and arrays of them, so any bytes are valid;
    // the read does not ask for alignment.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// A value that is copied to or from the kernel as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub(super) struct Plain<T: Copy + 'static>(pub(super) T);

// SAFETY: these are `repr(C)`, hold integers only, and have explicit padding.
unsafe impl Pod for Plain<record::Offsets> {}
// SAFETY: as above.
unsafe impl Pod for Plain<record::Config> {}
// SAFETY: as above.
unsafe impl Pod for Plain<record::Watched> {}
// SAFETY: as above.
unsafe impl Pod for Plain<record::FloodKey> {}
// SAFETY: as above.
unsafe impl Pod for Plain<record::Flood> {}
