//! Processes in containers that have the name of a runtime, or come from one, and kill a process of
//! another pod. Each is in the machine's pid namespace.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use pause_trace_tests::{
    lab::{Container, Containerd, Engine, Pod, Version, image},
    watch::Watch,
};
use serde_json::Value;

/// How long a shell may take to rename itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// A shell that calls itself runc, as `prctl(PR_SET_NAME)` does, and then kills the process whose
/// pid is in `/go`. `kill` is a part of the shell.
const RENAMED: &str = "printf runc > /proc/$$/comm; until test -e /go; do sleep 0.05; done; \
                       kill -9 $(cat /go); while :; do sleep 1; done";

/// Executes a file called runc that kills a process.
fn executed(pid: i32) -> String {
    format!("printf '#!/bin/sh\\nkill -9 {pid}\\n' > /runc && chmod +x /runc && exec /runc")
}

#[test]
fn a_container_that_has_the_name_of_a_runtime_is_not_the_runtime() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let impostor = lab.pod("impostor").host_pid().run();
    let renamed = impostor.container("renamed").command(["sh", "-c", RENAMED]);
    let renamed = renamed.start();
    await_name(renamed.pid(), "runc");
    let before = victim(&lab, "before");
    let app = before.serve("app");

    let watch = Watch::start(lab.node());
    watch.await_container(app.id(), "started");
    watch.await_container(renamed.id(), "started");
    let go = format!("echo {} > /half && mv /half /go", app.pid());
    assert_eq!(renamed.exec(["sh", "-c", &go]).exit_code, 0);
    assert_accused(&watch, &before, "runc", "in another pod, default/impostor)");

    let after = victim(&lab, "after");
    let app = after.serve("app");
    watch.await_container(app.id(), "started");
    let session = renamed.exec(["sh", "-c", &executed(app.pid())]);
    assert_eq!(session.exit_code, 0, "{session:?}");
    assert_accused(&watch, &after, "runc", "in another pod, default/impostor)");

    // A container that starts, kills and ends before anyone can say whose it is.
    let first = victim(&lab, "first");
    let app = first.serve("app");
    watch.await_container(app.id(), "started");
    let entry = impostor.container("entry");
    let entry: Container<'_> = entry.command(["sh", "-c", &executed(app.pid())]).start();
    let finding = of_pt310(&watch, first.uid());
    assert_ne!(finding["verdict"], "pass", "{finding}");
    drop(entry);
    watch.stop();
}

#[test]
fn a_container_of_another_engine_is_not_the_runtime_of_a_pod() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let docker = Engine::docker();
    let pod = victim(&lab, "pod");
    let app = pod.serve("app");
    let watch = Watch::start(lab.node());
    watch.await_container(app.id(), "started");
    let options = ["--pid", "host", "--network", "host"];
    let script = "until test -e /go; do sleep 0.05; done; kill -9 $(cat /go)";
    let container = docker.run(image::BUSYBOX, &options, &["sh", "-c", script]);
    let go = format!("echo {} > /half && mv /half /go", app.pid());
    assert!(container.exec(&["sh", "-c", &go]).status.success());
    assert_eq!(container.exit_code(), 0);
    assert_accused(&watch, &pod, "sh", "outside the pod and its runtime");
    container.remove();
    watch.stop();
}

fn victim<'lab>(lab: &'lab Containerd, name: &str) -> Pod<'lab> {
    lab.pod(name).run()
}

/// Waits until a process has this name.
#[track_caller]
fn await_name(pid: i32, name: &str) {
    let until = Instant::now() + PATIENCE;
    let comm = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    while comm().trim_end() != name {
        assert!(Instant::now() < until, "pid {pid} is called {}", comm());
        thread::sleep(Duration::from_millis(5));
    }
}

/// The first verdict of PT310 on a pod that is no pass.
#[track_caller]
fn of_pt310(watch: &Watch, uid: &str) -> Value {
    watch.await_line(&format!("PT310 of pod {uid}"), |line| {
        line["pod"]["uid"] == uid && line["rule"] == "PT310"
    })
}

/// Expects that PT310 accuses a process of this name.
#[track_caller]
fn assert_accused(watch: &Watch, pod: &Pod<'_>, name: &str, whose: &str) {
    let finding = of_pt310(watch, pod.uid());
    assert_eq!(finding["verdict"], "fail", "{finding}");
    let message = finding["message"].as_str().unwrap_or_default();
    let sender = format!("from {name} (pid ");
    assert!(
        message.contains(&sender) && message.contains(whose),
        "{finding}"
    );
}
