//! Merges the two rings into one stream of events in chronological order.
//!
//! Records of signals and of exits are in different rings, and rules depend on their order. Each
//! round therefore reads the clock, drains the lifecycle ring, then the signal ring, and passes on
//! only records that are older than the clock reading. A signal that caused an exit was committed
//! before the exit's record, so both are in the same round. Records that are newer than the reading
//! are held for the next round. A loss is known only when the rings are empty, and is put first.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use anyhow::Context as _;
use aya::maps::{Map, MapData, MapError, PerCpuHashMap, RingBuf};
use bytes::BytesMut;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    time::{ClockId, clock_gettime},
};
use pause_trace_common::{Account, Config, Flood, FloodKey, Kind, SUPPRESSED, SUPPRESSED_SIGNALS};
use tokio::io::unix::AsyncFd;

use super::{
    decode::{DecodeError, Decoded, decode},
    load::Loaded,
    missed::Missed,
    raw::{Counters, Plain},
};
use crate::{
    event::{Event, Fact, Ktime},
    sys,
};

/// The size of a batch of records, which share one allocation.
const BATCH: usize = 256 * 1024;

/// The current time on the clock of the records (`CLOCK_BOOTTIME`, ns).
pub(crate) fn now() -> Ktime {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| {
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
    })
}

/// How much later than this process' clock the kernel's may be. It is one clock, read at two times.
const MAX_AHEAD: Ktime = 1_000_000_000;

/// Fails if a record is of the future: then it would be held for ever.
fn require_same_clock(held: Option<&Event>, now: Ktime) -> anyhow::Result<()> {
    let ahead = held.map_or(0, |event| event.time.saturating_sub(now));
    anyhow::ensure!(
        ahead < MAX_AHEAD,
        "the kernel's records are {} ms ahead of this process' clock (CLOCK_BOOTTIME); run it in the \
         initial time namespace",
        ahead / 1_000_000
    );
    Ok(())
}

/// Waits for records in the rings.
pub(crate) struct Readiness {
    lifecycle: AsyncFd<OwnedFd>,
    signals: AsyncFd<OwnedFd>,
}

impl Readiness {
    /// Waits until there may be records. Readiness is cleared before the caller drains the rings,
    /// so that records which arrive meanwhile wake it again.
    pub(crate) async fn wait(&self) -> io::Result<()> {
        tokio::select! {
            ready = self.lifecycle.readable() => ready?.clear_ready(),
            ready = self.signals.readable() => ready?.clear_ready(),
        }
        Ok(())
    }
}

/// Reads the program's records and counters.
pub(crate) struct Rings {
    lifecycle: RingBuf<MapData>,
    signals: RingBuf<MapData>,
    lost: Counters,
    flood: PerCpuHashMap<MapData, Plain<FloodKey>, Plain<Flood>>,
    accounts: PerCpuHashMap<MapData, Plain<Account>, Plain<Flood>>,
    missed: Missed,
    /// The losses that have been reported, by kind.
    reported: [u64; Kind::ALL.len()],
    /// The records of all accounts that were not admitted and have been reported.
    suppressed: u64,
    /// The same, by account.
    suppressed_by: HashMap<Account, u64>,
    /// The signals that were only counted because the ring was filling up, as far as their counts
    /// are or have been read.
    suppressed_signals: u64,
    /// Cgroups and signals whose counts have to be read, and since when.
    flooding: Vec<(FloodKey, Ktime)>,
    /// The counts that have been reported.
    counted: HashMap<FloodKey, u64>,
    batch: BytesMut,
    /// Records held for the next round.
    held: Vec<Event>,
    /// Records that could not be decoded in this round, by kind.
    malformed: Malformed,
}

/// Records that could not be decoded, by kind. They are reported as lost.
#[derive(Default)]
struct Malformed([u64; Kind::ALL.len()]);

