//! Starts a node with a real runtime and a pod, for experiments by hand:
//! `cargo run -p pause-trace-tests --bin lab`.

use std::{env, io, process::ExitCode};

use pause_trace_tests::lab::{Containerd, Engine, Kubelet, Node, Sharing, Version, image};
use serde_json::json;

fn main() -> ExitCode {
    let runtime = env::args().nth(1).unwrap_or_default();
    match runtime.as_str() {
        "containerd-1" => containerd(Version::V1),
        "containerd-2" => containerd(Version::V2),
        "docker" => engine(&Engine::docker()),
        "podman" => engine(&Engine::podman()),
        "kubelet" => kubelet(),
        _ => {
            eprintln!("usage: lab containerd-1|containerd-2|docker|podman|kubelet");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn containerd(version: Version) {
    let lab = Containerd::start(version);
    let pod = lab.pod("by-hand").run();
    let app = pod.container("app").command(["sleep", "1000000"]).start();
    println!(
        "pause {}, app {}, socket {}",
        pod.pause_pid(),
        app.pid(),
        lab.socket().display()
    );
    hold(lab.node());
}

fn engine(engine: &Engine) {
    let pod = engine.pod(Sharing::Plain);
    let app = pod.container(&["sleep", "1000000"]);
    println!("pause {}, app {}", pod.pause.pid(), app.pid());
    hold(engine.node());
}

fn kubelet() {
    let lab = Containerd::start(Version::V1);
    let kubelet = Kubelet::start(&lab);
    let pod = kubelet.run(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "by-hand"},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
            "name": "app", "image": image::BUSYBOX, "imagePullPolicy": "Never",
            "command": ["sleep", "1000000"],
        }]},
    }));
    println!("pause {}, app {}", pod.pause_pid(), pod.pid("app"));
    hold(lab.node());
}

/// Prints how to enter a node, and keeps it until a line or the end of stdin is read.
fn hold(node: &Node) {
    println!("to enter the node: {}", node.entrance());
    println!("cgroups: {}; press Enter to end it", node.name());
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .expect("the input can be read");
}
