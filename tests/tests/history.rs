//! What a running `pause-trace watch` has kept explains pods of a real containerd to those who come
//! late.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::FileTypeExt as _, net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};
use pause_trace_tests::{
    Run,
    confined::{Files, assert_confined},
    lab::{Containerd, Version, image},
    pause_trace, run, scratch,
    watch::Watch,
};
use serde_json::Value;

/// How long it may take until the watch knows a pod that starts.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where a watch answers.
const SOCKET: &str = "/run/pause-trace/watch.sock";

fn ask<const N: usize>(lab: &Containerd, args: [&str; N]) -> Run {
    let mut command = Command::new(pause_trace());
    command.args(args).stdin(Stdio::null());
    lab.node().output(&mut command).into()
}

/// Asserts that a command says that it was told by this watch, or that it was not.
#[track_caller]
fn assert_told(run: &Run, watch: Option<&Watch>) {
    let said = watch.map(|watch| format!("from the history of watch (pid {})", watch.pid()));
    match said {
        Some(said) => assert!(run.stderr.contains(&said), "{run:?}"),
        None => assert!(!run.stderr.contains("from the history"), "{run:?}"),
    }
}

/// The sentences of a line about what happened before.
fn happened(line: &Value) -> Vec<&str> {
    let happened = line["history"]["happened"].as_array();
    let sentences = happened.into_iter().flatten();
    sentences
        .map(|one| one["sentence"].as_str().expect("text"))
        .collect()
}

#[track_caller]
fn assert_happened(line: &Value, expected: &[&str]) {
    let happened = happened(line);
    let mut rest = happened.iter();
    for expected in expected {
        let found = rest.any(|sentence| sentence.contains(expected));
        assert!(found, "{expected}: {happened:#?}");
    }
}

