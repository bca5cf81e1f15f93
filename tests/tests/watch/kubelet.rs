//! `pause-trace watch` on static pods of a real kubelet.

use std::collections::BTreeSet;

use pause_trace_tests::{
    lab::{Containerd, Kubelet, StaticPod, Version, image},
    watch::Watch,
};
use serde_json::{Value, json};

/// The pod that shares its pid namespace.
const SHARED: usize = 3;

/// The pod with a container that crashes.
const CRASHING: usize = 5;

#[test]
fn actions_of_a_kubelet_are_no_findings_about_its_pods() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let kubelet = Kubelet::start(&lab);
    let serve = json!(["/workload", "serve"]);

    let mut with_inits = pod("with-inits", &[("app", &serve)]);
    with_inits["spec"]["initContainers"] = json!([
        container("first", &json!(["/workload", "true"])),
        container("second", &json!(["/workload", "true"])),
    ]);

    let mut hangs = pod("probe-hangs", &[("app", &serve)]);
    hangs["spec"]["containers"][0]["readinessProbe"] = json!({
        "exec": {"command": ["/workload", "wait"]},
        "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1000,
    });

    let mut unwell = pod("probe-fails", &[("app", &serve)]);
    // The pod must not be in the middle of a restart when it is removed.
    unwell["spec"]["restartPolicy"] = json!("Never");
    unwell["spec"]["containers"][0]["livenessProbe"] = json!({
        "exec": {"command": ["/workload", "exit", "1"]}, "periodSeconds": 1, "failureThreshold": 1,
    });

    let mut asked = pod("is-asked-first", &[("app", &serve)]);
    asked["spec"]["containers"][0]["lifecycle"] =
        json!({"preStop": {"exec": {"command": ["/workload", "true"]}}});

    let mut shared = pod("shared-pid", &[("one", &serve), ("two", &serve)]);
    shared["spec"]["shareProcessNamespace"] = json!(true);

    let mut host = pod("host-network", &[("one", &serve), ("two", &serve)]);
    host["spec"]["hostNetwork"] = json!(true);

    let crashing = pod(
        "crashing",
        &[("app", &serve), ("crash", &json!(["/workload", "crash"]))],
    );

    let manifests = [with_inits, hangs, asked, shared, host];
    let mut names = Vec::new();
    let mut uids = Vec::new();
    for manifest in &manifests {
        let pod = kubelet.run(manifest);
        names.push(pod.name().to_owned());
        uids.push(pod.uid().to_owned());
    }
    let pod = kubelet.add(&crashing);
    kubelet.until("restarts what crashes", || {
        (pod.restarts("crash") >= 2).then_some(())
    });
    names.push(pod.name().to_owned());
    uids.push(pod.uid().to_owned());
    let pod = kubelet.add(&unwell);
    kubelet.until("stops what fails its liveness probe", || {
        let state = &pod.value()["status"]["containerStatuses"][0]["state"];
        state["terminated"].is_object().then_some(())
    });
    names.push(pod.name().to_owned());
    uids.push(pod.uid().to_owned());

    // The kubelet is killed, and the next one finds its pods running.
    drop(kubelet);
    let kubelet = Kubelet::start(&lab);
    let pods: Vec<_> = names.iter().map(|name| kubelet.known(name)).collect();
    kubelet.until("sees a crash", || {
        let crashing = &pods[CRASHING];
        (crashing.restarts("crash") >= 3).then_some(())
    });
    pods.into_iter().for_each(StaticPod::remove);
    for uid in &uids {
        let outcome = watch.verified(uid);
        let starts = outcome.lines().iter();
        let starts = starts.filter(|line| line["event"] == "started" && line["pause"] == true);
        // Kubelets before 1.22 may start a pod again while they remove it. They kill its processes
        // at once, without a stop signal.
        let may_be_broken = match starts.count() {
            1 => &[][..],
            _ => &["PT303", "PT309"],
        };
        // containerd also sends no stop signal to a container that is restarted while its sandbox
        // is stopped. The finding has severity `info`, if another container was sent one.
        let accused = outcome.accused();
        assert!(
            accused.iter().all(|rule| may_be_broken.contains(rule)),
            "{outcome}"
        );
        assert_eq!(outcome.inconclusive(), 0, "{outcome}");
    }
    let outcome = watch.verified(&uids[SHARED]);
    outcome.assert_placed(["one", "two"]);
    let mut lines = outcome.lines().to_vec();
    lines.retain(|line| line["event"] == "started");
    let containers: BTreeSet<_> = lines
        .iter()
        .map(|line| line["container"]["id"].to_string())
        .collect();
    assert_eq!(
        lines.len(),
        containers.len(),
        "none was started twice: {outcome}"
    );
    watch.stop();
}

fn pod(name: &str, containers: &[(&str, &Value)]) -> Value {
    let containers: Vec<_> = containers
        .iter()
        .map(|(name, command)| container(name, command))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 5, "containers": containers},
    })
}

fn container(name: &str, command: &Value) -> Value {
    json!({
        "name": name, "image": image::WORKLOAD, "imagePullPolicy": "Never", "command": command,
    })
}
