//! Whether the watch uses more at the end of a run than at its beginning.

use std::fmt;

/// What the watch uses at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Its resident memory, in KiB.
    pub rss: u64,
    /// Its share of that, in KiB.
    pub pss: u64,
    /// Its open descriptors.
    pub descriptors: u64,
}

/// Something that the watch uses more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// What it is.
    pub what: &'static str,
    /// The median of the first quarter of the samples.
    pub first: u64,
    /// That of the last quarter.
    pub last: u64,
    /// What the last may be.
    pub allowed: u64,
}

/// Reads a measure of a sample.
type Measure = fn(&Sample) -> u64;

/// With fewer samples a quarter says nothing.
const FEWEST: usize = 16;

/// The medians of the first and of the last quarter of the samples.
#[must_use]
pub(in crate::soak) fn quarters(samples: &[Sample], of: Measure) -> Option<[u64; 2]> {
    if samples.len() < FEWEST {
        return None;
    }
    let size = samples.len() / 4;
    let median = |part: &[Sample]| {
        let mut values: Vec<_> = part.iter().map(of).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    Some([
        median(&samples[..size]),
        median(&samples[samples.len() - size..]),
    ])
}

/// How much memory may differ between the quarters, in KiB.
///
/// The number of pods that live or wait for their verification differs, and each has some dozens of
/// KiB of state; a storm leaves its processes in tables whose memory is kept for the next one.
const MEMORY: u64 = 4 << 10;

/// How many descriptors may differ: those of the pods that live at the moment of a sample.
const DESCRIPTORS: u64 = 12;

/// What has grown.
pub(super) fn of(samples: &[Sample]) -> Vec<Growth> {
    let measures: [(&str, Measure, u64); 3] = [
        ("resident memory in KiB", |sample| sample.rss, MEMORY),
        ("its share of memory in KiB", |sample| sample.pss, MEMORY),
        ("open descriptors", |sample| sample.descriptors, DESCRIPTORS),
    ];
    let grown = measures.into_iter().filter_map(|(what, of, more)| {
        let [first, last] = quarters(samples, of)?;
        let allowed = first + more;
        (last > allowed).then_some(Growth {
            what,
            first,
            last,
            allowed,
        })
    });
    grown.collect()
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            first,
            last,
            allowed,
        } = self;
        write!(
            f,
            "the watch grows: {what} {first} in the first quarter and {last} in the last, at most {allowed}"
        )
    }
}
