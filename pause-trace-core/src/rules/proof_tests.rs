//! Who is believed to be the runtime: what rules say of a process that has the name of one.

use super::testing::*;
use crate::{
    event::{
        Fact, NamespaceKind, ProcessId, Program, ProgramFile, Proof, SignalResult, Text, WaitStatus,
    },
    signal::{SIGKILL, SIGTERM},
};

const POD: &str = "/kubepods/podx/";

fn file(path: &str) -> ProgramFile {
    ProgramFile {
        path: Text::new(path),
        inode: 7,
        owner: (0, 0),
        mode: 0o755,
        is_nodes: true,
    }
}

fn in_container(path: &str, is_pods: bool) -> Proof {
    let path = Text::new(path);
    Proof::InContainer { path, is_pods }
}

/// A node on which the stranger called itself runc before pause-trace started, and what `/proc`
/// shows of it.
fn claimed(proof: Proof) -> Scene {
    let mut scene = Scene::new();
    scene.require_proof();
    scene.rename(scene.stranger, "runc");
    scene.show(scene.stranger, proof);
    scene.find(scene.stranger);
    scene
}

/// The outcome of PT310 after the stranger has killed a container's init, and its message.
fn kill(mut scene: Scene) -> (Outcome, String) {
    scene.pod("p");
    let init = scene.container("p", "a");
    let cgroup = scene.cgroup(init);
    let path = Text::new(&format!("{POD}a"));
    scene.push(Fact::CgroupMade { cgroup, path });
    scene.signal(scene.stranger, init, SIGKILL, SignalResult::Delivered);
    scene.end(init, WaitStatus::killed(SIGKILL));
    let verdicts = scene.verdicts("PT310");
    let [verdict] = &verdicts[..] else {
        panic!("{verdicts:?}");
    };
    (verdict.outcome, verdict.details.message.clone())
}

#[test]
fn a_container_that_calls_itself_runc_is_not_the_runtime() {
    for (path, is_pods) in [("/kubepods/pody/b", true), ("/docker/b", false)] {
        let (outcome, message) = kill(claimed(in_container(path, is_pods)));
        assert_eq!(outcome, Outcome::Fail, "{message}");
        let end = "from runc (pid 200, outside the pod and its runtime)";
        assert!(message.ends_with(end), "{message}");
    }
}

#[test]
fn roots_executable_on_the_node_is_believed() {
    for path in [
        "/usr/bin/runc",
        "/usr/sbin/runc (deleted)",
        "/var/lib/rancher/k3s/data/1/bin/k3s",
        "/usr/bin/runc.amd64",
    ] {
        let (outcome, message) = kill(claimed(Proof::File(file(path))));
        assert_eq!(outcome, Outcome::Pass, "{path}: {message}");
    }
    let mode = 0o775;
    let its = ProgramFile {
        mode,
        ..file("/usr/bin/runc")
    };
    assert_eq!(kill(claimed(Proof::File(its))).0, Outcome::Pass);
}

#[test]
fn what_cannot_be_proven_is_inconclusive_and_says_why() {
    let owner = (1_000, 1_000);
    let (groups, anyones) = (0o775, 0o757);
    let of = |path| file(path);
    for (proof, why) in [
        (
            Proof::Unread,
            "it ended before its executable could be read",
        ),
        (
            Proof::File(of("/usr/bin/python3")),
            "its executable is another program",
        ),
        (
            Proof::File(of("/usr/bin/runconsole")),
            "its executable is another program",
        ),
        (
            Proof::File(ProgramFile {
                owner,
                ..of("/usr/bin/runc")
            }),
            "another user than root may change its executable",
        ),
        (
            Proof::File(ProgramFile {
                owner: (0, 1_000),
                mode: groups,
                ..of("/usr/bin/runc")
            }),
            "another user than root may change its executable",
        ),
        (
            Proof::File(ProgramFile {
                mode: anyones,
                ..of("/usr/bin/runc")
            }),
            "another user than root may change its executable",
        ),
        (
            Proof::File(ProgramFile {
                is_nodes: false,
                ..of("/usr/bin/runc")
            }),
            "its executable is not a file of the node",
        ),
    ] {
        let (outcome, message) = kill(claimed(proof));
        assert_eq!(outcome, Outcome::Inconclusive, "{message}");
        let start = format!("runc (pid 200) is perhaps the runtime, because {why}, so this may be");
        assert!(message.starts_with(&start), "{message}");
    }
}

#[test]
fn a_runtime_in_a_container_is_perhaps_that_of_the_containers_below() {
    // A node that is a container, in the pid namespace of the machine and in one of its own.
    for has_own_pids in [false, true] {
        let mut scene = Scene::new();
        scene.require_proof();
        scene.rename(scene.stranger, "runc");
        if has_own_pids {
            scene.move_to_pid_namespace(scene.stranger, 99);
        }
        scene.show(scene.stranger, in_container("/kubepods", false));
        scene.find(scene.stranger);
        if has_own_pids {
            let (outcome, message) = kill(scene);
            assert_eq!(outcome, Outcome::Inconclusive, "{message}");
            continue;
        }
        let (outcome, message) = kill(scene);
        assert_eq!(outcome, Outcome::Inconclusive, "{message}");
        assert!(message.contains("it is in a container"), "{message}");
    }
}

