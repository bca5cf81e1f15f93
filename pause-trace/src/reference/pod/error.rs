//! Errors of operations on the reference pod.

use std::time::Duration;

use nix::errno::Errno;

use crate::reference::protocol::Failure;

/// Why an operation on the reference pod failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodError {
    /// The kernel refused an operation of the runtime or an agent. Some scenarios expect this.
    #[error(transparent)]
    Refused(#[from] Failure),
    #[error("{what}: timed out after {after:?}")]
    TimedOut { what: String, after: Duration },
    /// The reference pod's runtime did not answer in time, because the machine is too busy.
    #[error(
        "{what}: the reference pod's runtime has not answered within {after:?}; on a machine as busy as this, --patience waits longer"
    )]
    Unanswered { what: String, after: Duration },
    #[error("{what}: the reference pod's runtime has ended")]
    RuntimeGone { what: String },
    #[error("{what}: the workload has ended")]
    WorkloadGone { what: String },
    #[error("{what}: {source}")]
    Io {
        what: String,
        source: std::io::Error,
    },
    #[error("{0:#}")]
    Cgroup(anyhow::Error),
}

impl PodError {
    /// The kernel's error, if there is one.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused(failure) => Some(failure.errno()),
            _ => None,
        }
    }

    pub(super) fn io(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io {
            what: what.into(),
            source: source.into(),
        }
    }
}
