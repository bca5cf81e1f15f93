//! Faults in pods of a real containerd. `pause-trace watch` must report each fault and nothing
//! else.

use std::{thread, time::Duration};

use nix::{
    libc,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_cri::messages::Capability;
use pause_trace_tests::{
    lab::{Container, Containerd, Pod, Version, image},
    watch::Watch,
};

use crate::scene::{Scene, at_once, end, sleeps_until_it_is_stopped};

/// A grace period longer than a container takes that handles its stop signal.
const GRACE: Duration = Duration::from_secs(30);

/// The grace period of a container that ignores its stop signal.
const SHORT: Duration = Duration::from_secs(2);

#[test]
fn faults_in_the_life_of_a_pod_are_found() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    own_namespaces(&lab);
    let watch = Watch::start(lab.node());
    let scene = Scene { lab, watch };
    at_once(
        &scene,
        |name, spec| match name.contains("to_the_pause") {
            true => spec.shared_pid(),
            false => spec,
        },
        &[
            ("ignores_the_stop", ignores_the_stop),
            (
                "keeps_the_stop_from_its_child",
                keeps_the_stop_from_its_child,
            ),
            (
                "gets_stop_signals_from_two_senders",
                gets_stop_signals_from_two_senders,
            ),
            ("leaves_zombies_to_pid_1", leaves_zombies_to_pid_1),
            ("leaves_orphans_to_the_pause", leaves_orphans_to_the_pause),
            (
                "is_left_processes_by_its_probes",
                is_left_processes_by_its_probes,
            ),
            ("starts_one_daemon_by_hand", starts_one_daemon_by_hand),
            ("crashes_and_is_restarted", crashes_and_is_restarted),
            ("loses_its_pause", loses_its_pause),
            ("runs_out_of_memory", runs_out_of_memory),
            (
                "loses_a_process_to_the_oom_killer",
                loses_a_process_to_the_oom_killer,
            ),
            ("exceeds_its_memory_limit", exceeds_its_memory_limit),
            ("loses_its_address", loses_its_address),
            ("outlives_its_sandbox", outlives_its_sandbox),
            ("gets_a_namespace_of_its_own", gets_a_namespace_of_its_own),
        ],
    );
    scene.watch.stop();
}

#[test]
fn a_broken_pause_is_found() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let scene = Scene { lab, watch };
    let pods: Vec<_> = [
        ("no-reap", &["PT402"][..]),
        ("exit-on-signal", &["PT307"]),
        ("listen", &["PT501"]),
        ("child", &["PT501"]),
        ("big", &["PT501"]),
    ]
    .into_iter()
    .map(|(pause, broken)| {
        scene.lab.use_pause(pause);
        (scene.lab.pod(pause).shared_pid().run(), broken)
    })
    .collect();
    thread::scope(|scope| {
        for (pod, broken) in pods {
            let scene = &scene;
            scope.spawn(move || has_a_broken_pause(scene, pod, broken));
        }
    });
    scene.watch.stop();
}

/// An orphan dies, which the pause must reap. Other faults of a pause need no trigger.
fn has_a_broken_pause(scene: &Scene, pod: Pod<'_>, broken: &[&str]) {
    let app = pod.serve("app");
    assert_eq!(app.exec(["/workload", "orphan", "1"]).exit_code, 0);
    for rule in broken {
        scene.watch.await_finding(pod.uid(), rule);
    }
    app.end();
    end(scene, pod).assert_broken(broken.iter().copied());
}

/// The span in a finding, in ms.
#[track_caller]
fn span(finding: &serde_json::Value, key: &str) -> u64 {
    let ns = finding["observed"][key].as_u64();
    ns.unwrap_or_else(|| panic!("no {key} in {finding}")) / 1_000_000
}

fn ignores_the_stop(scene: &Scene, pod: Pod<'_>) {
    let spec = pod.container("deaf").workload(["ignore-term"]);
    let container = spec.start().settled_in(libc::SYS_ppoll);
    container.stop(SHORT);
    assert_eq!(container.exit_code(), Some(128 + libc::SIGKILL));
    let killed = scene.watch.await_finding(pod.uid(), "PT302");
    assert!(span(&killed, "grace_ns") >= 2000, "{killed}");
    end(scene, pod).assert_broken(["PT301", "PT302"]);
}

fn keeps_the_stop_from_its_child(scene: &Scene, pod: Pod<'_>) {
    let spec = pod.container("shell");
    let container = spec
        .workload(["no-forward", "/workload", "serve"])
        .start()
        .settled_in(libc::SYS_wait4);
    container.stop(SHORT);
    end(scene, pod).assert_broken(["PT302", "PT304"]);
}

