//! The last events, as a recording of two segments in memory.

use std::{
    io, mem,
    sync::{Arc, Mutex},
};

use super::{MAX_LEFT_OUT, MAX_NAME, lock};
use crate::{
    event::{Event, Ktime},
    record::{
        Begin, End, Entry, FILE_HEAD, LeftOut, MAX_RAW, Mark, Opening, Packer, Recorder, Shares,
        encode, write_head,
    },
    state::State,
};

/// The size at which a frame is packed.
const FRAME_BYTES: usize = 64 << 10;

/// A bounded recording in memory.
pub(crate) struct Store {
    opening: Opening,
    /// The size at which a half is full.
    half: u64,
    /// Or why nothing is kept any more.
    kept: Mutex<Result<Kept, String>>,
}

/// What is kept.
struct Kept {
    older: Option<Half>,
    newer: Half,
    /// The newest entries, not yet a frame.
    current: Vec<u8>,
    /// The last packed frame. The buffer is reused.
    packed: Vec<u8>,
    packer: Packer,
    segment: u32,
    /// What each pod may fill of it.
    shares: Shares,
}

/// A segment: its head and its frames.
struct Half {
    /// The time of its beginning, once it has begun.
    since: Option<Ktime>,
    frames: Vec<Arc<[u8]>>,
    bytes: u64,
    /// The bytes up to the end of its snapshot.
    snapshot: u64,
    /// What was left out of it, once it is complete.
    left_out: Vec<LeftOut>,
}

/// The content of the store at one moment.
pub(super) struct Answer {
    pub(super) parts: Vec<Part>,
}

/// A half in an answer.
pub(super) struct Part {
    pub(super) since: Ktime,
    pub(super) frames: Vec<Arc<[u8]>>,
    /// The pods of which records were left out.
    pub(super) left_out: Vec<LeftOut>,
}

impl Part {
    pub(super) fn bytes(&self) -> u64 {
        self.frames.iter().map(|frame| frame.len() as u64).sum()
    }

    /// The pods of which the most records were left out, and how many more there are.
    pub(super) fn left_out(&self) -> (Vec<super::LeftOut>, usize) {
        let listed = self.left_out.iter().take(MAX_LEFT_OUT).map(|one| {
            let mut pod = format!("{}/{}", one.namespace, one.name);
            pod.truncate(pod.floor_char_boundary(MAX_NAME));
            super::LeftOut {
                pod,
                records: one.records,
            }
        });
        let more = self.left_out.len().saturating_sub(MAX_LEFT_OUT);
        (listed.collect(), more)
    }
}

/// Records into the store, for a pipeline.
pub(crate) struct Keeping(pub(crate) Arc<Store>);

impl Store {
    /// An empty store that keeps about so many bytes.
    pub(crate) fn new(opening: Opening, limit: u64) -> io::Result<Self> {
        let mut kept = Kept {
            older: None,
            newer: Half::new()?,
            current: Vec::new(),
            packed: Vec::new(),
            packer: Packer::default(),
            segment: 0,
            shares: Shares::new(limit),
        };
        kept.push(&Entry::Opening(opening.clone()))?;
        Ok(Self {
            opening,
            half: limit / 2,
            kept: Mutex::new(Ok(kept)),
        })
    }

    /// Drops what is kept, and keeps nothing any more.
    pub(crate) fn give_up(&self, why: &str) {
        *lock(&self.kept) = Err(why.to_owned());
    }

    /// Calls `change` with what is kept. After a failure nothing is kept.
    fn change(&self, change: impl FnOnce(&mut Kept) -> io::Result<()>) {
        let mut kept = lock(&self.kept);
        if let Ok(Err(error)) = kept.as_mut().map(change) {
            *kept = Err(format!("the history ended: {error}"));
        }
    }

