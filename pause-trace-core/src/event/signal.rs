//! Signals: sender, target and result.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CgroupId, Comm, ProcessId};

/// The name of a signal: `SIGTERM`, or `signal 32` for one without a name.
pub fn signal_name(signal: i32) -> String {
    match crate::signal::name(signal) {
        Some(name) => name.to_owned(),
        None => format!("signal {signal}"),
    }
}

/// The result of generating a signal (`TRACE_SIGNAL_*`, include/trace/events/signal.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignalResult {
    /// The signal was queued for the target.
    Delivered,
    /// The target ignores it, or is protected from it as pid 1 of its namespace.
    Ignored,
    /// A signal of that number was already pending.
    AlreadyPending,
    /// The queue was full.
    OverflowFail,
    /// The signal was queued, but its `siginfo` was lost.
    LoseInfo,
    /// A result that this program does not know.
    Unknown,
}

/// How a process treats signals: sets in which bit 0 is signal 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalMasks {
    /// Blocked by all of its threads for more than a moment, as a handler blocks its signal while
    /// it runs. During sigwait, this does not contain what it waits for.
    pub blocked: u64,
    /// Ignored.
    pub ignored: u64,
    /// Caught by a handler.
    pub caught: u64,
    /// Sent to the process more than a moment ago, and not taken yet.
    pub pending: u64,
    /// Those that it reads with signalfd, or waits for with sigwait. A process that begins to do so
    /// later looks like one that never does.
    pub read: u64,
}

/// A generated signal, with its sender and target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The process that was running. It is the sender only if [`Signal::is_from_process`] is true.
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
    /// Its result.
    pub result: SignalResult,
}

impl Signal {
    /// Whether a process sent it rather than the kernel. kill, tkill, sigqueue and
    /// pidfd_send_signal set an `si_code` ≤ 0; timers do so too, and do not count.
    pub fn is_from_process(&self) -> bool {
        matches!(self.code, 0 | -1 | -6)
    }
}
