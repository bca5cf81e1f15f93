//! Tests the runtimes that other tests use: each starts, runs pods of every kind, and leaves
//! nothing on the machine.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    panic,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use pause_trace_tests::{
    c_pause,
    lab::{
        Container, Containerd, Engine, EngineContainer, EnginePod, Kubelet, Node, Pod, Sharing,
        Version, image, traces,
    },
};
use serde_json::{Value, json};

/// Removes a node, and asserts that nothing of it is left on the machine.
#[track_caller]
fn end<R>(runtime: R, node: impl FnOnce(&R) -> &Node) {
    let name = node(&runtime).name().to_owned();
    assert!(!traces(&name).is_empty(), "a node in use has traces");
    drop(runtime);
    assert_eq!(traces(&name), BTreeSet::new());
}

/// The namespace of a process.
#[track_caller]
fn namespace(pid: i32, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}"))
        .unwrap_or_else(|error| panic!("pid {pid} has no {kind} namespace: {error}"));
    link.display().to_string()
}

/// The namespace of the node that a runtime runs on.
fn node_namespace(node: &Node, kind: &str) -> String {
    node.enter(|| {
        let link = fs::read_link(Path::new("/proc/thread-self/ns").join(kind));
        link.expect("a thread has namespaces").display().to_string()
    })
}

/// The kinds of namespaces that all of these processes share with a pause.
fn shared(pause: i32, containers: [i32; 2]) -> Vec<&'static str> {
    let is_shared = |kind: &&str| {
        let of_pause = namespace(pause, kind);
        containers
            .iter()
            .all(|container| namespace(*container, kind) == of_pause)
    };
    let kinds = ["net", "ipc", "uts", "pid", "mnt"];
    kinds.into_iter().filter(is_shared).collect()
}

