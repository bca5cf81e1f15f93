//! `pause-trace watch` on containers that are started again under the same id.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use nix::libc;
use pause_trace_tests::{
    Run,
    lab::{Engine, EngineContainer, Sharing, image},
    pause_trace,
    watch::Watch,
};
use serde_json::{Value, json};

/// Waits for an event of a run of a container.
#[track_caller]
fn await_run(watch: &Watch, container: &str, run: Option<u64>, event: &str) -> Value {
    watch.await_line(
        &format!("`{event}` of run {run:?} of {container}"),
        |line| {
            let known = &line["container"];
            known["id"] == container && known["run"].as_u64() == run && line["event"] == event
        },
    )
}

fn restart(container: &EngineContainer<'_>, grace: Duration) {
    let seconds = grace.as_secs().to_string();
    let engine = container.engine();
    engine.command(&["restart", "--time", &seconds, container.id()]);
}

#[test]
fn the_second_run_of_a_docker_container_is_judged_like_the_first() {
    the_second_run_is_judged_like_the_first(&Engine::docker());
}

#[test]
fn the_second_run_of_a_podman_container_is_judged_like_the_first() {
    the_second_run_is_judged_like_the_first(&Engine::podman());
}

/// Both runs ignore SIGTERM. The first is killed at once; nothing but the second can show it.
fn the_second_run_is_judged_like_the_first(engine: &Engine) {
    engine.import(&image::workload());
    let watch = Watch::start(engine.node());
    let pod = engine.pod(Sharing::Plain);
    let container = pod.workload(&["ignore-term"]);
    let first = await_run(&watch, container.id(), None, "started");
    let uid = first["pod"]["uid"].as_str().expect("a pod has a uid");

    restart(&container, Duration::ZERO);
    await_run(&watch, container.id(), None, "ended");
    let second = await_run(&watch, container.id(), Some(2), "started");
    assert_eq!(second["pod"], first["pod"]);
    assert_ne!(second["process"]["pid"], first["process"]["pid"]);
    container.stop(Duration::from_secs(2));
    assert_eq!(container.exit_code(), 128 + libc::SIGKILL);
    await_run(&watch, container.id(), Some(2), "ended");
    container.remove();
    pod.pause.stop(Duration::from_secs(30));
    pod.remove();

    let outcome = watch.verified(uid);
    for rule in ["PT301", "PT302"] {
        let mut findings = outcome.lines().iter();
        let is_of_second_run =
            |line: &&Value| line["rule"] == rule && line["container"]["run"] == 2;
        let found = findings.find(|line| line["type"] == "finding" && is_of_second_run(line));
        assert!(found.is_some(), "no {rule} for the second run: {outcome}");
    }
    for rule in ["PT101", "PT102", "PT104"] {
        let mut verdicts = outcome.lines().iter();
        let passed = verdicts.any(|line| {
            line["rule"] == rule && line["verdict"] == "pass" && line["container"]["run"] == 2
        });
        assert!(passed, "no {rule} passed for the second run: {outcome}");
    }
    watch.stop();
}

/// Podman restarts the infra container first, and then each of the others, whose grace periods
/// together are longer than the 5 s in which a runtime must have begun to stop a container. That is
/// no error of who runs an ordinary command.
#[test]
fn the_restart_of_a_podman_pod_with_slow_containers_is_no_error() {
    let engine = Engine::podman();
    engine.import(&image::workload());
    let watch = Watch::start(engine.node());
    let pod = engine.pod(Sharing::Plain);
    let slow: Vec<_> = (0..3)
        .map(|_| pod.workload_with(&["--stop-timeout", "3"], &["ignore-term"]))
        .map(|slow| slow.settled_in(libc::SYS_ppoll))
        .collect();
    let first = await_run(&watch, slow[0].id(), None, "started");
    let uid = first["pod"]["uid"].as_str().expect("a pod has a uid");

    engine.command(&["pod", "restart", &slow[0].inspect("{{.Pod}}")]);
    for slow in slow {
        await_run(&watch, slow.id(), Some(2), "started");
        let slow = slow.settled_in(libc::SYS_ppoll);
        slow.stop(Duration::ZERO);
        slow.remove();
    }
    pod.pause.stop(Duration::from_secs(30));
    pod.remove();
    let outcome = watch.verified(uid);
    let findings: Vec<_> = outcome
        .lines()
        .iter()
        .filter(|line| line["type"] == "finding" && line["verdict"] == "fail")
        .map(|line| ["rule", "severity", "message"].map(|key| line[key].as_str().unwrap_or("")))
        .collect();
    let is_mild = |[rule, severity, _]: &[&str; 3]| match *rule {
        "PT309" => *severity == "warning",
        "PT301" | "PT302" => true, // it ignores SIGTERM
        _ => *severity == "info",
    };
    assert!(findings.iter().all(is_mild), "{findings:#?}");
    let is_order = |[rule, ..]: &[&str; 3]| *rule == "PT309";
    assert!(findings.iter().any(is_order), "{findings:#?}");
    watch.stop();
}