impl Malformed {
    /// Counts a record for its kind, or for all kinds if its kind cannot be read.
    fn count(&mut self, error: &DecodeError) {
        for kind in error.kinds() {
            self.0[kind as usize] += 1;
        }
    }

    /// Reports the records that were counted since the last call.
    fn drain(&mut self, time: Ktime, events: &mut Vec<Event>) {
        for kind in Kind::ALL {
            let count = std::mem::take(&mut self.0[kind as usize]);
            if count > 0 {
                let fact = Fact::Lost { kind, count };
                events.push(Event { time, fact });
            }
        }
    }
}

fn take(loaded: &mut Loaded, name: &str) -> anyhow::Result<Map> {
    loaded
        .ebpf
        .take_map(name)
        .ok_or_else(|| anyhow::anyhow!("the object has no map `{name}`"))
}

fn counters(loaded: &mut Loaded) -> anyhow::Result<Counters> {
    let Map::Array(array) = take(loaded, "LOST")? else {
        anyhow::bail!("the object's map `LOST` is not an array");
    };
    let mapped = Counters::map(array.fd().as_fd(), array.info()?.max_entries());
    mapped.context("failed to map the counters of lost records")
}

impl Rings {
    pub(crate) fn new(loaded: &mut Loaded) -> anyhow::Result<Self> {
        let ring = |loaded: &mut Loaded, name| {
            Ok::<_, anyhow::Error>(RingBuf::try_from(take(loaded, name)?)?)
        };
        let missed = Missed::of(loaded);
        Ok(Self {
            missed,
            lifecycle: ring(loaded, "LIFECYCLE")?,
            signals: ring(loaded, "SIGNALS")?,
            lost: counters(loaded)?,
            flood: PerCpuHashMap::try_from(take(loaded, "FLOOD")?)?,
            accounts: PerCpuHashMap::try_from(take(loaded, "ACCOUNTS")?)?,
            reported: [0; Kind::ALL.len()],
            suppressed: 0,
            suppressed_by: HashMap::new(),
            suppressed_signals: 0,
            flooding: Vec::new(),
            counted: HashMap::new(),
            batch: BytesMut::with_capacity(BATCH),
            held: Vec::new(),
            malformed: Malformed::default(),
        })
    }

    /// A handle to wait for records that does not borrow the rings.
    pub(crate) fn readiness(&self) -> io::Result<Readiness> {
        let watch = |ring: &RingBuf<MapData>| sys::watched(ring.as_fd().try_clone_to_owned()?);
        Ok(Readiness {
            lifecycle: watch(&self.lifecycle)?,
            signals: watch(&self.signals)?,
        })
    }

