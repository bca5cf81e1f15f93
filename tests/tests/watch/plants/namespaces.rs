//! Processes in wrong namespaces.

use std::{path::PathBuf, process::Command};

use nix::libc::SYS_ppoll;
use pause_trace_cri::messages::{Capability, Int64Value, Mount};
use pause_trace_tests::lab::{Container, Pod};
use xtask_support::places;

use super::{containerd, faulty};
use crate::scene::{Scene, at_once, end};

/// What the faulty runc does: see the scenarios.
const FAULTS: &str = r##"
"create shares-its-pids/own-pids")
    sed -i 's#{"type":"pid","path":"[^"]*"}#{"type":"pid"}#' config.json ;;
"create gets-the-nodes-namespaces/nodes-pids")
    sed -i 's#{"type":"pid"},##' config.json ;;
# runc would stop the propagation of all mounts of the node, and nothing could be unmounted.
"create gets-the-nodes-namespaces/nodes-mounts")
    sed -i 's#,{"type":"mount"}##; s#"namespaces":#"rootfsPropagation":"rshared",&#' config.json ;;
"delete gets-the-nodes-namespaces/nodes-mounts")
    umount --lazy "$bundle/rootfs" ;;
"create has-a-leaky-sandbox/")
    sed -i 's#{"type":"ipc"},##' config.json ;;
"create cannot-join-its-network/app")
    sed -i 's#\("type":"network","path":"/proc/[0-9]*/ns/\)net"#\1ipc"#' config.json ;;
"exec is-probed-elsewhere/app")
    sed -i 's#,{"type":"NEWIPC","path":"[^"]*"}##' "$states/$id/state.json" ;;
"exec has-a-session-in-the-nodes-pids/app")
    sed -i 's#{"type":"NEWPID","path":"[^"]*"},##' "$states/$id/state.json" ;;
"create starts-without-an-address/")
    net=$(sed -n 's#.*{"type":"network","path":"\([^"]*\)"}.*#\1#p' config.json)
    BUSYBOX nsenter --net="$net" BUSYBOX ip address flush dev eth0 ;;
"##;

#[test]
fn faults_of_the_namespaces_are_found() {
    let busybox = busybox();
    let busybox = busybox.to_str().expect("the path of a cache is text");
    let scene = faulty(containerd(), &FAULTS.replace("BUSYBOX", busybox));
    at_once(
        &scene,
        |name, spec| match name {
            "shares_its_pids" => spec.shared_pid(),
            _ => spec,
        },
        &[
            ("shares_its_pids", shares_its_pids),
            ("gets_the_nodes_namespaces", gets_the_nodes_namespaces),
            ("has_a_leaky_sandbox", has_a_leaky_sandbox),
            ("enters_another_pod", enters_another_pod),
            ("enters_another_pod_unseen", enters_another_pod_unseen),
            ("enters_the_node", enters_the_node),
            ("is_entered_from_outside", is_entered_from_outside),
            ("cannot_join_its_network", cannot_join_its_network),
            ("is_probed_elsewhere", is_probed_elsewhere),
            (
                "has_a_session_in_the_nodes_pids",
                has_a_session_in_the_nodes_pids,
            ),
            ("starts_without_an_address", starts_without_an_address),
            ("is_healthy", is_healthy),
        ],
    );
    scene.watch.stop();
}

/// A static busybox, which has a command for each namespace.
fn busybox() -> PathBuf {
    places::directory(places::BUSYBOX).join("bin/busybox")
}

/// A container has a pid namespace of its own in a pod that shares one.
fn shares_its_pids(scene: &Scene, pod: Pod<'_>) {
    let containers = ["own-pids", "fine"].map(|name| pod.serve(name));
    let found = scene.watch.await_finding(pod.uid(), "PT104");
    assert_eq!(found["container"]["name"], "own-pids", "{found}");
    containers.into_iter().for_each(Container::end);
    let outcome = end(scene, pod);
    outcome.assert_broken(["PT104"]);
    outcome.assert_placed(["fine"]);
}

