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
    let container = deaf.workload_with(&["--stop-timeout", "7"], &["ignore-term"]);
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
    // What the container was created with is known, and that a stop can ask for another period.
    let mut lines = outcome.lines().iter();
    let killed = lines.find(|line| line["type"] == "finding" && line["rule"] == "PT302");
    let message = killed.and_then(|line| line["message"].as_str());
    let message = message.expect("it was killed");
    let limit = "; its grace period is 7.00 s, so it was killed before that ended, ";
    assert!(
        message.contains(limit) && message.ends_with("or the stop asked for a shorter one"),
        "{message}"
    );
    watch.stop();
}

#[test]
fn stop_signals_and_workers_of_docker_are_judged() {
    stops_are_judged(&Engine::docker());
}

#[test]
fn stop_signals_and_workers_of_podman_are_judged() {
    stops_are_judged(&Engine::podman());
}

/// What a container runs and with which stop signal, which rules find it broken, and which pass.
struct Stopped {
    options: &'static [&'static str],
    behaviour: &'static [&'static str],
    /// The system call in which its init waits when it is ready to be stopped, and the one of its
    /// child, if it has one.
    init: libc::c_long,
    child: Option<libc::c_long>,
    broken: &'static [&'static str],
    passed: &'static [&'static str],
}

const STOPPED: [Stopped; 5] = [
    // pid 1 has no handler for its stop signal, though it has one for SIGTERM.
    Stopped {
        options: &["--stop-signal", "SIGRTMIN+3"],
        behaviour: &["serve"],
        init: libc::SYS_ppoll,
        child: None,
        broken: &["PT301", "PT302"],
        passed: &[],
    },
    Stopped {
        options: &["--stop-signal", "SIGRTMIN+3"],
        behaviour: &["exit-on-signal"],
        init: libc::SYS_ppoll,
        child: None,
        broken: &[],
        passed: &["PT301", "PT302", "PT308", "PT311"],
    },
    // The worker would have ended in order, had it been told.
    Stopped {
        options: &[],
        behaviour: &["abandon", "/workload", "serve"],
        init: libc::SYS_wait4,
        child: Some(libc::SYS_ppoll),
        broken: &["PT311"],
        passed: &["PT301", "PT302"],
    },
    // It has no handler.
    Stopped {
        options: &[],
        behaviour: &["abandon", "/workload", "wait"],
        init: libc::SYS_wait4,
        child: Some(libc::SYS_ppoll),
        broken: &[],
        passed: &["PT302", "PT311"],
    },
    // It is told.
    Stopped {
        options: &[],
        behaviour: &["shell", "/workload", "serve"],
        init: libc::SYS_rt_sigtimedwait,
        child: Some(libc::SYS_ppoll),
        broken: &[],
        passed: &["PT302", "PT311"],
    },
];

fn stops_are_judged(engine: &Engine) {
    engine.import(&image::workload());
    let watch = Watch::start(engine.node());
    let pods = STOPPED.each_ref().map(|case| {
        let pod = engine.pod(Sharing::Plain);
        let container = pod.workload_with(case.options, case.behaviour);
        let container = container.settled_in(case.init);
        if let Some(call) = case.child {
            container.child_settles_in(call);
        }
        let uid = uid(&watch, container.id());
        let grace = if case.broken.contains(&"PT302") {
            2
        } else {
            30
        };
        container.stop(Duration::from_secs(grace));
        let id = container.id().to_owned();
        container.remove();
        pod.pause.stop(GRACE);
        pod.remove();
        (uid, id)
    });
    for ((uid, id), case) in pods.iter().zip(&STOPPED) {
        let outcome = watch.verified(uid);
        outcome.assert_broken(case.broken.iter().copied());
        for rule in case.passed {
            assert!(outcome.passed(rule, id), "no {rule} passed: {outcome}");
        }
    }
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
