//! What was asked for and is not there is no success: pods, sockets, and how a run is ended.

use std::{
    fs,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::{
    Run,
    lab::{Containerd, Version, image},
    pause_trace, scratch,
    watch::Watch,
};

fn on(lab: &Containerd, args: &[&str]) -> Run {
    let mut command = Command::new(pause_trace());
    let command = command.args(args).stdin(Stdio::null());
    lab.node().output(command).into()
}

#[test]
fn a_pod_or_socket_that_is_not_there_is_exit_code_3() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let web = lab.pod("asked-for").run();
    let app = web.serve("app");
    let db = lab.pod("db").run();
    let other = db.serve("other");

    // A pod is found by the same names everywhere.
    let uid = web.uid();
    for name in [
        "default/asked-for",
        "asked-for",
        uid,
        &app.id()[..12],
        &web.id()[..12],
    ] {
        let watched = on(
            &lab,
            &["watch", "--once", "--format", "json", "--pod", name],
        );
        assert_eq!(watched.code, Some(0), "{name}: {watched:?}");
        let inspected = on(&lab, &["inspect", name]);
        assert_eq!(inspected.code, Some(0), "{name}: {inspected:?}");
        // The totals are those of the lines.
        let mut verdicts = watched.of_type("verdict");
        verdicts.retain(|line| line["pod"]["uid"] != db.uid());
        assert_eq!(
            verdicts.len(),
            watched.of_type("verdict").len(),
            "{watched:?}"
        );
        assert!(!verdicts.is_empty(), "{watched:?}");
        let totals = &watched.summary()["verdicts"];
        assert_eq!(totals["pass"], verdicts.len(), "{name}: {watched:?}");
    }

    let recording = scratch("asking").join("node.ptrec");
    let _ = fs::remove_file(&recording);
    let recording = recording.to_string_lossy().into_owned();
    let page = scratch("asking").join("page.html");
    let page = page.to_string_lossy().into_owned();
    let record = ["watch", "--once", "--record", &recording];
    let recorded = on(&lab, &[&record[..], &["--pod", "asked-for"]].concat());
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    let nobody = "no pod \"default/nobody\"";
    for args in [
        &["watch", "--once", "--pod", "default/nobody"][..],
        &["watch", "--for", "100ms", "--pod", "default/nobody"],
        &["inspect", "default/nobody"],
        &["timeline", "default/nobody", "--recording", &recording],
        &["timeline", "default/nobody", "--for", "100ms"],
        &["replay", &recording, "--pod", "default/nobody"],
        &[
            "report",
            &recording,
            "--html",
            &page,
            "--pod",
            "default/nobody",
        ],
        &["report", "--html", &page, "--pod", "default/nobody"],
    ] {
        let run = on(&lab, args);
        assert_eq!(run.code, Some(3), "{args:?}: {run:?}");
        assert_eq!(run.stderr.matches(nobody).count(), 1, "{args:?}: {run:?}");
    }
    // Other tests may run pods on this machine, too.
    for (number, code) in [("1", 0), ("2", 3)] {
        let demand = ["--pod", "default/asked-for", "--require-pods", number];
        for args in [
            &["watch", "--once"][..],
            &["replay", &recording],
            &["report", &recording, "--html", &page],
        ] {
            let args = [args, &demand].concat();
            let run = on(&lab, &args);
            assert_eq!(run.code, Some(code), "{args:?}: {run:?}");
        }
    }

    for (socket, code) in [("/run/nobody.sock", 3), ("nobody.sock", 2)] {
        for args in [
            &["watch", "--once", "--cri", socket][..],
            &["ls", "--cri", socket],
            &["inspect", "asked-for", "--cri", socket],
            &["timeline", "asked-for", "--for", "1s", "--cri", socket],
            &["check", "--cri", socket],
        ] {
            let run = on(&lab, args);
            assert_eq!(run.code, Some(code), "{args:?}: {run:?}");
            assert!(run.stderr.contains("nobody.sock"), "{args:?}: {run:?}");
        }
    }
    for args in [&["watch", "--once", "--pod", ""][..], &["inspect", ""]] {
        assert_eq!(on(&lab, args).code, Some(2), "{args:?}");
    }

    other.end();
    db.remove();
    app.end();
    web.remove();
}

#[test]
fn sigterm_ends_a_watch_with_what_its_verdicts_say() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let pod = lab.pod("served").run();
    let app = pod.serve("app");
    for (args, code) in [
        (&[][..], 0),
        (&["--pod", "default/served"], 0),
        (&["--pod", "default/nobody"], 3),
    ] {
        let watch = Watch::start_with(lab.node(), args);
        if code == 0 {
            watch.await_container(app.id(), "started");
        }
        let lines = watch.terminate(code);
        let summary = lines.last().expect("it wrote lines");
        assert_eq!(summary["interrupted"], false, "{args:?}: {summary}");
    }
    app.end();
    pod.remove();
}

/// A reference check that is ended has not judged everything, so it never passes.
#[test]
fn sigterm_interrupts_a_check() {
    let mut child = Command::new(pause_trace())
        .args(["check", "--format", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut output = std::io::BufReader::new(child.stdout.take().expect("it is a pipe"));
    let mut hello = String::new();
    std::io::BufRead::read_line(&mut output, &mut hello).expect("it writes a line");
    let pid = Pid::from_raw(child.id().cast_signed());
    kill(pid, Signal::SIGTERM).expect("it has not been reaped");
    std::io::copy(&mut output, &mut std::io::sink()).expect("it ends");
    let status = child.wait().expect("it is a child of this process");
    assert_eq!(status.code(), Some(130));
}
