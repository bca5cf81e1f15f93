//! Many short-lived pods, and pods that started before `pause-trace watch`.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use pause_trace_tests::{
    lab::{Containerd, Version, image},
    watch::Watch,
};

/// The number of pods that start before the watch.
const EARLY: usize = 20;

/// The number of short-lived pods.
const CHURNED: usize = 100;

/// How many of them run at a time.
const AT_ONCE: usize = 4;

#[test]
fn a_hundred_short_lived_pods_and_twenty_earlier_ones_are_verified() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let pods: Vec<_> = (0..EARLY)
        .map(|index| lab.pod(&format!("early-{index}")).run())
        .collect();
    let early: Vec<_> = pods.iter().map(|pod| (pod, pod.serve("app"))).collect();
    let watch = Watch::start(lab.node());

    let churned = churn(&lab);
    let uids: Vec<_> = early
        .into_iter()
        .map(|(pod, app)| {
            app.end();
            pod.uid().to_owned()
        })
        .collect();
    pods.into_iter().for_each(|pod| pod.remove());

    for uid in &churned {
        watch.verified(uid).assert_healthy(["app"]);
    }
    for uid in &uids {
        let outcome = watch.verified(uid);
        outcome.assert_healthy(["app"]);
        let started: Vec<_> = outcome
            .lines()
            .iter()
            .filter(|line| line["event"] == "started")
            .collect();
        assert_eq!(
            started.len(),
            2,
            "the pause and its app, once each: {outcome}"
        );
        assert!(
            started.iter().all(|line| line["found"] == true),
            "{outcome}"
        );
    }
    let lines = watch.stop();
    let verified = |line: &&serde_json::Value| line["event"] == "verified";
    let verified = lines.iter().filter(verified).filter(|line| {
        let uid = line["pod"]["uid"].as_str();
        uid.is_some_and(|uid| churned.iter().chain(&uids).any(|own| own == uid))
    });
    assert_eq!(verified.count(), EARLY + CHURNED);
}

/// Makes and removes pods as fast as possible. Returns their uids.
fn churn(lab: &Containerd) -> Vec<String> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    let mut uids = Vec::new();
                    while let index @ 0..CHURNED = next.fetch_add(1, Ordering::Relaxed) {
                        let pod = lab.pod(&format!("churned-{index}")).run();
                        pod.serve("app").end();
                        uids.push(pod.uid().to_owned());
                        pod.remove();
                    }
                    uids
                })
            })
            .collect();
        let done = workers.into_iter();
        done.flat_map(|worker| worker.join().expect("a worker does not panic"))
            .collect()
    })
}
