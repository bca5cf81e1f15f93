//! TCP over IPv4, enough to check that two containers share a network namespace.

use crate::{Errno, File, arch::syscall5, check, nr, syscall};

const AF_INET: u16 = 2;
const SOCK_STREAM: usize = 1;
const SOCK_CLOEXEC: usize = 0o2_000_000;
const SOL_SOCKET: usize = 1;
const SO_REUSEADDR: usize = 2;
const BACKLOG: usize = 128;

/// The kernel's `struct sockaddr_in`, with port and address in network byte order.
#[repr(C)]
struct Address {
    family: u16,
    port: [u8; 2],
    address: [u8; 4],
    zero: [u8; 8],
}

impl Address {
    fn new(address: [u8; 4], port: u16) -> Self {
        Self {
            family: AF_INET,
            port: port.to_be_bytes(),
            address,
            zero: [0; 8],
        }
    }

    /// Passes the address to `bind` or `connect`.
    fn pass_to(&self, number: usize, socket: &File) -> Result<(), Errno> {
        // SAFETY: both calls read an address of this size, and it is alive.
        let result = unsafe {
            syscall(
                number,
                socket.0,
                &raw const *self as usize,
                size_of::<Self>(),
                0,
            )
        };
        check(result).map(drop)
    }
}

/// Listens on a port of every address.
///
/// # Errors
/// EADDRINUSE if the port is in use.
pub fn listen(port: u16) -> Result<File, Errno> {
    let socket = socket()?;
    // Connections from before a restart of the container may still occupy the port.
    let yes = 1_i32;
    let value = (&raw const yes as usize, size_of::<i32>());
    let option = [socket.0, SOL_SOCKET, SO_REUSEADDR, value.0, value.1];
    // SAFETY: the kernel reads one int that is alive.
    check(unsafe { syscall5(nr::SETSOCKOPT, option) })?;
    Address::new([0, 0, 0, 0], port).pass_to(nr::BIND, &socket)?;
    // SAFETY: the call does not affect memory.
    check(unsafe { syscall(nr::LISTEN, socket.0, BACKLOG, 0, 0) })?;
    Ok(socket)
}

/// Waits for a connection.
///
/// # Errors
/// The error of the kernel.
pub fn accept(listener: &File) -> Result<File, Errno> {
    // SAFETY: the peer's address is not requested, so the kernel writes nothing.
    let result = unsafe { syscall(nr::ACCEPT4, listener.0, 0, 0, SOCK_CLOEXEC) };
    check(result).map(File)
}

/// Connects to a port of 127.0.0.1.
///
/// # Errors
/// ECONNREFUSED if no process listens.
pub fn connect(port: u16) -> Result<File, Errno> {
    let socket = socket()?;
    Address::new([127, 0, 0, 1], port).pass_to(nr::CONNECT, &socket)?;
    Ok(socket)
}

fn socket() -> Result<File, Errno> {
    let kind = SOCK_STREAM | SOCK_CLOEXEC;
    // SAFETY: the call does not affect memory.
    let result = unsafe { syscall(nr::SOCKET, usize::from(AF_INET), kind, 0, 0) };
    check(result).map(File)
}
