//! Reads a recording, frame by frame, and believes nothing in it before it has been checked.

use std::io::{self, Read};

use super::{Entry, FRAME_HEAD, MAGIC, MAX_RAW, Opening, VERSION, v1::OldEntry, write::checksum};

/// A recording that is being read. Memory is that of the largest frame.
pub struct Recording<R> {
    file: Frames<R>,
    /// The segment after this one.
    next: Option<Frames<R>>,
    /// Where and by whom it was recorded.
    pub opening: Opening,
    /// Entries of a snapshot are skipped: what they say is known from the segment before.
    is_skipping: bool,
    /// How the segment before ended, where it did so too early.
    broken: Option<Ending>,
}

/// How a recording ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As the run that was recorded.
    Closed,
    /// In the middle, after this many bytes.
    Cut {
        /// Bytes of whole frames.
        at: u64,
    },
    /// With something that can't be read, at this byte.
    Damaged {
        /// Where the frame begins.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// Why a file is not replayed at all.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It could not be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It holds nothing.
    #[error("it is empty")]
    Empty,
    /// It is another kind of file.
    #[error("it is no recording of pause-trace")]
    Foreign,
    /// Its format is newer than this program.
    #[error(
        "it was made by a newer pause-trace (format {0}; this one reads up to format {VERSION})"
    )]
    Newer(u16),
    /// It does not begin with a whole opening.
    #[error("it has been cut or damaged so early that nothing of it can be replayed ({0})")]
    Headless(String),
}

/// What comes next.
#[expect(
    clippy::large_enum_variant,
    reason = "one is made for each event and taken apart at once: a box would be an allocation an event"
)]
pub enum Next {
    /// An entry.
    Entry(Entry),
    /// Nothing follows.
    End(Ending),
}

/// One file of a recording, up to its first entry.
pub struct Segment<R> {
    frames: Frames<R>,
    opening: Opening,
}

impl<R: Read> Segment<R> {
    /// Reads what a file begins with.
    pub fn new(input: R) -> Result<Self, Unreadable> {
        let mut frames = Frames::new(input)?;
        match frames.next()? {
            Ok(Entry::Opening(opening)) => Ok(Self { frames, opening }),
            Ok(_) => Err(Unreadable::Headless("it begins in the middle".to_owned())),
            Err(ending) => Err(Unreadable::Headless(ending.to_string())),
        }
    }
}

impl<R: Read> Recording<R> {
    /// A recording that ends with this segment. `before` opens the segment before it, where there may be one.
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

    /// Whether what came before was dropped.
    pub fn is_headless(&self) -> bool {
        self.opening.segment > 0
    }

    /// The next entry; those that hold segments together are left out.
    pub fn next_entry(&mut self) -> io::Result<Next> {
        loop {
            let entry = match self.file.next()? {
                Ok(entry) => entry,
                Err(ending) => {
                    let ending = self.broken.take().unwrap_or(ending);
                    match self.next.take() {
                        // The rest of this segment is lost; the next begins with what ran then.
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
                    return Ok(Next::End(self.broken.take().unwrap_or(Ending::Closed)));
                }
                Entry::Opening(_) => {}
                _ if self.is_skipping => {}
                entry => return Ok(Next::Entry(entry)),
            }
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("it is whole"),
            Self::Cut { at } => write!(f, "cut after {at} bytes"),
            Self::Damaged { at, why } => write!(f, "damaged at byte {at}: {why}"),
        }
    }
}

/// A file's entries.
pub(super) struct Frames<R> {
    input: R,
    version: u16,
    /// Where the frame begins that is being read, and where the next does.
    at: u64,
    next_at: u64,
    packed: Vec<u8>,
    raw: Vec<u8>,
    /// Bytes of `raw` that have been decoded.
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
            return Err(Unreadable::Foreign);
        }
        if read < head.len() {
            return Err(Unreadable::Headless(format!("cut after {read} bytes")));
        }
        let version = u16::from_le_bytes([head[8], head[9]]);
        match version {
            0 => Err(Unreadable::Foreign),
            1..=VERSION => Ok(Self {
                input,
                version,
                at: head.len() as u64,
                next_at: head.len() as u64,
                packed: Vec::new(),
                raw: Vec::new(),
                decoded: 0,
            }),
            _ => Err(Unreadable::Newer(version)),
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
            1 => postcard::take_from_bytes::<OldEntry>(rest)
                .map(|(entry, left)| (entry.into(), left)),
            _ => postcard::take_from_bytes::<Entry>(rest),
        };
        Ok(match entry {
            Ok((entry, left)) => {
                self.decoded = self.raw.len() - left.len();
                Ok(entry)
            }
            Err(error) => Err(self.damaged(&format!("an entry that makes no sense ({error})"))),
        })
    }

    /// Reads the next frame whole.
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
        // Before any memory is taken for it.
        if raw == 0 || raw > MAX_RAW || packed > lz4_flex::block::get_maximum_output_size(raw) {
            return Ok(Err(self.damaged("a frame of an impossible length")));
        }
        self.packed.resize(packed, 0);
        if read_up_to(&mut self.input, &mut self.packed)? < packed {
            return Ok(Err(Ending::Cut { at }));
        }
        if checksum(&head[..8], &self.packed) != check {
            return Ok(Err(self.damaged("its checksum is another")));
        }
        self.raw.resize(raw, 0);
        match lz4_flex::block::decompress_into(&self.packed, &mut self.raw) {
            Ok(unpacked) if unpacked == raw => {}
            _ => return Ok(Err(self.damaged("it can't be unpacked"))),
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

/// As many bytes as there are, up to all that are wanted.
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
