//! Reads a pod's network without entering its namespace: `/proc/PID/net` shows the network of that
//! process.
//!
//! These files contain less than netlink reports. They have no interface flags, but an interface
//! that is up is a member of the all-hosts multicast group, which `igmp` shows ([`ip_mc_up`], on
//! loopback too). They do not say which interface has an IPv4 address, and they include the
//! addresses of interfaces that are down.
//!
//! [`ip_mc_up`]: https://elixir.bootlin.com/linux/v6.12/A/ident/ip_mc_up

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use bytes::Bytes;

use super::{
    file::{fields, lines, number},
    survey::process::Directory,
};
use crate::event::Text;

/// Entries of each kind that are kept.
const MAX_ENTRIES: usize = 1024;

/// `RTF_UP` and `RTF_REJECT` (include/uapi/linux/route.h).
const RTF_UP: u32 = 0x1;
const RTF_REJECT: u32 = 0x200;

/// The network namespace of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) interfaces: Vec<Interface>,
    /// Sorted: IPv4 first.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// The default routes.
    pub(crate) ways_out: Vec<DefaultRoute>,
    pub(crate) listening: BTreeSet<Listening>,
    /// The same by the inode number of the socket. Several sockets may share a port.
    pub(crate) sockets: BTreeMap<u64, Listening>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: Text,
    /// `None` if the kernel was built without multicast, and has no `igmp` file.
    pub(crate) is_up: Option<bool>,
}

/// A default route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DefaultRoute {
    pub(crate) interface: Text,
    /// `None` for a route without a gateway, as on a point-to-point interface.
    pub(crate) gateway: Option<IpAddr>,
}

/// A port that a socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listening {
    pub(crate) protocol: Protocol,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
}

/// The protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    /// A listening socket.
    Tcp,
    /// A socket that is bound and not connected. A client that waits for a reply looks the same.
    Udp,
}

impl Protocol {
    /// `tcp`
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = SocketAddr::from((self.address, self.port));
        write!(f, "{} {socket}", self.protocol.name())
    }
}

impl Network {
    /// Whether loopback is up and has a loopback address. The kernel assigns 127.0.0.1 when `lo` is
    /// set up.
    pub(crate) fn is_loopback_up(&self) -> bool {
        let up = self
            .interfaces
            .iter()
            .find(|interface| &interface.name.0[..] == b"lo")
            .is_some_and(|loopback| loopback.is_up != Some(false));
        up && self.addresses.iter().any(IpAddr::is_loopback)
    }

    /// The addresses at which the pod can be reached from outside: neither loopback nor IPv6
    /// link-local addresses.
    pub(crate) fn outer_addresses(&self) -> impl Iterator<Item = &IpAddr> {
        self.addresses.iter().filter(|address| match address {
            IpAddr::V4(v4) => !v4.is_loopback(),
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
        })
    }

    /// Whether the network is set up: loopback is up and there is an address other than loopback's.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_loopback_up() && self.outer_addresses().next().is_some()
    }
}

