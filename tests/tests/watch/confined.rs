//! What commands that observe give up, and that they still find what they should. All other tests
//! of `watch` run it with the same restrictions, among them the survey after a loss
//! (`late::a_pod_whose_records_were_lost_is_found_and_not_passed`).

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::{
    confined::{Files, assert_confined},
    lab::{Containerd, Version, image},
    pause_trace, run, scratch,
    watch::Watch,
};

/// How long a recording may take until it has its second file.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_confined_watch_finds_a_fault_and_rotates_its_recording() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let path = scratch("confined").join("node.ptrec");
    let before = path.with_extension("ptrec.1");
    let [record, max_size, size] = ["--record", "--max-size", "64K"].map(Path::new);
    let watch = Watch::start_with(lab.node(), [record, &path, max_size, size]);
    assert_confined(watch.pid(), Files::Read);

    let busy = lab.pod("busy").run();
    let shell = busy.container("shell").command(["sleep", "1000"]).start();
    let script = "i=0; while [ $i -lt 500 ]; do /workload true; i=$((i+1)); done";
    let until = Instant::now() + PATIENCE;
    while !before.exists() {
        assert!(Instant::now() < until, "{} is not there", before.display());
        assert_eq!(shell.exec(["sh", "-c", script]).exit_code, 0);
    }
    let pod = lab.pod("confined").run();
    let app = pod.serve("app");
    kill(Pid::from_raw(pod.pause_pid()), Signal::SIGKILL).expect("it runs");
    let uid = pod.uid().to_owned();
    watch.await_finding(&uid, "PT202");
    // Threads that read the pods' files have been started meanwhile.
    assert_confined(watch.pid(), Files::Read);
    app.end();
    pod.remove();
    busy.remove();
    let outcome = watch.verified(&uid);
    assert!(outcome.broken().contains("PT202"), "{outcome}");
    let _ = watch.terminate(1);

    // How far back it goes depends on what else the machine does, so the fault may be in neither.
    let replayed = run([
        "replay".as_ref(),
        path.as_os_str(),
        "--format=json".as_ref(),
    ]);
    assert!(!replayed.stderr.contains("cut"), "{replayed:?}");
    assert_eq!(replayed.of_type("summary").len(), 1, "{replayed:?}");
}

/// A command that is ended when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_command_that_observes_gives_up_its_privileges() {
    let place = scratch("confined");
    let file = |name: &str| place.join(name).display().to_string();
    let (recording, page, trace) = (file("own.ptrec"), file("page.html"), file("trace.json"));
    // Nothing that was written before is in the way.
    let _ = std::fs::remove_file(&trace);
    for (files, args) in [
        (Files::Read, vec!["record", "-o", &recording]),
        (Files::Read, vec!["timeline", "no-such-pod"]),
        (
            Files::Written,
            vec!["timeline", "no-such-pod", "--perfetto", &trace],
        ),
        (
            Files::Written,
            vec!["report", "--html", &page, "--for", "1h"],
        ),
        (Files::Read, vec!["run", "--for", "1h"]),
    ] {
        let child = Command::new(pause_trace())
            .args(&args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut running = Running(child.expect("it starts"));
        let pid = running.0.id();
        assert_confined(pid, files);
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT).expect("it runs");
        let status = running.0.wait().expect("it is a child of this process");
        assert_eq!(status.code(), Some(130), "{args:?}");
    }
}
