//! `check --cri` on a real containerd: it verifies the pods and leaves nothing of them.
//!
//! The tests run one at a time, because some compare the whole machine before and after.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::{
    Run,
    lab::{Containerd, Version},
    node::Traces,
    pause_trace, run, scratch,
};
use serde_json::Value;

/// The socket of containerd on its node.
const SOCKET: &str = "/run/containerd/containerd.sock";

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The image of the checked containers, written by `pause-trace image`.
fn image() -> PathBuf {
    let path = scratch("conformance").join("image.tar");
    let written = run(["image", "--force", "--out", &path.to_string_lossy()]);
    assert_eq!(written.code, Some(0), "{written:?}");
    path
}

/// A containerd that has the image.
fn lab(version: Version) -> Containerd {
    let lab = Containerd::start(version);
    lab.import(&image());
    lab
}

/// The command, which must run on the node: a pod with `hostNetwork` has the network of the node.
fn check(more: &[&str]) -> Command {
    let mut command = Command::new(pause_trace());
    command
        .args(["check", "--format", "json", "--cri", SOCKET])
        .args(more)
        .stdin(Stdio::null());
    command
}

fn checked(lab: &Containerd, more: &[&str]) -> Run {
    lab.node().output(&mut check(more)).into()
}

#[track_caller]
fn assert_no_pods(lab: &Containerd) {
    let sandboxes = lab
        .call(lab.client().sandboxes())
        .expect("containerd answers");
    let names: Vec<_> = sandboxes.iter().map(|sandbox| &sandbox.labels).collect();
    assert!(names.is_empty(), "{names:?}");
}

#[track_caller]
fn assert_all_pass(run: &Run) {
    for scenario in run.of_type("scenario") {
        assert_eq!(scenario["verdict"], "pass", "{scenario}");
    }
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.summary()["verdicts"]["fail"], 0, "{run:?}");
}

#[test]
fn a_finished_check_leaves_nothing() {
    let _alone = alone();
    let lab = lab(Version::V1);
    let before = Traces::now();
    let scenarios = ["--scenario", "pod-plain", "--scenario", "pod-shared-pid"];
    assert_all_pass(&checked(&lab, &scenarios));
    assert_no_pods(&lab);
    before.assert_restored();
}

#[test]
fn the_pods_of_containerd_1_keep_every_promise() {
    let _alone = alone();
    let lab = lab(Version::V1);
    let run = checked(&lab, &[]);
    assert_all_pass(&run);
    let names: Vec<Value> = run
        .of_type("scenario")
        .iter()
        .map(|scenario| scenario["name"].clone())
        .collect();
    // This version does not support user namespaces, so the scenario is left out.
    assert!(
        names.len() > 20 && !names.contains(&"pod-own-users".into()),
        "{names:?}"
    );
    assert_no_pods(&lab);

    // If a pod requests one nevertheless, containerd ignores it. A kubelet could not detect that,
    // but the kernel's reports show it.
    let run = checked(&lab, &["--scenario", "pod-own-users"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let found: Vec<_> = run
        .of_type("finding")
        .iter()
        .map(|finding| finding["rule"].clone())
        .collect();
    assert_eq!(found, ["PT106"], "{run:?}");
    assert_no_pods(&lab);
}

#[test]
fn the_pods_of_containerd_2_keep_every_promise() {
    let _alone = alone();
    let lab = lab(Version::V2);
    assert_all_pass(&checked(&lab, &[]));
    assert_no_pods(&lab);
}

/// Starts a check of a scenario that takes some seconds, and waits until its container has started.
fn under_way(lab: &Containerd) -> Child {
    let mut command = check(&["--scenario", "stop-blocked"]);
    let mut child = lab.node().spawn(command.stdout(Stdio::piped()));
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let begun = output
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("\"hello\""));
    assert!(begun, "{:?}", child.wait());
    while lab
        .call(lab.client().containers(None))
        .expect("containerd answers")
        .is_empty()
    {
        assert_eq!(
            child.try_wait().expect("it is a child of this process"),
            None
        );
    }
    child
}

#[test]
fn ctrl_c_removes_the_pods() {
    let _alone = alone();
    let lab = lab(Version::V1);
    let before = Traces::now();
    let mut child = under_way(&lab);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("it runs");
    let status = child.wait().expect("it is a child of this process");
    assert_eq!(status.code(), Some(130));
    assert_no_pods(&lab);
    before.assert_restored();
}

#[test]
fn leftovers_of_a_killed_check_are_removed_by_the_next() {
    let _alone = alone();
    let lab = lab(Version::V1);
    let before = Traces::now();
    let mut child = under_way(&lab);
    child.kill().expect("it is a child of this process");
    child.wait().expect("it is a child of this process");
    let run = checked(&lab, &["--scenario", "pod-plain"]);
    assert_all_pass(&run);
    assert!(
        run.stderr.contains("that an earlier run left behind"),
        "{run:?}"
    );
    assert_no_pods(&lab);
    before.assert_restored();
}

#[test]
fn a_missing_image_and_a_runtime_without_answers_are_reported() {
    let _alone = alone();
    let lab = Containerd::start(Version::V1);
    let run = checked(&lab, &[]);
    assert_eq!(run.code, Some(4), "{run:?}");
    assert!(run.stderr.contains("images import"), "{run:?}");

    let pid = Pid::from_raw(lab.pid());
    kill(pid, Signal::SIGSTOP).expect("containerd runs");
    let run = checked(&lab, &[]);
    kill(pid, Signal::SIGCONT).expect("containerd runs");
    assert_eq!(run.code, Some(4), "{run:?}");
    assert!(
        run.stderr.contains("failed to get an answer to Version"),
        "{run:?}"
    );

    lab.stop();
    let run = checked(&lab, &[]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.contains("failed to connect to"), "{run:?}");
}
