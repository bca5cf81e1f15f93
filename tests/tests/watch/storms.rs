//! `pause-trace watch` beside pods that do as much as they can.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::{
    lab::{Containerd, Version, image},
    watch::Watch,
};

/// Children whose records would fill the ring several times over: 300 bytes for each.
const FORKS: usize = 60_000;

/// The kernel keeps most of the ring for the others, although nothing reads it during the storm.
#[test]
fn a_pod_that_forks_without_pause_hides_nothing_of_its_neighbours() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let (loud, neighbour) = (lab.pod("loud").run(), lab.pod("neighbour").run());
    let app = neighbour.serve("app");
    let forks = FORKS.to_string();
    let host = loud.serve("host");
    for container in [&app, &host] {
        watch.await_container(container.id(), "started");
    }
    let young = watch.held_up(|| {
        let storm = host.exec(["/workload", "fork-loop", &forks]);
        assert_eq!(storm.exit_code, 0);
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
    assert!(outcome.inconclusive() > 0, "{outcome}");
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
        kill(Pid::from_raw(pod.pause_pid()), Signal::SIGKILL).expect("it runs");
        watch.await_finding(pod.uid(), "PT202");
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