fn gets_the_nodes_namespaces(scene: &Scene, pod: Pod<'_>) {
    let containers = ["nodes-pids", "nodes-mounts", "fine"].map(|name| pod.serve(name));
    for (rule, name) in [("PT104", "nodes-pids"), ("PT107", "nodes-mounts")] {
        let found = scene.watch.await_finding(pod.uid(), rule);
        assert_eq!(found["container"]["name"], name, "{found}");
    }
    containers.into_iter().for_each(Container::end);
    let outcome = end(scene, pod);
    outcome.assert_broken(["PT104", "PT107"]);
    outcome.assert_placed(["fine"]);
}

/// The sandbox is in the node's ipc namespace, and so is the container that joins it.
fn has_a_leaky_sandbox(scene: &Scene, pod: Pod<'_>) {
    let leaked = scene.watch.await_finding(pod.uid(), "PT105");
    assert_eq!(leaked["container"]["name"], "pause", "{leaked}");
    pod.serve("app").end();
    let outcome = end(scene, pod);
    assert_eq!(outcome.broken(), ["PT105"].into(), "{outcome}");
    assert!(outcome.passed("PT101", "app"), "{outcome}");
}

/// A container enters the network of another pod.
fn enters_another_pod(scene: &Scene, pod: Pod<'_>) {
    let victim = scene.lab.pod("is-entered-by-another").run();
    let app = victim.serve("app");
    let network = format!("/node-proc/{}/ns/net", victim.pause_pid());
    let intruder = enters(&pod, ["join", &network]);
    scene.watch.await_finding(pod.uid(), "PT109");
    scene.watch.await_finding(victim.uid(), "PT110");
    intruder.end();
    app.end();
    end(scene, pod).assert_broken(["PT109"]);
    let outcome = end(scene, victim);
    outcome.assert_broken(["PT110"]);
    outcome.assert_placed(["app"]);
}

/// The same through the 32-bit entry of the kernel. Where no hook sees that call, the namespaces at
/// the next exec show it.
fn enters_another_pod_unseen(scene: &Scene, pod: Pod<'_>) {
    let victim = scene.lab.pod("is-entered-unseen").run();
    let app = victim.serve("app");
    let network = format!("/node-proc/{}/ns/net", victim.pause_pid());
    if cfg!(not(target_arch = "x86_64")) {
        app.end();
        end(scene, victim);
        end(scene, pod);
        return;
    }
    let intruder = enters(&pod, ["join-unseen", &network, "/workload", "serve"]);
    let escaped = scene.watch.await_finding(pod.uid(), "PT109");
    let message = escaped["message"].as_str().expect("a message");
    let seen = ["by setns", "by a call that was not seen"];
    assert!(seen.iter().any(|how| message.contains(how)), "{escaped}");
    scene.watch.await_finding(victim.uid(), "PT110");
    intruder.end();
    app.end();
    end(scene, pod).assert_broken(["PT109"]);
    let outcome = end(scene, victim);
    outcome.assert_broken(["PT110"]);
    outcome.assert_placed(["app"]);
}

fn enters_the_node(scene: &Scene, pod: Pod<'_>) {
    // This process is in the node's.
    let ipc = format!("/node-proc/{}/ns/ipc", std::process::id());
    let intruder = enters(&pod, ["join", &ipc]);
    let escaped = scene.watch.await_finding(pod.uid(), "PT109");
    let message = escaped["message"].as_str().expect("a message");
    assert!(message.contains("of the host"), "{escaped}");
    intruder.end();
    end(scene, pod).assert_broken(["PT109"]);
}

/// Starts a container with the privileges to enter a namespace by a path below the node's /proc.
fn enters<'a, const N: usize>(pod: &'a Pod<'a>, workload: [&str; N]) -> Container<'a> {
    let spec = pod.container("intruder").workload(workload);
    let spec = spec.configure(|config| config.mounts.push(node_proc("/node-proc")));
    let spec = spec.security(|security| {
        security.run_as_user = Some(Int64Value { value: 0 });
        security.capabilities = Some(Capability {
            add_capabilities: ["SYS_ADMIN", "SYS_PTRACE"].map(str::to_owned).into(),
            drop_capabilities: Vec::new(),
        });
    });
    spec.start().settled_in(SYS_ppoll)
}

