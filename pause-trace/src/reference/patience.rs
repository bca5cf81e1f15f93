//! How long is waited, where everything takes longer than on hardware.

use std::{fmt, str::FromStr, time::Duration};

use crate::state::Limits;

/// By what factor the check waits longer than it does on hardware: its limits, its graces, and whatever else it waits for.
///
/// What is judged stays as exact as it is: a signal that was ignored has been ignored, however slow the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience(u32);

/// Enough for an emulator inside an emulator; a limit of a second is then 100 s.
const MOST: u32 = 100;

impl Patience {
    /// A time that is told for hardware, on this machine.
    pub(crate) fn of(self, time: Duration) -> Duration {
        time.saturating_mul(self.0)
    }

    /// Limits that are told for hardware, on this machine.
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
            Ok(factor @ 1..=MOST) => Ok(Self(factor)),
            _ => Err(format!("not a whole number from 1 to {MOST}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_in_time_is_stretched_and_no_other() {
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
    fn what_is_no_factor_is_refused() {
        for text in ["", "0", "-1", "1.5", "101", "4294967297", "ten"] {
            assert!(text.parse::<Patience>().is_err(), "{text}");
        }
    }
}
