//! The reader of recordings. It reads frame by frame, and checks every byte before it uses it.

use std::io::{self, Read};

use super::{Entry, FRAME_HEAD, MAGIC, MAX_RAW, Opening, VERSION, v1::EntryV1, write::checksum};
use crate::event::{Fact, Namespaces};

/// A recording that is being read. It needs as much memory as the largest frame.
pub struct Recording<R> {
    file: Frames<R>,
    /// The segment after this one.
    next: Option<Frames<R>>,
    /// The machine and the program that made it.
    pub opening: Opening,
    /// Whether entries of a snapshot are being skipped, because the segment before contained their
    /// content.
    is_skipping: bool,
    /// How the segment before ended, if it is incomplete.
    broken: Option<Ending>,
}

/// How a recording ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the recorded run.
    Closed,
    /// With the recorded run, but the file goes on.
    Followed {
        /// The offset of what follows.
        at: u64,
    },
    /// In the middle.
    Cut {
        /// The number of bytes in whole frames.
        at: u64,
    },
    /// With a frame that cannot be read.
    Damaged {
        /// The offset of the frame.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// Why a file cannot be replayed at all.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Reading failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is empty.
    #[error("the file is empty")]
    Empty,
    /// The file is not a recording.
    #[error("not a pause-trace recording")]
    NotARecording,
    /// The format is newer than this program.
    #[error(
        "recorded by a newer pause-trace (format {0}; this version reads formats up to {VERSION})"
    )]
    NewerFormat(u16),
    /// The file does not begin with a whole opening.
    #[error("cut or damaged near the beginning, so nothing of it can be replayed ({0})")]
    NoOpening(String),
}

/// The next item of a recording.
#[expect(
    clippy::large_enum_variant,
    reason = "the value is used at once; boxing it would cost an allocation for each event"
)]
pub enum Next {
    /// An entry.
    Entry(Entry),
    /// The end.
    End(Ending),
}

/// One file of a recording, read up to its opening.
pub struct Segment<R> {
    frames: Frames<R>,
    opening: Opening,
}

impl<R: Read> Segment<R> {
    /// Reads the head and the opening of a file.
    pub fn new(input: R) -> Result<Self, Unreadable> {
        let mut frames = Frames::new(input)?;
        match frames.next()? {
            Ok(Entry::Opening(opening)) => Ok(Self { frames, opening }),
            Ok(_) => Err(Unreadable::NoOpening(
                "the first entry is not an opening".to_owned(),
            )),
            Err(ending) => Err(Unreadable::NoOpening(ending.to_string())),
        }
    }
}

impl<R: Read> Recording<R> {
    /// A recording that ends with this segment. `before` opens the segment before it, if there is
    /// one.
    pub fn new(last: Segment<R>, before: impl FnOnce() -> Option<Segment<R>>) -> Self {
        let Segment { frames, opening } = last;
        if opening.segment > 0
            && let Some(earlier) = before()
            && earlier.opening.recording == opening.recording
            && earlier.opening.segment.checked_add(1) == Some(opening.segment)
        {
            return Self {
                file: earlier.frames,
                next: Some(frames),
                opening: earlier.opening,
                is_skipping: false,
                broken: None,
            };
        }
        Self {
            file: frames,
            next: None,
            opening,
            is_skipping: false,
            broken: None,
        }
    }

    /// Whether the beginning of the recording was dropped.
    pub fn is_headless(&self) -> bool {
        self.opening.segment > 0
    }

    /// The next entry. Entries that only connect segments are left out.
    pub fn next_entry(&mut self) -> io::Result<Next> {
        loop {
            let entry = match self.file.next()? {
                Ok(entry) => entry,
                Err(ending) => {
                    let ending = self.broken.take().unwrap_or(ending);
                    match self.next.take() {
                        // The rest of this segment is lost. The next one begins with a snapshot.
                        Some(next) => (self.file, self.broken) = (next, Some(ending)),
                        None => return Ok(Next::End(ending)),
                    }
                    continue;
                }
            };
            match entry {
                Entry::Continued => match self.next.take() {
                    Some(next) => (self.file, self.is_skipping) = (next, true),
                    None => {
                        let at = self.file.at;
                        return Ok(Next::End(Ending::Cut { at }));
                    }
                },
                Entry::Settled => self.is_skipping = false,
                Entry::Closed => {
                    let ending = match self.file.followed()? {
                        Some(at) => Ending::Followed { at },
                        None => Ending::Closed,
                    };
                    return Ok(Next::End(self.broken.take().unwrap_or(ending)));
                }
                Entry::Opening(_) => {}
                _ if self.is_skipping => {}
                entry => return Ok(Next::Entry(entry)),
            }
        }
    }
}

