//! Containers that would not take their stop signal, and near misses (PT312).

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::libc;
use pause_trace_tests::{
    Run, c_program,
    lab::{Container, Containerd, Engine, Pod, Sharing, Version, image},
    pause_trace, run, scratch,
    watch::{Outcome, Watch},
};
use serde_json::Value;

/// A shell that ends on SIGTERM and has `before` done first.
fn traps(before: &str) -> String {
    format!("{before}; trap 'exit 0' TERM; while :; do sleep 1; done")
}

#[track_caller]
fn shell<'a>(pod: &'a Pod<'a>, name: &str, script: &str) -> Container<'a> {
    pod.container(name).command(["sh", "-c", script]).start()
}

/// The findings of the rule about a pod, as container and message.
fn found(lines: &[Value], uid: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines
        .iter()
        .filter(|line| line["type"] == "finding" && line["rule"] == "PT312")
        .filter(|line| line["pod"]["uid"] == uid)
        .map(|line| (text(&line["container"]["name"]), text(&line["message"])))
        .collect()
}

/// Waits until the rule has found this container.
#[track_caller]
fn await_finding(watch: &Watch, container: &str) -> Value {
    watch.await_line(&format!("PT312 of {container}"), |line| {
        line["type"] == "finding" && line["rule"] == "PT312" && line["container"]["id"] == container
    })
}

#[track_caller]
fn assert_passed(outcome: &Outcome, containers: &[&str]) {
    for container in containers {
        assert!(
            outcome.passed("PT312", container),
            "no PT312 passed for {container}: {outcome}"
        );
    }
}

#[test]
fn entrypoints_that_would_not_take_their_stop_signal_are_found() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());

    let fine = lab.pod("fine").run();
    let _trap = shell(&fine, "trap", &traps("true"));
    // Its handler is there when it is looked at, and was not before.
    let _late = shell(&fine, "late", &traps("sleep 4"));
    let waits = fine.container("waits").workload(["exit-on-term", "0"]);
    let _waits = waits.start().settled_in(libc::SYS_rt_sigtimedwait);
    // It has a handler, too: an event loop takes its signals when it waits.
    let blocks = fine.container("blocks").workload(["block-term"]);
    let _blocks = blocks.start().settled_in(libc::SYS_ppoll);
    let short = shell(&fine, "short", "sleep 2");
    let hosts = lab.pod("hosts-pids").host_pid().run();
    let _not_pid_1 = shell(&hosts, "not-pid-1", "exec sleep 1000000");

    let slow = lab.pod("slow").run();
    let sleeps = shell(&slow, "sleeps", "exec sleep 1000000");
    let ignores = shell(&slow, "ignores", "trap '' TERM; exec sleep 1000000");
    // The program that it executes late may install a handler yet, when the shell is 10 s old.
    let execs = shell(&slow, "execs", "sleep 8; exec sleep 1000000");

    let finding = await_finding(&watch, sleeps.id());
    assert_eq!(finding["severity"], "info", "{finding}");
    let pid = sleeps.pid();
    assert_eq!(finding["process"]["pid"], pid, "{finding}");
    let drops = |name: &str, pid: i32| {
        format!(
            "a stop of {name} will take the whole grace period: sleep (pid {pid}) is pid 1 of its \
             pid namespace and has no handler for SIGTERM, so the kernel drops it"
        )
    };
    assert_eq!(finding["message"], drops("sleeps", pid));
    let evidence = finding["evidence"].to_string();
    let masks = format!("/proc/{pid}/status was read: SigBlk 0000000000000000");
    assert!(evidence.contains(&masks), "{finding}");

    let finding = await_finding(&watch, ignores.id());
    let message = finding["message"].as_str().unwrap_or_default();
    assert!(message.ends_with(" ignores SIGTERM"), "{finding}");

    let finding = await_finding(&watch, execs.id());
    assert_eq!(finding["message"], drops("execs", execs.pid()));
    let executed = finding["evidence"][0]["ktime_ns"].as_u64();
    let read = finding["ktime_ns"].as_u64();
    let (executed, read) = executed.zip(read).expect("times");
    assert!(read - executed > 5_000_000_000, "{finding}");

    assert_eq!(short.await_end(), 0);
    let slow_uid = slow.uid().to_owned();
    let [fine, hosts, slow] = [fine, hosts, slow].map(|pod| {
        let uid = pod.uid().to_owned();
        pod.remove();
        watch.verified(&uid)
    });
    assert_passed(&fine, &["trap", "late", "waits", "blocks"]);
    assert_passed(&hosts, &["not-pid-1"]);
    for outcome in [&fine, &hosts] {
        let lines = outcome.lines();
        let about = |line: &&Value| line["rule"] == "PT312";
        let failed = lines
            .iter()
            .filter(about)
            .find(|line| line["verdict"] != "pass");
        assert_eq!(failed, None, "{outcome}");
        let of_short = |line: &Value| line["container"]["name"] == "short";
        assert!(!lines.iter().filter(about).any(of_short), "{outcome}");
    }
    let mut names: Vec<_> = found(slow.lines(), &slow_uid)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["execs", "ignores", "sleeps"], "each once: {slow}");
    watch.stop();
}

