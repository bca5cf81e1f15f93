use std::{
    net::TcpListener,
    process::{Command, Stdio},
};

use nix::sched::{CloneFlags, unshare};

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../fixtures/network/", $name))
    };
}

fn addresses(found: impl Iterator<Item = IpAddr>) -> BTreeSet<String> {
    found.map(|address| address.to_string()).collect()
}

#[test]
fn interfaces_that_are_up_are_recognised() {
    let names: Vec<String> = interfaces(fixture!("dev"))
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    assert_eq!(names, ["lo", "veth1", "eth0", "down1", "down0"]);
    let up = |name: &str| is_up(fixture!("igmp"), name.as_bytes());
    assert!(up("lo") && up("eth0"));
    assert!(!up("veth1") && !up("down0") && !up("") && !up("eth"));
    let long = b"2\ta-long-name1234: 1 V3\n\t\t\t\t010000E0 1 0:00000000 0\n";
    assert!(is_up(long, b"a-long-name1234"));
    // An interface that is down can still be a member of other groups.
    assert!(!is_up(
        b"2\teth0      : 1 V3\n\t\t\t\tFB0000E0 1\n",
        b"eth0"
    ));
}

#[test]
fn only_local_addresses_are_read() {
    assert_eq!(
        addresses(local_v4(fixture!("fib_trie"))),
        ["10.9.8.7", "10.99.0.1", "127.0.0.1"]
            .map(String::from)
            .into()
    );
    assert_eq!(
        addresses(local_v6(fixture!("if_inet6"))),
        ["::1", "fd00:1::7"].map(String::from).into()
    );
}

#[test]
fn default_routes_are_read() {
    let shown = |way: DefaultRoute| {
        let gateway = way.gateway.map(|gateway| gateway.to_string());
        (way.interface.to_string(), gateway.unwrap_or_default())
    };
    let v4: Vec<_> = default_routes_v4(fixture!("route")).map(shown).collect();
    assert_eq!(v4, [("eth0".to_owned(), "10.9.8.1".to_owned())]);
    let v6: Vec<_> = default_routes_v6(fixture!("ipv6_route"))
        .map(shown)
        .collect();
    assert_eq!(v6, [("eth0".to_owned(), "fd00:1::1".to_owned())]);
    // A default route without a gateway, and a reject route.
    let heading = "Iface Destination …\n";
    let direct = format!("{heading}tun0 00000000 00000000 0001 0 0 0 00000000 0 0 0\n");
    let direct: Vec<_> = default_routes_v4(direct.as_bytes()).map(shown).collect();
    assert_eq!(direct, [("tun0".to_owned(), String::new())]);
    let refused = format!("{heading}* 00000000 00000000 0201 0 0 0 00000000 0 0 0\n");
    assert_eq!(default_routes_v4(refused.as_bytes()).count(), 0);
}

#[test]
fn connections_are_not_listening_ports() {
    let shown = |text: &[u8], protocol| {
        listening(text, protocol)
            .map(|(_, found)| found)
            .map(|found| format!("{} {}", found.address, found.port))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(fixture!("tcp"), Protocol::Tcp), ["127.0.0.1 8080"]);
    let v6 = [":: 9090", "fd00:1::7 7070"];
    assert_eq!(shown(fixture!("tcp6"), Protocol::Tcp), v6);
    assert_eq!(shown(fixture!("udp"), Protocol::Udp), ["10.9.8.7 53"]);
    assert_eq!(shown(fixture!("udp6"), Protocol::Udp), [""; 0]);
}

#[test]
fn malformed_and_truncated_files_are_skipped() {
    for text in [
        fixture!("dev").as_slice(),
        fixture!("fib_trie"),
        fixture!("route"),
        fixture!("ipv6_route"),
        fixture!("tcp6"),
        b"\xff\xfe: \n\n:\n|-- \n/32 host LOCAL\n0: x:y z 0A",
    ] {
        for end in 0..text.len() {
            let cut = &text[..end];
            interfaces(cut);
            is_up(cut, b"lo");
            let _ = local_v4(cut).chain(local_v6(cut)).count();
            let _ = default_routes_v4(cut).chain(default_routes_v6(cut)).count();
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let _ = listening(cut, protocol).count();
            }
        }
    }
}

/// A network with these interfaces and addresses.
fn network(interfaces: &[(&str, bool)], addresses: &[&str]) -> Network {
    Network {
        interfaces: interfaces
            .iter()
            .map(|(name, is_up)| Interface {
                name: Text::new(name),
                is_up: Some(*is_up),
            })
            .collect(),
        addresses: addresses
            .iter()
            .map(|address| address.parse().expect("an address"))
            .collect(),
        ..Network::default()
    }
}

#[test]
fn a_ready_network_has_loopback_and_an_outer_address() {
    let lo = &[("lo", true)];
    assert!(network(lo, &["127.0.0.1", "10.0.0.2"]).is_ready());
    assert!(network(lo, &["::1", "fd00::2"]).is_ready());
    assert!(!network(lo, &["127.0.0.1"]).is_ready());
    assert!(!network(lo, &["127.0.0.1", "::1", "fe80::1"]).is_ready());
    assert!(!network(&[("lo", false)], &["127.0.0.1", "10.0.0.2"]).is_ready());
    assert!(!network(&[("lo", true)], &["10.0.0.2"]).is_ready());
    assert!(!network(&[], &[]).is_ready());
}

#[test]
fn a_real_namespace_is_read_from_outside() {
    // On a thread of its own: unshare changes the namespace of the calling thread only, and the
    // child inherits it.
    let reader = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("as root, a namespace can be made");
        let mut child = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::null())
            .spawn()
            .expect("sleep(1) is installed");
        let before = read(child.id());
        crate::sys::interface_up("lo").expect("it is our namespace");
        let address = Ipv4Addr::new(10, 9, 8, 7);
        crate::sys::interface_address("lo:1", address).expect("it is our namespace");
        let listener = TcpListener::bind((address, 4711)).expect("the port is free");
        let after = read(child.id());
        drop(listener);
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
        let gone = read(child.id());
        (before, after, gone)
    });
    let (before, after, gone) = reader.join().expect("the thread has not panicked");

    let before = before.expect("the child was alive");
    assert!(!before.is_loopback_up() && !before.is_ready(), "{before:?}");
    assert_eq!(before.addresses, BTreeSet::new());

    let after = after.expect("the child was alive");
    assert!(after.is_ready(), "{after:?}");
    let outer: Vec<_> = after.outer_addresses().map(ToString::to_string).collect();
    assert_eq!(outer, ["10.9.8.7"]);
    assert_eq!(after.ways_out, []);
    let port = after.listening.iter().map(|found| found.port);
    assert_eq!(port.collect::<Vec<_>>(), [4711]);

    assert!(gone.is_err());
}
