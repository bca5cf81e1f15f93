//! `pause-trace why` on pods of a real containerd that are removed, that are being stopped, or of
//! which nothing runs and something is left.

use std::{
    fs::File,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::{
    Run,
    lab::{ContainerSpec, Containerd, Version, image},
    pause_trace, process,
    watch::Watch,
};
use serde_json::Value;

/// How long an answer may take to become what is expected, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn ask<const N: usize>(lab: &Containerd, args: [&str; N]) -> Run {
    let mut command = Command::new(pause_trace());
    command.args(args).stdin(Stdio::null());
    lab.node().output(&mut command).into()
}

/// Asks why, without the eBPF program.
#[track_caller]
fn why(lab: &Containerd, pod: &str) -> (Run, Value) {
    let run = ask(lab, ["why", pod, "--no-ebpf", "--format", "json"]);
    let mut lines = run.objects();
    assert_eq!(lines.len(), 1, "{run:?}");
    (run, lines.remove(0))
}

fn causes(line: &Value) -> Vec<&str> {
    let reasons = line["reasons"].as_array().expect("a list").iter();
    let causes = reasons.map(|reason| reason["cause"].as_str());
    causes.map(|cause| cause.expect("a word")).collect()
}

#[track_caller]
fn reason<'a>(line: &'a Value, cause: &str) -> &'a Value {
    let mut reasons = line["reasons"].as_array().expect("a list").iter();
    let found = reasons.find(|reason| reason["cause"] == cause);
    found.unwrap_or_else(|| panic!("no {cause}: {line:#}"))
}

#[track_caller]
fn sentence<'a>(line: &'a Value, cause: &str) -> &'a str {
    reason(line, cause)["sentence"].as_str().expect("text")
}

/// Asks until the answer has this cause, or until it has not.
#[track_caller]
fn await_cause(lab: &Containerd, pod: &str, cause: &str, is_there: bool) -> (Run, Value) {
    let until = Instant::now() + PATIENCE;
    loop {
        let (run, line) = why(lab, pod);
        if causes(&line).contains(&cause) == is_there {
            return (run, line);
        }
        assert!(Instant::now() < until, "{cause} {is_there}: {line:#}");
    }
}

/// Asks until the reason with this cause says this.
#[track_caller]
fn await_sentence(lab: &Containerd, pod: &str, cause: &str, part: &str) -> (Run, Value) {
    let until = Instant::now() + PATIENCE;
    loop {
        let (run, line) = await_cause(lab, pod, cause, true);
        if sentence(&line, cause).contains(part) {
            return (run, line);
        }
        assert!(Instant::now() < until, "{part}: {line:#}");
    }
}

