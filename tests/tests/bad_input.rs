//! What a node says that can't be trusted: sockets that are no runtime's, half a bundle, names that command a terminal.

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
    pause_trace, scratch,
};

/// Clears a terminal, turns the reading direction around, ends a string, a line and an element.
const HOSTILE: &str = "a\u{1b}[2J\u{202e}\"\n</b>";

#[test]
fn what_a_node_says_is_doubted() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let pod = lab.pod(HOSTILE).namespace(HOSTILE).run();
    let app = pod.serve("app");

    // Of a pod that runs: by the runtime, and by its bundles alone where the socket is none.
    let asked = once(lab.node(), &["--format", "json"]);
    names_are_escaped(&asked);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    names_are_escaped(&once(lab.node(), &["--format", "text"]));
    for (name, play) in [
        ("hangs-up", hang_up as fn(UnixListener)),
        ("says-garbage", say_garbage),
        ("says-nothing", say_nothing),
    ] {
        let socket = scratch("sockets").join(name);
        // Of an earlier run.
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("the directory is ours");
        thread::spawn(move || play(listener));
        let run = once_with(lab.node(), &socket);
        names_are_escaped(&run);
        assert_eq!(started(&run), 2, "{name}: {run:?}");
    }

    let config = app.bundle().join("config.json");
    let whole = fs::read(&config).expect("it runs");
    fs::write(&config, &whole[..whole.len() / 2]).expect("it is ours");
    let run = once(lab.node(), &["--format", "json"]);
    assert_eq!(
        (run.code, started(&run)),
        (Some(0), 2),
        "the runtime knows: {run:?}"
    );
    app.end();
    pod.remove();
}

fn once(node: &Node, args: &[&str]) -> Run {
    let mut command = Command::new(pause_trace());
    command.args(["watch", "--once"]).args(args);
    node.output(&mut command).into()
}

/// Without a runtime to ask, things may stay unproven, and nothing is wrong.
fn once_with(node: &Node, socket: &Path) -> Run {
    let socket = socket.to_string_lossy();
    let run = once(node, &["--format", "json", "--cri", &socket]);
    assert!(matches!(run.code, Some(0 | 3)), "{socket}: {run:?}");
    run
}

/// How many containers of the one pod are known by name.
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
        "the pod is told of: {run:?}"
    );
}

fn hang_up(listener: UnixListener) {
    for stream in listener.incoming() {
        drop(stream);
    }
}

fn say_garbage(listener: UnixListener) {
    for stream in listener.incoming().flatten() {
        let mut stream = stream;
        // The peer may have left: that is its right.
        let _ = stream.write_all(&[0xa5; 1 << 16]);
    }
}

fn say_nothing(listener: UnixListener) {
    for stream in listener.incoming().flatten() {
        let mut stream = stream;
        // Holds the connection until the peer gives up.
        let _ = stream.read_to_end(&mut Vec::new());
    }
}
