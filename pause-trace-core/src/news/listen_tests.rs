//! What is reported of the ports on which containers listen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::{
    event::{Comm, Fact, Listen, Mode, Modes, ProcessId},
    rules::testing::{HOST, Scene},
    state::Limits,
};

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// A process begins or ceases to listen in its network namespace.
fn socket(scene: &mut Scene, process: ProcessId, address: IpAddr, port: u16, ended: bool) {
    let namespace = scene.namespaces(process).net;
    socket_in(scene, process, namespace, address, port, ended);
}

fn socket_in(
    scene: &mut Scene,
    process: ProcessId,
    namespace: u32,
    address: IpAddr,
    port: u16,
    ended: bool,
) {
    let cgroup = scene.cgroup(process);
    scene.push(Fact::Listen(Listen {
        process,
        comm: Comm::new("server"),
        cgroup,
        namespace,
        address,
        port,
        ended,
    }));
}

/// The state after a scene, and its news of listeners: container, address, port, and how long after
/// the exec, in ms.
type Told = (String, IpAddr, Option<u16>, Option<u64>);

fn told(scene: &Scene) -> (State, Vec<Told>) {
    let mut state = State::new(Limits::REFERENCE);
    let mut ledger = Ledger::new(|_| true);
    let mut feed = NewsFeed::default();
    for event in &scene.events {
        ledger.judge(&mut state, event, |change, state, ledger| {
            feed.change(event.time, change, state, ledger);
        });
    }
    let news = feed.take().into_iter().filter_map(|news| match news.what {
        NewsKind::Listens {
            address,
            port,
            after,
            ..
        } => {
            let container = news.container.expect("it is of a container").to_string();
            Some((container, address, port, after.map(|ns| ns / 1_000_000)))
        }
        _ => None,
    });
    let news = news.collect();
    (state, news)
}

fn news(scene: &Scene) -> Vec<Told> {
    told(scene).1
}

/// The ports on which a container listens at the end of a scene.
fn ports(state: &State, container: &str) -> Vec<u16> {
    let listeners = &state.containers[container].listeners;
    listeners.iter().map(|listener| listener.port).collect()
}

fn app() -> (Scene, ProcessId) {
    let mut scene = Scene::new();
    scene.pod("p");
    let app = scene.container("p", "app");
    (scene, app)
}

#[test]
fn the_first_port_and_further_ports_are_told_with_the_time_since_the_exec() {
    let (mut scene, app) = app();
    scene.wait_ms(4_000);
    socket(&mut scene, app, ANY, 8080, false);
    assert_eq!(news(&scene), [], "it is not known yet whether it stays");
    scene.wait_ms(200);
    let child = scene.fork(app);
    socket(&mut scene, child, ANY6, 9090, false);
    scene.wait_ms(200);
    let (state, told) = told(&scene);
    assert_eq!(
        told,
        [
            ("app".to_owned(), ANY, Some(8080), Some(4_000)),
            ("app".to_owned(), ANY6, Some(9090), Some(4_200)),
        ]
    );
    assert_eq!(ports(&state, "app"), [8080, 9090]);
}

#[test]
fn a_listen_that_fails_is_not_told() {
    let (mut scene, app) = app();
    socket(&mut scene, app, ANY, 80, false);
    socket(&mut scene, app, ANY, 80, true);
    scene.wait_ms(200);
    let (state, told) = told(&scene);
    assert_eq!(told, []);
    assert!(ports(&state, "app").is_empty());
    // The next attempt succeeds.
    socket(&mut scene, app, ANY, 80, false);
    scene.wait_ms(200);
    assert_eq!(news(&scene).len(), 1);
}

#[test]
fn a_port_that_two_sockets_share_is_told_once_and_ends_with_the_last_of_them() {
    // So are the two sockets of MPTCP, and those of workers that share a port.
    let (mut scene, app) = app();
    let worker = scene.fork(app);
    for process in [app, worker] {
        socket(&mut scene, process, ANY, 80, false);
    }
    scene.wait_ms(200);
    socket(&mut scene, worker, ANY, 80, true);
    let (state, first) = told(&scene);
    assert_eq!((first.len(), &ports(&state, "app")[..]), (1, &[80][..]));
    socket(&mut scene, app, ANY, 80, true);
    let (state, _) = told(&scene);
    assert!(ports(&state, "app").is_empty());
    // It listens again, for example after a reload.
    socket(&mut scene, app, ANY, 80, false);
    scene.wait_ms(200);
    let (state, again) = told(&scene);
    assert_eq!((again, &ports(&state, "app")[..]), (first, &[80][..]));
}