fn gets_stop_signals_from_two_senders(scene: &Scene, pod: Pod<'_>) {
    let script = "trap 'n=$n.; [ $n = .. ] && exit 0' TERM
        sleep 1000 & while :; do wait; done";
    let container = pod.container("app").command(["sh", "-c", script]);
    let container = container.start().settled_in(libc::SYS_rt_sigsuspend);
    kill(Pid::from_raw(container.pid()), Signal::SIGTERM).expect("it runs");
    let container = container.settled_in(libc::SYS_rt_sigsuspend);
    container.stop(GRACE);
    assert_eq!(container.exit_code(), Some(0));
    let twice = scene.watch.await_finding(pod.uid(), "PT305");
    let message = twice["message"].as_str().expect("a message");
    let own_pid = format!("(pid {}", std::process::id());
    assert!(message.contains(&own_pid), "{twice}");
    end(scene, pod).assert_broken(["PT305"]);
}

fn leaves_zombies_to_pid_1(scene: &Scene, pod: Pod<'_>) {
    let container = pod.container("app").workload(["no-reap"]);
    let container = container.start().settled_in(libc::SYS_ppoll);
    assert_eq!(container.exec(["/workload", "orphan", "3"]).exit_code, 0);
    scene.watch.await_finding(pod.uid(), "PT404");
    container.end();
    end(scene, pod).assert_broken(["PT404"]);
}

fn leaves_orphans_to_the_pause(scene: &Scene, pod: Pod<'_>) {
    let container = pod.serve("app");
    assert_eq!(container.exec(["/workload", "orphan", "9"]).exit_code, 0);
    container.end();
    let outcome = end(scene, pod);
    outcome.assert_healthy(["app"]);
    assert!(outcome.passed("PT402", "pause"), "{outcome}");
}

/// Each probe leaves a process, as one does that hangs and is killed. The last runs for longer than
/// the age from which a process counts as left.
fn is_left_processes_by_its_probes(scene: &Scene, pod: Pod<'_>) {
    let app = sleeps_until_it_is_stopped(&pod);
    for _ in 0..3 {
        assert_eq!(app.exec(["sh", "-c", LEAVE]).exit_code, 0);
    }
    assert_eq!(app.exec(["sleep", "7"]).exit_code, 0);
    let left = scene.watch.await_finding(pod.uid(), "PT209");
    let message = left["message"].as_str().expect("a message");
    assert!(message.starts_with("3 exec sessions"), "{left}");
    app.end();
    end(scene, pod).assert_broken(["PT209"]);
}

fn starts_one_daemon_by_hand(scene: &Scene, pod: Pod<'_>) {
    let app = sleeps_until_it_is_stopped(&pod);
    assert_eq!(app.exec(["sh", "-c", LEAVE]).exit_code, 0);
    assert_eq!(app.exec(["sleep", "7"]).exit_code, 0);
    app.end();
    end(scene, pod).assert_healthy(["app"]);
}

/// A session that leaves a process.
const LEAVE: &str = "sleep 1000 < /dev/null > /dev/null 2>&1 &";

fn crashes_and_is_restarted(scene: &Scene, pod: Pod<'_>) {
    for attempt in 0..3 {
        let crashing = pod.container("app").attempt(attempt).workload(["crash"]);
        let crashed = crashing.start();
        assert_eq!(crashed.await_end(), 128 + libc::SIGSEGV);
        crashed.remove();
    }
    let last = pod.container("app").attempt(3).workload(["serve"]);
    let last = last.start().settled_in(libc::SYS_ppoll);
    last.end();
    end(scene, pod).assert_healthy(["app"]);
}

fn loses_its_pause(scene: &Scene, pod: Pod<'_>) {
    let container = pod.serve("app");
    kill(Pid::from_raw(pod.pause_pid()), Signal::SIGKILL).expect("it runs");
    let died = scene.watch.await_finding(pod.uid(), "PT202");
    let cause = died["observed"]["cause"].as_str().expect("a cause");
    assert!(cause.contains("SIGKILL"), "{died}");
    assert!(
        cause.contains(&format!("(pid {}", std::process::id())),
        "{died}"
    );
    assert_eq!(container.exit_code(), None, "it lives without a pause");
    container.end();
    end(scene, pod).assert_broken(["PT202"]);
}

fn runs_out_of_memory(scene: &Scene, pod: Pod<'_>) {
    let container = pod.serve("app");
    pod.lose_pause_to_the_oom_killer();
    let died = scene.watch.await_finding(pod.uid(), "PT202");
    let cause = died["observed"]["cause"].as_str().expect("a cause");
    assert!(cause.contains("OOM"), "{died}");
    container.end();
    end(scene, pod).assert_broken(["PT202"]);
}

fn loses_a_process_to_the_oom_killer(scene: &Scene, pod: Pod<'_>) {
    let container = pod.serve("app");
    container.limit_memory(64 << 20);
    let eaten = container.exec(["/workload", "eat-memory", "256"]);
    assert_eq!(eaten.exit_code, 128 + libc::SIGKILL);
    let killed = scene.watch.await_container(container.id(), "oom_killed");
    let id = container.id().to_owned();
    container.end();
    let ended = scene.watch.await_container(&id, "ended");
    assert_eq!(ended["oom_killed"], killed["process"], "{ended}");
    assert_eq!(ended["status"], "exit code 0", "{ended}");
    let outcome = end(scene, pod);
    outcome.assert_broken(["PT211"]);
    assert!(
        outcome.accused().is_empty(),
        "it is for information: {outcome}"
    );
}