/// Whether a signal that is blocked is read cannot be seen from outside.
#[test]
fn entrypoints_that_read_a_blocked_signal_unseen_are_not_accused() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let program = c_program("blocks_sigterm");
    let watch = Watch::start(lab.node());
    let pod = lab.pod("blocks").run();
    let blocking = ["waits", "pending", "thread"].map(|how| {
        let container = pod.container(how).mount(&program, "/blocks");
        container.command(["/blocks", how]).start()
    });
    // It is read after those.
    let sleeps = shell(&pod, "sleeps", "exec sleep 1000000");
    await_finding(&watch, sleeps.id());
    for container in &blocking {
        container.stop(Duration::from_secs(30));
        assert_eq!(container.exit_code(), Some(0), "it takes the signal");
    }
    let uid = pod.uid().to_owned();
    pod.remove();
    let outcome = watch.verified(&uid);
    let of_rule = |line: &&Value| line["type"] == "verdict" && line["rule"] == "PT312";
    let named: Vec<_> = outcome
        .lines()
        .iter()
        .filter(of_rule)
        .map(|line| &line["container"]["name"])
        .collect();
    assert_eq!(named, ["sleeps"], "{outcome}");
    watch.stop();
}

/// A look at a node says so of what runs on it, fails nothing by it, and records it.
#[test]
fn a_short_look_finds_them_in_what_runs() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let fine = lab.pod("fine").run();
    let _trap = shell(&fine, "trap", &traps("true"));
    let served = fine.serve("serves");
    let slow = lab.pod("slow").run();
    let _sleeps = shell(&slow, "sleeps", "exec sleep 1000000");

    let path = scratch("stops").join("once.ptrec");
    let until = Instant::now() + Duration::from_secs(60);
    let look = loop {
        let _ = std::fs::remove_file(&path);
        let mut look = Command::new(pause_trace());
        look.args(["watch", "--once", "--format", "json", "--record"]);
        let look: Run = lab
            .node()
            .output(look.arg(&path).stdin(Stdio::null()))
            .into();
        // Younger ones may install a handler yet.
        if !found(&look.objects(), slow.uid()).is_empty() {
            break look;
        }
        assert!(Instant::now() < until, "{look:?}");
    };
    // Other tests have pods on this machine, too.
    let lines = look.objects();
    let of_pods = |lines: &[Value]| [&fine, &slow].map(|pod| found(lines, pod.uid()));
    let [of_fine, of_slow] = of_pods(&lines);
    assert_eq!(of_fine, []);
    assert_eq!(of_slow.len(), 1, "{of_slow:?}");
    assert_eq!(of_slow[0].0, "sleeps");
    let is_ours = |line: &Value| {
        [fine.uid(), slow.uid()]
            .map(Into::into)
            .contains(&line["pod"]["uid"])
    };
    let mut ours = lines
        .iter()
        .filter(|line| line["type"] == "finding" && is_ours(line));
    assert!(ours.all(|line| line["severity"] == "info"), "{look:?}");
    let replay = run([
        "replay".as_ref(),
        path.as_os_str(),
        "--format=json".as_ref(),
    ]);
    assert_eq!(of_pods(&replay.objects()), [of_fine, of_slow], "{replay:?}");
    for (fail_on, code) in [("error", 0), ("info", 1)] {
        let mut look = Command::new(pause_trace());
        look.args(["watch", "--once", "--format=json", "--fail-on", fail_on]);
        look.args(["--pod", slow.uid()]).stdin(Stdio::null());
        let look: Run = lab.node().output(&mut look).into();
        assert_eq!(look.code, Some(code), "{look:?}");
        assert_eq!(found(&look.objects(), slow.uid()).len(), 1, "{look:?}");
    }
    served.end();
    [fine, slow].into_iter().for_each(Pod::remove);
}

#[test]
fn the_stop_signal_of_a_container_of_docker_counts() {
    own_signals_count(&Engine::docker());
}

#[test]
fn the_stop_signal_of_a_container_of_podman_counts() {
    own_signals_count(&Engine::podman());
}

fn own_signals_count(engine: &Engine) {
    engine.import(&image::workload());
    let watch = Watch::start(engine.node());
    let pod = engine.pod(Sharing::Plain);
    let own = ["--stop-signal", "SIGRTMIN+3"];
    // It has a handler for every signal.
    let takes = pod.workload_with(&own, &["exit-on-signal"]);
    // It has one for SIGTERM.
    let serves = pod.workload_with(&["--stop-signal", "SIGTERM"], &["serve"]);
    let drops = pod.workload_with(&own, &["serve"]);
    let finding = await_finding(&watch, drops.id());
    let message = finding["message"].as_str().unwrap_or_default();
    let end = "has no handler for SIGRTMIN+3, so the kernel drops it";
    assert!(message.ends_with(end), "{finding}");
    for container in [&takes, &serves] {
        let name = format!("PT312 of {}", container.id());
        let verdict = watch.await_line(&name, |line| {
            line["rule"] == "PT312" && line["container"]["id"] == container.id()
        });
        assert_eq!(verdict["verdict"], "pass", "{verdict}");
    }
    for (container, grace) in [(takes, 30), (serves, 30), (drops, 0)] {
        container.stop(Duration::from_secs(grace));
        container.remove();
    }
    pod.pause.stop(Duration::from_secs(30));
    pod.remove();
    watch.stop();
}
