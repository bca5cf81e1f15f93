//! Conversion of kernel time to UTC.

use jiff::Timestamp;

use crate::event::Ktime;

/// The offset between `CLOCK_BOOTTIME` and UTC. It is read once per run (or from a recording), so
/// that the times in a report stay in order even if the clock is set during the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// `CLOCK_REALTIME` − `CLOCK_BOOTTIME`, in ns.
    pub offset: i128,
}

impl Clock {
    /// The time of day in UTC, to the millisecond: `20:00:00.123`.
    pub fn time_of_day(&self, time: Ktime) -> String {
        self.utc(time).chars().skip(11).take(12).collect()
    }

    /// From the two clocks in ns, read immediately one after the other.
    pub fn new(realtime: i128, boottime: Ktime) -> Self {
        Self {
            offset: realtime - i128::from(boottime),
        }
    }

    /// In ns since 1970, as runtimes state their times.
    pub fn unix_ns(self, time: Ktime) -> i64 {
        let time = self.offset.saturating_add(time.into());
        i64::try_from(time).unwrap_or_default()
    }

    /// RFC 3339, in UTC and with all nine digits: `2026-11-21T20:00:00.123456789Z`.
    pub fn utc(self, time: Ktime) -> String {
        let time =
            Timestamp::from_nanosecond(self.offset.saturating_add(time.into())).unwrap_or_default();
        format!("{time:.9}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nine_digits_are_shown() {
        let clock = Clock::new(1_795_291_200_000_000_000, 1_000_000_000);
        assert_eq!(clock.utc(1_123_456_789), "2026-11-21T20:00:00.123456789Z");
        assert_eq!(clock.utc(1_000_000_000), "2026-11-21T20:00:00.000000000Z");
        assert_eq!(clock.unix_ns(1_000_000_005), 1_795_291_200_000_000_005);
        let impossible = Clock { offset: i128::MAX };
        assert_eq!(impossible.unix_ns(1), 0);
    }
}
