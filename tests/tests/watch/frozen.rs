//! `pause-trace watch` beside pods that are frozen, and that is frozen itself.

use std::{thread, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::{
    lab::{Containerd, Version, image},
    watch::Watch,
};

/// How long a pod is frozen: longer than a zombie may exist and a stop may take on a node.
const FROZEN: Duration = Duration::from_secs(7);

/// The processes of a frozen pod do nothing, and promised nothing that they would have to do.
#[test]
fn a_pod_that_was_frozen_is_as_healthy_as_before() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let pod = lab.pod("frozen").shared_pid().run();
    let app = pod.serve("app");
    watch.await_container(app.id(), "started");
    assert_eq!(app.exec(["/workload", "orphan", "3"]).exit_code, 0);
    pod.frozen(|| thread::sleep(FROZEN));
    assert_eq!(app.exec(["/workload", "orphan", "3"]).exit_code, 0);
    app.end();
    let uid = pod.uid().to_owned();
    pod.remove();
    watch.verified(&uid).assert_healthy(["app"]);
    watch.stop();
}

/// Like a stop, but nobody sends a signal, and the cgroup is gone afterwards.
#[test]
fn a_watch_that_was_frozen_and_lost_its_cgroup_finds_what_happened() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let (healthy, victim) = (lab.pod("healthy").run(), lab.pod("victim").run());
    let apps = [healthy.serve("app"), victim.serve("app")];
    for app in &apps {
        watch.await_container(app.id(), "started");
    }
    let young = lab.node().frozen_process(watch.pid(), || {
        kill(Pid::from_raw(victim.pause_pid()), Signal::SIGKILL).expect("it runs");
        lab.pod("young").run()
    });
    let uid = victim.uid().to_owned();
    watch.await_finding(&uid, "PT202");
    young.serve("app").end();
    apps.into_iter().for_each(|app| app.end());
    victim.remove();
    watch.verified(&uid).assert_broken(["PT202"]);
    for pod in [healthy, young] {
        let uid = pod.uid().to_owned();
        pod.remove();
        watch.verified(&uid).assert_healthy(["app"]);
    }
    watch.stop();
}
