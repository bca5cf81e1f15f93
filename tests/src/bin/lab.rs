//! A node with a real runtime and a pod, to try things on by hand: `cargo run -p pause-trace-tests --bin lab`.

use std::{env, io, process::ExitCode};

use pause_trace_tests::lab::{Containerd, Node, Version};

fn main() -> ExitCode {
    let runtime = env::args().nth(1).unwrap_or_default();
    match runtime.as_str() {
        "containerd-1" => containerd(Version::V1),
        "containerd-2" => containerd(Version::V2),
        _ => {
            eprintln!("usage: lab containerd-1|containerd-2");
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
    hold(lab.node(), lab.pid());
}

/// Says how to enter a node by one of its processes, and keeps it until the end of the input.
fn hold(node: &Node, pid: i32) {
    println!("to be there: nsenter --target {pid} --mount --net");
    println!("cgroups: {}; Enter ends it all", node.name());
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .expect("the input can be read");
}
