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
    event::Kind,
    live::Live,
    node::cgroup::Layout,
    probe::{self, Options},
    report::{Clock, Failed, Hello, Hook, Loss, Summary},
    rules::Counts,
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
    let uname = uname().ok();
    let text = |part: Option<&std::ffi::OsStr>| {
        part.map_or(String::new(), |part| part.to_string_lossy().into_owned())
    };
    Hello {
        time: live.started,
        version: env!("CARGO_PKG_VERSION"),
        kernel: text(uname.as_ref().map(UtsName::release)),
        arch: text(uname.as_ref().map(UtsName::machine)),
        hooks: live
            .hooks
            .iter()
            .map(|hook| Hook {
                hook: hook.name.to_owned(),
                how: hook.how.as_ref().map_or("missing", |how| how),
            })
            .collect(),
    }
}

/// Losses that were told.
#[derive(Default)]
pub(super) struct Losses(BTreeMap<Kind, u64>);

impl Losses {
    pub(super) fn tell(&mut self, live: &Live, console: &mut Console) -> Result<(), Failed> {
        for (kind, count) in live.look(|core| core.lost.clone()) {
            let told = self.0.entry(kind).or_default();
            if count > *told {
                console.loss(&Loss {
                    time: probe::now(),
                    kind,
                    count: count - *told,
                })?;
                *told = count;
            }
        }
        Ok(())
    }
}

/// How it all came out. `untold` is what the ledger counts and the report does not.
pub(super) fn summary(
    live: &Live,
    untold: &BTreeMap<&'static str, Counts>,
    scenarios: Counts,
    interrupted: bool,
) -> Summary {
    let now = probe::now();
    let told = |(rule, counts): (&&'static str, &Counts)| {
        let untold = untold.get(rule).copied().unwrap_or_default();
        (*rule, counts.without(untold))
    };
    let list = |counts: &BTreeMap<Kind, u64>| {
        let pairs = counts.iter().map(|(kind, count)| (*kind, *count));
        pairs.collect()
    };
    live.look(|core| {
        let rules: Vec<_> = core.ledger.counts().iter().map(told).collect();
        Summary {
            time: now,
            verdicts: rules.iter().map(|(_, counts)| *counts).sum(),
            rules,
            scenarios,
            events: list(&core.events_by_kind),
            lost: list(&core.lost),
            duration: now.saturating_sub(live.started),
            interrupted,
        }
    })
}
