//! Which process of a container has a port: `/proc/PID/net` lists the sockets of a network
//! namespace with their inode numbers, and the links in `/proc/PID/fd` name the sockets of a
//! process.
//!
//! A pod decides how many files its processes have open, so what is read is bounded.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
};

use super::{file::number, network::Listening, procfs, survey::process::Process};
use crate::event::Comm;

/// Open files of one process that are read.
const MAX_FILES: usize = 4_096;

/// Ports of one container that are kept.
const MAX_PORTS: usize = 64;

/// Open files of all processes of a pod that are read.
pub(crate) const MAX_ALL_FILES: usize = 32_768;

/// A port of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) listening: Listening,
    /// The process that has the socket open; of several, such as a server and its workers, the one
    /// with the lowest pid.
    pub(crate) pid: u32,
    pub(crate) comm: Comm,
}

/// The ports of the processes of a container, sorted. `sockets` are those of its network namespace.
/// `left` is the number of files that may be read yet.
pub(crate) fn of(
    processes: &[Process],
    sockets: &BTreeMap<u64, Listening>,
    left: &mut usize,
) -> Vec<Port> {
    let mut ports: BTreeMap<Listening, Port> = BTreeMap::new();
    if sockets.is_empty() {
        return Vec::new();
    }
    // They are sorted by pid.
    for process in processes.iter().filter(|process| !process.is_zombie()) {
        for inode in open_sockets(process.pid, left) {
            if let Some(listening) = sockets.get(&inode)
                && (ports.len() < MAX_PORTS || ports.contains_key(listening))
            {
                ports.entry(*listening).or_insert(Port {
                    listening: *listening,
                    pid: process.pid,
                    comm: process.comm,
                });
            }
        }
    }
    ports.into_values().collect()
}

/// The inode numbers of the sockets that a process has open.
fn open_sockets(pid: u32, left: &mut usize) -> HashSet<u64> {
    let files = fs::read_dir(procfs::speaker(pid).join("fd"));
    let mut found = HashSet::new();
    for file in files.into_iter().flatten().flatten().take(MAX_FILES) {
        if *left == 0 {
            break;
        }
        *left -= 1;
        let link = fs::read_link(file.path()).unwrap_or_default();
        found.extend(socket(link.as_os_str().as_encoded_bytes()));
    }
    found
}

/// The number in `socket:[12345]`.
fn socket(link: &[u8]) -> Option<u64> {
    number(link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, TcpListener, UdpSocket};

    use super::*;
    use crate::node::{
        network::{self, Protocol},
        survey::process,
    };

    #[test]
    fn only_links_of_sockets_have_a_number() {
        assert_eq!(socket(b"socket:[4711]"), Some(4711));
        for other in [
            &b"pipe:[4711]"[..],
            b"socket:[]",
            b"socket:[-1]",
            b"socket:[4711",
            b"/dev/null",
            b"socket:[\x1b]",
        ] {
            assert_eq!(socket(other), None);
        }
    }

    #[test]
    fn the_sockets_of_this_process_are_found_and_those_of_others_are_not() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let own = process::read(std::process::id()).expect("it runs");
        let sockets = network::read(own.pid).expect("it runs").sockets;
        let find = |processes: &[Process], protocol, port| {
            let mut left = MAX_ALL_FILES;
            of(processes, &sockets, &mut left)
                .into_iter()
                .find(|found| {
                    let Listening {
                        protocol: its,
                        address,
                        port: its_port,
                    } = found.listening;
                    (its, its_port) == (protocol, port) && address == IpAddr::from([127, 0, 0, 1])
                })
        };
        let tcp_port = tcp.local_addr().expect("it is bound").port();
        let udp_port = udp.local_addr().expect("it is bound").port();
        let processes = [own.clone()];
        for (protocol, port) in [(Protocol::Tcp, tcp_port), (Protocol::Udp, udp_port)] {
            let found = find(&processes, protocol, port).expect("it is open");
            assert_eq!((found.pid, found.comm), (own.pid, own.comm));
        }
        let parent = process::read(std::os::unix::process::parent_id()).expect("it runs");
        assert_eq!(find(&[parent], Protocol::Tcp, tcp_port), None);
        // Nothing is read beyond the bound.
        assert_eq!(of(&processes, &sockets, &mut 0), []);
        drop(tcp);
        let after = network::read(own.pid).expect("it runs");
        let is_it = |one: &&Listening| (one.protocol, one.port) == (Protocol::Tcp, tcp_port);
        assert_eq!(after.sockets.values().find(is_it), None);
    }
}
