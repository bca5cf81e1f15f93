//! `pause-trace watch` on pods whose containerd, shim or network plugin fails.

use std::{
    fs,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::{
    Run,
    lab::{Containerd, Pod, Version, image},
    pause_trace,
    watch::Watch,
};
use serde_json::Value;

#[test]
fn pods_are_followed_through_the_failures_of_their_runtime() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let lucky = lab.pod("lucky").run();
    let of_lucky = lucky.serve("app");
    let unlucky = lab.pod("unlucky").run();
    let of_unlucky = unlucky.serve("app");
    let abandoned = lab.pod("abandoned").run();
    let of_abandoned = abandoned.serve("app");
    let forgotten = lab.pod("forgotten").run();
    let of_forgotten = forgotten.serve("app");
    watch.await_container(of_forgotten.id(), "started");

    lab.kill();
    // The next one listens on another socket with the same path.
    fs::remove_file(lab.socket()).expect("a killed containerd leaves it");
    lab.restart();
    for app in [&of_lucky, &of_unlucky, &of_abandoned, &of_forgotten] {
        assert_eq!(app.exec(["/workload", "true"]).exit_code, 0);
    }
    let late = lab.pod("late").run();
    late.serve("app").end();
    let late = remove(late);
    of_lucky.end();
    let lucky = remove(lucky);

    // containerd detects that the shim has ended, and makes runc kill the shim's processes.
    kill(Pid::from_raw(unlucky.shim_pid()), Signal::SIGKILL).expect("it runs");
    let died = watch.await_finding(unlucky.uid(), "PT210");
    let cause = died["observed"]["cause"].as_str().expect("a cause");
    let killer = format!("(pid {}, outside the pod", std::process::id());
    assert!(
        cause.contains("SIGKILL from ") && cause.contains(&killer),
        "{died}"
    );
    of_unlucky.await_end();
    of_unlucky.remove();
    let unlucky = remove(unlucky);

    of_abandoned.end();
    lab.break_network_plugin();
    let stopped = lab.call(lab.client().stop_sandbox(abandoned.id()));
    stopped.expect_err("the network can't be taken down");

    watch.verified(&lucky).assert_healthy(["app"]);
    let late = watch.verified(&late);
    late.assert_healthy(["app"]);
    let named = |line: &&Value| line["pod"]["name"] == "late";
    assert_eq!(
        late.lines().iter().filter(named).count(),
        late.lines().len()
    );
    let unlucky = watch.verified(&unlucky);
    // runc kills the pause and the container at the same time, which is no fault of its own.
    let order = unlucky.ended().first().is_some_and(|name| *name == "pause");
    unlucky.assert_broken(["PT210"].into_iter().chain(order.then_some("PT309")));
    assert_eq!(unlucky.accused(), ["PT210"].into(), "{unlucky}");
    assert!(unlucky.passed("PT101", "app"), "{unlucky}");

    lab.kill();
    forget_all(&lab);
    fs::remove_file(lab.socket()).expect("a killed containerd leaves it");
    lab.restart();
    // Only containerd itself can say so, at its new socket.
    watch.await_finding(forgotten.uid(), "PT204");
    watch.verified(abandoned.uid()).assert_broken(["PT206"]);
    let lines = watch.stop();
    let mut of_it = lines
        .iter()
        .filter(|line| line["type"] == "finding" && line["pod"]["uid"] == forgotten.uid());
    assert!(of_it.all(|finding| finding["rule"] == "PT204"), "{lines:?}");
}