impl Ending {
    /// Why the recording may not be the whole of what happened, as a sentence.
    pub fn doubt(&self) -> Option<String> {
        match self {
            Self::Closed => None,
            Self::Followed { .. } => Some(format!(
                "the recording is complete, but {self}, so the file may be damaged or two files in one"
            )),
            Self::Cut { .. } | Self::Damaged { .. } => {
                Some(format!("the recording is {self}; what followed is unknown"))
            }
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("complete"),
            Self::Followed { at } => write!(f, "followed by other data from byte {at} on"),
            Self::Cut { at } => write!(f, "cut after {at} bytes"),
            Self::Damaged { at, why } => write!(f, "damaged at byte {at}: {why}"),
        }
    }
}

/// The frames and entries of a file.
pub(super) struct Frames<R> {
    input: R,
    version: u16,
    /// The offsets of the current frame and of the next.
    at: u64,
    next_at: u64,
    packed: Vec<u8>,
    raw: Vec<u8>,
    /// The number of decoded bytes of `raw`.
    decoded: usize,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(mut input: R) -> Result<Self, Unreadable> {
        let mut head = [0; MAGIC.len() + 2];
        let read = read_up_to(&mut input, &mut head)?;
        let magic = &head[..read.min(MAGIC.len())];
        if read == 0 {
            return Err(Unreadable::Empty);
        }
        if magic != &MAGIC[..magic.len()] {
            return Err(Unreadable::NotARecording);
        }
        if read < head.len() {
            return Err(Unreadable::NoOpening(format!("cut after {read} bytes")));
        }
        let version = u16::from_le_bytes([head[8], head[9]]);
        match version {
            0 => Err(Unreadable::NotARecording),
            1..=VERSION => Ok(Self {
                input,
                version,
                at: head.len() as u64,
                next_at: head.len() as u64,
                packed: Vec::new(),
                raw: Vec::new(),
                decoded: 0,
            }),
            _ => Err(Unreadable::NewerFormat(version)),
        }
    }

    /// The next entry, or how the file ends.
    pub(super) fn next(&mut self) -> io::Result<Result<Entry, Ending>> {
        if self.decoded == self.raw.len()
            && let Err(ending) = self.unpack()?
        {
            return Ok(Err(ending));
        }
        let rest = &self.raw[self.decoded..];
        let entry = match self.version {
            1 => {
                postcard::take_from_bytes::<EntryV1>(rest).map(|(entry, left)| (entry.into(), left))
            }
            _ => postcard::take_from_bytes::<Entry>(rest),
        };
        Ok(match entry {
            Ok((mut entry, left)) => {
                self.decoded = self.raw.len() - left.len();
                if self.version < 3
                    && let Entry::Event(event) = &mut entry
                    && let Fact::Exit { task, .. } = &mut event.fact
                {
                    task.namespaces = Namespaces::default();
                }
                Ok(entry)
            }
            Err(error) => Err(self.damaged(&format!("an entry cannot be decoded ({error})"))),
        })
    }

    /// The offset of what follows the last entry, if anything does.
    fn followed(&mut self) -> io::Result<Option<u64>> {
        let has_entries = self.decoded < self.raw.len();
        let is_followed = has_entries || read_up_to(&mut self.input, &mut [0])? > 0;
        let at = if has_entries { self.at } else { self.next_at };
        Ok(is_followed.then_some(at))
    }

    /// Reads and unpacks the next frame.
    fn unpack(&mut self) -> io::Result<Result<(), Ending>> {
        self.at = self.next_at;
        let at = self.at;
        let mut head = [0; FRAME_HEAD];
        if read_up_to(&mut self.input, &mut head)? < head.len() {
            return Ok(Err(Ending::Cut { at }));
        }
        let number =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (packed, raw, check) = (number(0) as usize, number(4) as usize, number(8));
        // Checked before any memory is allocated.
        if raw == 0 || raw > MAX_RAW || packed > lz4_flex::block::get_maximum_output_size(raw) {
            return Ok(Err(self.damaged("a frame has an impossible length")));
        }
        self.packed.resize(packed, 0);
        if read_up_to(&mut self.input, &mut self.packed)? < packed {
            return Ok(Err(Ending::Cut { at }));
        }
        if checksum(&head[..8], &self.packed) != check {
            return Ok(Err(self.damaged("the checksum of a frame does not match")));
        }
        self.raw.resize(raw, 0);
        match lz4_flex::block::decompress_into(&self.packed, &mut self.raw) {
            Ok(unpacked) if unpacked == raw => {}
            _ => return Ok(Err(self.damaged("a frame cannot be unpacked"))),
        }
        self.decoded = 0;
        self.next_at = at + (FRAME_HEAD + packed) as u64;
        Ok(Ok(()))
    }

    fn damaged(&self, why: &str) -> Ending {
        Ending::Damaged {
            at: self.at,
            why: why.to_owned(),
        }
    }
}

/// Fills the buffer, or reads up to the end of the input.
fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
