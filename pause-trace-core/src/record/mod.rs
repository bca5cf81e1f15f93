//! Recordings: the events of a run in a file, from which the same verdicts follow on any machine.
//!
//! # Format, version 2
//!
//! ```text
//! magic, 8 bytes   89 "PTREC" 0d 0a   (a byte that is no text, and a line end that a careless copy would change)
//! version, u16     2                  (this and all numbers of the container are little endian)
//! frames, to the end of the file:
//!     packed, u32      bytes of the payload; at most what `raw` could grow to
//!     raw, u32         bytes of it unpacked; at most 16 MiB, so that no frame can ask for more memory than that
//!     check, u32       CRC-32 of the two lengths and the payload
//!     payload          an LZ4 block: whole entries, one after the other
//! ```
//!
//! An [`Entry`] is encoded as postcard has it: fields in the order they are declared, variants by their number. A variant that
//! is added at an end leaves older recordings readable, and needs a new version number for older readers' sake. Any other
//! change needs the old types as well: `v1.rs` has those of version 1, and converts them. A fixture of each version is replayed by the tests, and
//! would tell.
//!
//! A file begins with [`Entry::Opening`]. Each part of the run (`run` has two) is a [`Entry::Begin`], its events and marks,
//! and an [`Entry::End`]. The last entry is [`Entry::Closed`]: where it is missing, the recording was cut.
//!
//! A frame is written a second after its first entry came, at the latest, and in one piece: a program that is killed loses
//! that second, and a replay stops at the last whole frame. (A machine that loses power may lose more: nobody waits for the
//! disk but at the end.)
//!
//! # Marks
//!
//! Events decide which verdicts are given; when they are *told* depends on when the program got to it, and that decides
//! by which names pods are called and whether a pod's start or a verdict on it is the first line. A [`Mark`] says where
//! between the events that was, and what a scenario said of itself.
//!
//! # Size
//!
//! With a limit, two segments are kept, `FILE` and the one before it, `FILE.1`, each half the limit at most. A new segment
//! begins as a new watch would: with what runs now, as facts ([`State::snapshot`](crate::state::State::snapshot)), so that it
//! can be replayed alone. Together they are replayed as one: the second one's snapshot is then left out. What is older than
//! both is gone, and nothing is claimed of it. A segment holds at least as much as its snapshot again: on a node with so
//! many pods that the snapshot alone is half the limit, the limit is exceeded rather than the history lost.

mod read;
#[cfg(test)]
mod tests;
mod v1;
mod write;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use read::{Ending, Next, Recording, Segment, Unreadable};
pub use write::{FILE_HEAD, Packer, encode, write_head};

use crate::{
    event::{Event, Ktime, PodId, ProcessId},
    report::{Clock, Hello, Hook},
    state::Limits,
};

const MAGIC: [u8; 8] = *b"\x89PTREC\r\n";
const VERSION: u16 = 2;
/// Bytes of a frame before its payload.
const FRAME_HEAD: usize = 12;
/// Most bytes of a frame, unpacked.
pub const MAX_RAW: usize = 16 << 20;

/// What a pipeline writes a recording with.
pub trait Recorder {
    /// Adds an entry. Once it has failed, nothing more is written.
    fn write(&self, entry: &Entry<&Event>);
    /// Whether a segment is as large as it may be.
    fn is_due(&self) -> bool;
    /// Begins a new segment, with what is known now.
    fn rotate(&self, begin: &Begin, snapshot: &[Event]);
    /// Why it could not be written, in words; once.
    fn take_complaint(&self) -> Option<String>;
}

/// What a recording is made of. `E` is `&Event` where it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Entry<E = Event> {
    /// An event, as it was taken in.
    Event(E),
    /// Something that the program did between the events.
    Mark(Mark),
    /// First in a file.
    Opening(Opening),
    /// A part of the run begins.
    Begin(Begin),
    /// The snapshot that a later segment begins with is over.
    Settled,
    /// The part is over.
    End(End),
    /// What follows is in the next segment.
    Continued,
    /// The run is over.
    Closed,
}

/// Where and by whom it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The same in all segments of a recording.
    pub recording: u64,
    /// From 0.
    pub segment: u32,
    /// The version of pause-trace.
    pub version: String,
    /// As in `uname -r`.
    pub kernel: String,
    /// As in `uname -m`.
    pub arch: String,
    /// `CLOCK_REALTIME` − `CLOCK_BOOTTIME`, in ns.
    pub clock_offset: i128,
}

/// How a part of a run began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// What was watched.
    pub run: Run,
    /// When it began.
    pub started: Ktime,
    /// The limits that verdicts were given by.
    pub limits: Limits,
    /// Where events came from.
    pub hooks: Vec<Hook>,
}

/// What was watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Run {
    /// The reference pod.
    Reference {
        /// Whether a fault's findings are violations, rather than the proof that it is found.
        inject: bool,
    },
    /// Scenarios whose pods the node's own runtime made.
    Conformance,
    /// The node's pods.
    Node,
}

/// Something that the program did at this point between the events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// It began to follow the node's pods.
    Followed,
    /// It told of what had been decided by then.
    Told,
    /// A scenario was over, and was judged.
    Over(Over),
    /// A scenario was told of, at this time.
    ScenarioTold {
        /// Its name.
        scenario: String,
        /// When it was told of.
        time: Ktime,
    },
}

/// A scenario, as far as it is not the verdicts on its pods that say how it came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// Its name.
    pub scenario: String,
    /// The pods that it made.
    pub pods: Vec<PodId>,
    /// Whom a planted fault's finding has to name.
    pub culprit: Option<ProcessId>,
    /// What it said of itself.
    pub said: Said,
    /// In ns.
    pub duration: u64,
}

/// What a scenario said of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// It was played, and this proves it.
    Proof(String),
    /// It can't be played here.
    Impossible(String),
    /// The pod did not do what was promised of it.
    Broken(String),
}

/// How a part of a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When it ended.
    pub time: Ktime,
    /// By Ctrl-C.
    pub interrupted: bool,
}

impl Opening {
    /// Ties the recording's kernel time to UTC.
    pub fn clock(&self) -> Clock {
        Clock {
            offset: self.clock_offset,
        }
    }

    /// Who spoke, in the run that was recorded.
    pub fn hello(&self, begin: &Begin) -> Hello {
        Hello {
            time: begin.started,
            version: Cow::Owned(self.version.clone()),
            kernel: self.kernel.clone(),
            arch: self.arch.clone(),
            hooks: begin.hooks.clone(),
        }
    }
}