/// A node that is a container has a containerd of its own, with a socket of the same name.
#[test]
fn the_pods_of_a_runtime_with_the_same_socket_elsewhere_are_not_accused() {
    let ours = Containerd::start(Version::V1);
    ours.import(&image::workload());
    let other = Containerd::start(Version::V2);
    other.import(&image::workload());
    let watch = Watch::start(ours.node());
    let neighbour = other.pod("neighbour").run();
    let app = neighbour.serve("app");
    watch.await_container(app.id(), "started");
    let forgotten = ours.pod("forgotten").run();
    let of_forgotten = forgotten.serve("app");
    watch.await_container(of_forgotten.id(), "started");
    ours.kill();
    forget_all(&ours);
    fs::remove_file(ours.socket()).expect("a killed containerd leaves it");
    ours.restart();
    // The runtime of this node is asked about both, and about the neighbour first.
    watch.await_finding(forgotten.uid(), "PT204");
    let late = other.pod("late").run();
    late.serve("app").end();
    app.end();
    for pod in [neighbour, late] {
        let uid = remove(pod);
        let outcome = watch.verified(&uid);
        outcome.assert_healthy(["app"]);
        let of_rule = |line: &&Value| line["rule"] == "PT204" && line["verdict"] != "pass";
        let accused = outcome.lines().iter().find(of_rule);
        assert_eq!(accused, None, "{outcome}");
    }
    watch.stop();
}

/// A socket that nobody answers at costs verdicts, and everybody who needs it says which.
#[test]
fn a_runtime_out_of_reach_costs_verdicts_that_are_named() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let pod = lab.pod("unasked").run();
    let _app = pod.serve("app");
    let run = |args: &[&str]| -> Run {
        let mut command = Command::new(pause_trace());
        let command = command.args(args).stdin(Stdio::null());
        lab.node().output(command).into()
    };
    let needs = "PT204 and PT312 are not judged of its pods";
    let whole = run(&["doctor"]);
    assert!(!whole.stdout.contains(needs), "{whole:?}");
    let whole = run(&["watch", "--once", "--pod", pod.uid()]);
    assert!(!whole.stderr.contains(needs), "{whole:?}");

    lab.kill();
    let doctor = run(&["doctor"]);
    assert_eq!(doctor.code, Some(3), "{doctor:?}");
    let text = doctor
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(text.contains(needs), "{doctor:?}");
    assert!(!text.contains("everything can be verified"), "{doctor:?}");
    let once = run(&["watch", "--once", "--pod", pod.uid()]);
    assert_eq!(once.stderr.matches(needs).count(), 1, "{once:?}");
    let socket = "/run/containerd/containerd.sock";
    for named in [
        &["watch", "--once", "--cri", socket][..],
        &["check", "--cri", socket],
    ] {
        let named = run(named);
        assert_eq!(named.code, Some(3), "{named:?}");
        assert!(named.stderr.contains(needs), "{named:?}");
    }
    fs::remove_file(lab.socket()).expect("a killed containerd leaves it");
    lab.restart();
    pod.remove();
}

/// Removes a pod. Returns its uid.
#[track_caller]
fn remove(pod: Pod<'_>) -> String {
    let uid = pod.uid().to_owned();
    pod.remove();
    uid
}

/// Removes containerd's records of its containers. Their shims keep running.
fn forget_all(lab: &Containerd) {
    let known = "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db";
    fs::remove_file(lab.node().path(known)).expect("containerd has run");
}

/// As an upgrade in place does: the new one starts before the old one ends.
#[test]
fn a_second_watch_takes_over_from_the_first() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let old = Watch::start(lab.node());
    let pod = lab.pod("upgraded").run();
    let app = pod.serve("app");
    old.await_container(app.id(), "started");

    let new = Watch::start(lab.node());
    let started = new.await_container(app.id(), "started");
    assert_eq!(started["found"], true, "{started}");
    old.stop();
    kill(Pid::from_raw(pod.pause_pid()), Signal::SIGKILL).expect("it runs");
    let uid = pod.uid().to_owned();
    new.await_finding(&uid, "PT202");
    app.end();
    pod.remove();
    let outcome = new.verified(&uid);
    assert_eq!(
        outcome.accused().into_iter().collect::<Vec<_>>(),
        ["PT202"],
        "{outcome}"
    );
    new.stop();
}
