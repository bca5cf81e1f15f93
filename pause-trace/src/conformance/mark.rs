//! By what a run's pods, cgroups and directories are known as its own.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::node::procfs;

/// What the pods of every run have for their Kubernetes namespace.
pub(super) const NAMESPACE: &str = "pause-trace";

/// The label of a pod that has the mark of its run.
const LABEL: &str = "pause-trace.run";

const PREFIX: &str = "pause-trace-cri_";

/// A run: the process, and when it started, in clock ticks since boot, as its pid will be another's one day.
///
/// Its text is `pause-trace-cri_PID_TICKS`: with the beginning that all cgroups of this program have, and no further dash,
/// by which systemd would take it for several slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pid: u32,
    started: u64,
}

impl Mark {
    /// This run's.
    pub(super) fn own() -> Option<Self> {
        let pid = std::process::id();
        let started = procfs::start_ticks(pid)?;
        Some(Self { pid, started })
    }

    /// Whether its run goes on.
    pub(super) fn is_alive(self) -> bool {
        procfs::start_ticks(self.pid) == Some(self.started)
    }

    /// The run that made a pod with these labels, if one did.
    pub(super) fn of_pod(labels: &BTreeMap<String, String>) -> Option<Self> {
        labels.get(LABEL)?.parse().ok()
    }

    /// The label that makes a pod this run's.
    pub(super) fn label(self) -> (String, String) {
        (LABEL.to_owned(), self.to_string())
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_{}", self.pid, self.started)
    }
}

/// It is no run's.
#[derive(Debug)]
pub(super) struct Strange;

impl FromStr for Mark {
    type Err = Strange;

    fn from_str(text: &str) -> Result<Self, Strange> {
        let numbers = text.strip_prefix(PREFIX).ok_or(Strange)?;
        let (pid, started) = numbers.split_once('_').ok_or(Strange)?;
        Ok(Self {
            pid: pid.parse().map_err(|_| Strange)?,
            started: started.parse().map_err(|_| Strange)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let own = Mark::own().expect("this process is in /proc");
        assert_eq!(own.to_string().parse::<Mark>().ok(), Some(own));
        assert_eq!(Mark::of_pod(&[own.label()].into()), Some(own));
        assert!(own.is_alive());
    }

    #[test]
    fn a_run_is_over_when_its_pid_is_anothers() {
        let own = Mark::own().expect("this process is in /proc");
        let before = Mark {
            started: own.started.wrapping_sub(1),
            ..own
        };
        assert!(!before.is_alive());
    }

    #[test]
    fn what_others_made_has_no_mark() {
        for text in [
            "pause-trace-550e8400-e29b",
            "pause-trace-lab-1-2-3",
            "pause-trace-cri_1",
            "pause-trace-cri_1_x",
            "kubepods",
        ] {
            assert!(text.parse::<Mark>().is_err(), "{text}");
        }
        assert_eq!(Mark::of_pod(&BTreeMap::new()), None);
    }
}
