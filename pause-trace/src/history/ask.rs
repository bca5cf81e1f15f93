//! The side that asks.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Cursor, Read, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::{Head, LeftOut, PATIENCE, REQUEST, Store, VERSION, is_trusted, place};
use crate::{
    event::{Ktime, Text},
    record::{Recording, Segment, Unreadable},
    text::counted,
};

/// The longest first line of an answer.
const MAX_HEAD: u64 = 4 << 10;

/// The longest answer.
const MAX_BYTES: u64 = 4 << 30;

/// How long the whole answer may take. A watch answers from memory.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// The parts of an answer.
const MAX_PARTS: usize = 2;

/// What a watch has kept.
#[derive(Debug)]
pub(crate) struct History {
    /// The process that answered.
    pub(crate) pid: i32,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    since: Ktime,
    bytes: Vec<u8>,
    left_out: Vec<LeftOut>,
    left_out_more: usize,
}

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAnswered {
    /// No watch runs, or it keeps none, or this user may not ask.
    #[error("no watch answers")]
    Nobody,
    /// Something answered that cannot be used.
    #[error("{0}")]
    Refused(String),
}

impl From<io::Error> for NotAnswered {
    fn from(error: io::Error) -> Self {
        Self::Refused(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("it sent nothing for {} s", PATIENCE.as_secs())
            }
            _ => error.to_string(),
        })
    }
}

/// Asks the watch at this socket.
pub(crate) fn ask(path: &Path) -> Result<History, NotAnswered> {
    let stream = match place::connect_to(path) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(NotAnswered::Refused("it is too busy".to_owned()));
        }
        Err(_) => return Err(NotAnswered::Nobody),
    };
    ask_over(stream)
}

fn ask_over(mut stream: UnixStream) -> Result<History, NotAnswered> {
    let refused = |why: String| Err(NotAnswered::Refused(why));
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Who can bind a socket at a path that others may write to could tell anything.
    let peer = getsockopt(&stream, PeerCredentials).map_err(io::Error::from)?;
    if !is_trusted(peer.uid()) {
        return refused(format!("it belongs to user {}, not to root", peer.uid()));
    }
    // One that refuses may have closed the socket already, and its reason can still be read.
    let _ = stream.write_all(format!("{REQUEST}{VERSION}\n").as_bytes());
    let mut answer = BufReader::new(Timely {
        stream,
        until: Instant::now() + ANSWER_TIME,
    });
    let mut line = Vec::new();
    answer
        .by_ref()
        .take(MAX_HEAD)
        .read_until(b'\n', &mut line)?;
    let head = match serde_json::from_slice::<Head>(&line) {
        Ok(head) if line.ends_with(b"\n") => head,
        _ => return refused("its answer is not understood".to_owned()),
    };
    if let Some(error) = head.error {
        return refused(Text::new(&error).to_string());
    }
    let sizes = head.parts.iter().map(|part| part.bytes);
    let bytes = sizes.fold(0, u64::saturating_add);
    if head.parts.is_empty() || head.parts.len() > MAX_PARTS || bytes > MAX_BYTES {
        return refused(format!(
            "its answer has {} parts of {bytes} bytes",
            head.parts.len()
        ));
    }
    let mut parts = Vec::new();
    for part in head.parts {
        let mut bytes = Vec::new();
        answer.by_ref().take(part.bytes).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < part.bytes {
            return refused("its answer is cut".to_owned());
        }
        parts.push(Part {
            since: part.since_ns,
            bytes,
            left_out: part.left_out,
            left_out_more: part.left_out_more,
        });
    }
    Ok(History {
        pid: peer.pid(),
        parts,
    })
}

/// A stream that is read in bounded time, also if each byte arrives in time.
struct Timely {
    stream: UnixStream,
    until: Instant,
}

impl Read for Timely {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.until {
            return Err(io::Error::other(format!(
                "its answer took longer than {} s",
                ANSWER_TIME.as_secs()
            )));
        }
        self.stream.read(buffer)
    }
}

impl History {
    /// What this process keeps, without asking over a socket.
    pub(crate) fn of_store(store: &Store, now: Ktime) -> Result<Self, String> {
        let parts = store.answer(now)?.parts.into_iter();
        let parts = parts.map(|part| {
            let (left_out, left_out_more) = part.left_out();
            Part {
                since: part.since,
                bytes: part.frames.concat(),
                left_out,
                left_out_more,
            }
        });
        Ok(Self {
            pid: std::process::id().cast_signed(),
            parts: parts.collect(),
        })
    }

    /// The time of its beginning.
    pub(crate) fn since(&self) -> Ktime {
        self.parts.first().map_or(0, |part| part.since)
    }

    /// What was left out of it, as the end of a sentence; empty if nothing was.
    pub(crate) fn left_out(&self) -> String {
        let mut pods: BTreeMap<String, u64> = BTreeMap::new();
        for one in self.parts.iter().flat_map(|part| &part.left_out) {
            // The watch escapes names, and this is the side that shows them.
            let records = pods.entry(Text::new(&one.pod).to_string()).or_default();
            *records = records.saturating_add(one.records);
        }
        if pods.is_empty() {
            return String::new();
        }
        let more = self.parts.iter().map(|part| part.left_out_more).max();
        let mut shown: Vec<_> = pods
            .iter()
            .map(|(pod, records)| format!("{} of {pod}", counted(*records, "record")))
            .collect();
        if let Some(more @ 1..) = more {
            shown.push(format!("those of {more} more pods"));
        }
        format!(
            "; {} were left out, because each pod has a share of it, so verdicts on it may be \
             inconclusive",
            shown.join(", ")
        )
    }

    /// Drops the older half, if the newer one reaches back to `time`.
    pub(crate) fn since_about(mut self, time: Ktime) -> Self {
        if self.parts.last().is_some_and(|newer| newer.since <= time) {
            self.parts.drain(..self.parts.len() - 1);
        }
        self
    }

    /// Drops the older half, if both are larger than this together.
    pub(crate) fn at_most(mut self, bytes: usize) -> Self {
        let size: usize = self.parts.iter().map(|part| part.bytes.len()).sum();
        if size > bytes && self.parts.len() == MAX_PARTS {
            self.parts.remove(0);
        }
        self
    }

    /// It as a recording.
    pub(crate) fn into_recording(mut self) -> Result<Recording, Unreadable> {
        let segment = |part: Part| {
            let bytes: Box<dyn Read> = Box::new(Cursor::new(part.bytes));
            Segment::new(bytes)
        };
        let Some(newer) = self.parts.pop() else {
            return Err(Unreadable::Empty);
        };
        let older = self.parts.pop();
        Ok(Recording::new(segment(newer)?, || {
            older.and_then(|older| segment(older).ok())
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_trickles_in_ends_in_time() {
        let (mut watch, stream) = UnixStream::pair().expect("two sockets");
        watch.write_all(b"xx").expect("there is room");
        let until = Instant::now() + ANSWER_TIME;
        let mut timely = Timely { stream, until };
        assert_eq!(timely.read(&mut [0]).expect("it is in time"), 1);
        timely.until = Instant::now();
        let error = timely.read(&mut [0]).expect_err("the next byte is late");
        assert!(
            error.to_string().contains("took longer than 20 s"),
            "{error}"
        );
    }
}
