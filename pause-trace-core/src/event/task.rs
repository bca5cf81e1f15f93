//! Tasks: what identifies a process, what a kernel record says about it, and how it ended.

use std::fmt;

use pause_trace_common::{Task, TaskInfo as KernelTaskInfo};
use serde::{Deserialize, Serialize};

use super::{CgroupId, Comm, Ktime, Namespaces, signal_name};

/// The identity of a process. A process that reuses a pid has another identity.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ProcessId {
    /// Its pid in the initial pid namespace; 0 if there is no process.
    pub pid: u32,
    /// When it started.
    pub start: Ktime,
}

impl From<Task> for ProcessId {
    fn from(task: Task) -> Self {
        Self {
            pid: task.tgid,
            start: task.start_ns,
        }
    }
}

/// The part that is common to all kernel records that describe a task in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// Its process.
    pub process: ProcessId,
    /// Its parent, which has to reap it; pid 0 if the record does not contain it.
    pub parent: ProcessId,
    /// Its cgroup.
    pub cgroup: CgroupId,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Its pid in its own pid namespace.
    pub ns_pid: u32,
    /// Its name.
    pub comm: Comm,
}

impl From<KernelTaskInfo> for TaskInfo {
    fn from(task: KernelTaskInfo) -> Self {
        Self {
            process: task.task.into(),
            parent: task.parent.into(),
            cgroup: task.cgroup,
            namespaces: task.namespaces.into(),
            ns_pid: task.ns_pid,
            comm: Comm(task.comm),
        }
    }
}

/// The status that wait(2) reports for a process that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitStatus(pub u32);

impl WaitStatus {
    /// The status of a process that exited with a code.
    pub fn exited(code: u8) -> Self {
        Self(u32::from(code) << 8)
    }

    /// The status of a process that a signal ended.
    pub fn killed(signal: i32) -> Self {
        Self(signal as u32)
    }

    /// The exit code, if it exited.
    pub fn code(self) -> Option<u8> {
        (self.0 & 0x7f == 0).then_some((self.0 >> 8) as u8)
    }

    /// The signal that ended it, if one did.
    pub fn signal(self) -> Option<i32> {
        (self.0 & 0x7f != 0).then_some((self.0 & 0x7f) as i32)
    }
}

impl fmt::Display for WaitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code(), self.signal()) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (_, Some(signal)) => write!(f, "killed by {}", signal_name(signal)),
            (None, None) => write!(f, "status {:#x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_is_either_an_exit_or_a_signal() {
        assert_eq!(WaitStatus(0x0700).code(), Some(7));
        assert_eq!(WaitStatus(0x0700).signal(), None);
        assert_eq!(WaitStatus(0x8b).signal(), Some(11));
        assert_eq!(WaitStatus::killed(9).to_string(), "killed by SIGKILL");
    }
}