#[test]
fn who_joined_the_former_run_of_a_sandbox_is_stranded_and_who_joins_the_next_is_not() {
    let engine = Engine::docker();
    engine.import(&image::workload());
    let watch = Watch::start(engine.node());
    let pod = engine.pod(Sharing::Plain);
    let former = pod.workload(&["serve"]).settled_in(libc::SYS_ppoll);
    let started = await_run(&watch, former.id(), None, "started");
    let uid = started["pod"]["uid"].as_str().expect("a pod has a uid");

    restart(&pod.pause, Duration::from_secs(2));
    let next = pod.workload(&["serve"]).settled_in(libc::SYS_ppoll);
    let started = await_run(&watch, next.id(), None, "started");
    assert_eq!(started["pod"]["uid"], uid);

    let stranded = watch.await_finding(uid, "PT203");
    assert_eq!(stranded["container"]["id"], former.id(), "{stranded}");
    for container in [next, former] {
        container.stop(Duration::from_secs(30));
        container.remove();
    }
    pod.pause.stop(Duration::from_secs(30));
    pod.remove();
    let outcome = watch.verified(uid);
    let accused: Vec<_> = outcome
        .lines()
        .iter()
        .filter(|line| line["type"] == "finding" && line["severity"] == "error")
        .filter(|line| line["container"]["id"] == started["container"]["id"])
        .collect();
    assert!(
        accused.is_empty(),
        "the healthy container is accused: {accused:#?}"
    );
    watch.stop();
}

/// The same, but the sandbox was started again before `watch`: only Docker's configuration says
/// which container the one that is left has joined.
#[test]
fn who_is_left_in_a_former_run_of_a_sandbox_is_found_by_a_later_watch() {
    let engine = Engine::docker();
    engine.import(&image::workload());
    let pod = engine.pod(Sharing::Plain);
    let left = pod.workload(&["serve"]).settled_in(libc::SYS_ppoll);
    let well = pod.workload(&["serve"]).settled_in(libc::SYS_ppoll);
    restart(&pod.pause, Duration::from_secs(2));
    restart(&well, Duration::from_secs(2));
    let well = well.settled_in(libc::SYS_ppoll);

    let mut list = Command::new(pause_trace());
    list.args(["ls", "--format", "json"]).stdin(Stdio::null());
    let list: Run = engine.node().output(&mut list).into();
    assert_eq!(list.code, Some(0), "{list:?}");
    let mut lines = list.objects();
    lines.retain(|line| line["pod"]["uid"] == pod.pause.id());
    let shown: Vec<_> = lines
        .iter()
        .map(|line| (line["sandbox"].clone(), line["containers"].clone()))
        .collect();
    let expected = [(json!(pod.pause.id()), json!(1)), (Value::Null, json!(1))];
    assert_eq!(shown, expected, "{list:?}");
    assert_eq!(lines[0]["verdicts"]["rules"], json!(["PT203"]), "{list:?}");

    let watch = Watch::start(engine.node());
    let uid = pod.pause.id();
    let stranded = watch.await_finding(uid, "PT203");
    assert_eq!(stranded["container"]["id"], left.id(), "{stranded}");
    for container in [&left, &well] {
        let started = await_run(&watch, container.id(), None, "started");
        assert_eq!(started["pod"]["uid"], uid, "{started}");
    }
    let healthy = well.id().to_owned();
    for container in [well, left] {
        container.stop(Duration::from_secs(30));
        container.remove();
    }
    let uid = uid.to_owned();
    pod.pause.stop(Duration::from_secs(30));
    pod.remove();
    let outcome = watch.verified(&uid);
    let mut findings = outcome.lines().iter();
    let accused = findings
        .find(|line| line["type"] == "finding" && line["container"]["id"] == healthy.as_str());
    assert!(
        accused.is_none(),
        "the healthy container is accused: {accused:#?}"
    );
    watch.stop();
}
