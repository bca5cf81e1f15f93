//! The share of time in which processes waited for a resource: pressure stall information
//! (Documentation/accounting/psi.rst).

use std::{fmt, fs, time::Instant};

/// The resources, by the names of their files.
const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

/// The totals at one time.
#[derive(Debug)]
pub(crate) struct Pressure {
    at: Instant,
    /// In µs since boot; `None` if the kernel does not report it.
    some: [Option<u64>; 3],
}

impl Pressure {
    pub(crate) fn now() -> Self {
        let some = RESOURCES.map(|resource| {
            let text = fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?;
            total(&text)
        });
        Self {
            at: Instant::now(),
            some,
        }
    }

    /// The share of the time since then in which at least one process waited.
    pub(crate) fn since(&self) -> Stalls {
        let now = Self::now();
        let took = now.at.duration_since(self.at).as_micros().max(1);
        let share = |number: usize| {
            let stalled = now.some[number]?.saturating_sub(self.some[number]?);
            Some(u128::from(stalled) * 100 / took)
        };
        Stalls([share(0), share(1), share(2)])
    }
}

/// A percentage of time for each resource.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stalls([Option<u128>; 3]);

impl fmt::Display for Stalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = RESOURCES.iter().zip(self.0);
        let known = known.filter_map(|(name, share)| Some(format!("{name} {} %", share?)));
        let known: Vec<_> = known.collect();
        match known.is_empty() {
            true => f.write_str("unknown: this kernel has no /proc/pressure"),
            false => f.write_str(&known.join(", ")),
        }
    }
}

/// Parses the total of the line `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let mut fields = line.split_whitespace();
    fields.find_map(|field| field.strip_prefix("total=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_that_of_the_line_some() {
        let text = "some avg10=3.82 avg60=22.07 avg300=29.80 total=331301947\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(total(text), Some(331_301_947));
        assert_eq!(total(""), None);
    }

    #[test]
    fn unknown_resources_are_left_out() {
        assert_eq!(
            Stalls([Some(12), None, Some(0)]).to_string(),
            "cpu 12 %, io 0 %"
        );
        let none = Stalls([None; 3]).to_string();
        assert!(none.starts_with("unknown"), "{none}");
    }
}
