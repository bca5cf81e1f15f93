//! Longer waits for slow machines, such as emulators.

use std::{fmt, str::FromStr, time::Duration};

use crate::state::Limits;

/// The factor by which the check multiplies its limits, grace periods and other waits.
///
/// The rules do not change: an ignored signal is a violation on any machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience(u32);

/// The largest factor, enough for an emulator inside an emulator: a limit of 1 s becomes 100 s.
const MAX_FACTOR: u32 = 100;

impl Patience {
    /// Scales a duration.
    pub(crate) fn of(self, time: Duration) -> Duration {
        time.saturating_mul(self.0)
    }

    /// Scales the limits.
    pub(crate) fn limits(self, limits: Limits) -> Limits {
        limits.times(self.0)
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self(1)
    }
}

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Patience {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(factor @ 1..=MAX_FACTOR) => Ok(Self(factor)),
            _ => Err(format!("not a whole number from 1 to {MAX_FACTOR}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_limits_in_time_are_scaled() {
        let patience: Patience = "10".parse().expect("it is a factor");
        let limits = patience.limits(Limits::REFERENCE);
        assert_eq!(
            (limits.zombie, limits.removal),
            (10_000_000_000, 10_000_000_000)
        );
        assert_eq!(limits.reaction, 10 * Limits::REFERENCE.reaction);
        assert_eq!(limits.zombies, Limits::REFERENCE.zombies);
        let grace = patience.of(Duration::from_millis(300));
        assert_eq!(grace, Duration::from_secs(3));
    }

    #[test]
    fn one_changes_nothing() {
        let patience = Patience::default();
        assert_eq!(patience.limits(Limits::NODE), Limits::NODE);
        assert_eq!("1".parse(), Ok(patience));
    }

    #[test]
    fn invalid_factors_are_refused() {
        for text in ["", "0", "-1", "1.5", "101", "4294967297", "ten"] {
            assert!(text.parse::<Patience>().is_err(), "{text}");
        }
    }
}
