//! Static pods of a real kubelet, and what `pause-trace watch` says of them.

use pause_trace_tests::{
    lab::{Containerd, Kubelet, Version, image},
    watch::Watch,
};
use serde_json::{Value, json};

#[test]
fn what_a_kubelet_does_is_not_held_against_its_pods() {
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
    let pods: Vec<_> = manifests
        .iter()
        .map(|manifest| kubelet.run(manifest))
        .collect();
    let crashing = kubelet.take(&crashing);
    kubelet.until("restarts what crashes", || {
        (crashing.restarts("crash") >= 2).then_some(())
    });
        "{:?}",
        pods.iter()
            .map(|pod| pod.name().to_owned())
            .collect::<Vec<_>>()
    );

    let mut ends: Vec<_> = pods
        .into_iter()
        .map(|pod| {
            let end = (pod.name().to_owned(), pod.uid().to_owned());
            pod.remove();
            end
        })
        .collect();
    ends.push((crashing.name().to_owned(), crashing.uid().to_owned()));
    crashing.remove();
    for (name, uid) in ends {
        watch.verified(&uid).assert_broken([]);
    }
    drop(kubelet);
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
