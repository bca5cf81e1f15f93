//! Signals that processes received.

use std::sync::Arc;

use super::{Doubt, Role};
use crate::{
    event::{Comm, Ktime, Outsider, PodId, ProcessId, SignalResult},
    signal::SIGKILL,
};

/// A signal that a process received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// When it was generated.
    pub time: Ktime,
    /// The signal's number.
    pub signal: i32,
    /// What became of it.
    pub result: SignalResult,
    /// The sender; `None` if the kernel sent it.
    pub sender: Option<ProcessId>,
    /// The sender's name.
    pub sender_comm: Comm,
    pub(crate) sender_role: Role,
    /// Why the sender may not be the runtime, if it is perhaps the runtime.
    pub(crate) sender_doubt: Option<Doubt>,
    /// Who the sender is, if it is outside the pods and `/proc` still showed it.
    pub(crate) outsider: Option<Arc<Outsider>>,
    /// The name that the process had when it got the signal.
    pub(crate) target_comm: Comm,
    /// The sender's pod, if it is in one.
    pub(crate) sender_pod: Option<PodId>,
    /// The process that was running when it was generated: the sender, unless the kernel sent it.
    pub(crate) running: ProcessId,
    /// Why the kernel sent it, if it is a SIGKILL of the kernel.
    pub(crate) reason: Reason,
    /// When a handler took it.
    pub handled: Option<Ktime>,
}

impl Received {
    /// Whether the runtime, or perhaps the runtime, told a container with this stop signal to end.
    pub(super) fn is_stop_by_runtime(&self, stop_signal: Option<i32>) -> bool {
        self.sender.is_some()
            && self.sender_role == Role::Runtime
            && (self.signal == SIGKILL || Some(self.signal) == stop_signal)
    }

    /// Whether it was queued for its target, which then handles it or has it pending.
    pub(crate) fn was_queued(&self) -> bool {
        use SignalResult::{AlreadyPending, Delivered, LoseInfo, Unknown};
        matches!(self.result, Delivered | AlreadyPending | LoseInfo | Unknown)
    }
}

/// Why the kernel sent a SIGKILL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    /// No record shows why: RLIMIT_CPU, a tracer with PTRACE_O_EXITKILL that ended, bad memory, or
    /// the OOM killer if its mark was missed.
    #[default]
    Unseen,
    /// The init of the process's pid namespace ended.
    Teardown,
    /// The OOM killer chose the process.
    Oom,
    /// The OOM killer chose another process, whose memory this one shared.
    OomShared {
        /// The chosen process.
        victim: ProcessId,
        /// Its name.
        comm: Comm,
    },
}

/// Signals of one number that are not sent to end a process, but may end it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// The latest of them.
    pub last: Received,
    pub count: u64,
}