/// The node's /proc at a path in a container.
fn node_proc(path: &str) -> Mount {
    Mount {
        container_path: path.to_owned(),
        host_path: "/proc".to_owned(),
        readonly: false,
    }
}

/// A process of the node enters the network of a pod, as an administrator does.
fn is_entered_from_outside(scene: &Scene, pod: Pod<'_>) {
    let app = pod.serve("app");
    let network = format!("--net=/proc/{}/ns/net", app.pid());
    let busybox = busybox();
    let mut nsenter = Command::new(&busybox);
    nsenter
        .args(["nsenter", &network])
        .arg(&busybox)
        .arg("true");
    let entered = nsenter.status().expect("busybox can be started");
    assert!(entered.success(), "{nsenter:?}");
    let found = scene.watch.await_finding(pod.uid(), "PT110");
    assert_eq!(found["severity"], "info", "{found}");
    app.end();
    let outcome = end(scene, pod);
    outcome.assert_broken(["PT110"]);
    outcome.assert_placed(["app"]);
}

/// The runtime takes the path of another kind of namespace for the network's.
fn cannot_join_its_network(scene: &Scene, pod: Pod<'_>) {
    let app = pod.container("app").workload(["serve"]).create();
    let started = scene.lab.client().start_container(app.id());
    let refused = scene.lab.call(started);
    refused.expect_err("its network can't be joined");
    let failed = scene.watch.await_finding(pod.uid(), "PT111");
    let message = failed["message"].as_str().expect("a message");
    assert!(message.contains("EINVAL"), "{failed}");
    app.remove();
    pod.serve("fine").end();
    let outcome = end(scene, pod);
    // runc fails for that reason, so the container does not start.
    outcome.assert_broken(["PT111", "PT212"]);
    outcome.assert_placed(["fine"]);
}

/// An exec session is in the node's ipc namespace.
fn is_probed_elsewhere(scene: &Scene, pod: Pod<'_>) {
    let app = pod.serve("app");
    assert_eq!(app.exec(["/workload", "true"]).exit_code, 0);
    let found = scene.watch.await_finding(pod.uid(), "PT112");
    let message = found["message"].as_str().expect("a message");
    assert!(message.contains("ipc"), "{found}");
    app.end();
    let outcome = end(scene, pod);
    outcome.assert_broken(["PT112"]);
    outcome.assert_placed(["app"]);
}

/// An exec session is in the node's pid namespace, and so its orphan is reparented to the shim.
/// runc needs a /proc in which it finds itself.
fn has_a_session_in_the_nodes_pids(scene: &Scene, pod: Pod<'_>) {
    let spec = pod.container("app").workload(["serve"]);
    let spec = spec.configure(|config| config.mounts.push(node_proc("/proc")));
    let app = spec.start().settled_in(SYS_ppoll);
    assert_eq!(app.exec(["/workload", "orphan", "1"]).exit_code, 0);
    for rule in ["PT112", "PT405"] {
        scene.watch.await_finding(pod.uid(), rule);
    }
    app.end();
    let outcome = end(scene, pod);
    outcome.assert_broken(["PT112", "PT405"]);
    outcome.assert_placed(["app"]);
}

/// The pod has lost its address before its first container starts.
fn starts_without_an_address(scene: &Scene, pod: Pod<'_>) {
    let app = pod.serve("app");
    let found = scene.watch.await_finding(pod.uid(), "PT113");
    assert_eq!(
        found["observed"]["network"], "no address but loopback's",
        "{found}"
    );
    app.end();
    let outcome = end(scene, pod);
    outcome.assert_broken(["PT113"]);
    outcome.assert_placed(["app"]);
}

fn is_healthy(scene: &Scene, pod: Pod<'_>) {
    let app = pod.serve("app");
    assert_eq!(app.exec(["/workload", "true"]).exit_code, 0);
    app.end();
    end(scene, pod).assert_healthy(["app"]);
}
