//! The parts of a report about the run itself: the program and machine, losses, the summary.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use nix::{
    sys::utsname::{UtsName, uname},
    time::{ClockId, clock_gettime},
};

use super::Console;
use crate::{
    event::Ktime,
    live::Live,
    pipeline::Pipeline,
    probe,
    record::{self, Opening},
    report::{Clock, Hello, Summary},
    rules::Counts,
    sink::Failed,
};

/// Reads the time of day, to convert kernel times for reports.
pub(super) fn clock() -> Result<Clock> {
    let realtime =
        clock_gettime(ClockId::CLOCK_REALTIME).context("failed to read the time of day")?;
    let realtime = i128::from(realtime.tv_sec()) * 1_000_000_000 + i128::from(realtime.tv_nsec());
    Ok(Clock::new(realtime, probe::now()))
}

/// The first entry of a report: the program, the kernel and the hooks.
pub(super) fn hello(live: &Live) -> Hello {
    let (kernel, arch) = machine();
    Hello {
        time: live.started,
        version: env!("CARGO_PKG_VERSION").into(),
        kernel,
        arch,
        hooks: live.reported_hooks(),
    }
}

/// The first entry of a recording.
pub(super) fn opening(clock: Clock) -> Opening {
    let (kernel, arch) = machine();
    Opening {
        // The start time is unique: no two recordings of a machine begin in the same nanosecond.
        recording: probe::now(),
        segment: 0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel,
        arch,
        clock_offset: clock.offset,
    }
}

/// The kernel's release and architecture.
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

/// Reports, once, that the recording has failed.
pub(super) fn report_failed_recording(
    pipeline: &Pipeline,
    console: &mut Console,
) -> Result<(), Failed> {
    match pipeline.take_recording_failure() {
        Some(why) => console.note(&format!("{why}; later events are not in the recording")),
        None => Ok(()),
    }
}

/// Ends the run in the recording. Returns when the run began and ended.
pub(super) fn end(live: &Live, end: super::End) -> (Ktime, Ktime) {
    let time = probe::now();
    live.pipeline.end(record::End {
        time,
        interrupted: end == super::End::Interrupted,
    });
    (live.started, time)
}

/// The summary of a run from `since` to `until`. `unreported` are the verdicts that the ledger
/// counts and the report omits.
pub(super) fn summary(
    pipeline: &Pipeline,
    (since, until): (Ktime, Ktime),
    unreported: &BTreeMap<&'static str, Counts>,
) -> Summary {
    let reported = |(rule, counts): (&&'static str, &Counts)| {
        let unreported = unreported.get(rule).copied().unwrap_or_default();
        (*rule, counts.without(unreported))
    };
    pipeline.read(|core| {
        let rules: Vec<_> = core.ledger.counts().iter().map(reported).collect();
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
