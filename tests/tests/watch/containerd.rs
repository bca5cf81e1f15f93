//! `pause-trace watch` on pods of every kind, made by real containerds.

use std::{thread, time::Duration};

use nix::libc;
use pause_trace_tests::{
    lab::{Containerd, PodSpec, Version, image},
    watch::Watch,
};

/// A grace period longer than any container here takes.
const GRACE: Duration = Duration::from_secs(30);

/// A kind of pod.
type Kind = for<'lab> fn(PodSpec<'lab>) -> PodSpec<'lab>;

const KINDS: [(&str, Kind); 6] = [
    ("plain", |pod| pod),
    ("shared-pid", |pod| pod.shared_pid()),
    ("host-pid", |pod| pod.host_pid()),
    ("host-network", |pod| pod.host_network()),
    ("host-ipc", |pod| pod.host_ipc()),
    ("host-all", |pod| pod.host_network().host_pid().host_ipc()),
];

/// Runs and removes a pod with two containers, one of them with an exec session, and a third one
/// that debugs the first.
fn live_and_die(lab: &Containerd, watch: &Watch, name: &str, kind: Kind) {
    let pod = kind(lab.pod(name)).run();
    let [one, two] = ["one", "two"].map(|name| pod.serve(name));
    let debugger = pod.container("debugger").workload(["serve"]).target(&one);
    let debugger = debugger.start().settled_in(libc::SYS_ppoll);
    assert_eq!(one.exec(["/workload", "true"]).exit_code, 0);
    for container in [debugger, two, one] {
        container.stop(GRACE);
        assert_eq!(container.exit_code(), Some(0));
        container.remove();
    }
    let uid = pod.uid().to_owned();
    pod.remove();
    watch
        .verified(&uid)
        .assert_healthy(["one", "two", "debugger"]);
}

fn verifies_every_kind_of_pod(version: Version) {
    let lab = Containerd::start(version);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    thread::scope(|scope| {
        for (name, kind) in KINDS {
            let (lab, watch) = (&lab, &watch);
            scope.spawn(move || live_and_die(lab, watch, name, kind));
        }
    });
    watch.stop();
}

#[test]
fn pods_of_containerd_1_are_verified_whatever_they_share() {
    verifies_every_kind_of_pod(Version::V1);
}

#[test]
fn pods_of_containerd_2_are_verified_whatever_they_share() {
    verifies_every_kind_of_pod(Version::V2);
}

/// The process that put the first process of a container into its cgroup has ended before
/// pause-trace can read `/proc`, and the path of this containerd's socket is only known from its
/// shim.
#[test]
fn a_pod_that_starts_while_its_verifier_is_held_up_is_verified() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let watch = Watch::start_outside();
    let pod = watch.held_up(|| lab.pod("held-up").run());
    let app = watch.held_up(|| pod.serve("app"));
    // pause-trace reads the bundle of a container, which is removed with the container.
    watch.await_container(app.id(), "started");
    app.stop(GRACE);
    app.remove();
    let uid = pod.uid().to_owned();
    pod.remove();
    watch.verified(&uid).assert_healthy(["app"]);
    watch.stop();
}
