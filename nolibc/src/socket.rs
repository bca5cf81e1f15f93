//! TCP, enough to check that two containers share a network namespace, and to listen late.

use crate::{Errno, File, arch::syscall5, check, nr, syscall};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
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
        pass(number, socket, self)
    }
}

/// Passes an address to `bind` or `connect`.
fn pass<T>(number: usize, socket: &File, address: &T) -> Result<(), Errno> {
    let (pointer, size) = (&raw const *address as usize, size_of::<T>());
    // SAFETY: both calls read an address of this size, and it is alive.
    check(unsafe { syscall(number, socket.0, pointer, size, 0) }).map(drop)
}

/// The kernel's `struct sockaddr_in6`, with the port in network byte order.
#[repr(C)]
struct Address6 {
    family: u16,
    port: [u8; 2],
    flow: u32,
    address: [u8; 16],
    scope: u32,
}

/// Listens on a port of every address.
///
/// # Errors
/// EADDRINUSE if the port is in use.
pub fn listen(port: u16) -> Result<File, Errno> {
    let socket = bind(port)?;
    listen_on(&socket)?;
    Ok(socket)
}

/// A socket that is bound to a port of every IPv4 address and does not listen yet. Another socket
/// may be bound to the same port, as long as none listens.
///
/// # Errors
/// EADDRINUSE if another socket listens on the port.
pub fn bind(port: u16) -> Result<File, Errno> {
    let socket = reusing(AF_INET)?;
    Address::new([0, 0, 0, 0], port).pass_to(nr::BIND, &socket)?;
    Ok(socket)
}

/// The same for every IPv6 address.
///
/// # Errors
/// As [`bind`], and EAFNOSUPPORT if the kernel has no IPv6.
pub fn bind6(port: u16) -> Result<File, Errno> {
    let socket = reusing(AF_INET6)?;
    let address = Address6 {
        family: AF_INET6,
        port: port.to_be_bytes(),
        flow: 0,
        address: [0; 16],
        scope: 0,
    };
    pass(nr::BIND, &socket, &address)?;
    Ok(socket)
}

/// Makes a bound socket listen.
///
/// # Errors
/// EADDRINUSE if another socket listens on its port.
pub fn listen_on(socket: &File) -> Result<(), Errno> {
    // SAFETY: the call does not affect memory.
    check(unsafe { syscall(nr::LISTEN, socket.0, BACKLOG, 0, 0) }).map(drop)
}

/// A socket that may be bound to a port although connections from before a restart of the container
/// still occupy it.
fn reusing(family: u16) -> Result<File, Errno> {
    let socket = socket(family)?;
    let yes = 1_i32;
    let value = (&raw const yes as usize, size_of::<i32>());
    let option = [socket.0, SOL_SOCKET, SO_REUSEADDR, value.0, value.1];
    // SAFETY: the kernel reads one int that is alive.
    check(unsafe { syscall5(nr::SETSOCKOPT, option) })?;
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
    let socket = socket(AF_INET)?;
    Address::new([127, 0, 0, 1], port).pass_to(nr::CONNECT, &socket)?;
    Ok(socket)
}

fn socket(family: u16) -> Result<File, Errno> {
    let kind = SOCK_STREAM | SOCK_CLOEXEC;
    // SAFETY: the call does not affect memory.
    let result = unsafe { syscall(nr::SOCKET, usize::from(family), kind, 0, 0) };
    check(result).map(File)
}
