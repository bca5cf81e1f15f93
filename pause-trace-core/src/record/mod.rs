//! Recordings: the events of a run in a file. A replay gives the same verdicts on any machine.
//!
//! # Format, version 4
//!
//! ```text
//! magic, 8 bytes   89 "PTREC" 0d 0a   (not ASCII; a copy in text mode changes the line end)
//! version, u16     4                  (little endian, like all other numbers outside payloads)
//! frames, to the end of the file:
//!     packed, u32      size of the payload in bytes; at most what `raw` bytes can be packed to
//!     raw, u32         its unpacked size in bytes; at most 16 MiB, to bound the reader's memory
//!     check, u32       CRC-32 of the two lengths and the payload
//!     payload          an LZ4 block of whole entries
//! ```
//!
//! postcard encodes an [`Entry`]: fields in the order of their declaration, variants by their
//! number. A variant that is added at the end leaves older recordings readable, and needs a new
//! version number so that older programs refuse newer recordings. Any other change also needs the
//! old types: `v1.rs` has those of version 1 and converts them. Tests replay a fixture of each
//! version. Before version 3, the namespaces in an exit are those of the last thread and not of the
//! first one, so the reader drops them.
//!
//! A file begins with [`Entry::Opening`]. Each part of a run (`run` has two) consists of an
//! [`Entry::Begin`], events and marks, and an [`Entry::End`]. The last entry is [`Entry::Closed`].
//! If it is missing, the recording was cut.
//!
//! A frame is written in one piece, at most a second after its first entry. A program that is
//! killed loses at most that second, and a replay stops at the last whole frame. A machine that
//! loses power may lose more, because only the end of a recording is synced to the disk.
//!
//! # Marks
//!
//! Events decide which verdicts are given. The output also depends on when the program *reports*
//! them: that decides which names of pods are known, and whether the start of a pod or a verdict on
//! it comes first. A [`Mark`] records that point between the events, and the result that a scenario
//! reported.
//!
//! # Size
//!
//! With a limit, two segments are kept: `FILE` and the one before it, `FILE.1`. Each has at most
//! half the limit. A new segment begins like a new `watch`, with a snapshot of what is running
//! ([`State::snapshot`](crate::state::State::snapshot)), so that it can be replayed alone. If both
//! segments are replayed, the snapshot of the second is skipped. What is older than both is gone,
//! so no verdict rests on it. After its snapshot, a segment has room for at least as much again. On
//! a node with so many pods that the snapshot alone is half the limit, the recording exceeds the
//! limit rather than lose the history.

#[cfg(test)]
mod fuzz;
mod read;
mod share;
#[cfg(test)]
mod tests;
mod v1;
mod write;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use read::{Ending, Next, Recording, Segment, Unreadable};
pub use share::{LeftOut, Shares};
pub use write::{FILE_HEAD, Packer, encode, write_head};

use crate::{
    event::{Event, Ktime, PodId, ProcessId},
    report::{Clock, Hello, Hook},
    state::{Limits, State},
};

const MAGIC: [u8; 8] = *b"\x89PTREC\r\n";
const VERSION: u16 = 4;
/// Bytes of a frame before its payload.
const FRAME_HEAD: usize = 12;
/// Most bytes of a frame after unpacking.
pub const MAX_RAW: usize = 16 << 20;

/// The writer of a recording, as a pipeline uses it.
pub trait Recorder {
    /// Adds an entry. After a failure nothing more is written.
    fn write(&self, entry: &Entry<&Event>);
    /// Adds an event. `state`: before it.
    fn event(&self, event: &Event, _state: &State) {
        self.write(&Entry::Event(event));
    }
    /// Whether the segment has reached its maximum size.
    fn is_due(&self) -> bool;
    /// Begins a new segment with a snapshot of the state.
    fn rotate(&self, begin: &Begin, snapshot: &[Event]);
    /// Why writing failed, as a message. It is returned once.
    fn take_error(&self) -> Option<String>;
}

/// An entry of a recording. `E` is `&Event` in the writer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Entry<E = Event> {
    /// An event, as the state received it.
    Event(E),
    /// An action of the program between the events.
    Mark(Mark),
    /// The first entry of a file.
    Opening(Opening),
    /// A part of the run begins.
    Begin(Begin),
    /// The end of the snapshot with which a later segment begins.
    Settled,
    /// A part of the run ended.
    End(End),
    /// The recording continues in the next segment.
    Continued,
    /// The run ended.
    Closed,
}

/// The machine and the program that made a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// An id, the same in all segments of a recording.
    pub recording: u64,
    /// The number of the segment, from 0.
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

/// The beginning of a part of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// What was watched.
    pub run: Run,
    /// When it began.
    pub started: Ktime,
    /// The time limits of the rules.
    pub limits: Limits,
    /// The attached hooks.
    pub hooks: Vec<Hook>,
}

/// What was watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Run {
    /// The reference pod.
    Reference {
        /// Whether the findings of a planted fault count as violations, rather than as proof that
        /// the fault is detected.
        inject: bool,
    },
    /// Scenarios whose pods the node's own runtime created.
    Conformance,
    /// The node's pods.
    Node,
}

/// An action of the program at a point between the events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// The program began to follow the node's pods.
    Followed,
    /// The program reported everything that had been decided by then.
    Reported,
    /// A scenario ended and was judged.
    ScenarioEnded(ScenarioEnd),
    /// A scenario was reported.
    ScenarioReported {
        /// Its name.
        scenario: String,
        /// When it was reported.
        time: Ktime,
    },
}

/// The part of a scenario's outcome that does not follow from the verdicts on its pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioEnd {
    /// Its name.
    pub scenario: String,
    /// The pods that it created.
    pub pods: Vec<PodId>,
    /// The process that the finding of a planted fault has to name.
    pub culprit: Option<ProcessId>,
    /// The result that it reported.
    pub result: PlayResult,
    /// In ns.
    pub duration: u64,
}

/// The result that a scenario reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlayResult {
    /// It was played. The text is the proof.
    Proof(String),
    /// It cannot be played here. The text is the reason.
    Impossible(String),
    /// The pod did not behave as promised. The text says how.
    Broken(String),
}

/// The end of a part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When it ended.
    pub time: Ktime,
    /// Whether Ctrl-C ended it.
    pub interrupted: bool,
}

impl Entry {
    /// The same entry for the writer.
    pub fn as_ref(&self) -> Entry<&Event> {
        match self {
            Self::Event(event) => Entry::Event(event),
            Self::Mark(mark) => Entry::Mark(mark.clone()),
            Self::Opening(opening) => Entry::Opening(opening.clone()),
            Self::Begin(begin) => Entry::Begin(begin.clone()),
            Self::Settled => Entry::Settled,
            Self::End(end) => Entry::End(*end),
            Self::Continued => Entry::Continued,
            Self::Closed => Entry::Closed,
        }
    }
}

impl Opening {
    /// Ties the recording's kernel time to UTC.
    pub fn clock(&self) -> Clock {
        Clock {
            offset: self.clock_offset,
        }
    }

    /// The first report of the recorded run.
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
