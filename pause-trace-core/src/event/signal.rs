//! Signals: who sent which one to whom, and what became of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CgroupId, Comm, ProcessId};

/// `SIGTERM`, or `signal 40` for one that has no name.
pub fn signal_name(signal: i32) -> String {
    match crate::signal::name(signal) {
        Some(name) => name.to_owned(),
        None => format!("signal {signal}"),
    }
}

/// What became of a generated signal (`TRACE_SIGNAL_*`, include/trace/events/signal.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignalResult {
    /// It was queued for the target.
    Delivered,
    /// The target ignores it, or is protected from it as pid 1 of its namespace.
    Ignored,
    /// One of that number was pending already.
    AlreadyPending,
    /// The queue was full.
    OverflowFail,
    /// Its information was lost, not the signal.
    LoseInfo,
    /// A number this program does not know.
    Unknown,
}

/// `SIGNAL` with sender and target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Who was running. Meaningful only where [`Signal::is_from_process`] says so.
    pub sender: ProcessId,
    /// The sender's name.
    pub sender_comm: Comm,
    /// The process that the signal was generated for.
    pub target: ProcessId,
    /// The target's name.
    pub target_comm: Comm,
    /// The target's cgroup.
    pub cgroup: CgroupId,
    /// The signal's number.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// What became of it.
    pub result: SignalResult,
}

impl Signal {
    /// Whether a process sent it (kill, tkill, sigqueue, pidfd_send_signal: `si_code` ≤ 0, but timers are not), rather
    /// than the kernel.
    pub fn is_from_process(&self) -> bool {
        matches!(self.code, 0 | -1 | -6)
    }
}
