//! `pause-trace watch` that is killed: nothing of it is left, and the next one finds the pods.
//!
//! These tests compare the whole machine before and after, so they run alone.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::{
    lab::{Container, Containerd, Pod, Version, image},
    node::Traces,
    watch::Watch,
};

/// How much memory a watch gets that runs out of it. The records of a storm need more.
const STARVED: u64 = 1 << 20;

/// Children whose records fill the ring.
const FORKS: &str = "20000";

#[test]
fn nothing_is_left_of_a_watch_that_ran_out_of_memory() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let (healthy, victim) = (lab.pod("healthy").run(), lab.pod("victim").run());
    let apps = [healthy.serve("app"), victim.serve("app")];
    let before = Traces::now();
    let watch = Watch::start(lab.node());
    await_found(&watch, &apps);
    lab.node().starve(watch.pid(), STARVED);
    watch.held_up(|| {
        let storm = apps[0].exec(["/workload", "fork-loop", FORKS]);
        assert_eq!(storm.exit_code, 0);
    });
    watch.await_killed();
    before.assert_restored();

    let watch = Watch::start(lab.node());
    await_found(&watch, &apps);
    find_fault(&watch, &victim);
    apps.into_iter().for_each(|app| app.end());
    end_healthy(&watch, healthy);
    victim.remove();
    watch.stop();
    before.assert_restored();
}

#[test]
fn a_watch_that_is_killed_in_a_storm_is_replaced_at_once() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let (healthy, victim) = (lab.pod("healthy").run(), lab.pod("victim").run());
    let apps = [healthy.serve("app"), victim.serve("app")];
    let loud = lab.pod("loud").run();
    let before = Traces::now();
    let watch = Watch::start(lab.node());
    await_found(&watch, &apps);
    for name in ["a", "b", "c"] {
        let storm = loud.container(name).workload(["fork-loop"]).start();
        watch.await_container(storm.id(), "started");
    }
    watch.kill();
    let watch = Watch::start(lab.node());
    await_found(&watch, &apps);
    find_fault(&watch, &victim);
    let uid = loud.uid().to_owned();
    loud.remove();
    let outcome = watch.verified(&uid);
    assert_eq!(outcome.accused().len(), 0, "{outcome}");
    apps.into_iter().for_each(|app| app.end());
    end_healthy(&watch, healthy);
    victim.remove();
    watch.stop();
    before.assert_restored();
}

fn await_found(watch: &Watch, apps: &[Container<'_>]) {
    for app in apps {
        let started = watch.await_container(app.id(), "started");
        assert_eq!(started["found"], true, "{started}");
    }
}

fn find_fault(watch: &Watch, victim: &Pod<'_>) {
    kill(Pid::from_raw(victim.pause_pid()), Signal::SIGKILL).expect("it runs");
    watch.await_finding(victim.uid(), "PT202");
}

fn end_healthy(watch: &Watch, pod: Pod<'_>) {
    let uid = pod.uid().to_owned();
    pod.remove();
    watch.verified(&uid).assert_healthy(["app"]);
}
