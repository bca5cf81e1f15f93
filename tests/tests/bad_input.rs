//! Addresses that cannot be used, and untrusted input from a node: sockets without a runtime, a
//! truncated bundle, names with terminal escapes.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    path::Path,
    process::Command,
    thread,
};

use pause_trace_tests::{
    Run,
    lab::{Containerd, Node, Version, image},
    pause_trace, run, scratch,
};

/// Clears a terminal, reverses the text direction, and ends a string, a line and an element.
const HOSTILE: &str = "a\u{1b}[2J\u{202e}\"\n</b>";

#[test]
fn hostile_input_of_a_node_does_no_harm() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let pod = lab.pod(HOSTILE).namespace(HOSTILE).run();
    let app = pod.serve("app");

    // With the runtime, and with the bundles alone if the socket is not a runtime's.
    let answered = once(lab.node(), &["--format", "json"]);
    names_are_escaped(&answered);
    assert_eq!(answered.code, Some(0), "{answered:?}");
    names_are_escaped(&once(lab.node(), &["--format", "text"]));
    for (name, serve) in [
        ("hangs-up", hang_up as fn(UnixListener)),
        ("sends-garbage", send_garbage),
        ("sends-nothing", send_nothing),
    ] {
        let socket = scratch("sockets").join(name);
        // Left by an earlier run.
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("a socket can be made");
        thread::spawn(move || serve(listener));
        let run = once_with(lab.node(), &socket);
        names_are_escaped(&run);
        assert_eq!(started(&run), 2, "{name}: {run:?}");
    }

    let config = app.bundle().join("config.json");
    let whole = fs::read(&config).expect("it runs");
    fs::write(&config, &whole[..whole.len() / 2]).expect("this process owns the file");
    let run = once(lab.node(), &["--format", "json"]);
    assert_eq!(
        (run.code, started(&run)),
        (Some(0), 2),
        "the runtime has the configuration, too: {run:?}"
    );
    app.end();
    pod.remove();
}

#[test]
fn an_address_for_metrics_that_cannot_be_used_is_refused_before_anything_runs() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let taken = taken
        .local_addr()
        .map(|address| (taken, address.to_string()));
    let (_listener, address) = taken.expect("it is bound");
    for command in ["watch", "run"] {
        for (address, message) in [
            (&*address, "Address already in use"),
            (
                "192.0.2.1:9753",
                "failed to listen at --metrics 192.0.2.1:9753",
            ),
            ("localhost:9753", "expected ADDR:PORT with an IP address"),
            ("65536", "not a port"),
        ] {
            let refused = run([command, "--metrics", address]);
            assert_eq!(refused.code, Some(2), "{address}: {refused:?}");
            assert!(refused.stderr.contains(message), "{address}: {refused:?}");
        }
        let alone = run([command, "--metrics-pods", "3"]);
        assert_eq!(alone.code, Some(2), "{alone:?}");
    }
}

fn once(node: &Node, args: &[&str]) -> Run {
    let mut command = Command::new(pause_trace());
    command.args(["watch", "--once"]).args(args);
    node.output(&mut command).into()
}

/// Without a runtime, verdicts may be inconclusive, but none may fail.
fn once_with(node: &Node, socket: &Path) -> Run {
    let socket = socket.to_string_lossy();
    let run = once(node, &["--format", "json", "--cri", &socket]);
    assert!(matches!(run.code, Some(0 | 3)), "{socket}: {run:?}");
    run
}

/// The number of containers that started in the pod with the hostile name.
fn started(run: &Run) -> usize {
    let of_it = |line: &serde_json::Value| {
        let name = line["pod"]["name"].as_str();
        line["event"] == "started" && name.is_some_and(|name| name.starts_with("a\\u{1b}[2J"))
    };
    run.of_type("pod").into_iter().filter(of_it).count()
}

#[track_caller]
fn names_are_escaped(run: &Run) {
    let harmful = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    let harm = run
        .stdout
        .chars()
        .chain(run.stderr.chars())
        .find(|c| harmful(*c));
    assert_eq!(harm, None, "{run:?}");
    assert!(
        run.stdout.contains("u{1b}[2J"),
        "the pod is missing: {run:?}"
    );
}

fn hang_up(listener: UnixListener) {
    for stream in listener.incoming() {
        drop(stream);
    }
}

fn send_garbage(listener: UnixListener) {
    for stream in listener.incoming().flatten() {
        let mut stream = stream;
        // The peer may have closed the connection.
        let _ = stream.write_all(&[0xa5; 1 << 16]);
    }
}

fn send_nothing(listener: UnixListener) {
    for stream in listener.incoming().flatten() {
        let mut stream = stream;
        // Holds the connection until the peer gives up.
        let _ = stream.read_to_end(&mut Vec::new());
    }
}
