//! The chart and the kustomization in deploy/, and the pod that they make on a real kubelet.

use std::{fs, path::Path, process::Command};

use pause_trace_tests::{
    dist,
    lab::{Containerd, Kubelet, Node, StaticPod, Version, image},
    prometheus, scratch, wire,
};
use serde_json::{Value, json};

/// The directory of the kustomization.
const KUSTOMIZATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kustomize");

/// Renders the chart with these values, as a map of file names to text; or the error.
fn render(values: &Value) -> Value {
    dist::helm(&format!(
        "values = json.loads({:?})\ntry:\n    chart.validate_schema(values)\n    \
         print(json.dumps(chart.render(values=values, name='pause-trace', namespace='kube-system')))\n\
         except Exception as error:\n    print(json.dumps({{'error': str(error)}}))",
        values.to_string()
    ))
}

fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn kustomize(directory: &Path) -> String {
    output(dist::kubectl().arg("kustomize").arg(directory))
}

#[test]
fn helm_finds_no_fault_in_the_chart() {
    let report = dist::helm("print(json.dumps(lint(path, strict=True)))");
    let messages = report["messages"].as_array().expect("a list");
    let worse: Vec<_> = messages
        .iter()
        // A chart without an icon is worth an information.
        .filter(|message| message["severity"].as_u64() > Some(1))
        .collect();
    assert!(worse.is_empty(), "{report}");
    assert_eq!(report["errors"], json!([]), "{report}");
}

#[test]
fn wrong_values_are_refused_and_named() {
    for (values, named) in [
        (json!({"metrics": {"port": 0}}), "port"),
        (json!({"metrics": {"prot": 1}}), "prot"),
        (json!({"image": {"repository": ""}}), "repository"),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "pullPolicy"),
        (json!({"args": "--format json"}), "args"),
        (
            json!({"runtimeDirectories": ["var/lib/containers"]}),
            "runtimeDirectories",
        ),
        (
            json!({"tolerations": {"operator": "Exists"}}),
            "tolerations",
        ),
        (json!({"privileged": true}), "privileged"),
        (
            json!({"metrics": {"enabled": false, "podMonitor": {"enabled": true}}}),
            "metrics.podMonitor.enabled needs metrics.enabled",
        ),
    ] {
        let rendered = render(&values);
        let error = rendered["error"].as_str().unwrap_or_default();
        assert!(error.contains(named), "{values}: {rendered}");
    }
}

#[test]
fn values_change_what_they_describe() {
    let rendered = render(&json!({
        "metrics": {
            "port": 1234,
            "podMonitor": {"enabled": true, "labels": {"release": "p"}},
            "serviceMonitor": {"enabled": true, "interval": "5s"},
        },
        "runtimeDirectories": ["/var/lib/containers"],
        "seLinuxOptions": {"type": "spc_t"},
        "podLabels": {"team": "a"},
        "image": {"repository": "registry.example/a", "tag": "2"},
    }));
    let file = |name: &str| {
        let text = rendered[format!("pause-trace/templates/{name}.yaml")].as_str();
        text.unwrap_or_else(|| panic!("{rendered}")).to_owned()
    };
    let pod = file("daemonset");
    for wanted in [
        "\"--metrics=[::]:1234\"",
        "containerPort: 1234",
        "path: /readyz",
        "mountPath: \"/var/lib/containers\"",
        "type: spc_t",
        "team: a",
        "image: \"registry.example/a:2\"",
    ] {
        assert!(pod.contains(wanted), "{wanted}: {pod}");
    }
    let monitors = file("monitors");
    for wanted in [
        "kind: PodMonitor",
        "kind: ServiceMonitor",
        "kind: Service\n",
        "release: p",
        "interval: 5s",
    ] {
        assert!(monitors.contains(wanted), "{wanted}: {monitors}");
    }
    let plain = render(&json!({"metrics": {"enabled": false}})).to_string();
    for unwanted in ["--metrics", "Probe", "Monitor", "containerPort"] {
        assert!(!plain.contains(unwanted), "{unwanted}: {plain}");
    }
}

/// kubectl writes both in the same form, without comments.
#[test]
fn a_configuration_is_mounted() {
    let text = "[severity]\nPT302 = 'error'\n";
    let rendered = render(&json!({"config": text}));
    let map = &rendered["pause-trace/templates/configmap.yaml"];
    let map = map.as_str().expect("it is rendered");
    assert!(
        map.contains("  config.toml: |") && map.contains("    PT302 = 'error'"),
        "{map}"
    );
    let set = rendered["pause-trace/templates/daemonset.yaml"].to_string();
    for wanted in [
        "checksum/config: ",
        "mountPath: /etc/pause-trace",
        "configMap: {name: pause-trace}",
    ] {
        assert!(set.contains(wanted), "{wanted}: {set}");
    }
    let none = render(&json!({})).to_string();
    assert!(
        !none.contains("config.toml") && !none.contains("/etc/pause-trace"),
        "{none}"
    );
}