#[test]
fn a_pod_that_is_removed_is_explained_by_the_history_alone() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());

    let pod = lab.pod("failed").run();
    let failing = pod.container("work").workload(["exit", "3"]).start();
    assert_eq!(failing.await_end(), 3);
    let killed = pod.serve("killed");
    kill(Pid::from_raw(killed.pid()), Signal::SIGKILL).expect("it runs");
    assert_eq!(killed.await_end(), 137);
    let app = pod.serve("app");
    watch.await_container(app.id(), "started");
    let (uid, id) = (pod.uid().to_owned(), app.id().to_owned());
    app.end();
    pod.remove();
    watch.await_event(&uid, "removed");

    let (run, line) = why(&lab, "default/failed");
    assert_eq!(run.code, Some(1), "{run:?}");
    assert_eq!(line["phase"], "removed", "{line:#}");
    assert_eq!(line["pod"]["uid"], *uid);
    let failed = |container: &str| {
        let mut reasons = line["reasons"].as_array().expect("a list").iter();
        let found = reasons.find(|one| one["cause"] == "failed" && one["container"] == container);
        found.map(|reason| reason["sentence"].as_str().expect("text"))
    };
    assert_eq!(failed("work"), Some("work ended with exit code 3"));
    let by = format!("(pid {}) sent", std::process::id());
    let sentence = failed("killed").expect("it was killed");
    assert!(
        sentence.starts_with("killed was killed by SIGKILL, which ") && sentence.ends_with(&by),
        "{sentence}"
    );
    assert_eq!(failed("app"), None, "it was stopped: {line:#}");
    let removed = &line["removed"];
    assert!(removed["stop_took_ns"].as_u64() > Some(0), "{line:#}");
    let runs = removed["runs"].as_array().expect("a list");
    let of = |name: &str| runs.iter().find(|run| run["container"]["name"] == name);
    let (app, work) = (of("app").expect("it ran"), of("work").expect("it ran"));
    assert_eq!(app["stop_requested"], true, "{line:#}");
    assert_eq!(
        (&work["exit_code"], &work["stop_requested"]),
        (&3.into(), &false.into())
    );
    assert!(
        line["history"]["happened"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    );

    let text = ask(&lab, ["why", "default/failed", "--no-ebpf"]);
    assert_eq!(text.code, Some(1), "{text:?}");
    for part in [
        "default/failed is removed\nremoved ",
        "\nits stop took ",
        "  the pause ",
        "1. work ended with exit code 3\n",
        "\nWhat happened before\n",
    ] {
        assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    }
    // Other names of it.
    for name in ["failed", "default/fail", &uid, &id[..16]] {
        let (run, line) = why(&lab, name);
        assert_eq!(
            (run.code, &line["pod"]["uid"]),
            (Some(1), &(*uid).into()),
            "{name}"
        );
    }
    timelines(&lab, &uid);
    let inspect = ask(&lab, ["inspect", "default/failed", "--no-ebpf"]);
    assert_eq!(inspect.code, Some(3), "{inspect:?}");
    assert!(
        inspect
            .stderr
            .contains("the node no longer has default/failed"),
        "{inspect:?}"
    );
    let without = ask(&lab, ["why", "default/failed", "--no-ebpf", "--no-history"]);
    assert_eq!(without.code, Some(3), "{without:?}");
    let nobody = ask(&lab, ["why", "default/nobody", "--no-ebpf"]);
    assert_eq!(nobody.code, Some(3), "{nobody:?}");
    let reach = "the history of watch, which reaches back ";
    assert!(nobody.stderr.contains(reach), "{nobody:?}");

    // Two pods that ended well, with one name.
    let mut uids = Vec::new();
    for _ in 0..2 {
        let fine = lab.pod("fine").run();
        let app = fine.serve("app");
        watch.await_container(app.id(), "started");
        uids.push(fine.uid().to_owned());
        app.end();
        fine.remove();
        watch.await_event(&uids[uids.len() - 1], "removed");
    }
    let ambiguous = ask(&lab, ["why", "default/fine", "--no-ebpf"]);
    assert_eq!(ambiguous.code, Some(2), "{ambiguous:?}");
    let newest_first = format!("(uid {}), default/fine (uid {})", uids[1], uids[0]);
    assert!(ambiguous.stderr.contains(&newest_first), "{ambiguous:?}");
    // The timeline is that of the newest, and the other one is named.
    let timeline = ask(&lab, ["timeline", "default/fine", "--format", "json"]);
    assert_eq!(timeline.code, Some(0), "{timeline:?}");
    let other = format!("1 pod of this name before it: uid {}", uids[0]);
    assert!(timeline.stderr.contains(&other), "{timeline:?}");
    let is_newest = |line: &Value| line["pod"]["uid"] == *uids[1];
    assert!(timeline.objects().iter().any(is_newest), "{timeline:?}");
    let (run, line) = why(&lab, &uids[0]);
    assert_eq!((run.code, causes(&line).len()), (Some(0), 0), "{line:#}");
    assert_eq!(
        line["unknown"].as_array().map(Vec::len),
        Some(0),
        "{line:#}"
    );
    let _ = watch.stop();
}

