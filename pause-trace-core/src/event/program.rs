//! Processes that have the name of a container runtime, or come from one.

use serde::{Deserialize, Serialize};

use super::{Comm, ProcessId, Text};

/// What `/proc` shows of a process that may be the runtime. Any process can give itself a name, so
/// the name proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The process.
    pub process: ProcessId,
    /// The name that it had then.
    pub comm: Comm,
    /// What speaks for it, or against it.
    pub proof: Proof,
}

/// What speaks for a process that may be the runtime, or against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// It is in no container, and this is its executable.
    File(ProgramFile),
    /// It is in the cgroup of a container, which has this path.
    InContainer {
        /// The path of the container's cgroup.
        path: Text,
        /// Whether the cgroup is a pod's. Another container may be a node with a runtime of its
        /// own.
        is_pods: bool,
    },
    /// It was known as the runtime before. Only snapshots contain this.
    Known,
    /// It is in no container, or that is unknown, and its executable could not be read.
    Unread,
}

/// An executable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramFile {
    /// Its path, as `/proc/PID/exe` shows it.
    pub path: Text,
    /// Its inode number.
    pub inode: u64,
    /// The user and the group that own it.
    pub owner: (u32, u32),
    /// Its permissions.
    pub mode: u32,
    /// Whether it is the file that has this path on the node, and not one of a container's image.
    pub is_nodes: bool,
}
