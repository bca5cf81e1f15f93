//! How long to leave a socket alone that failed.

use std::time::{Duration, Instant};

/// After the first failure.
pub(super) const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// Doubles with each failure in a row. No jitter: the socket is this node's own, and we are its only such client.
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
    /// Why and for how long nothing is to be tried.
    pub(super) fn wait(&self, now: Instant) -> Option<(&str, Duration)> {
        let failed = self.failed.as_ref()?;
        let left = (failed.at + failed.wait).saturating_duration_since(now);
        (!left.is_zero()).then_some((&failed.reason, left))
    }

    /// What was begun at `begun` has failed; gives how long to wait. Of several that were under way at the same time the
    /// first counts.
    pub(super) fn failed(&mut self, begun: Instant, now: Instant, reason: &str) -> Duration {
        let wait = match &self.failed {
            Some(before) if before.at > begun => before.wait,
            Some(before) => (before.wait * 2).min(LONGEST),
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
