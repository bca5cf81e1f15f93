//! `pause-trace watch` on a container with OCI hooks.

use std::{fs, time::Duration};

use nix::libc;
use pause_trace_tests::{
    lab::{Engine, Sharing, image},
    watch::Watch,
};

#[test]
fn oci_hooks_are_neither_entrypoints_nor_exec_sessions() {
    let engine = Engine::podman();
    engine.import(&image::workload());
    let hooks = engine.node().path("/run/hooks");
    fs::create_dir_all(&hooks).expect("the directory can be made");
    // The program of a createContainer hook is the node's, that of a startContainer hook the
    // container's.
    for (stage, path, args) in [
        ("createContainer", "/bin/true", r#"["true"]"#),
        ("startContainer", "/workload", r#"["workload", "true"]"#),
    ] {
        let hook = format!(
            r#"{{"version": "1.0.0", "hook": {{"path": "{path}", "args": {args}}}, "when": {{"always": true}}, "stages": ["{stage}"]}}"#
        );
        fs::write(hooks.join(format!("{stage}.json")), hook).expect("the file can be written");
    }
    let watch = Watch::start(engine.node());
    let pod = engine.pod(Sharing::Plain);
    let container = pod
        .workload_with_hooks(&hooks, &["serve"])
        .settled_in(libc::SYS_ppoll);
    let started = watch.await_container(container.id(), "started");
    assert_eq!(
        started["process"]["pid"],
        container.pid(),
        "the entrypoint is the process that the engine knows: {started}"
    );
    let uid = started["pod"]["uid"].as_str().expect("a pod has a uid");
    container.stop(Duration::from_secs(30));
    assert_eq!(container.exit_code(), 0);
    let id = container.id().to_owned();
    container.remove();
    pod.pause.stop(Duration::from_secs(30));
    pod.remove();
    let outcome = watch.verified(uid);
    outcome.assert_broken([]);
    for rule in ["PT101", "PT102", "PT104"] {
        assert!(outcome.passed(rule, &id), "no {rule} passed: {outcome}");
    }
    watch.stop();
}