fn exceeds_its_memory_limit(scene: &Scene, pod: Pod<'_>) {
    const LIMIT: i64 = 64 << 20;
    let hungry = pod.container("hungry").workload(["eat-memory", "256"]);
    let hungry = hungry.configure(|config| {
        let linux = config.linux.get_or_insert_default();
        linux
            .resources
            .get_or_insert_default()
            .memory_limit_in_bytes = LIMIT;
    });
    let hungry = hungry.start();
    assert_eq!(hungry.await_end(), 128 + libc::SIGKILL);
    let ended = scene.watch.await_container(hungry.id(), "ended");
    assert_eq!(ended["oom_killed"], ended["process"], "{ended}");
    assert_eq!(ended["memory_limit_bytes"], LIMIT, "{ended}");
    let killed = scene.watch.await_finding(pod.uid(), "PT211");
    assert_eq!(killed["observed"]["memory_limit_bytes"], LIMIT, "{killed}");
    let message = killed["message"].as_str().expect("a message");
    assert!(
        message.starts_with("OOM-killed, limit 64 MiB: workload (pid "),
        "{killed}"
    );
    hungry.remove();
    let outcome = end(scene, pod);
    outcome.assert_broken(["PT211"]);
    assert!(outcome.accused().is_empty(), "{outcome}");
}

/// A process with CAP_NET_ADMIN takes the pod's address away. The next look is that at a container
/// which starts later.
fn loses_its_address(scene: &Scene, pod: Pod<'_>) {
    let careless = pod
        .container("careless")
        .command(["/bin/busybox", "sleep", "3600"]);
    let add_capabilities = vec!["NET_ADMIN".to_owned()];
    let careless = careless.security(|security| {
        security.capabilities = Some(Capability {
            add_capabilities,
            drop_capabilities: Vec::new(),
        });
    });
    let careless = careless.start();
    scene.watch.await_container(careless.id(), "started");
    let flush = ["/bin/busybox", "ip", "address", "flush", "dev", "eth0"];
    let flushed = careless.exec(flush);
    assert_eq!(flushed.exit_code, 0, "{flushed:?}");
    let late = pod.serve("late");
    let lost = scene.watch.await_finding(pod.uid(), "PT114");
    assert_eq!(
        lost["observed"]["network"], "no address but loopback's",
        "{lost}"
    );
    late.end();
    careless.stop(Duration::ZERO);
    careless.await_end();
    careless.remove();
    let outcome = end(scene, pod);
    assert_eq!(outcome.accused(), ["PT114"].into(), "{outcome}");
}

fn outlives_its_sandbox(scene: &Scene, pod: Pod<'_>) {
    let left = pod.serve("left");
    kill(Pid::from_raw(pod.pause_pid()), Signal::SIGKILL).expect("it runs");
    scene.watch.await_container(pod.id(), "ended");
    let again = scene.lab.pod("outlives-its-sandbox").again(&pod).run();
    let stale = scene.watch.await_finding(pod.uid(), "PT203");
    assert_eq!(stale["container"]["name"], "left");
    let fresh = again.serve("fresh");
    left.end();
    let removed = scene.lab.client().remove_sandbox(pod.id());
    scene.lab.call(removed).expect("it has ended");
    fresh.end();
    let outcome = end(scene, again);
    outcome.assert_broken(["PT202", "PT203"]);
    assert!(outcome.passed("PT101", "fresh"), "{outcome}");
}

/// A faulty runtime gives the container `own-KIND` a namespace of its own.
fn gets_a_namespace_of_its_own(scene: &Scene, pod: Pod<'_>) {
    let containers = ["own-network", "own-ipc", "own-uts", "fine"].map(|name| pod.serve(name));
    containers.into_iter().for_each(Container::end);
    let outcome = end(scene, pod);
    outcome.assert_broken(["PT101", "PT102", "PT103"]);
    for (rule, name) in [
        ("PT101", "own-network"),
        ("PT102", "own-ipc"),
        ("PT103", "own-uts"),
    ] {
        let mut findings = outcome.lines().iter();
        let finding = findings.find(|line| line["type"] == "finding" && line["rule"] == rule);
        let finding = finding.expect("it was reported before");
        assert_eq!(finding["container"]["name"], name, "{finding}");
    }
}

/// Replaces the node's runc by one that gives a container called `own-…` a new namespace of that
/// kind instead of the pod's.
fn own_namespaces(lab: &Containerd) {
    lab.replace_runc(
        r#"
for kind in network ipc uts; do
    if grep -q "\"io.kubernetes.cri.container-name\":\"own-$kind\"" config.json 2>/dev/null; then
        sed -i "s#{\"type\":\"$kind\",\"path\":\"[^\"]*\"}#{\"type\":\"$kind\"}#" config.json
    fi
done
"#,
    );
}