/// Asks for the timeline of a pod that is removed.
fn timelines(lab: &Containerd, uid: &str) {
    for name in ["default/failed", "failed", uid] {
        let run = ask(lab, ["timeline", name, "--format", "json"]);
        assert_eq!(run.code, Some(0), "{run:?}");
        let said = format!("; \"{name}\" was removed ");
        assert!(run.stderr.contains(&said), "{run:?}");
        let lines = run.objects();
        let has = |what: &str| lines.iter().any(|line| line["what"] == what);
        assert!(has("removed"), "removed: {run:?}");
        assert!(has("run"), "run: {run:?}");
        assert!(has("exited"), "exited: {run:?}");
        let ours = |line: &Value| line["pod"].is_null() || line["pod"]["uid"] == *uid;
        assert!(lines.iter().all(ours), "{run:?}");
    }
    let whole = ask(lab, ["timeline", uid, "--until", "removed"]);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    // The beginning of a name is that of a pod to come, and so is every name without the history.
    for args in [
        ["timeline", "default/fai", "--for", "1"],
        ["timeline", "default/failed", "--no-history", "--for=1"],
    ] {
        let run = ask(lab, args);
        assert_eq!(run.code, Some(3), "{run:?}");
        // The time may be over before it waits.
        let said = format!("no pod \"{}\" started in this time", args[1]);
        assert!(run.stderr.contains(&said), "{run:?}");
    }
}

/// A container with this grace period, as a kubelet writes it down.
fn with_grace<'a>(spec: ContainerSpec<'a>, seconds: &str) -> ContainerSpec<'a> {
    spec.configure(|config| {
        let key = "io.kubernetes.pod.terminationGracePeriod";
        config
            .annotations
            .insert(key.to_owned(), seconds.to_owned());
    })
}

#[test]
fn a_pod_that_is_stuck_terminating_says_when_its_grace_period_ends() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    for (name, seconds, cause, is, code) in [
        (
            "patient",
            "6000",
            "stop_sent",
            "its grace period of 6000 s ends in 1h39m",
            0,
        ),
        (
            "late",
            "1",
            "stop_sent",
            "its grace period of 1 s ended ",
            0,
        ),
        (
            "hostile",
            "-99999999999999999999",
            "stop_sent",
            "its grace period is not known",
            0,
        ),
    ] {
        let pod = lab.pod(name).run();
        let deaf = with_grace(pod.container("app"), seconds);
        let deaf = deaf.workload(["ignore-term"]).start();
        let deaf = deaf.settled_in(libc::SYS_ppoll);
        let pid = Pid::from_raw(deaf.pid());
        thread::scope(|scope| {
            let stopping = scope.spawn(|| deaf.stop(PATIENCE * 10));
            // The deletion may have asked for a longer one, so it is not called over.
            let (run, line) = await_sentence(&lab, name, cause, is);
            // The kernel kills it, so that the runtime's stop ends.
            kill(pid, Signal::SIGKILL).expect("it runs");
            stopping.join().expect("it stops");
            assert_eq!(line["phase"], "stopping", "{line:#}");
            let said = sentence(&line, cause);
            let begin = format!("SIGTERM was sent to workload (pid {pid}) of app ");
            assert!(said.starts_with(&begin) && said.contains(is), "{said}");
            let is_spec = seconds == "1" || seconds == "6000";
            let doubt = ", unless the deletion of the pod asked for another one";
            assert_eq!(said.ends_with(doubt), is_spec, "{said}");
            let evidence = &reason(&line, cause)["evidence"];
            let sender = evidence[1].as_str().expect("text");
            assert!(sender.ends_with(" sent SIGTERM"), "{sender}");
            let other = causes(&line).contains(&"stop_ignored");
            assert!(!other, "{line:#}");
            assert_eq!(run.code, Some(code), "{line:#}");
        });
        deaf.await_end();
        deaf.remove();
        pod.remove();
    }
    let _ = watch.stop();
}

#[test]
fn a_process_that_keeps_the_network_namespace_of_a_dead_pod_is_named() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let pod = lab.pod("held").run();
    let app = pod.container("app").workload(["serve"]).start();
    let app = app.settled_in(libc::SYS_ppoll);
    watch.await_container(app.id(), "started");
    let path = format!("/proc/{}/ns/net", pod.pause_pid());
    let held = File::open(path).expect("the pause runs");
    let (_, line) = why(&lab, "default/held");
    assert!(
        !causes(&line).contains(&"namespace_held"),
        "it runs: {line:#}"
    );
    app.end();
    pod.stop();
    let (run, line) = await_cause(&lab, "default/held", "namespace_held", true);
    assert_eq!(run.code, Some(1), "{line:#}");
    let this = std::process::id();
    let said = sentence(&line, "namespace_held");
    let by = format!("(pid {this}) keeps its net namespace ");
    let open = format!(" has it open as /proc/{this}/fd/");
    assert!(said.contains(&by) && said.contains(&open), "{said}");
    drop(held);
    let (run, line) = await_cause(&lab, "default/held", "namespace_held", false);
    assert_eq!(run.code, Some(0), "{line:#}");
    pod.remove();
    let _ = watch.stop();
}

