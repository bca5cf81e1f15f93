//! `check --cri` on a real containerd: its pods are verified, and nothing of them is left.
//!
//! One test at a time: each looks at the whole machine before and after.

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

/// Where containerd listens, as its node calls it.
const SOCKET: &str = "/run/containerd/containerd.sock";

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The image that the checked containers run, as the program hands it out.
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

/// The command, to be run on the node: the node's network is what a pod with `hostNetwork` is to have.
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
fn the_pods_of_containerd_1_keep_every_promise_and_leave_nothing() {
    let _alone = alone();
    let lab = lab(Version::V1);
    let before = Traces::now();
    let run = checked(&lab, &[]);
    assert_all_pass(&run);
    let names: Vec<Value> = run
        .of_type("scenario")
        .iter()
        .map(|scenario| scenario["name"].clone())
        .collect();
    // As far as the runtime can: this one has never heard of user namespaces.
    assert!(
        names.len() > 20 && !names.contains(&"pod-own-users".into()),
        "{names:?}"
    );
    assert_no_pods(&lab);
    before.assert_restored();

    // Asked for all the same it takes no notice, which a kubelet could not see, but the kernel's word shows.
    let run = checked(&lab, &["--scenario", "pod-own-users"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let found: Vec<_> = run
        .of_type("finding")
        .iter()
        .map(|finding| finding["rule"].clone())
        .collect();
    assert_eq!(found, ["PT106"], "{run:?}");
    assert_no_pods(&lab);
    before.assert_restored();
}

#[test]
fn the_pods_of_containerd_2_keep_every_promise() {
    let _alone = alone();
    let lab = lab(Version::V2);
    let before = Traces::now();
    assert_all_pass(&checked(&lab, &[]));
    assert_no_pods(&lab);
    before.assert_restored();
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
        assert_eq!(child.try_wait().expect("it is our child"), None);
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
    let status = child.wait().expect("it is our child");
    assert_eq!(status.code(), Some(130));
    assert_no_pods(&lab);
    before.assert_restored();
}

#[test]
fn what_a_killed_check_has_left_is_removed_by_the_next() {
    let _alone = alone();
    let lab = lab(Version::V1);
    let before = Traces::now();
    let mut child = under_way(&lab);
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
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
fn a_runtime_without_the_image_or_without_answers_is_told_of() {
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
    assert_eq!(run.code, Some(4), "{run:?}");
    assert!(run.stderr.contains("failed to connect to"), "{run:?}");
}
