//! The writer of recordings: encodes entries and packs them into frames.

use std::io::{self, Write};

use super::{Entry, FRAME_HEAD, MAGIC, VERSION};
use crate::event::Event;

/// The size of a file before its first frame.
pub const FILE_HEAD: u64 = MAGIC.len() as u64 + 2;

/// Writes the magic and the version.
pub fn write_head(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())
}

/// Appends an entry to `entries`, which become one frame.
pub fn encode(entry: &Entry<&Event>, entries: Vec<u8>) -> io::Result<Vec<u8>> {
    // postcard fails only if there is no room, and a vector always has room.
    postcard::to_extend(entry, entries).map_err(io::Error::other)
}

/// Packs frames. The buffer is reused.
#[derive(Default)]
pub struct Packer {
    packed: Vec<u8>,
}

impl Packer {
    /// Writes encoded entries as one frame, in one piece. Returns the number of bytes written.
    pub fn write_frame(&mut self, raw: &[u8], out: &mut impl Write) -> io::Result<u64> {
        let room = lz4_flex::block::get_maximum_output_size(raw.len());
        self.packed.resize(FRAME_HEAD + room, 0);
        let packed = lz4_flex::block::compress_into(raw, &mut self.packed[FRAME_HEAD..])
            .map_err(io::Error::other)?;
        self.packed.truncate(FRAME_HEAD + packed);
        let length = |length: usize| u32::try_from(length).map_err(io::Error::other);
        self.packed[..4].copy_from_slice(&length(packed)?.to_le_bytes());
        self.packed[4..8].copy_from_slice(&length(raw.len())?.to_le_bytes());
        let check = checksum(&self.packed[..8], &self.packed[FRAME_HEAD..]);
        self.packed[8..FRAME_HEAD].copy_from_slice(&check.to_le_bytes());
        out.write_all(&self.packed)?;
        Ok(self.packed.len() as u64)
    }
}

/// The checksum of a frame's lengths and payload.
pub(super) fn checksum(lengths: &[u8], payload: &[u8]) -> u32 {
    let mut check = crc32fast::Hasher::new();
    check.update(lengths);
    check.update(payload);
    check.finalize()
}