#[test]
fn a_socket_that_another_process_closes_has_ended() {
    let (mut scene, app) = app();
    socket(&mut scene, app, ANY, 80, false);
    scene.wait_ms(200);
    let (stranger, net) = (scene.stranger, scene.namespaces(app).net);
    socket_in(&mut scene, stranger, net, ANY, 81, true);
    assert_eq!(ports(&told(&scene).0, "app"), [80], "it is another port");
    socket_in(&mut scene, stranger, HOST.net, ANY, 80, true);
    assert_eq!(ports(&told(&scene).0, "app"), [80], "it is another network");
    socket_in(&mut scene, stranger, net, ANY, 80, true);
    assert!(ports(&told(&scene).0, "app").is_empty());
}

#[test]
fn only_the_processes_of_containers_are_told_and_only_in_the_network_of_the_container() {
    let mut scene = Scene::new();
    let modes = Modes {
        net: Mode::Node,
        ..Modes::plain()
    };
    scene.pod_with("p", modes.clone(), |_| {});
    let app = scene.container_with("p", "app", modes, |_| {});
    let (runtime, stranger) = (scene.runtime, scene.stranger);
    for process in [runtime, stranger] {
        socket(&mut scene, process, ANY, 10250, false);
    }
    scene.wait_ms(200);
    assert_eq!(news(&scene), []);
    // A pod on the host's network.
    socket(&mut scene, app, ANY, 80, false);
    // In a namespace that it made itself.
    socket_in(&mut scene, app, 4_711, ANY, 81, false);
    scene.wait_ms(200);
    let (state, told) = told(&scene);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(ports(&state, "app"), [80]);
}

#[test]
fn what_a_container_does_before_its_declaration_is_told_after_it() {
    let (mut scene, app) = app();
    socket(&mut scene, app, ANY, 80, false);
    let is_container = |event: &crate::event::Event| matches!(&event.fact, Fact::Container(fact) if &*fact.container == "app");
    let at = scene.events.iter().position(is_container);
    let mut declared = scene.events.remove(at.expect("it is declared"));
    declared.time = scene.now;
    scene.events.push(declared);
    scene.wait_ms(200);
    assert_eq!(news(&scene).len(), 1);
}

#[test]
fn a_container_that_was_found_has_no_time_since_its_exec() {
    let (mut scene, app) = app();
    scene.attach_late();
    socket(&mut scene, app, ANY, 80, false);
    scene.wait_ms(200);
    assert_eq!(
        news(&scene),
        [("app".to_owned(), ANY, Some(80), None)],
        "when it started is not known"
    );
}

#[test]
fn the_ports_of_a_container_are_bounded_and_those_of_its_neighbour_are_told() {
    let (mut scene, app) = app();
    let neighbour = scene.container("p", "neighbour");
    for port in 1..=1_000 {
        socket(&mut scene, app, ANY, port, false);
    }
    socket(&mut scene, neighbour, ANY, 2_000, false);
    scene.wait_ms(200);
    // It ends some and begins others.
    for port in 1..=16 {
        socket(&mut scene, app, ANY, port, true);
        socket(&mut scene, app, ANY, 3_000 + port, false);
    }
    scene.wait_ms(200);
    let (state, told) = told(&scene);
    let of = |name: &str| {
        told.iter()
            .filter(|(container, ..)| container == name)
            .count()
    };
    assert_eq!((of("app"), of("neighbour")), (16, 1));
    assert_eq!(ports(&state, "app").len(), 16);
}

#[test]
fn listeners_are_gone_with_the_cgroup_of_their_container() {
    let (mut scene, app) = app();
    socket(&mut scene, app, ANY, 80, false);
    let (cgroup, path) = (scene.cgroup(app), Text::new("/p/app"));
    scene.push(Fact::CgroupRemoved { cgroup, path });
    scene.wait_ms(200);
    let (state, told) = told(&scene);
    assert_eq!(told, []);
    assert!(ports(&state, "app").is_empty());
}

#[test]
fn a_port_that_the_kernel_chooses_is_told_without_its_number() {
    let (mut scene, app) = app();
    socket(&mut scene, app, ANY, 0, false);
    scene.wait_ms(200);
    let told = news(&scene);
    assert_eq!(told[0].2, None, "{told:?}");
}
