//! What a report says of the run itself: who made it, what was lost, how it all came out.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use nix::{
    sys::utsname::{UtsName, uname},
    time::{ClockId, clock_gettime},
};

use super::Console;
use crate::{
    event::{Kind, Ktime},
    live::Live,
    pipeline::Pipeline,
    probe,
    record::{self, Opening},
    report::{Clock, Hello, Loss, Summary},
    rules::Counts,
    sink::Failed,
};

/// The time of day for reports.
pub(super) fn clock() -> Result<Clock> {
    let realtime =
        clock_gettime(ClockId::CLOCK_REALTIME).context("failed to read the time of day")?;
    let realtime = i128::from(realtime.tv_sec()) * 1_000_000_000 + i128::from(realtime.tv_nsec());
    Ok(Clock::new(realtime, probe::now()))
}

/// Who speaks.
pub(super) fn hello(live: &Live) -> Hello {
    let (kernel, arch) = machine();
    Hello {
        time: live.started,
        version: env!("CARGO_PKG_VERSION").into(),
        kernel,
        arch,
        hooks: live.told_hooks(),
    }
}

/// Who records.
pub(super) fn opening(clock: Clock) -> Opening {
    let (kernel, arch) = machine();
    Opening {
        // No two recordings of a machine begin in the same nanosecond.
        recording: probe::now(),
        segment: 0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel,
        arch,
        clock_offset: clock.offset,
    }
}

/// The kernel's release, and for which processor it is.
fn machine() -> (String, String) {
    let uname = uname().ok();
    let text = |part: Option<&std::ffi::OsStr>| {
        part.map_or(String::new(), |part| part.to_string_lossy().into_owned())
    };
    (
        text(uname.as_ref().map(UtsName::release)),
        text(uname.as_ref().map(UtsName::machine)),
    )
}

/// Losses that were told.
#[derive(Default)]
pub(super) struct Losses(BTreeMap<Kind, u64>);

impl Losses {
    pub(super) fn tell(
        &mut self,
        pipeline: &Pipeline,
        console: &mut Console,
    ) -> Result<(), Failed> {
        for (kind, lost) in pipeline.look(|core| core.records.lost.clone()) {
            let told = self.0.entry(kind).or_default();
            if lost.count > *told {
                console.loss(&Loss {
                    time: lost.last,
                    kind,
                    count: lost.count - *told,
                })?;
                *told = lost.count;
            }
        }
        Ok(())
    }
}

/// Says, once, that what is seen is recorded no more.
pub(super) fn tell_unrecorded(pipeline: &Pipeline, console: &mut Console) -> Result<(), Failed> {
    match pipeline.take_unrecorded() {
        Some(why) => console.note(&format!("{why}; what follows is not in the recording")),
        None => Ok(()),
    }
}

/// A run is over: says so in the recording. Gives when that was.
pub(super) fn end(live: &Live, end: super::End) -> (Ktime, Ktime) {
    let time = probe::now();
    live.pipeline.end(record::End {
        time,
        interrupted: end == super::End::Interrupted,
    });
    (live.started, time)
}

/// How it all came out, from `since` to `until`. `untold` is what the ledger counts and the report does not.
pub(super) fn summary(
    pipeline: &Pipeline,
    (since, until): (Ktime, Ktime),
    untold: &BTreeMap<&'static str, Counts>,
) -> Summary {
    let told = |(rule, counts): (&&'static str, &Counts)| {
        let untold = untold.get(rule).copied().unwrap_or_default();
        (*rule, counts.without(untold))
    };
    pipeline.look(|core| {
        let rules: Vec<_> = core.ledger.counts().iter().map(told).collect();
        let events = core.records.by_kind.iter();
        let lost = core.records.lost.iter();
        Summary {
            time: until,
            verdicts: rules.iter().map(|(_, counts)| *counts).sum(),
            rules,
            events: events.map(|(kind, count)| (*kind, *count)).collect(),
            lost: lost.map(|(kind, lost)| (*kind, lost.count)).collect(),
            duration: until.saturating_sub(since),
            ..Summary::default()
        }
    })
}
