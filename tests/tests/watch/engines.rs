//! `pause-trace watch` on pods of Docker and Podman, which have no CRI.

use std::time::Duration;

use nix::libc;
use pause_trace_tests::{
    lab::{Engine, EngineContainer, EnginePod, Sharing, image},
    watch::Watch,
};

const GRACE: Duration = Duration::from_secs(30);

#[test]
fn pods_of_docker_are_verified() {
    pods_are_verified(&Engine::docker());
}

#[test]
fn pods_of_podman_are_verified() {
    pods_are_verified(&Engine::podman());
}

fn pods_are_verified(engine: &Engine) {
    engine.import(&image::workload());
    let watch = Watch::start(engine.node());
    let mut removed = Vec::new();
    for sharing in [Sharing::Plain, Sharing::HostNetwork, Sharing::Pid] {
        let pod = engine.pod(sharing);
        let containers = [(); 2].map(|()| serve(&pod));
        assert!(containers[0].exec(&["/workload", "true"]).status.success());
        let ids = containers
            .each_ref()
            .map(|container| container.id().to_owned());
        for container in containers {
            container.stop(GRACE);
            assert_eq!(container.exit_code(), 0);
            container.remove();
        }
        let uid = uid(&watch, &ids[0]);
        pod.pause.stop(GRACE);
        pod.remove();
        removed.push((uid, ids));
    }

    let deaf = engine.pod(Sharing::Plain);
    let container = deaf.workload(&["ignore-term"]);
    container.stop(Duration::from_secs(2));
    assert_eq!(container.exit_code(), 128 + libc::SIGKILL);
    let deaf_uid = uid(&watch, container.id());
    container.remove();
    deaf.pause.stop(GRACE);
    deaf.remove();

    for (uid, ids) in &removed {
        let outcome = watch.verified(uid);
        outcome.assert_broken([]);
        for id in ids {
            // Docker cannot share the uts namespace.
            for rule in ["PT101", "PT102", "PT104"] {
                assert!(outcome.passed(rule, id), "no {rule} passed: {outcome}");
            }
        }
    }
    let outcome = watch.verified(&deaf_uid);
    outcome.assert_broken(["PT301", "PT302"]);
    watch.stop();
}

fn serve<'engine>(pod: &EnginePod<'engine>) -> EngineContainer<'engine> {
    pod.workload(&["serve"]).settled_in(libc::SYS_ppoll)
}

/// The uid of the pod of a container, when it is reported.
fn uid(watch: &Watch, container: &str) -> String {
    let started = watch.await_container(container, "started");
    let uid = started["pod"]["uid"].as_str();
    uid.expect("a pod has a uid").to_owned()
}
