//! Observations: what was tried inside a container, and what `/proc` shows about a pause.

use serde::{Deserialize, Serialize};

use super::{ContainerId, PodId, ProcessId, Text};

/// An attempt to use a namespace for its purpose, made from inside a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The pod that it was tried in.
    pub pod: PodId,
    /// The container that it was tried from.
    pub container: ContainerId,
    /// What was tried.
    pub what: Observed,
    /// Whether the result was as promised.
    pub holds: bool,
    /// The result: an address, a value or an errno.
    pub detail: Text,
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observed {
    /// A connection over localhost to another container of the pod.
    Localhost,
    /// Binding a port that another container has bound is refused.
    PortSpace,
    /// The container has the same addresses as another container.
    Addresses,
    /// Loopback is up, and a pod that does not use the host's network has an address.
    NetworkReady,
    /// A System V shared memory segment of another container is visible.
    SharedMemory,
    /// A POSIX message queue of another container is visible.
    MessageQueue,
    /// The container has the pod's host name.
    Hostname,
}

/// The state of a pause process, as `/proc` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseStatus {
    /// The pod whose pause it is.
    pub pod: PodId,
    /// The pause process.
    pub process: ProcessId,
    /// Proportional set size in bytes.
    pub pss_bytes: u64,
    /// Memory that backs no file, in bytes. Unlike the proportional set size, it does not change
    /// when another process starts or ends.
    pub anonymous_bytes: u64,
    /// Number of threads.
    pub threads: u32,
    /// Number of open file descriptors.
    pub descriptors: u32,
    /// How many of them are sockets. stdin, stdout and stderr are not counted: the pause may have
    /// inherited them from the process that started it.
    pub sockets: u32,
    /// Number of children, zombies included.
    pub children: u32,
    /// CPU time in ns.
    pub cpu_ns: u64,
    /// Age in ns at the time when its CPU time was read.
    pub age_ns: u64,
    /// Effective user id.
    pub uid: u32,
    /// Effective capabilities (a mask).
    pub capabilities: u64,
    /// Whether `no_new_privs` is set.
    pub no_new_privs: bool,
    /// Its OOM score adjustment.
    pub oom_score_adj: i32,
    /// Whether the process that started it could have lowered the OOM score.
    pub oom_adjustable: bool,
    /// Signals blocked (a mask; bit 0 is signal 1).
    pub blocked: u64,
    /// Signals ignored (a mask).
    pub ignored: u64,
    /// Signals that have a handler (a mask).
    pub caught: u64,
}
