//! Sockets that listen.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{CgroupId, Comm, ProcessId};

/// A TCP socket that begins or ceases to listen. The kernel announces that it listens before it
/// knows whether the port is free; if it is not, the end follows at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// The process that was running. If the socket begins to listen, the one that called listen;
    /// otherwise, any process may have closed the socket.
    pub process: ProcessId,
    /// Its name.
    pub comm: Comm,
    /// Its cgroup.
    pub cgroup: CgroupId,
    /// The network namespace of the socket.
    pub namespace: u32,
    /// The address that the socket is bound to.
    pub address: IpAddr,
    /// The port; 0 if the kernel chooses one after the record.
    pub port: u16,
    /// Whether the socket ceases to listen.
    pub ended: bool,
}