/// Reads the network namespace of a process.
///
/// # Errors
/// Fails when the process has ended: a zombie has no network namespace.
pub(crate) fn read(pid: u32) -> io::Result<Network> {
    let process = Directory::open(pid)?;
    let mut buffer = Vec::new();
    let at = process.speaker(pid, &mut buffer);
    process.file(&format!("{at}net/dev"), &mut buffer)?;
    let names = interfaces(&buffer);
    // Some of these files are missing on kernels built without multicast or IPv6.
    let mut read = |name: &str| match process.file(&format!("{at}{name}"), &mut buffer) {
        Ok(()) => Ok(Some(std::mem::take(&mut buffer))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let groups = read("net/igmp")?;
    let interface = |name: &[u8]| Interface {
        name: Text(Bytes::copy_from_slice(name)),
        is_up: groups.as_deref().map(|groups| is_up(groups, name)),
    };
    let mut network = Network {
        interfaces: names.iter().map(|name| interface(name)).collect(),
        ..Network::default()
    };
    let trie = read("net/fib_trie")?.unwrap_or_default();
    network.addresses.extend(local_v4(&trie).take(MAX_ENTRIES));
    let v6 = read("net/if_inet6")?.unwrap_or_default();
    network.addresses.extend(local_v6(&v6).take(MAX_ENTRIES));
    let routes = read("net/route")?.unwrap_or_default();
    network
        .ways_out
        .extend(default_routes_v4(&routes).take(MAX_ENTRIES));
    let routes = read("net/ipv6_route")?.unwrap_or_default();
    network
        .ways_out
        .extend(default_routes_v6(&routes).take(MAX_ENTRIES));
    for (name, protocol) in [
        ("net/tcp", Protocol::Tcp),
        ("net/tcp6", Protocol::Tcp),
        ("net/udp", Protocol::Udp),
        ("net/udp6", Protocol::Udp),
    ] {
        let sockets = read(name)?.unwrap_or_default();
        for (inode, listening) in listening(&sockets, protocol).take(MAX_ENTRIES) {
            network.listening.insert(listening);
            // A socket of the kernel may have none.
            if inode != 0 {
                network.sockets.insert(inode, listening);
            }
        }
    }
    // The process still exists, so everything above was read from its namespace.
    process.file(&format!("{at}net/dev"), &mut Vec::new())?;
    Ok(network)
}

/// Parses ` eth0: 90 1 …`, after two heading lines.
fn interfaces(dev: &[u8]) -> Vec<Vec<u8>> {
    lines(dev)
        .skip(2)
        .filter_map(|line| {
            let end = line.iter().rposition(|byte| *byte == b':')?;
            Some(line[..end].trim_ascii().to_vec())
        })
        .take(MAX_ENTRIES)
        .collect()
}

/// Whether an interface is a member of the all-hosts group, 224.0.0.1. The groups of an interface
/// are indented below its line: `1 lo : 1 V3`, ` 010000E0 1 0:00000000 0`.
fn is_up(igmp: &[u8], name: &[u8]) -> bool {
    let all_hosts = Ipv4Addr::new(224, 0, 0, 1);
    // A long name has no space before the colon.
    let named = |line| {
        fields(line)
            .nth(1)
            .map(|field| field.strip_suffix(b":").unwrap_or(field))
    };
    lines(igmp)
        .skip_while(|line| line.first() == Some(&b'\t') || named(line) != Some(name))
        .skip(1)
        .take_while(|line| line.first() == Some(&b'\t'))
        .any(|line| fields(line).next().and_then(word) == Some(all_hosts))
}

/// Parses ` |-- 10.9.8.7` followed by `/32 host LOCAL`.
fn local_v4(fib_trie: &[u8]) -> impl Iterator<Item = IpAddr> {
    let mut leaf = None;
    lines(fib_trie).filter_map(move |line| {
        let mut fields = fields(line);
        match fields.next()? {
            b"|--" => {
                leaf = number::<Ipv4Addr>(fields.next()?);
                None
            }
            b"/32" if fields.eq([&b"host"[..], b"LOCAL"]) => leaf.map(IpAddr::V4),
            _ => None,
        }
    })
}

/// `fd000001000000000000000000000007 03 40 00 82 veth0`.
fn local_v6(if_inet6: &[u8]) -> impl Iterator<Item = IpAddr> {
    lines(if_inet6).filter_map(|line| Some(IpAddr::V6(v6(fields(line).next()?)?)))
}

/// `veth0 00000000 0108090A 0003 0 0 0 00000000 …`: interface, destination, gateway, flags … and
/// mask.
fn default_routes_v4(route: &[u8]) -> impl Iterator<Item = DefaultRoute> {
    lines(route).skip(1).filter_map(|line| {
        let fields: Vec<&[u8]> = fields(line).take(8).collect();
        let [interface, destination, gateway, flags, .., mask] = fields[..] else {
            return None;
        };
        let flags = hex(flags)?;
        let is_default = [destination, mask].map(word) == [Some(Ipv4Addr::UNSPECIFIED); 2];
        let gateway = IpAddr::V4(word(gateway)?);
        (is_default && flags & RTF_UP != 0 && flags & RTF_REJECT == 0)
            .then(|| default_route(interface, gateway))
    })
}

/// Fields: destination, its prefix length, source, its prefix length, next hop, metric, reference
/// count, use count, flags, interface.
fn default_routes_v6(ipv6_route: &[u8]) -> impl Iterator<Item = DefaultRoute> {
    lines(ipv6_route).filter_map(|line| {
        let fields: Vec<&[u8]> = fields(line).take(10).collect();
        let [destination, length, _, _, hop, _, _, _, flags, interface] = fields[..] else {
            return None;
        };
        let flags = hex(flags)?;
        let is_default = v6(destination)?.is_unspecified() && hex(length)? == 0;
        let hop = IpAddr::V6(v6(hop)?);
        (is_default && flags & RTF_UP != 0 && flags & RTF_REJECT == 0)
            .then(|| default_route(interface, hop))
    })
}

fn default_route(interface: &[u8], gateway: IpAddr) -> DefaultRoute {
    DefaultRoute {
        interface: Text(Bytes::copy_from_slice(interface)),
        gateway: (!gateway.is_unspecified()).then_some(gateway),
    }
}

/// `0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 4711 …`: number, local and remote address,
/// state, and after queues, timers, uid and timeout the inode number. The kernel prints listening
/// sockets first, so a truncated file loses only connections.
fn listening(sockets: &[u8], protocol: Protocol) -> impl Iterator<Item = (u64, Listening)> {
    // TCP_LISTEN, and TCP_CLOSE as UDP uses it (include/net/tcp_states.h).
    let wanted = match protocol {
        Protocol::Tcp => 0x0a,
        Protocol::Udp => 0x07,
    };
    lines(sockets).skip(1).filter_map(move |line| {
        let mut fields = fields(line).skip(1);
        let own = fields.next()?;
        let state = hex(fields.nth(1)?)?;
        let colon = own.iter().position(|byte| *byte == b':')?;
        let port = u16::try_from(hex(&own[colon + 1..])?).ok()?;
        let inode = number(fields.nth(5)?)?;
        let listening = Listening {
            protocol,
            address: words(&own[..colon])?,
            port,
        };
        (state == wanted && port != 0).then_some((inode, listening))
    })
}

fn hex(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// An IPv4 address that the kernel printed as a number in this machine's byte order.
fn word(digits: &[u8]) -> Option<Ipv4Addr> {
    (digits.len() == 8)
        .then(|| hex(digits))?
        .map(|word| word.to_ne_bytes().into())
}

/// An address of one such word (IPv4) or four (IPv6).
fn words(digits: &[u8]) -> Option<IpAddr> {
    if digits.len() == 8 {
        return word(digits).map(IpAddr::V4);
    }
    let mut bytes = [0; 16];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (to, from) in bytes.chunks_exact_mut(4).zip(digits.chunks_exact(8)) {
        to.copy_from_slice(&word(from)?.octets());
    }
    // A dual-stack socket is reported with the IPv6 address it is bound to.
    Some(IpAddr::V6(bytes.into()))
}

/// An IPv6 address printed as 32 hexadecimal digits in network byte order.
fn v6(digits: &[u8]) -> Option<Ipv6Addr> {
    let text = str::from_utf8(digits)
        .ok()
        .filter(|text| text.len() == 32)?;
    u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from_bits)
}

/// What these bytes say as each of the files, for the fuzz target of `/proc`.
#[cfg(test)]
pub(super) fn fuzzed(file: &[u8]) -> Network {
    let interface = |name: Vec<u8>| Interface {
        is_up: Some(is_up(file, &name)),
        name: Text(name.into()),
    };
    let sockets: BTreeMap<_, _> = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .flat_map(|protocol| listening(file, protocol))
        .collect();
    Network {
        interfaces: interfaces(file).into_iter().map(interface).collect(),
        addresses: local_v4(file).chain(local_v6(file)).collect(),
        ways_out: default_routes_v4(file)
            .chain(default_routes_v6(file))
            .collect(),
        listening: sockets.values().copied().collect(),
        sockets,
    }
}

#[cfg(test)]
mod tests;
