//! The mark by which a run recognises its own pods, cgroups and directories.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::node::procfs;

/// The Kubernetes namespace of the pods of every run.
pub(super) const NAMESPACE: &str = "pause-trace";

/// The label that holds the mark of a pod's run.
const LABEL: &str = "pause-trace.run";

const PREFIX: &str = "pause-trace-cri_";

/// Identifies a run by its process: the pid, and the start time in clock ticks since boot, because
/// pids are reused.
///
/// Its text is `pause-trace-cri_PID_TICKS`. It begins with the prefix of all cgroups of this
/// program. It contains no further dash, because systemd would read a dash as nested slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pid: u32,
    started: u64,
}

impl Mark {
    /// The mark of this run.
    pub(super) fn own() -> Option<Self> {
        let pid = std::process::id();
        let started = procfs::start_ticks(pid)?;
        Some(Self { pid, started })
    }

    /// Whether the run still exists.
    pub(super) fn is_alive(self) -> bool {
        procfs::start_ticks(self.pid) == Some(self.started)
    }

    /// The run that created a pod with these labels, if any.
    pub(super) fn of_pod(labels: &BTreeMap<String, String>) -> Option<Self> {
        labels.get(LABEL)?.parse().ok()
    }

    /// The label that marks a pod as this run's.
    pub(super) fn label(self) -> (String, String) {
        (LABEL.to_owned(), self.to_string())
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_{}", self.pid, self.started)
    }
}

/// The text is not a mark.
#[derive(Debug)]
pub(super) struct ParseMarkError;

impl FromStr for Mark {
    type Err = ParseMarkError;

    fn from_str(text: &str) -> Result<Self, ParseMarkError> {
        let numbers = text.strip_prefix(PREFIX).ok_or(ParseMarkError)?;
        let (pid, started) = numbers.split_once('_').ok_or(ParseMarkError)?;
        Ok(Self {
            pid: pid.parse().map_err(|_| ParseMarkError)?,
            started: started.parse().map_err(|_| ParseMarkError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_formatting_and_parsing() {
        let own = Mark::own().expect("this process is in /proc");
        assert_eq!(own.to_string().parse::<Mark>().ok(), Some(own));
        assert_eq!(Mark::of_pod(&[own.label()].into()), Some(own));
        assert!(own.is_alive());
    }

    #[test]
    fn a_run_has_ended_if_its_pid_was_reused() {
        let own = Mark::own().expect("this process is in /proc");
        let before = Mark {
            started: own.started.wrapping_sub(1),
            ..own
        };
        assert!(!before.is_alive());
    }

    #[test]
    fn names_of_other_programs_are_not_marks() {
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
