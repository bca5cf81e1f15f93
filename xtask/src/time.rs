//! Times and seeds on the command line.

use std::{
    str::FromStr,
    time::{Duration, SystemTime},
};

/// A time on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = match text.strip_suffix('m') {
            Some(minutes) => (minutes, 60),
            None => (text.strip_suffix('s').unwrap_or(text), 1),
        };
        let number: u64 = number
            .parse()
            .map_err(|_| "not a time such as 90s or 10m".to_owned())?;
        Ok(Self(Duration::from_secs(number.saturating_mul(unit))))
    }
}

/// Any number that another run does not have.
pub(crate) fn any_seed() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    now.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        let time = |text: &str| text.parse::<Time>().ok().map(|time| time.0.as_secs());
        assert_eq!(
            [time("10m"), time("90s"), time("7")],
            [Some(600), Some(90), Some(7)]
        );
        assert_eq!([time("m"), time("-1s"), time("1h")], [None; 3]);
    }
}
