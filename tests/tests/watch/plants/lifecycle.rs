//! Containers and sandboxes that are started, stopped and removed in the wrong way.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::lab::Pod;

use super::{containerd, faulty};
use crate::scene::{Scene, at_once, end, sleeps_until_it_is_stopped};

/// What the faulty runc does: see the scenarios.
const FAULTS: &str = r#"
"start starts-before-its-sandbox/")
    exit 0 ;;
"start starts-before-its-sandbox/early")
    real start "$id" && real start "$(annotated sandbox-id)"
    exit ;;
"start never-starts/app")
    exit 0 ;;
"kill leaves-a-process/app")
    case " $* " in *" --all "*) exit 0 ;; esac ;;
"delete leaves-a-process/app")
    exit 0 ;;
"kill is-killed-at-once/killed")
    real kill "$id" 9
    exit ;;
"kill loses-its-pause-first/app")
    sandbox=$(annotated sandbox-id)
    pause=$(cat "$bundle/../$sandbox/init.pid")
    real kill "$sandbox" 9
    while [ -e "/proc/$pause/status" ]; do :; done ;;
"#;

/// A grace period longer than a container takes that handles its stop signal.
const GRACE: Duration = Duration::from_secs(30);

/// How long a session may take until it runs.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn faults_of_the_runtime_and_of_others_are_found() {
    let scene = faulty(containerd(), FAULTS);
    at_once(
        &scene,
        |name, spec| match name {
            "leaves_a_process" => spec.host_pid(),
            _ => spec,
        },
        &[
            ("leaves_a_process", leaves_a_process),
            ("starts_before_its_sandbox", starts_before_its_sandbox),
            ("never_starts", never_starts),
            ("is_not_reaped_by_its_shim", is_not_reaped_by_its_shim),
            ("is_killed_at_once", is_killed_at_once),
            ("loses_its_pause_first", loses_its_pause_first),
            ("is_killed_by_a_stranger", is_killed_by_a_stranger),
            ("collects_zombies", collects_zombies),
            ("waits_to_be_started", waits_to_be_started),
        ],
    );
    scene.watch.stop();
}

/// The runtime does not kill what is left of a container that ended. In the node's pid namespace,
/// the kernel does not do so either. The process keeps the container's cgroup.
fn leaves_a_process(scene: &Scene, pod: Pod<'_>) {
    let app = sleeps_until_it_is_stopped(&pod);
    let leave = "sleep 1000 < /dev/null > /dev/null 2>&1 & echo $!";
    let session = app.exec(["sh", "-c", leave]);
    let left = String::from_utf8_lossy(&session.stdout);
    let left: i32 = left.trim().parse().expect("the shell prints a pid");
    app.end();
    pod.stop();
    let found = scene.watch.await_finding(pod.uid(), "PT205");
    let message = found["message"].as_str().expect("a message");
    assert!(message.contains(&format!("(pid {left}")), "{found}");
    let outcome = scene.watch.verified(pod.uid());
    kill(Pid::from_raw(left), Signal::SIGKILL).expect("it runs");
    // The container's cgroup, which the runtime has not removed, goes with the node.
    let removed = scene.lab.client().remove_sandbox(pod.id());
    scene.lab.call(removed).expect("it was stopped");
    outcome.assert_broken(["PT205"]);
}

/// The runtime starts the pause after the container.
fn starts_before_its_sandbox(scene: &Scene, pod: Pod<'_>) {
    let early = pod.serve("early");
    let found = scene.watch.await_finding(pod.uid(), "PT201");
    assert_eq!(found["container"]["name"], "early", "{found}");
    early.end();
    let outcome = end(scene, pod);
    assert_eq!(outcome.broken(), ["PT201"].into(), "{outcome}");
}

/// The runtime says that a container was started, and has not started it.
fn never_starts(scene: &Scene, pod: Pod<'_>) {
    let app = pod.container("app").workload(["serve"]).start();
    let stuck = scene.watch.await_finding(pod.uid(), "PT207");
    assert_eq!(stuck["container"]["name"], "app", "{stuck}");
    app.stop(Duration::ZERO);
    app.await_end();
    app.remove();
    end(scene, pod).assert_broken(["PT207"]);
}