#[test]
fn a_pod_that_is_stuck_is_explained_without_being_created_again() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    assert_confined(watch.pid(), Files::Read);

    let pod = lab.pod("stuck").run();
    let failing = pod.container("work").workload(["exit", "3"]).start();
    assert_eq!(failing.await_end(), 3);
    let deaf = pod.container("deaf").workload(["ignore-term"]);
    let deaf = deaf.start().settled_in(libc::SYS_ppoll);
    kill(Pid::from_raw(deaf.pid()), Signal::SIGTERM).expect("it runs");
    watch.await_container(failing.id(), "ended");
    watch.await_container(deaf.id(), "started");
    // A client that does not read holds up neither the watch nor the others.
    let mut idle = UnixStream::connect(lab.node().path(SOCKET)).expect("it answers");
    idle.write_all(b"pause-trace history 1\n")
        .expect("it answers");
    idle.read_exact(&mut [0]).expect("it answers");

    let run = ask(&lab, ["timeline", "default/stuck", "--format", "json"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_told(&run, Some(&watch));
    let elements = run.objects();
    let of = |name: &str| {
        let mut elements = elements.iter();
        elements.any(|one| one["what"] == "run" && one["container"]["name"] == *name)
    };
    assert!(of("work") && of("deaf"), "{elements:#?}");

    let sender = format!("(pid {}) sent SIGTERM to ", std::process::id());
    let expected = [
        "started, pid ",
        "exit code 3 after ",
        "started, pid ",
        &sender,
    ];
    let why = ["why", "default/stuck", "--no-ebpf", "--format", "json"];
    let run = ask(&lab, why);
    assert_told(&run, Some(&watch));
    assert_happened(&run.objects()[0], &expected);
    let with_history = run.code;
    let text = ask(&lab, ["why", "default/stuck", "--no-ebpf"]);
    assert!(text.stdout.contains("What happened before\n"), "{text:?}");
    assert!(text.stdout.contains("exit code 3 after "), "{text:?}");
    let run = ask(
        &lab,
        [
            "why",
            "default/stuck",
            "--no-ebpf",
            "--no-history",
            "--format=json",
        ],
    );
    assert_told(&run, None);
    assert_eq!(run.objects()[0].get("history"), None, "{run:?}");
    assert_eq!(run.code, with_history, "the past decides nothing");

    let inspect = ask(&lab, ["inspect", "default/stuck", "--format", "json"]);
    assert_told(&inspect, Some(&watch));
    let inspected = &inspect.objects()[0];
    assert_happened(inspected, &expected);
    assert_eq!(inspected["ebpf"], true, "{inspected}");
    let list = ask(&lab, ["ls", "--format", "json"]);
    assert_told(&list, Some(&watch));
    let listed = list.objects();
    let listed = listed.iter().find(|one| one["pod"]["name"] == "stuck");
    let passed = listed.and_then(|one| one["verdicts"]["pass"].as_u64());
    assert!(passed > Some(0), "{list:?}");

    let place = scratch("history");
    let file = |name: &str| place.join(name).display().to_string();
    let (last, page) = (file("last.ptrec"), file("page.html"));
    let run = ask(&lab, ["record", "--last", "10m", "-o", &last]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_told(&run, Some(&watch));
    let replay = run_json(&["replay", &last, "--pod", "default/stuck"]);
    assert!(!replay.stderr.contains("cut"), "{replay:?}");
    let events = replay.of_type("pod");
    let ended = events.iter().any(|one| {
        one["event"] == "ended"
            && one["container"]["name"] == "work"
            && one["status"] == "exit code 3"
    });
    assert!(ended, "{events:#?}");
    // Nothing is found that the watch has not found.
    let found = watch.of_pod(pod.uid());
    let same = |one: &Value| {
        let mut found = found.iter();
        found.any(|line| line["rule"] == one["rule"] && line["ktime_ns"] == one["ktime_ns"])
    };
    let mut findings = replay.of_type("finding");
    findings.retain(|finding| finding["pod"]["uid"] == *pod.uid());
    assert!(findings.iter().all(same), "{findings:#?} and {found:#?}");

    let run = ask(&lab, ["report", "--html", &page]);
    assert_told(&run, Some(&watch));
    let page = fs::read_to_string(&page).expect("it was written");
    assert!(page.contains("exit code 3") && page.contains("\"stuck\""));

    drop(idle);
    drop((failing, deaf));
    pod.remove();
    let _ = watch.stop();
}

/// The children of a pod that forks without pause: their records fill a small history many times.
const FORKS: &str = "25000";

#[test]
fn a_pod_that_forks_without_pause_does_not_push_out_the_past_of_others() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start_with(lab.node(), ["--history", "1M"]);
    let quiet = lab.pod("quiet").run();
    let failing = quiet.container("work").workload(["exit", "3"]).start();
    assert_eq!(failing.await_end(), 3);
    watch.await_container(failing.id(), "ended");
    let loud = lab.pod("loud").run();
    let forks = loud.container("forks").workload(["fork-loop", FORKS]);
    let forks = forks.start();
    watch.await_container(forks.id(), "started");
    assert_eq!(forks.await_end(), 0);
    watch.await_container(forks.id(), "ended");

    let left_out = "of default/loud were left out, because each pod has a share of it";
    let why = ask(
        &lab,
        ["why", "default/quiet", "--no-ebpf", "--format", "json"],
    );
    assert_told(&why, Some(&watch));
    assert!(why.stderr.contains(left_out), "{why:?}");
    let expected = ["started, pid ", "exit code 3 after "];
    assert_happened(&why.objects()[0], &expected);
    // The life of the loud pod is there, too.
    let why = ask(
        &lab,
        ["why", "default/loud", "--no-ebpf", "--format", "json"],
    );
    assert_happened(&why.objects()[0], &["started, pid ", "exit code 0 after "]);

    let file = scratch("history").join("loud.ptrec").display().to_string();
    let run = ask(&lab, ["record", "--last", "10m", "-o", &file]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stderr.contains(left_out), "{run:?}");
    let replay = run_json(&["replay", &file, "--pod", loud.uid()]);
    let findings = replay.of_type("finding");
    let failed = findings.iter().find(|one| one["verdict"] == "fail");
    assert_eq!(failed, None, "{replay:?}");
    assert!(
        replay.summary()["verdicts"]["inconclusive"].as_u64() > Some(0),
        "{replay:?}"
    );
    let replay = run_json(&["replay", &file, "--pod", quiet.uid()]);
    assert!(
        replay.summary()["verdicts"]["pass"].as_u64() > Some(0),
        "{replay:?}"
    );
    for pod in [quiet, loud] {
        pod.remove();
    }
    let _ = watch.stop();
}

/// Runs a command outside of all nodes.
fn run_json(args: &[&str]) -> Run {
    run(args.iter().chain(&["--format=json"]))
}

/// Asks for the timeline of a pod that starts until the history has this.
#[track_caller]
fn await_element(lab: &Containerd, watch: &Watch, pod: &str, met: impl Fn(&Value) -> bool) {
    let until = Instant::now() + PATIENCE;
    loop {
        let timeline = ["timeline", pod, "--for", "1s", "--format", "json"];
        let run = ask(lab, timeline);
        if run.code == Some(0) && run.objects().iter().any(&met) {
            return assert_told(&run, Some(watch));
        }
        assert!(Instant::now() < until, "{run:?}");
    }
}

#[test]
fn the_timeline_of_a_pod_that_is_stuck_in_its_start_shows_what_it_waits_for() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let gate = lab.node().path("/run/plugin-gate");
    mkfifo(&gate, Mode::S_IRWXU).expect("the node's directory is ours");
    lab.precede_network_plugin(r#"[ "$CNI_COMMAND" = ADD ] && read -r _ < /run/plugin-gate"#);
    let watch = Watch::start(lab.node());
    let is_open =
        |one: &Value| one["what"] == "cni" && one["command"] == "ADD" && one["open"] == true;
    thread::scope(|scope| {
        let starting = scope.spawn(|| lab.pod("slow").run());
        await_element(&lab, &watch, "default/slow", is_open);
        fs::write(&gate, "go\n").expect("the plugin waits at the gate");
        starting.join().expect("it starts").remove();
    });
    let _ = watch.stop();
}

#[test]
fn a_socket_belongs_to_one_watch_and_outlives_it_only_if_it_is_killed() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let socket = lab.node().path(SOCKET);
    let is_socket =
        |path: &Path| fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let record = |name: &str| {
        let file = scratch("history").join(name);
        ask(
            &lab,
            ["record", "--last", "1m", "-o", &file.display().to_string()],
        )
    };
    let without = Watch::start_with(lab.node(), ["--history", "0"]);
    assert!(!socket.exists());
    let run = record("none.ptrec");
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.contains("no `watch` answers at "), "{run:?}");

    let first = Watch::start(lab.node());
    assert!(is_socket(&socket));
    let second = Watch::start(lab.node());
    second.await_error("another process answers there");
    let own = "/run/own/own.sock";
    // All pods are kept, whichever are reported.
    let args = ["--history-socket", own, "--pod", "default/nobody"];
    let third = Watch::start_with(lab.node(), args);
    assert_told(&record("first.ptrec"), Some(&first));
    let list = ask(&lab, ["ls", "--history-socket", own]);
    assert_told(&list, Some(&third));

    // Only the own socket is removed, with its directory.
    let _ = second.stop();
    assert_told(&record("again.ptrec"), Some(&first));
    // SIGTERM, as systemd and the kubelet send it. There was no such pod.
    let _ = third.terminate(3);
    assert!(!lab.node().path("/run/own").exists());
    let list = ask(&lab, ["ls", "--no-ebpf", "--history-socket", own]);
    assert!(list.stderr.contains("no watch answers"), "{list:?}");

    first.kill();
    assert!(is_socket(&socket));
    assert_eq!(record("killed.ptrec").code, Some(3));
    let next = Watch::start(lab.node());
    assert_told(&record("next.ptrec"), Some(&next));
    let _ = next.stop();
    assert!(!socket.exists());
    let _ = without.stop();
}