/// Runs two containers in a pod. Returns the kinds of namespaces that both share with its pause.
fn try_out(pod: &Pod<'_>) -> Vec<&'static str> {
    let containers = ["one", "two"].map(|name| {
        let spec = pod.container(name).command(["sleep", "1000"]);
        spec.start()
    });
    let shared = shared(pod.pause_pid(), containers.each_ref().map(Container::pid));
    for container in containers {
        assert!(container.bundle().join("config.json").exists());
        let echo = container.exec(["sh", "-c", "echo hello; exit 7"]);
        assert_eq!(
            (echo.stdout.as_slice(), echo.exit_code),
            (&b"hello\n"[..], 7)
        );
        container.stop(Duration::ZERO);
        assert_eq!(container.exit_code(), Some(KILLED));
        container.remove();
    }
    shared
}

/// The same for a pod of an engine.
fn try_out_engine(pod: &EnginePod<'_>) -> Vec<&'static str> {
    let containers = [(); 2].map(|()| pod.container(&["sh", "-c", "trap '' TERM; sleep 1000"]));
    let shared = shared(
        pod.pause.pid(),
        containers.each_ref().map(EngineContainer::pid),
    );
    let [container, _] = containers;
    let echo = container.exec(&["sh", "-c", "echo hello; exit 7"]);
    assert_eq!(echo.stdout, b"hello\n", "{echo:?}");
    assert_eq!(echo.status.code(), Some(7));
    container.stop(Duration::ZERO);
    assert_eq!(container.exit_code(), KILLED);
    container.remove();
    shared
}

/// The exit code that a runtime reports after SIGKILL.
const KILLED: i32 = 128 + 9;

fn runs_every_kind_of_pod(version: Version) {
    let lab = Containerd::start(version);

    let pod = lab.pod("plain").run();
    assert_eq!(try_out(&pod), ["net", "ipc", "uts"]);
    assert_ne!(
        namespace(pod.pause_pid(), "net"),
        node_namespace(lab.node(), "net")
    );
    pod.remove();

    let pod = lab.pod("host-network").host_network().run();
    assert_eq!(try_out(&pod), ["net", "ipc", "uts"]);
    assert_eq!(
        namespace(pod.pause_pid(), "net"),
        node_namespace(lab.node(), "net")
    );
    pod.remove();

    let pod = lab.pod("shared-pid").shared_pid().run();
    assert_eq!(try_out(&pod), ["net", "ipc", "uts", "pid"]);
    pod.remove();

    end(lab, Containerd::node);
}

#[test]
fn containerd_1_runs_every_kind_of_pod_and_leaves_nothing() {
    runs_every_kind_of_pod(Version::V1);
}

#[test]
fn containerd_2_runs_every_kind_of_pod_and_leaves_nothing() {
    runs_every_kind_of_pod(Version::V2);
}

#[test]
fn docker_runs_every_kind_of_pod_and_leaves_nothing() {
    let engine = Engine::docker();
    // Docker cannot share the uts namespace.
    for (sharing, expected) in [
        (Sharing::Plain, &["net", "ipc"][..]),
        (Sharing::HostNetwork, &["net", "ipc"]),
        (Sharing::Pid, &["net", "ipc", "pid"]),
    ] {
        let pod = engine.pod(sharing);
        assert_eq!(try_out_engine(&pod), expected, "{sharing:?}");
        pod.remove();
    }
    end(engine, Engine::node);
}

#[test]
fn podman_runs_every_kind_of_pod_and_leaves_nothing() {
    let engine = Engine::podman();
    for (sharing, expected) in [
        (Sharing::Plain, &["net", "ipc", "uts"][..]),
        (Sharing::HostNetwork, &["net", "ipc", "uts"]),
        (Sharing::Pid, &["net", "ipc", "uts", "pid"]),
    ] {
        let pod = engine.pod(sharing);
        assert_eq!(try_out_engine(&pod), expected, "{sharing:?}");
        pod.remove();
    }
    end(engine, Engine::node);
}

#[test]
fn a_kubelet_runs_static_pods_and_leaves_nothing() {
    let lab = Containerd::start(Version::V1);
    let kubelet = Kubelet::start(&lab);
    let container = |name: &str| {
        json!({
            "name": name, "image": image::BUSYBOX, "imagePullPolicy": "Never",
            "command": ["sleep", "1000"],
        })
    };
    let manifest = |name: &str, more: Value| {
        let mut spec = json!({
            "terminationGracePeriodSeconds": 1,
            "containers": [container("one"), container("two")],
        });
        let fields = more.as_object().expect("an object").clone();
        spec.as_object_mut().expect("an object").extend(fields);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    };
    for (name, more, expected) in [
        ("plain", json!({}), &["net", "ipc", "uts"][..]),
        (
            "host-network",
            json!({"hostNetwork": true}),
            &["net", "ipc", "uts"],
        ),
        (
            "shared-pid",
            json!({"shareProcessNamespace": true}),
            &["net", "ipc", "uts", "pid"],
        ),
    ] {
        let pod = kubelet.run(&manifest(name, more));
        let containers = ["one", "two"].map(|container| pod.pid(container));
        assert_eq!(shared(pod.pause_pid(), containers), expected, "{name}");
        pod.remove();
    }
    drop(kubelet);
    end(lab, Containerd::node);
}

#[test]
fn pods_outlive_their_runtime() {
    let pause = c_pause("correct");
    let lab = Containerd::start_with_pause(Version::V1, &pause);
    let pod = lab.pod("sturdy").run();
    let container = pod.container("app").command(["sleep", "1000"]).start();
    let pids = [pod.pause_pid(), container.pid(), pod.shim_pid()];
    let executed = fs::read(format!("/proc/{}/exe", pids[0])).expect("the pause runs");
    assert!(
        executed == fs::read(pause).expect("it was compiled"),
        "it runs another pause"
    );
    let old = lab.pid();

    lab.kill();
    assert!(!Path::new(&format!("/proc/{old}")).exists());
    for pid in pids {
        assert!(Path::new(&format!("/proc/{pid}")).exists());
    }
    lab.restart();
    assert_eq!([pod.pause_pid(), container.pid(), pod.shim_pid()], pids);

    // Pods that were not removed end with the node.
    end(lab, Containerd::node);
}

#[test]
fn a_test_that_fails_leaves_nothing() {
    let failing = thread::spawn(|| {
        let lab = Containerd::start(Version::V1);
        let pod = lab.pod("abandoned").run();
        let _app = pod.container("app").command(["sleep", "1000"]).start();
        panic::panic_any(lab.node().name().to_owned());
    });
    let cause = failing.join().expect_err("it fails on purpose");
    let name = cause.downcast::<String>().expect("the name of its node");
    assert_eq!(traces(&name), BTreeSet::new());
}

#[test]
fn two_nodes_at_once_do_not_affect_each_other() {
    let labs = [Version::V1, Version::V2].map(Containerd::start);
    let pods = labs.each_ref().map(|lab| lab.pod("twin").run());
    for lab in &labs {
        let sandboxes = lab.call(lab.client().sandboxes());
        assert_eq!(sandboxes.expect("containerd answers").len(), 1);
    }
    let [one, other] = pods.map(|pod| namespace(pod.pause_pid(), "net"));
    assert_ne!(one, other);
    for lab in labs {
        end(lab, Containerd::node);
    }
}

#[test]
fn leftovers_of_a_killed_test_are_removed_by_the_next() {
    let mut killed = Command::new(env!("CARGO_BIN_EXE_lab"))
        .arg("containerd-1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(killed.stdout.take().expect("a pipe")).lines();
    let name = lines.find_map(|line| {
        let line = line.expect("the output is text");
        let (name, _) = line.strip_prefix("cgroups: ")?.split_once(';')?;
        Some(name.to_owned())
    });
    let name = name.expect("it prints its name when it is ready");
    assert!(!traces(&name).is_empty());
    killed.kill().expect("it is a child of this process");
    killed.wait().expect("it is a child of this process");

    drop(Node::start());
    assert_eq!(traces(&name), BTreeSet::new());
}
