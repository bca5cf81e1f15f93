//! Reads the kernel's sockets.

use pause_trace_common::AF_INET6;

use super::{CONFIG, OFFSETS, Pointer};

/// A `struct sock *`.
#[derive(Clone, Copy)]
pub(crate) struct SocketRef(Pointer);

impl SocketRef {
    pub(crate) fn new<T>(pointer: *const T) -> Self {
        Self(Pointer::new(pointer))
    }

    pub(crate) fn family(self) -> u16 {
        self.0.read(offset!(sock_family))
    }

    /// `IPPROTO_TCP`, for example.
    pub(crate) fn protocol(self) -> u16 {
        self.0.read(offset!(sock_protocol))
    }

    /// The local port, in the byte order of the machine.
    pub(crate) fn port(self) -> u16 {
        self.0.read(offset!(sock_port))
    }

    /// The local address, in network byte order; of IPv4 the first 4 bytes.
    pub(crate) fn address(self, family: u16) -> [u8; 16] {
        if family == AF_INET6 {
            return self.0.read(config!(sock_address6));
        }
        let [a, b, c, d]: [u8; 4] = self.0.read(offset!(sock_address));
        [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    /// The inode number of its network namespace.
    pub(crate) fn net(self) -> u32 {
        let net: Pointer = self.0.read(offset!(sock_net));
        net.read(offset!(net_inum))
    }
}