#[test]
fn the_kustomization_is_what_the_chart_makes_by_default() {
    let place = scratch("chart");
    let rendered = render(&json!({}));
    let mut resources = Vec::new();
    for (file, text) in rendered.as_object().expect("files") {
        let text = text.as_str().unwrap_or_default();
        if text.trim().is_empty() {
            continue;
        }
        let name = file.rsplit('/').next().unwrap_or_default();
        fs::write(place.join(name), text).expect("the directory is ours");
        resources.push(name);
    }
    let list = json!({"resources": resources}).to_string();
    fs::write(place.join("kustomization.yaml"), list).expect("the directory is ours");
    assert_eq!(kustomize(&place), kustomize(Path::new(KUSTOMIZATION)));
}

/// The pod of the DaemonSet as a static pod.
fn manifest() -> Value {
    let place = scratch("daemonset");
    let rendered = render(&json!({
        "image": {"pullPolicy": "Never"},
    }));
    let text = &rendered["pause-trace/templates/daemonset.yaml"];
    let file = place.join("daemonset.yaml");
    fs::write(&file, text.as_str().expect("it is rendered")).expect("the directory is ours");
    let json = output(
        dist::kubectl()
            .args([
                "patch",
                "--local",
                "--type=merge",
                "--patch={}",
                "--output=json",
            ])
            .arg("--filename")
            .arg(&file),
    );
    let set: Value = serde_json::from_str(&json).expect("kubectl writes JSON");
    let mut spec = set["spec"]["template"]["spec"].clone();
    assert_eq!(
        spec["containers"][0]["securityContext"]["privileged"],
        false
    );
    // The API server gives a static pod neither; there is none here.
    for absent in ["serviceAccountName", "priorityClassName", "nodeSelector"] {
        spec.as_object_mut().expect("an object").remove(absent);
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "pause-trace", "namespace": "kube-system"},
        "spec": spec,
    })
}

/// The lines of pause-trace in the log of its container, without what the runtime adds.
fn log(node: &Node, pod: &StaticPod<'_>) -> Vec<Value> {
    let logs = node.path("/var/log/pods");
    let own = fs::read_dir(&logs).into_iter().flatten().flatten();
    let own = own.map(|entry| entry.path());
    let own = own.filter(|path| path.to_string_lossy().contains(pod.uid()));
    let text: String = own
        .filter_map(|path| fs::read_to_string(path.join("pause-trace/0.log")).ok())
        .collect();
    let lines = text
        .lines()
        .filter_map(|line| line.split_once(" stdout F "));
    lines
        .map(|(_, line)| wire::read(line).unwrap_or_else(|error| panic!("{error}")))
        .collect()
}

#[test]
fn the_pod_of_the_daemon_set_finds_a_fault_of_another_pod_of_its_kubelet() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    lab.import(&dist::file(".oci.tar"));
    let kubelet = Kubelet::start(&lab);
    let own = kubelet.run(&manifest());
    kubelet.until("has a pause-trace that observes", || {
        log(lab.node(), &own)
            .iter()
            .any(|line| line["type"] == "hello")
            .then_some(())
    });

    let web = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "terminationGracePeriodSeconds": 5, "shareProcessNamespace": true,
                "containers": [{
                    "name": "app", "image": image::WORKLOAD, "imagePullPolicy": "Never",
                    "command": ["/workload", "serve"],
                    "livenessProbe": {"exec": {"command": ["/workload", "orphan", "1"]}, "periodSeconds": 1},
                }],
            },
        })
    };
    let good = kubelet.run(&web("good"));
    lab.use_pause("no-reap");
    let bad = kubelet.run(&web("bad"));
    let found = kubelet.until("has a pause-trace that finds the fault", || {
        let lines = log(lab.node(), &own).into_iter();
        let mut lines = lines.filter(|line| line["type"] == "finding");
        lines.find(|line| line["pod"]["uid"] == *bad.uid())
    });
    assert_eq!(found["pod"]["name"], "bad-node", "{found}");
    assert!(
        found["rule"]
            .as_str()
            .is_some_and(|rule| rule.starts_with("PT4")),
        "{found}"
    );
    // Its probes ask it, so the kubelet calls it ready.
    let address = kubelet.until("calls pause-trace ready", || {
        let status = own.value()["status"].take();
        let is_ready = status["containerStatuses"][0]["ready"] == true;
        let address = status["podIP"].as_str().filter(|_| is_ready)?;
        Some(format!("{address}:9753"))
    });
    let metrics = prometheus::request(lab.node(), &address, "/metrics", "text/plain");
    let metrics = metrics.expect("it serves metrics").body;
    let rule = format!("rule={}", found["rule"]);
    let counted = |line: &str| {
        line.starts_with("pause_trace_findings_total")
            && line.contains(&rule)
            && !line.ends_with(" 0")
    };
    assert!(metrics.lines().any(counted), "{rule}: {metrics}");
    let of_good: Vec<_> = log(lab.node(), &own)
        .into_iter()
        .filter(|line| line["type"] == "finding" && line["pod"]["uid"] == *good.uid())
        .collect();
    assert!(of_good.is_empty(), "{of_good:?}");
    assert_eq!(own.restarts("pause-trace"), 0);
    for pod in [bad, good, own] {
        pod.remove();
    }
}
