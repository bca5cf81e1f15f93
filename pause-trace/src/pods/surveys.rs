//! When the survey of what runs is taken again: after each loss of records, and only then.

use std::time::Duration;

use tokio::time::Instant;

use crate::{live::Live, state::SURVEYED};

/// How long after a loss the survey is taken. A burst of losses is over by then.
const DELAY: Duration = Duration::from_secs(1);

/// The least time between two surveys. While each is followed by the next loss, it doubles.
const PERIOD: Duration = Duration::from_secs(10);
const LONGEST_PERIOD: Duration = Duration::from_secs(320);

const _: () = assert!((LONGEST_PERIOD.as_nanos() + DELAY.as_nanos()) < SURVEYED as u128);

/// The times of the surveys.
#[derive(Debug)]
pub(super) struct Surveys {
    /// How many records had been lost when the last one was taken.
    lost: u64,
    last: Option<Instant>,
    period: Duration,
    /// When the next one is taken, once a record is lost.
    next: Option<Instant>,
}

impl Surveys {
    /// The first one was taken after this many losses.
    pub(super) fn new(lost: u64) -> Self {
        Self {
            lost,
            last: None,
            period: PERIOD,
            next: None,
        }
    }

    /// Resolves when a survey is due. May be dropped and called again.
    pub(super) async fn due(&mut self, live: &Live) {
        if self.next.is_none() {
            live.has_lost(self.lost).await;
        }
        let next = self.plan(Instant::now());
        tokio::time::sleep_until(next).await;
    }

    /// Notes that a survey is taken, after this many losses.
    pub(super) fn taken(&mut self, lost: u64) {
        self.lost = lost;
        self.last = self.next.take();
    }

    /// When the next survey is taken, if a loss was noticed now.
    fn plan(&mut self, now: Instant) -> Instant {
        if let Some(next) = self.next {
            return next;
        }
        let at = now + DELAY;
        let next = match self.last {
            // The loss came so soon that it waits: the next one waits longer.
            Some(last) if last + self.period > at => {
                let next = last + self.period;
                self.period = (2 * self.period).min(LONGEST_PERIOD);
                next
            }
            _ => {
                self.period = PERIOD;
                at
            }
        };
        *self.next.insert(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_losses_is_no_storm_of_surveys() {
        let start = Instant::now();
        let mut surveys = Surveys::new(0);
        let mut now = start;
        let mut taken = Vec::new();
        // Something is lost all the time.
        for lost in 1..6 {
            now = surveys.plan(now);
            assert_eq!(surveys.plan(now + DELAY), now, "it is planned once");
            surveys.taken(lost);
            taken.push((now - start).as_secs());
        }
        assert_eq!(taken, [1, 11, 31, 71, 151]);
        // After a quiet time a loss is followed by a survey soon.
        now += 2 * LONGEST_PERIOD;
        assert_eq!(surveys.plan(now), now + DELAY);
    }
}
