//! The signals per second that the processes of each cgroup receive.

use std::{collections::HashMap, time::Duration};

use crate::{
    event::{CgroupId, Event, Fact, Ktime},
    observer::Observer,
    state::State,
};

/// The time over which a rate is counted.
pub(super) const WINDOW: Duration = Duration::from_secs(1);
const WINDOW_NS: Ktime = 1_000_000_000;
/// The cgroups that are counted.
const MAX_CGROUPS: usize = 8_192;

#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    /// When the current window began.
    since: Ktime,
    count: u64,
    /// The count of the previous window.
    last: u64,
}

impl Rate {
    fn add(&mut self, now: Ktime, count: u64) {
        self.turn(now);
        self.count += count;
    }

    fn turn(&mut self, now: Ktime) {
        let passed = now.saturating_sub(self.since);
        if passed >= WINDOW_NS {
            self.last = if passed < 2 * WINDOW_NS {
                self.count
            } else {
                0
            };
            (self.since, self.count) = (now, 0);
        }
    }

    fn at(mut self, now: Ktime) -> u64 {
        self.turn(now);
        self.count.max(self.last)
    }
}

#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<CgroupId, Rate>);

impl Observer for Rates {
    fn event(&mut self, event: &Event, _: &State) {
        self.take(event);
    }
}

impl Rates {
    fn take(&mut self, event: &Event) {
        let (cgroup, count) = match &event.fact {
            Fact::Signal(signal) => (signal.cgroup, 1),
            Fact::SignalsSuppressed { cgroup, count, .. } => (*cgroup, *count),
            Fact::CgroupRemoved { cgroup, .. } => {
                self.0.remove(cgroup);
                return;
            }
            _ => return,
        };
        if self.0.len() < MAX_CGROUPS || self.0.contains_key(&cgroup) {
            self.0.entry(cgroup).or_default().add(event.time, count);
        }
    }

    /// The count of the last complete second, or that of the current second if it is larger
    /// already.
    pub(super) fn of(&self, cgroup: CgroupId, now: Ktime) -> u64 {
        self.0.get(&cgroup).map_or(0, |rate| rate.at(now))
    }

    /// Whether all rates are zero, so that none changes as time passes.
    pub(super) fn is_quiet(&self, now: Ktime) -> bool {
        self.0.values().all(|rate| rate.at(now) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_covers_one_second_and_fades() {
        let mut rates = Rates::default();
        let suppressed = |time, count| Event {
            time,
            fact: Fact::SignalsSuppressed {
                cgroup: 7,
                signal: 10,
                count,
                first: time,
                last: time,
            },
        };
        rates.take(&suppressed(5 * WINDOW_NS, 300));
        assert_eq!(rates.of(7, 5 * WINDOW_NS + 1), 300);
        rates.take(&suppressed(6 * WINDOW_NS, 10));
        assert_eq!(rates.of(7, 6 * WINDOW_NS + 1), 300, "the previous second");
        assert_eq!(rates.of(7, 7 * WINDOW_NS + 1), 10);
        assert!(!rates.is_quiet(7 * WINDOW_NS + 1));
        assert_eq!(rates.of(7, 9 * WINDOW_NS), 0);
        assert!(rates.is_quiet(9 * WINDOW_NS) && rates.of(8, 0) == 0);
        rates.take(&Event {
            time: 0,
            fact: Fact::CgroupRemoved {
                cgroup: 7,
                path: Default::default(),
            },
        });
        assert!(rates.0.is_empty());
    }
}
