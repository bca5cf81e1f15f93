//! `pause-trace watch` that reads the kernel's events late, loses some, or whose output is not
//! read.

use std::{
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::{
    lab::{Containerd, Version, image},
    watch::Watch,
};

/// The pods that come and go.
const PODS: usize = 5;

/// Cgroups whose records fill the ring twice over: 544 bytes for each that is made, and for each
/// that is removed.
const CGROUPS: usize = 8_000;

#[test]
fn what_happens_while_watch_is_stopped_is_judged_or_named() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let (gone, lives) = watch.held_up(|| {
        let gone: Vec<_> = (0..PODS)
            .map(|index| {
                let pod = lab.pod(&format!("gone-{index}")).run();
                let app = pod.serve("app");
                let id = app.id().to_owned();
                kill(Pid::from_raw(pod.pause_pid()), Signal::SIGKILL).expect("it runs");
                app.end();
                pod.remove();
                id
            })
            .collect();
        (gone, lab.pod("lives").run())
    });
    let app = watch.held_up(|| {
        let app = lives.serve("app");
        kill(Pid::from_raw(lives.pause_pid()), Signal::SIGKILL).expect("it runs");
        assert_eq!(app.exit_code(), None, "it lives without a pause");
        app
    });
    // The bundle of the pod that lives is there, so it is judged as if it had been seen in time.
    let uid = lives.uid().to_owned();
    watch.await_finding(&uid, "PT202");
    // Those of the others are gone, and so is whatever says which pod they were of.
    for id in gone {
        watch.await_line("what became of a container", |line| {
            let message = line["message"].as_str().unwrap_or_default();
            line["container"]["id"] == *id || (line["rule"] == "PT903" && message.contains(&*id))
        });
    }
    app.end();
    lives.remove();
    let outcome = watch.verified(&uid);
    let broken = outcome.broken();
    assert!(broken.contains("PT202"), "{outcome}");
    // If the pause's end was judged before anything said that the container is of its pod.
    let may_be = ["PT202", "PT310"];
    assert!(broken.iter().all(|rule| may_be.contains(rule)), "{outcome}");
    watch.stop();
}

/// How long the watch is stopped, in seconds: every limit passes meanwhile but the one of a mount
/// that is left behind. The longest of them is 30 s, until when a process has to execute that sets
/// up a container (`Limits::NODE`).
const STOPPED: u64 = 60;

/// As when the machine is suspended, but its pods go on.
#[test]
fn a_watch_that_was_stopped_past_every_limit_accuses_nobody_and_misses_nothing() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let stays = lab.pod("stays").shared_pid().run();
    let of_stays = stays.serve("app");
    let goes = lab.pod("goes").run();
    let of_goes = goes.serve("app");
    let breaks = lab.pod("breaks").run();
    let of_breaks = breaks.serve("app");
    for app in [&of_stays, &of_goes, &of_breaks] {
        watch.await_container(app.id(), "started");
    }
    let gone = goes.uid().to_owned();
    let comes = watch.held_up(|| {
        let over = Instant::now() + Duration::from_secs(STOPPED);
        kill(Pid::from_raw(breaks.pause_pid()), Signal::SIGKILL).expect("it runs");
        assert_eq!(of_stays.exec(["/workload", "orphan", "3"]).exit_code, 0);
        of_goes.end();
        goes.stop();
        let comes = lab.pod("comes").run();
        thread::sleep(over.saturating_duration_since(Instant::now()));
        comes
    });
    let of_comes = comes.serve("app");
    let broken = breaks.uid().to_owned();
    watch.await_finding(&broken, "PT202");
    goes.remove();
    watch.verified(&gone).assert_healthy(["app"]);
    for app in [of_stays, of_breaks, of_comes] {
        app.end();
    }
    breaks.remove();
    watch.verified(&broken).assert_broken(["PT202"]);
    for pod in [stays, comes] {
        let uid = pod.uid().to_owned();
        pod.remove();
        watch.verified(&uid).assert_healthy(["app"]);
    }
    watch.stop();
}

/// Longer than a zombie may stay, and than a runtime has to declare a container.
const OVERDUE: Duration = Duration::from_secs(12);

#[test]
fn zombies_that_became_overdue_in_pods_that_began_unseen_are_found() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let pods: Vec<_> = watch.held_up(|| {
        let pods = (0..3).map(|index| lab.pod(&format!("undead-{index}")).run());
        let pods: Vec<_> = pods.collect();
        for pod in &pods {
            let app = pod.container("app").workload(["no-reap", "1"]);
            let _ = app.start();
        }
        // The stall itself is what is tried.
        thread::sleep(OVERDUE);
        pods
    });
    for pod in &pods {
        watch.await_finding(pod.uid(), "PT401");
    }
    for pod in pods {
        let uid = pod.uid().to_owned();
        pod.remove();
        let outcome = watch.verified(&uid);
        assert_eq!(outcome.accused(), ["PT401"].into(), "{outcome}");
    }
    watch.stop();
}

#[test]
fn output_that_is_not_read_holds_nothing_up() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    // The lines of one pod are more than a pipe holds.
    let pods: Vec<_> = watch.unread(|| {
        let run = |index| {
            let pod = lab.pod(&format!("unread-{index}")).run();
            pod.serve("app").end();
            let uid = pod.uid().to_owned();
            pod.remove();
            uid
        };
        (0..PODS).map(run).collect()
    });
    for uid in pods {
        watch.verified(&uid).assert_healthy(["app"]);
    }
    watch.stop();
}

#[test]
fn a_pod_whose_records_were_lost_is_found_and_not_passed() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let loud = lab.pod("loud").run();
    let (pod, app) = watch.held_up(|| {
        loud.churn_cgroups(CGROUPS);
        // The ring is full, so nothing of this pod gets through, not even its cgroups.
        let pod = lab.pod("unseen").run();
        let app = pod.serve("app").id().to_owned();
        (pod, app)
    });
    watch.await_line("the loss", |line| {
        line["type"] == "loss" && line["kind"] == "cgroup_mkdir"
    });
    let started = watch.await_container(&app, "started");
    assert_eq!(started["found"], true, "{started}");
    let uid = pod.uid().to_owned();
    pod.remove();
    let outcome = watch.verified(&uid);
    assert_eq!(outcome.accused().len(), 0, "{outcome}");
    assert!(outcome.inconclusive() > 0, "{outcome}");
    let uid = loud.uid().to_owned();
    loud.remove();
    let outcome = watch.verified(&uid);
    assert_eq!(outcome.accused().len(), 0, "{outcome}");
    watch.stop();
}