#[test]
fn what_keeps_a_part_of_a_removed_pod_is_named_too() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let pod = lab.pod("kept").run();
    let app = pod.container("app").workload(["serve"]).start();
    let app = app.settled_in(libc::SYS_ppoll);
    watch.await_container(app.id(), "started");
    let path = format!("/proc/{}/ns/net", pod.pause_pid());
    let held = File::open(path).expect("the pause runs");
    let uid = pod.uid().to_owned();
    app.end();
    pod.remove();
    watch.await_event(&uid, "removed");
    let (run, line) = await_cause(&lab, "default/kept", "namespace_held", true);
    assert_eq!(line["phase"], "removed", "{line:#}");
    assert_eq!(run.code, Some(1), "{line:#}");
    let by = format!("(pid {}) keeps its net namespace ", std::process::id());
    let said = sentence(&line, "namespace_held");
    assert!(said.contains(&by), "{said}");
    drop(held);
    let (run, line) = await_cause(&lab, "default/kept", "namespace_held", false);
    assert_eq!(run.code, Some(0), "{line:#}");
    let _ = watch.stop();
}

/// `kubectl delete --grace-period 2` of a pod with a longer period.
#[test]
fn a_kill_before_the_grace_period_of_the_pod_is_told_with_that_period() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let pod = lab.pod("hasty").run();
    let deaf = with_grace(pod.container("app"), "6000");
    let deaf = deaf.workload(["ignore-term"]).start();
    let deaf = deaf.settled_in(libc::SYS_ppoll);
    watch.await_container(deaf.id(), "started");
    deaf.stop(Duration::from_secs(2));
    let finding = watch.await_line("PT302", |line| {
        line["type"] == "finding" && line["rule"] == "PT302"
    });
    let message = finding["message"].as_str().expect("text");
    let limit = "; its grace period is 6000.00 s, so it was killed before that ended, ";
    assert!(message.contains(limit), "{message}");
    assert_eq!(finding["expected"]["grace_ns"], 6_000_000_000_000_u64);
    deaf.remove();
    pod.remove();
    let _ = watch.stop();
}

/// A process with a copy of the node's mounts.
struct Copy(Child);

impl Copy {
    fn of(lab: &Containerd) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sleep", "1000"]);
        let copy = Self(lab.node().spawn(command.stdin(Stdio::null())));
        process::settle(copy.0.id(), libc::SYS_clock_nanosleep);
        copy
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_that_keeps_mounts_of_a_dead_pod_in_its_mount_namespace_is_named() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let pod = lab.pod("mounted").run();
    let app = pod.serve("app");
    let copy = Copy::of(&lab);
    let (_, line) = why(&lab, "default/mounted");
    assert!(!causes(&line).contains(&"mount_held"), "it runs: {line:#}");
    app.end();
    pod.stop();
    let (run, line) = await_cause(&lab, "default/mounted", "mount_held", true);
    assert_eq!(run.code, Some(1), "{line:#}");
    let said = sentence(&line, "mount_held");
    let by = format!("held in the mount namespace of sleep (pid {})", copy.0.id());
    assert!(said.ends_with(&by), "{said}");
    let evidence = &reason(&line, "mount_held")["evidence"];
    let path = evidence[0].as_str().expect("text");
    assert!(path.contains(pod.id()), "{path}");
    let unknown = line["unknown"].to_string();
    assert!(
        unknown.contains("no history has their numbers"),
        "{unknown}"
    );
    drop(copy);
    let (run, line) = await_cause(&lab, "default/mounted", "mount_held", false);
    assert_eq!(run.code, Some(0), "{line:#}");
    pod.remove();
}
