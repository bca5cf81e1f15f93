//! Exponential backoff for a socket that failed.

use std::time::{Duration, Instant};

/// The wait after the first failure.
pub(super) const FIRST: Duration = Duration::from_millis(250);
const MAX_WAIT: Duration = Duration::from_secs(30);

/// The wait doubles with each consecutive failure. No jitter is needed: the socket is local, and
/// this program is its only client with this backoff.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    at: Instant,
    wait: Duration,
    reason: String,
}

impl Backoff {
    /// The reason of the last failure and the remaining wait, if it has not passed.
    pub(super) fn wait(&self, now: Instant) -> Option<(&str, Duration)> {
        let failed = self.failed.as_ref()?;
        let left = (failed.at + failed.wait).saturating_duration_since(now);
        (!left.is_zero()).then_some((&failed.reason, left))
    }

    /// Records that a query that began at `begun` has failed, and returns the wait. Of several
    /// concurrent failures only the first counts.
    pub(super) fn failed(&mut self, begun: Instant, now: Instant, reason: &str) -> Duration {
        let wait = match &self.failed {
            Some(before) if before.at > begun => before.wait,
            Some(before) => (before.wait * 2).min(MAX_WAIT),
            None => FIRST,
        };
        self.failed = Some(Failed {
            at: now,
            wait,
            reason: reason.to_owned(),
        });
        wait
    }

    pub(super) fn succeeded(&mut self) {
        self.failed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_wait_up_to_half_a_minute_and_a_success_ends_it() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..9 {
            let wait = backoff.failed(now, now, "no socket");
            assert_eq!(backoff.wait(now), Some(("no socket", wait)));
            waits.push(wait.as_millis());
            now += wait;
            assert_eq!(backoff.wait(now), None, "then it may be tried");
        }
        assert_eq!(
            waits,
            [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
        );
        backoff.succeeded();
        assert_eq!(backoff.wait(now), None);
        assert_eq!(backoff.failed(now, now, "no socket"), FIRST);
    }

    #[test]
    fn failures_at_the_same_time_count_once() {
        let mut backoff = Backoff::default();
        let begun = Instant::now();
        for after in [10, 20, 30] {
            let now = begun + Duration::from_millis(after);
            assert_eq!(backoff.failed(begun, now, "no answer"), FIRST);
        }
    }
}