#[test]
fn an_old_recording_has_no_proofs_and_names_are_believed() {
    let mut scene = Scene::new();
    let names = vec![crate::event::Comm::new("runc")];
    scene.push(Fact::RuntimeNames { names });
    scene.rename(scene.stranger, "runc");
    scene.find(scene.stranger);
    assert_eq!(kill(scene).0, Outcome::Pass);
}

#[test]
fn a_name_that_is_taken_by_an_exec_is_no_proof_either() {
    for (proof, expected) in [
        (Some(in_container("/docker/b", false)), Outcome::Fail),
        (Some(in_container("/kubepods/pody/b", true)), Outcome::Fail),
        (None, Outcome::Inconclusive),
        (Some(Proof::File(file("/usr/bin/runc"))), Outcome::Pass),
    ] {
        let mut scene = Scene::new();
        scene.require_proof();
        if let Some(proof) = proof {
            scene.show(scene.stranger, proof);
        }
        scene.exec_as(scene.stranger, "/tmp/runc");
        assert_eq!(kill(scene).0, expected);
    }
}

/// A process of a container that no source describes: the runtime started it.
fn in_unknown_container(scene: &mut Scene, path: Option<&str>) -> ProcessId {
    scene.require_proof();
    let shim = scene.enter(scene.runtime, 1, HOST, 0, "runc");
    scene.show(shim, Proof::File(file("/usr/bin/runc")));
    scene.exec(shim);
    let namespaces = crate::event::Namespaces { mnt: 5_000, ..HOST };
    let inside = scene.enter(shim, 77, namespaces, 0, "sh");
    if let Some(path) = path {
        scene.show(inside, in_container(path, false));
    }
    scene.exec_as(inside, "/bin/sh");
    inside
}

#[test]
fn what_the_runtime_started_in_a_container_of_no_pod_is_not_the_runtime() {
    for (path, expected) in [
        (Some("/docker/b"), Outcome::Fail),
        // The same parent: perhaps of the same pod.
        (Some("/kubepods/podx/b"), Outcome::Inconclusive),
        (None, Outcome::Inconclusive),
    ] {
        let mut scene = Scene::new();
        let inside = in_unknown_container(&mut scene, path);
        // A child is no better.
        scene.stranger = scene.fork(inside);
        let (outcome, message) = kill(scene);
        assert_eq!(outcome, expected, "{path:?}: {message}");
    }
}

#[test]
fn a_doubtful_stop_is_neither_a_second_sender_nor_the_runtimes() {
    let mut scene = claimed(Proof::Unread);
    scene.pod("p");
    let init = scene.container("p", "a");
    scene.signal(scene.stranger, init, SIGTERM, SignalResult::Delivered);
    scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
    scene.end(init, WaitStatus::exited(0));
    let outcomes: Vec<_> = scene
        .verdicts("PT305")
        .iter()
        .map(|it| it.outcome)
        .collect();
    assert!(!outcomes.contains(&Outcome::Fail), "{outcomes:?}");
    assert!(outcomes.contains(&Outcome::Inconclusive), "{outcomes:?}");
}

#[test]
fn a_pause_that_is_killed_by_a_doubtful_runtime_is_inconclusive() {
    let mut scene = claimed(Proof::Unread);
    let pause = scene.pod("p");
    scene.container("p", "a");
    scene.signal(scene.stranger, pause, SIGKILL, SignalResult::Delivered);
    scene.end(pause, WaitStatus::killed(SIGKILL));
    scene.expect("PT202", &[Outcome::Inconclusive]);
}

#[test]
fn only_the_runtime_may_enter_a_pods_namespaces() {
    for (proof, expected) in [
        (Proof::Unread, &[Outcome::Inconclusive][..]),
        (in_container("/kubepods/pody/b", true), &[Outcome::Fail]),
        (in_container("/docker/b", false), &[Outcome::Fail]),
        (Proof::File(file("/usr/bin/runc")), &[]),
    ] {
        let mut scene = claimed(proof.clone());
        let pause = scene.pod("p");
        let cgroup = scene.cgroup(pause);
        let path = Text::new(&format!("{POD}s"));
        scene.push(Fact::CgroupMade { cgroup, path });
        let net = scene.namespaces(pause).net;
        let flags = NamespaceKind::Net.flag();
        let call = crate::event::NamespaceCall::Setns;
        scene.change_namespaces(scene.stranger, call, flags, 0, |own| own.net = net);
        let outcomes: Vec<_> = scene
            .verdicts("PT110")
            .iter()
            .map(|it| it.outcome)
            .collect();
        assert_eq!(outcomes, expected, "{proof:?}");
    }
}

impl Scene {
    /// From now on names have to be proven.
    fn require_proof(&mut self) {
        let names = ["runc", "containerd-shim"].map(crate::event::Comm::new);
        self.push(Fact::ProofRequired);
        self.push(Fact::RuntimeNames {
            names: names.to_vec(),
        });
    }

    /// `/proc` is read of a process.
    fn show(&mut self, process: ProcessId, proof: Proof) {
        let comm = crate::event::Comm::new("runc");
        self.push(Fact::Program(Program {
            process,
            comm,
            proof,
        }));
    }
}
