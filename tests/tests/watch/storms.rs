//! `pause-trace watch` beside pods that do as much as they can.

use std::time::Instant;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_cri::messages::Int64Value;
use pause_trace_tests::{
    c_program,
    lab::{Container, Containerd, Pod, Version, image},
    watch::Watch,
};

/// Children whose records would fill the ring several times over: 300 bytes for each.
const FORKS: usize = 60_000;

/// Cgroups whose records would fill the ring twice over: 544 bytes for each that is made, and for
/// each that is removed.
const CGROUPS: usize = 8_000;

/// Cgroups among which the forks are spread.
const SPREAD: usize = 200;

#[test]
fn a_pod_that_forks_without_pause_hides_nothing_of_its_neighbours() {
    let forks = FORKS.to_string();
    hides_nothing_of_its_neighbours(|_, host| {
        let storm = host.exec(["/workload", "fork-loop", &forks]);
        assert_eq!(storm.exit_code, 0);
    });
}

#[test]
fn a_pod_that_makes_cgroups_without_pause_hides_nothing_of_its_neighbours() {
    let times = CGROUPS.to_string();
    hides_nothing_of_its_neighbours(|place, host| {
        let storm = host.exec(["/cgroups", "churn", place, &times]);
        assert_eq!(storm.exit_code, 0);
    });
}

/// All its cgroups together have the share of one.
#[test]
fn a_pod_that_spreads_its_forks_over_cgroups_hides_nothing_of_its_neighbours() {
    let (count, forks) = (SPREAD.to_string(), (FORKS / SPREAD).to_string());
    hides_nothing_of_its_neighbours(|place, host| {
        let storm = host.exec(["/cgroups", "spread", place, &count, &forks]);
        assert_eq!(storm.exit_code, 0);
    });
}

/// The kernel keeps most of the ring for the others, although nothing reads it during the storm,
/// which gets the path of the container's own cgroup in the container.
fn hides_nothing_of_its_neighbours(storm: impl FnOnce(&str, &Container<'_>)) {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let (loud, neighbour) = (lab.pod("loud").run(), lab.pod("neighbour").run());
    let app = neighbour.serve("app");
    let host = with_cgroups(&loud);
    for container in [&app, &host] {
        watch.await_container(container.id(), "started");
    }
    let young = watch.held_up(|| {
        storm(&place_of(&host), &host);
        kill(Pid::from_raw(neighbour.pause_pid()), Signal::SIGKILL).expect("it runs");
        lab.pod("young").run()
    });
    let young_app = young.serve("app");
    let uid = neighbour.uid().to_owned();
    watch.await_finding(&uid, "PT202");
    app.end();
    neighbour.remove();
    watch.verified(&uid).assert_broken(["PT202"]);

    let uid = young.uid().to_owned();
    young_app.end();
    young.remove();
    watch.verified(&uid).assert_healthy(["app"]);

    // Of the storm itself not everything was recorded, so nothing is said that rests on it.
    let uid = loud.uid().to_owned();
    loud.remove();
    let outcome = watch.verified(&uid);
    assert_eq!(outcome.accused().len(), 0, "{outcome}");
    let lines = watch.stop();
    let losses: Vec<_> = lines.iter().filter(|line| line["type"] == "loss").collect();
    assert!(losses.is_empty(), "{losses:?}");
}

/// Starts a container that can make cgroups below its own.
fn with_cgroups<'a>(pod: &'a Pod<'a>) -> Container<'a> {
    let root = Some(Int64Value { value: 0 });
    let container = pod.container("host").workload(["serve"]);
    let container = container.security(|security| security.run_as_user = root);
    let container = container.mount(&pod.cgroup_directory(), "/pod");
    let container = container.mount(&c_program("cgroups"), "/cgroups");
    container.start().settled_in(nix::libc::SYS_ppoll)
}

/// The path of a container's own cgroup in the container.
fn place_of(container: &Container<'_>) -> String {
    format!("/pod/{}", container.id())
}

/// More cgroups than are watched for one container.
const TOO_MANY: usize = 1_500;

#[test]
fn the_processes_of_a_container_with_more_cgroups_than_are_watched_stay_its_own() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let pod = lab.pod("divided").run();
    let host = with_cgroups(&pod);
    let count = TOO_MANY.to_string();
    let spread = host.exec(["/cgroups", "spread", &place_of(&host), &count, "1"]);
    assert_eq!(spread.exit_code, 0);
    host.end();
    let uid = pod.uid().to_owned();
    pod.remove();
    let outcome = watch.verified(&uid);
    assert_eq!(outcome.accused().len(), 0, "{outcome}");
    outcome.assert_placed(["host"]);
    let lines = watch.stop();
    let losses: Vec<_> = lines.iter().filter(|line| line["type"] == "loss").collect();
    assert!(losses.is_empty(), "{losses:?}");
}

/// Pods whose pauses are killed during the storm.
const VICTIMS: usize = 5;

#[test]
fn faults_beside_twelve_containers_that_fork_without_pause_are_found() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let pods = |name: &str, count| {
        let pods = (0..count).map(|index| lab.pod(&format!("{name}-{index}")).run());
        pods.collect::<Vec<_>>()
    };
    let (victims, loud) = (pods("victim", VICTIMS), pods("loud", 4));
    // Otherwise containerd gets too little time to make the containers.
    lab.node().prefer_daemons();
    for pod in &victims {
        let app = pod.serve("app");
        watch.await_container(app.id(), "started");
    }
    for pod in &loud {
        for name in ["a", "b", "c"] {
            let storm = pod.container(name).workload(["fork-loop"]).start();
            watch.await_container(storm.id(), "started");
        }
    }
    for pod in &victims {
        let pause = Pid::from_raw(pod.pause_pid());
        let killed = Instant::now();
        kill(pause, Signal::SIGKILL).expect("it runs");
        watch.await_finding(pod.uid(), "PT202");
        // For docs/performance.md.
        println!("found after {} ms", killed.elapsed().as_millis());
    }
    for pod in loud {
        pod.remove();
    }
    for pod in victims {
        let uid = pod.uid().to_owned();
        pod.remove();
        let outcome = watch.verified(&uid);
        assert!(outcome.broken().contains("PT202"), "{outcome}");
        assert_eq!(outcome.inconclusive(), 0, "{outcome}");
    }
    let lines = watch.stop();
    let losses: Vec<_> = lines.iter().filter(|line| line["type"] == "loss").collect();
    assert!(losses.is_empty(), "{losses:?}");
}