    /// What is kept, as a recording that ends at `now`; or why there is nothing.
    ///
    /// It ends like one whose watch goes on: what waits for a deadline is not judged.
    pub(super) fn answer(&self, now: Ktime) -> Result<Answer, String> {
        let (mut parts, mut tail, left_out, missing) = {
            let kept = lock(&self.kept);
            let kept = kept.as_ref().map_err(Clone::clone)?;
            let halves = kept.older.iter().chain([&kept.newer]);
            let part = |half: &Half| {
                Some(Part {
                    since: half.since?,
                    frames: half.frames.clone(),
                    left_out: half.left_out.clone(),
                })
            };
            let parts: Vec<_> = halves.filter_map(part).collect();
            let (left_out, missing) = (kept.shares.left_out(), kept.shares.pending(now));
            (parts, kept.current.clone(), left_out, missing)
        };
        let Some(last) = parts.last_mut() else {
            return Err("the watch has not begun yet".to_owned());
        };
        last.left_out = left_out;
        let interrupted = false;
        let ends = [
            Entry::End(End {
                time: now,
                interrupted,
            }),
            Entry::Closed,
        ];
        for entry in missing.iter().map(Entry::Event).chain(ends) {
            tail = encode(&entry, tail).map_err(|error| error.to_string())?;
        }
        let mut packed = Vec::new();
        let written = Packer::default().write_frame(&tail, &mut packed);
        written.map_err(|error| error.to_string())?;
        last.frames.push(packed.into());
        Ok(Answer { parts })
    }
}

impl Recorder for Keeping {
    fn write(&self, entry: &Entry<&Event>) {
        self.0.change(|kept| kept.push(entry));
    }

    fn event(&self, event: &Event, state: &State) {
        self.0.change(|kept| kept.event(event, state));
    }

    fn is_due(&self) -> bool {
        let kept = lock(&self.0.kept);
        let is_full = |kept: &Kept| {
            let newer = &kept.newer;
            newer.bytes >= self.0.half.max(2 * newer.snapshot)
        };
        kept.as_ref().is_ok_and(is_full)
    }

    fn rotate(&self, begin: &Begin, snapshot: &[Event]) {
        self.0.change(|kept| {
            let time = snapshot.first().map(|event| event.time);
            for event in kept.shares.pending(time.unwrap_or_default()) {
                kept.push(&Entry::Event(&event))?;
            }
            kept.push(&Entry::Continued)?;
            kept.close_frame()?;
            kept.newer.left_out = kept.shares.begin_segment();
            kept.older = None;
            kept.older = Some(mem::replace(&mut kept.newer, Half::new()?));
            kept.segment = kept.segment.saturating_add(1);
            kept.push(&Entry::Opening(Opening {
                segment: kept.segment,
                ..self.0.opening.clone()
            }))?;
            kept.push(&Entry::Begin(begin.clone()))?;
            kept.push(&Entry::Mark(Mark::Followed))?;
            for event in snapshot {
                kept.push(&Entry::Event(event))?;
            }
            kept.push(&Entry::Settled)?;
            kept.close_frame()?;
            kept.newer.since = time.or(kept.newer.since);
            kept.newer.snapshot = kept.newer.bytes;
            Ok(())
        });
    }

    /// A history that ended says so to who asks for it.
    fn take_error(&self) -> Option<String> {
        None
    }
}

impl Kept {
    fn push(&mut self, entry: &Entry<&Event>) -> io::Result<()> {
        if let Entry::Begin(begin) = entry {
            self.newer.since.get_or_insert(begin.started);
        }
        self.current = encode(entry, mem::take(&mut self.current))?;
        match self.current.len() {
            0..FRAME_BYTES => Ok(()),
            FRAME_BYTES..=MAX_RAW => self.close_frame(),
            _ => Err(io::Error::other("a single fact is larger than 16 MiB")),
        }
    }

    /// Writes an event, unless its pod has written its share.
    fn event(&mut self, event: &Event, state: &State) -> io::Result<()> {
        let mut shares = mem::take(&mut self.shares);
        let mut written = Ok(());
        shares.admit(event, state, |event| {
            if written.is_ok() {
                written = self.push(&Entry::Event(event));
            }
        });
        self.shares = shares;
        written
    }

    /// Packs the newest entries. They are so few that a thread of its own would cost more: it
    /// would have to be woken up.
    fn close_frame(&mut self) -> io::Result<()> {
        if self.current.is_empty() {
            return Ok(());
        }
        self.packed.clear();
        self.packer.write_frame(&self.current, &mut self.packed)?;
        self.current.clear();
        self.newer.add(&self.packed);
        Ok(())
    }
}

impl Half {
    fn new() -> io::Result<Self> {
        let mut half = Self {
            since: None,
            frames: Vec::new(),
            bytes: 0,
            snapshot: 0,
            left_out: Vec::new(),
        };
        let mut head = Vec::with_capacity(FILE_HEAD as usize);
        write_head(&mut head)?;
        half.add(&head);
        Ok(half)
    }

    fn add(&mut self, frame: &[u8]) {
        self.bytes += frame.len() as u64;
        self.frames.push(frame.into());
    }
}
