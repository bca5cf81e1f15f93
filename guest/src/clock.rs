//! Sets the wall clock back and forth while the checks run, as a wrong time server would.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use nix::{sys::time::TimeSpec, time::ClockId};

/// One day, in seconds.
const DAY: i64 = 86_400;

/// By how much each step moves the clock, in seconds. Together they leave it where it was.
const STEPS: [i64; 6] = [
    3_600,
    -7_200,
    3_600,
    -3_650 * DAY,
    7_300 * DAY,
    -3_650 * DAY,
];

/// Between two steps. A scenario takes several times as long.
const PAUSE: Duration = Duration::from_millis(200);

/// Moves the clock once, which shows that it can be moved, and from then on without end.
///
/// # Errors
/// If the clock cannot be set.
pub(crate) fn step() -> Result<()> {
    let [first, rest @ ..] = STEPS;
    set(first)?;
    thread::spawn(move || {
        for seconds in rest.into_iter().chain(STEPS.into_iter().cycle()) {
            thread::sleep(PAUSE);
            if let Err(error) = set(seconds) {
                // The host takes a machine whose first process ended for failed.
                eprintln!("guest: failed to {error:#}");
                std::process::exit(1);
            }
        }
    });
    Ok(())
}

fn set(seconds: i64) -> Result<()> {
    let clock = ClockId::CLOCK_REALTIME;
    let now = clock.now().context("read the wall clock")?;
    let then = TimeSpec::new(now.tv_sec() + seconds, now.tv_nsec());
    clock.set_time(then).context("set the wall clock")
}
