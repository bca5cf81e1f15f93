//! What every run that loads the program into the kernel shares: how it starts, what stops it, and what it says at the end.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use nix::{
    sys::utsname::{UtsName, uname},
    time::{ClockId, clock_gettime},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Console, Global};
use crate::{
    event::{Kind, Ktime},
    live::Live,
    node::cgroup::Layout,
    pipeline::Pipeline,
    probe::{self, Options},
    record::{self, Opening},
    report::{Clock, Hello, Loss, Summary},
    rules::Counts,
    sink::Failed,
};

/// Runs to the end on one thread.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the event loop")?;
    let result = runtime.block_on(future);
    // Nothing is left to wait for: what was made is gone when it is dropped.
    runtime.shutdown_background();
    result
}

/// Ctrl-C, and what a service manager or a closed terminal sends.
pub(super) struct Interrupt([Signal; 3]);

impl Interrupt {
    /// From now on these signals end no process by themselves.
    pub(super) fn catch() -> Result<Self> {
        let catch = |kind, name| signal(kind).with_context(|| format!("failed to handle {name}"));
        Ok(Self([
            catch(SignalKind::interrupt(), "SIGINT")?,
            catch(SignalKind::terminate(), "SIGTERM")?,
            catch(SignalKind::hangup(), "SIGHUP")?,
        ]))
    }

    pub(super) async fn received(&mut self) {
        let [interrupt, terminate, hang_up] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}

/// What the probe is told: which cgroup hierarchy to watch, and how.
pub(super) fn options(layout: &Layout, global: &Global) -> Options {
    let watched = layout.watched();
    let controller = watched
        .controllers
        .iter()
        .find(|name| !name.starts_with("name="));
    let hierarchy = controller.map(|name| (name.clone(), watched.id));
    Options {
        hierarchy,
        namespace_hook: global.namespace_hook,
        kernel_log: global.kernel_log,
    }
}

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
        for (kind, lost) in pipeline.look(|core| core.lost.clone()) {
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
        let events = core.events_by_kind.iter();
        let lost = core.lost.iter();
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
