//! The TCP ports on which containers listen.

use nix::{
    libc::{self, c_long},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::{
    lab::{Container, Containerd, Pod, Version, image},
    watch::Watch,
};
use serde_json::Value;

use crate::scene::{Scene, at_once, end};

/// The system call in which a container waits for the signal to listen.
const WAITS: c_long = libc::SYS_rt_sigtimedwait;
/// The system call in which it waits after it listens.
const SLEEPS: c_long = libc::SYS_ppoll;

#[test]
fn ports_are_reported_when_a_container_listens_on_them() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let scene = Scene { lab, watch };
    at_once(
        &scene,
        |name, spec| match name.contains("host_network") {
            true => spec.host_network(),
            false => spec,
        },
        &[
            ("listens_late", listens_late),
            ("listens_on_ipv6", listens_on_ipv6),
            ("finds_its_port_in_use", finds_its_port_in_use),
            ("is_on_the_host_network", is_on_the_host_network),
        ],
    );
    scene.watch.stop();
}

/// Starts a container that has bound a port and waits for the signal to listen.
fn bound<'a>(pod: &'a Pod<'a>, name: &str, arguments: &[&str]) -> Container<'a> {
    let behaviour = ["listen-late"].into_iter().chain(arguments.iter().copied());
    let container = pod.container(name).workload(behaviour);
    container.start().settled_in(WAITS)
}

/// Lets it listen.
fn wake(container: &Container<'_>) {
    kill(Pid::from_raw(container.pid()), Signal::SIGUSR1).expect("it runs");
}

/// The reports of ports of a pod.
fn listens(scene: &Scene, uid: &str) -> Vec<Value> {
    let mut lines = scene.watch.of_pod(uid);
    lines.retain(|line| line["event"] == "listens");
    lines
}

fn listens_late(scene: &Scene, pod: Pod<'_>) {
    let app = bound(&pod, "app", &["8080"]);
    let started = scene.watch.await_container(app.id(), "started");
    // The time of the boot clock between the start and the signal.
    let before = boot_ns();
    wake(&app);
    let line = scene.watch.await_container(app.id(), "listens");
    assert_eq!(
        (&line["address"], &line["port"]),
        (&"0.0.0.0".into(), &8080.into())
    );
    assert_eq!(line["process"]["pid"], app.pid());
    assert_eq!(line["process"]["comm"], "workload");
    let at = line["ktime_ns"].as_u64().expect("a time");
    let executed = started["ktime_ns"].as_u64().expect("a time");
    assert!((before..boot_ns()).contains(&at), "{line}");
    assert_eq!(line["after_ns"], at - executed, "{started} {line}");
    app.end();
    let uid = pod.uid().to_owned();
    end(scene, pod).assert_healthy(["app"]);
    assert_eq!(listens(scene, &uid).len(), 1);
}

fn listens_on_ipv6(scene: &Scene, pod: Pod<'_>) {
    let app = bound(&pod, "app", &["8080", "--ipv6"]);
    wake(&app);
    let line = scene.watch.await_container(app.id(), "listens");
    assert_eq!(
        (&line["address"], &line["port"]),
        (&"::".into(), &8080.into())
    );
    app.end();
    end(scene, pod).assert_healthy(["app"]);
}

/// Two containers have bound the same port, and the second one cannot listen on it.
fn finds_its_port_in_use(scene: &Scene, pod: Pod<'_>) {
    let first = bound(&pod, "first", &["7070"]);
    let second = bound(&pod, "second", &["7070"]);
    wake(&first);
    let first = first.settled_in(SLEEPS);
    wake(&second);
    assert_eq!(second.await_end(), 1, "{}", second.log());
    second.remove();
    let line = scene.watch.await_container(first.id(), "listens");
    assert_eq!(line["port"], 7070);
    first.end();
    let uid = pod.uid().to_owned();
    end(scene, pod);
    let ports = listens(scene, &uid);
    assert_eq!(ports.len(), 1, "{ports:#?}");
    assert_eq!(ports[0]["container"]["name"], "first");
}

fn is_on_the_host_network(scene: &Scene, pod: Pod<'_>) {
    let app = bound(&pod, "app", &["6060"]);
    wake(&app);
    let line = scene.watch.await_container(app.id(), "listens");
    assert_eq!(line["port"], 6060);
    app.end();
    let uid = pod.uid().to_owned();
    end(scene, pod).assert_healthy(["app"]);
    // The runtime listens on the same network.
    assert_eq!(listens(scene, &uid).len(), 1);
}

/// The clock of the kernel's records.
fn boot_ns() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("the clock exists");
    now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned()
}