/// A shim hangs while a container ends, and so does not reap an exec session in it.
fn is_not_reaped_by_its_shim(scene: &Scene, pod: Pod<'_>) {
    let app = sleeps_until_it_is_stopped(&pod);
    assert_eq!(app.exec(["mkfifo", "/cue"]).exit_code, 0);
    let cue = format!("/proc/{}/root/cue", app.pid());
    let shim = Pid::from_raw(pod.shim_pid());
    thread::scope(|scope| {
        let session = scope.spawn(|| {
            let on_cue = "read cue < /cue; kill -TERM 1; exec sleep 1000";
            app.exec(["sh", "-c", on_cue])
        });
        let until = Instant::now() + PATIENCE;
        let mut cue = loop {
            let mut options = OpenOptions::new();
            // Fails until the session has opened it.
            match options
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(&cue)
            {
                Ok(cue) => break cue,
                Err(error) => assert!(Instant::now() < until, "no session reads {cue}: {error}"),
            }
            thread::yield_now();
        };
        kill(shim, Signal::SIGSTOP).expect("it runs");
        writeln!(cue, "end").expect("the session reads it");
        scene.watch.await_finding(pod.uid(), "PT208");
        kill(shim, Signal::SIGCONT).expect("it runs");
        let session = session.join().expect("a session does not panic");
        assert_eq!(session.exit_code, 128 + libc::SIGKILL);
    });
    assert_eq!(app.await_end(), 0);
    app.remove();
    end(scene, pod).assert_broken(["PT208"]);
}

/// The runtime sends SIGKILL instead of the stop signal. It sends that to another container, which
/// shows that containers of this pod are to be asked.
fn is_killed_at_once(scene: &Scene, pod: Pod<'_>) {
    let [asked, killed] = ["asked", "killed"].map(|name| pod.serve(name));
    asked.stop(GRACE);
    killed.stop(GRACE);
    assert_eq!(asked.await_end(), 0);
    assert_eq!(killed.await_end(), 128 + libc::SIGKILL);
    asked.remove();
    killed.remove();
    end(scene, pod).assert_broken(["PT303"]);
}

/// The runtime stops the pause when it is to stop a container.
fn loses_its_pause_first(scene: &Scene, pod: Pod<'_>) {
    let app = pod.serve("app");
    app.end();
    end(scene, pod).assert_broken(["PT309"]);
}

fn is_killed_by_a_stranger(scene: &Scene, pod: Pod<'_>) {
    let [killed, fine] = ["killed", "fine"].map(|name| pod.serve(name));
    kill(Pid::from_raw(killed.pid()), Signal::SIGKILL).expect("it runs");
    let found = scene.watch.await_finding(pod.uid(), "PT310");
    let message = found["message"].as_str().expect("a message");
    let own_pid = format!("(pid {}", std::process::id());
    assert!(message.contains(&own_pid), "{found}");
    assert_eq!(killed.await_end(), 128 + libc::SIGKILL);
    killed.remove();
    fine.end();
    let outcome = end(scene, pod);
    outcome.assert_broken(["PT310"]);
    outcome.assert_placed(["fine"]);
}

/// Its init leaves more zombies than a pod may have.
fn collects_zombies(scene: &Scene, pod: Pod<'_>) {
    let app = pod.container("app").workload(["no-reap", "70"]);
    let app = app.start().settled_in(libc::SYS_ppoll);
    scene.watch.await_finding(pod.uid(), "PT403");
    app.end();
    end(scene, pod).assert_broken(["PT401", "PT403"]);
}

/// A container that is created and not started yet is not stuck: the runtime has made no process.
fn waits_to_be_started(scene: &Scene, pod: Pod<'_>) {
    let app = pod.container("app").workload(["serve"]).create();
    let other = pod.serve("other");
    scene.watch.await_container(other.id(), "started");
    other.end();
    app.start();
    let app = app.settled_in(libc::SYS_ppoll);
    app.end();
    end(scene, pod).assert_healthy(["app", "other"]);
}