    /// Waits until there may be records, for `limit` at most.
    pub(crate) fn wait(&self, limit: Duration) -> io::Result<()> {
        let mut rings = [&self.lifecycle, &self.signals]
            .map(|ring| PollFd::new(ring.as_fd(), PollFlags::POLLIN));
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        match poll(&mut rings, limit) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the rings have records that were not read.
    pub(crate) fn has_records(&self) -> bool {
        let mut rings = [&self.lifecycle, &self.signals]
            .map(|ring| PollFd::new(ring.as_fd(), PollFlags::POLLIN));
        matches!(poll(&mut rings, PollTimeout::ZERO), Ok(1..))
    }

    /// How many runs of each program the kernel has skipped.
    pub(crate) fn missed(&self) -> Vec<(String, u64)> {
        self.missed.by_program()
    }

    /// Whether records are held for the next round.
    pub(crate) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether a flood is being counted, so that its counts must be read periodically.
    pub(crate) fn is_flooded(&self) -> bool {
        !self.flooding.is_empty()
    }

    /// Appends all events up to now to `events`, in order. Returns that time: every earlier event
    /// has been appended, and no later one.
    pub(crate) fn drain(&mut self, events: &mut Vec<Event>) -> anyhow::Result<Ktime> {
        let first = events.len();
        events.append(&mut self.held);
        let watermark = now();
        let Self {
            lifecycle,
            signals,
            batch,
            flooding,
            malformed,
            ..
        } = self;
        for ring in [lifecycle, signals] {
            while let Some(item) = ring.next() {
                batch.extend_from_slice(&item);
                let record = batch.split().freeze();
                match decode(&record) {
                    Ok(None) => {}
                    Ok(Some(Decoded {
                        event,
                        before,
                        flooding: flood,
                    })) => {
                        if let Some((cgroup, signal)) = flood {
                            let key = FloodKey {
                                cgroup,
                                signal: signal as u32,
                                padding: 0,
                            };
                            flooding.retain(|(known, _)| *known != key);
                            flooding.push((key, event.time));
                        }
                        // The sort below keeps their order.
                        events.extend(before);
                        events.push(event);
                    }
                    Err(error) => malformed.count(&error),
                }
                if batch.capacity() < 4_096 {
                    batch.reserve(BATCH);
                }
            }
        }
        events[first..].sort_by_key(|event| event.time);
        let keep = first + events[first..].partition_point(|event| event.time <= watermark);
        self.held.extend(events.drain(keep..));
        require_same_clock(self.held.last(), now())?;
        let mut lost = Vec::new();
        self.malformed.drain(watermark, &mut lost);
        self.count_lost(watermark, &mut lost);
        self.count_suppressed(watermark, &mut lost)?;
        self.find_floods(watermark)?;
        self.missed.drain(watermark, &mut lost);
        if !lost.is_empty() {
            // Records were lost at any time since the last round and until the counters were read.
            // The loss comes before the round's records, so that nothing that they seem to show is
            // believed without it, and has the later time, which decides what it concerns.
            let until = now();
            lost.iter_mut().for_each(|event| event.time = until);
            events.splice(first..first, lost);
        }
        Ok(watermark)
    }

    fn count_lost(&mut self, now: Ktime, events: &mut Vec<Event>) {
        for kind in Kind::ALL {
            let total = self.lost.sum(kind as u32);
            let reported = &mut self.reported[kind as usize];
            if total > *reported {
                events.push(Event {
                    time: now,
                    fact: Fact::Lost {
                        kind,
                        count: total - *reported,
                    },
                });
                *reported = total;
            }
        }
    }

    /// Reports the records of pods that were not admitted to the ring.
    fn count_suppressed(&mut self, now: Ktime, events: &mut Vec<Event>) -> anyhow::Result<()> {
        let total = self.lost.sum(SUPPRESSED);
        if total == self.suppressed {
            return Ok(());
        }
        let mut attributed = 0;
        let mut known = HashMap::new();
        for entry in self.accounts.iter() {
            let (Plain(account), counts) = entry?;
            let suppressed: u64 = counts.iter().map(|count| count.0.suppressed).sum();
            let reported = self.suppressed_by.get(&account).copied().unwrap_or(0);
            // A copy of an evicted entry begins with 0 again.
            let count = suppressed.checked_sub(reported).unwrap_or(suppressed);
            known.insert(account, suppressed);
            let Some(kind) = Kind::from_u32(account.kind).filter(|_| count > 0) else {
                continue;
            };
            attributed += count;
            events.push(Event {
                time: now,
                fact: Fact::RecordsSuppressed {
                    cgroup: account.cgroup,
                    kind,
                    count,
                },
            });
        }
        self.suppressed_by = known;
        // Those of an account that was evicted meanwhile may be anybody's. A CPU may also count
        // between the two readings, and the next round then reports less.
        let unattributed = total.saturating_sub(self.suppressed + attributed);
        if unattributed > 0 {
            let (kind, count) = (Kind::Watch, unattributed);
            events.push(Event {
                time: now,
                fact: Fact::Lost { kind, count },
            });
        }
        self.suppressed = (self.suppressed + attributed).max(total);
        Ok(())
    }

    /// If signals were only counted because the ring was filling up, no record says of which
    /// cgroup.
    fn find_floods(&mut self, now: Ktime) -> anyhow::Result<()> {
        let total = self.lost.sum(SUPPRESSED_SIGNALS);
        if std::mem::replace(&mut self.suppressed_signals, total) == total {
            return Ok(());
        }
        self.flooding.clear();
        for key in self.flood.keys() {
            self.flooding.push((key?.0, now));
        }
        Ok(())
    }

    /// Reports the signals of floods that were only counted. A flood that has not grown is over.
    pub(crate) fn drain_floods(&mut self, events: &mut Vec<Event>) -> anyhow::Result<()> {
        let time = now();
        let window = Config::DEFAULT.flood_window_ns;
        let Self {
            flood,
            counted,
            flooding,
            ..
        } = self;
        let mut result = Ok(());
        flooding.retain(|(key, since)| {
            let counts = match flood.get(&Plain(*key), 0) {
                Ok(counts) => counts,
                Err(MapError::KeyNotFound) => return false, // evicted: no signal for a long time
                Err(error) => {
                    result = Err(error.into());
                    return false;
                }
            };
            let counts = counts.iter().map(|count| count.0);
            let total: u64 = counts.clone().map(|count| count.suppressed).sum();
            let first = counts
                .clone()
                .map(|count| count.first_ns)
                .filter(|first| *first > 0)
                .min();
            let last = counts.map(|count| count.last_ns).max().unwrap_or_default();
            let reported = counted.entry(*key).or_default();
            if total > *reported {
                let count = total - *reported;
                let (signal, first) = ((key.signal & 0xff) as i32, first.unwrap_or_default());
                let fact = Fact::SignalsSuppressed {
                    cgroup: key.cgroup,
                    signal,
                    count,
                    first,
                    last,
                };
                events.push(Event { time, fact });
            }
            *reported = total;
            time.saturating_sub(last.max(*since)) < 2 * window
        });
        result
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// The losses reported for these records, by kind.
    fn losses(records: &[&[u8]]) -> Vec<(Kind, u64)> {
        let mut malformed = Malformed::default();
        for record in records {
            let error = decode(&Bytes::copy_from_slice(record)).expect_err("not a record");
            malformed.count(&error);
        }
        let mut events = Vec::new();
        malformed.drain(7, &mut events);
        malformed.drain(8, &mut events);
        let loss = |event: &Event| match event.fact {
            Fact::Lost { kind, count } if event.time == 7 => (kind, count),
            _ => panic!("{event:?} is not a loss of the first round"),
        };
        events.iter().map(loss).collect()
    }

    #[test]
    fn a_record_that_cannot_be_decoded_is_a_loss_of_its_kind() {
        let mut short = [0_u8; 16];
        short[8..12].copy_from_slice(&(Kind::Exit as u32).to_ne_bytes());
        assert_eq!(losses(&[&short, &short]), [(Kind::Exit, 2)]);
        assert!(losses(&[]).is_empty());
    }

    #[test]
    fn a_record_of_the_future_is_refused_and_one_of_the_next_moment_is_held() {
        let at = |time| Event {
            time,
            fact: Fact::Tick,
        };
        let now = 1_000_000_000_000;
        for time in [now - 1, now + 1, now + 999_999_999] {
            require_same_clock(Some(&at(time)), now).expect("it is held");
        }
        require_same_clock(None, now).expect("nothing is held");
        let error = require_same_clock(Some(&at(now + 1_000 * MAX_AHEAD)), now);
        let error = error.expect_err("the clock is another").to_string();
        assert!(error.contains("1000000 ms ahead"), "{error}");
    }

    #[test]
    fn a_record_of_an_unknown_kind_is_a_loss_of_every_kind() {
        let mut unknown = [0_u8; 64];
        unknown[8..12].copy_from_slice(&99_u32.to_ne_bytes());
        let any = Kind::ALL.map(|kind| (kind, 1));
        assert_eq!(losses(&[&unknown]), any);
        assert_eq!(losses(&[b"short"]), any);
    }
}
