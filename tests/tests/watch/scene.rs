//! Scenarios that share a runtime and a watch, each with a pod of its own.

use std::thread;

use nix::libc;
use pause_trace_tests::{
    lab::{Container, Containerd, Pod, PodSpec},
    watch::{Outcome, Watch},
};

/// The runtime and the watch that the scenarios share.
pub(super) struct Scene {
    pub(super) lab: Containerd,
    pub(super) watch: Watch,
}

/// A scenario, which gets a pod.
pub(super) type Scenario = fn(&Scene, Pod<'_>);

/// Runs all of them at the same time, because they mostly wait. Each gets a pod with its name,
/// whose specification `change` may change.
pub(super) fn at_once(
    scene: &Scene,
    change: for<'lab> fn(&str, PodSpec<'lab>) -> PodSpec<'lab>,
    scenarios: &[(&str, Scenario)],
) {
    thread::scope(|scope| {
        for (name, scenario) in scenarios {
            let named = thread::Builder::new().name((*name).to_owned());
            let pod = || change(name, scene.lab.pod(&name.replace('_', "-"))).run();
            named
                .spawn_scoped(scope, move || scenario(scene, pod()))
                .expect("a thread can be started");
        }
    });
}

/// Removes a pod, and waits for its verification.
#[track_caller]
pub(super) fn end(scene: &Scene, pod: Pod<'_>) -> Outcome {
    let uid = pod.uid().to_owned();
    pod.remove();
    scene.watch.verified(&uid)
}

/// Starts a container whose init is a shell with a child, and which ends on its stop signal.
#[must_use]
#[track_caller]
pub(super) fn sleeps_until_it_is_stopped<'a>(pod: &'a Pod<'a>) -> Container<'a> {
    let script = "trap 'exit 0' TERM; sleep 1000 & while :; do wait; done";
    let container = pod.container("app").command(["sh", "-c", script]);
    container.start().settled_in(libc::SYS_rt_sigsuspend)
}
