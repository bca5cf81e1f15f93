//! `pause-trace why` on pods of a real containerd that are slow, stuck or dead.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};
use pause_trace_tests::{
    Run,
    lab::{Containerd, Engine, Sharing, Version, image},
    pause_trace,
};
use serde_json::Value;

/// What `why` says of a pod.
struct Said {
    run: Run,
    line: Value,
}

impl Said {
    /// Without the eBPF program, since the tests of the rules are elsewhere.
    #[track_caller]
    fn of(lab: &Containerd, pod: &str) -> Self {
        let mut command = Command::new(pause_trace());
        command.args(["why", pod, "--no-ebpf", "--format", "json"]);
        let run: Run = lab.node().output(command.stdin(Stdio::null())).into();
        let lines = run.objects();
        let [line] = &lines[..] else {
            panic!("{run:?}");
        };
        Self {
            line: line.clone(),
            run,
        }
    }

    fn causes(&self) -> Vec<&str> {
        let reasons = self.line["reasons"].as_array().expect("a list");
        let causes = reasons.iter().map(|reason| reason["cause"].as_str());
        causes.map(|cause| cause.expect("a word")).collect()
    }

    /// The sentence about a cause.
    #[track_caller]
    fn sentence(&self, cause: &str) -> &str {
        let reasons = self.line["reasons"].as_array().expect("a list");
        let found = reasons.iter().find(|reason| reason["cause"] == cause);
        let found = found.unwrap_or_else(|| panic!("no {cause}: {}", self.line));
        found["sentence"].as_str().expect("text")
    }

    #[track_caller]
    fn expect(&self, phase: &str, causes: &[&str], code: i32) {
        assert_eq!(self.line["phase"], phase, "{}", self.line);
        assert_eq!(self.causes(), causes, "{}", self.line);
        assert_eq!(self.run.code, Some(code), "{:?}", self.run);
    }
}

#[test]
fn reasons_are_found_on_a_real_containerd() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());

    let web = lab.pod("web").run();
    let app = web.container("app").workload(["serve", "--port", "8080"]);
    let app = app.start().settled_in(libc::SYS_accept4);
    Said::of(&lab, "default/web").expect("running", &[], 0);

    let job = lab.pod("job").run();
    let failing = job.container("work").workload(["exit", "3"]).start();
    assert_eq!(failing.await_end(), 3);
    let said = Said::of(&lab, "default/job");
    said.expect("ended", &["failed"], 1);
    let sentence = said.sentence("failed");
    assert!(
        sentence.starts_with("work ended ") && sentence.ends_with("exit code 3 (Error)"),
        "{sentence}"
    );
    let again = job.container("work").workload(["exit", "4"]).attempt(1);
    assert_eq!(again.start().await_end(), 4);
    let said = Said::of(&lab, job.uid());
    said.expect("restarting", &["restarting"], 1);
    let sentence = said.sentence("restarting");
    assert!(
        sentence.contains("started again 1 time; its last run ended"),
        "{sentence}"
    );

    let deaf = lab.pod("deaf").run();
    let ignoring = deaf.container("app").workload(["block-term"]);
    let _ignoring = ignoring.start().settled_in(libc::SYS_ppoll);
    let said = Said::of(&lab, "default/deaf");
    // A young process may install a handler yet.
    assert_eq!(said.causes(), ["not_listening"], "{}", said.line);

    let command = deaf
        .container("typo")
        .command(["/no/such/program"])
        .create();
    let refused = lab.call(lab.client().start_container(command.id()));
    refused.expect_err("there is no such program");
    let said = Said::of(&lab, "default/deaf");
    assert!(said.causes().contains(&"start_failed"), "{}", said.line);
    let sentence = said.sentence("start_failed");
    assert!(
        sentence.starts_with("typo could not be started: the runtime says: ")
            && sentence.contains("/no/such/program"),
        "{sentence}"
    );

    // A pod of which nothing runs any more is found by what its runtime lists.
    let done = lab.pod("done").run();
    let finished = done.container("app").workload(["true"]).start();
    assert_eq!(finished.await_end(), 0);
    done.stop();
    Said::of(&lab, "default/done").expect("completed", &[], 0);
    app.end();
    web.remove();
    let mut gone = Command::new(pause_trace());
    let gone = lab
        .node()
        .output(gone.args(["why", "default/web", "--no-ebpf"]));
    assert_eq!(gone.status.code(), Some(3), "{gone:?}");
}

/// Asks until the pod is known and the answer has this cause.
#[track_caller]
fn await_cause(lab: &Containerd, pod: &str, cause: &str) -> Said {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let mut command = Command::new(pause_trace());
        command.args(["why", pod, "--no-ebpf", "--format", "json"]);
        let run: Run = lab.node().output(command.stdin(Stdio::null())).into();
        let is_late = Instant::now() >= until;
        if run.code == Some(3) {
            assert!(!is_late, "{run:?}");
            continue;
        }
        let mut lines = run.objects();
        assert_eq!(lines.len(), 1, "{run:?}");
        let said = Said {
            line: lines.remove(0),
            run,
        };
        if said.causes().contains(&cause) {
            return said;
        }
        assert!(!is_late, "never {cause}: {:?}", said.run);
    }
}

/// Lets what waits for a FIFO of the node go on.
fn open_gate(lab: &Containerd, gate: &str) {
    fs::write(lab.node().path(gate), "go\n").expect("somebody waits at the gate");
}

#[test]
fn a_start_that_hangs_names_the_program_that_it_waits_for() {
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    for gate in ["/run/plugin-gate", "/run/runc-gate"] {
        mkfifo(&lab.node().path(gate), Mode::S_IRWXU).expect("the node's directory is ours");
    }
    lab.precede_network_plugin(r#"[ "$CNI_COMMAND" = ADD ] && read -r _ < /run/plugin-gate"#);
    lab.replace_runc(
        r#"case "$*" in *" create "*) grep -q '"hang"' config.json && read -r _ < /run/runc-gate;; esac"#,
    );
    let pod = thread::scope(|scope| {
        let starting = scope.spawn(|| lab.pod("slow").run());
        // The sandbox has no cgroup yet, and containerd does not list it.
        let said = await_cause(&lab, "default/slow", "start_slow");
        open_gate(&lab, "/run/plugin-gate");
        assert_eq!(said.line["phase"], "starting", "{}", said.line);
        let sentence = said.sentence("start_slow");
        let begin = "the CNI plugin bridge (ADD eth0) has run for ";
        assert!(sentence.starts_with(begin), "{sentence}");
        assert_eq!(said.run.code, Some(1));
        starting.join().expect("the pod starts")
    });
    thread::scope(|scope| {
        let hanging = scope.spawn(|| pod.container("hang").workload(["serve"]).start());
        let said = await_cause(&lab, "default/slow", "start_slow");
        open_gate(&lab, "/run/runc-gate");
        let sentence = said.sentence("start_slow");
        let begin = "`runc create` for hang has run for ";
        assert!(sentence.starts_with(begin), "{sentence}");
        hanging.join().expect("the container starts").end();
    });
}

/// Freezes or thaws the cgroup of a process.
fn freeze(pid: i32, is_frozen: bool) {
    let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    let of = |controllers: &str| {
        let mut lines = memberships.lines();
        lines.find_map(|line| {
            line.split_once(controllers)
                .map(|(_, path)| path.to_owned())
        })
    };
    let (file, words) = match of(":freezer:") {
        Some(path) => (
            format!("/sys/fs/cgroup/freezer{path}/freezer.state"),
            ["THAWED", "FROZEN"],
        ),
        None => {
            let path = of("0::").expect("it is in a cgroup");
            (format!("/sys/fs/cgroup{path}/cgroup.freeze"), ["0", "1"])
        }
    };
    fs::write(&file, words[usize::from(is_frozen)])
        .unwrap_or_else(|error| panic!("failed to write {file}: {error}"));
}

#[test]
fn stuck_and_dead_processes_are_named() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());

    let pod = lab.pod("stuck").run();
    let deaf = pod.container("deaf").workload(["block-term"]);
    let deaf = deaf.start().settled_in(libc::SYS_ppoll);
    let careless = pod.container("careless").workload(["no-reap"]);
    let careless = careless.start().settled_in(libc::SYS_ppoll);
    assert_eq!(careless.exec(["/workload", "orphan", "2"]).exit_code, 0);
    let said = await_cause(&lab, "default/stuck", "zombies");
    let sentence = said.sentence("zombies");
    let parent = format!("(pid {}) of careless does not reap them", careless.pid());
    assert!(
        sentence.starts_with("2 processes of careless are zombies") && sentence.ends_with(&parent),
        "{sentence}"
    );
    let ignoring = pod.container("ignoring").workload(["ignore-term"]);
    let _ignoring = ignoring.start().settled_in(libc::SYS_ppoll);
    let said = await_cause(&lab, "default/stuck", "stop_ignored");
    let sentence = said.sentence("stop_ignored");
    assert!(
        sentence.starts_with("a stop of ignoring takes the whole grace period"),
        "{sentence}"
    );
    kill(Pid::from_raw(deaf.pid()), Signal::SIGTERM).expect("it runs");
    let said = await_cause(&lab, "default/stuck", "stop_pending");
    assert_eq!(said.line["phase"], "stopping", "{}", said.line);
    let sentence = said.sentence("stop_pending");
    assert!(sentence.starts_with("SIGTERM was sent to "), "{sentence}");

    freeze(careless.pid(), true);
    let said = await_cause(&lab, "default/stuck", "frozen");
    freeze(careless.pid(), false);
    assert!(said.sentence("frozen").contains("careless is frozen"));

    let hungry = lab.pod("hungry").run();
    let eater = hungry.container("app").configure(|config| {
        let linux = config.linux.get_or_insert_default();
        linux
            .resources
            .get_or_insert_default()
            .memory_limit_in_bytes = 32 << 20;
    });
    let eater = eater.workload(["eat-memory", "64"]).start();
    eater.await_end();
    let said = await_cause(&lab, "default/hungry", "oom_killed");
    assert_eq!(
        said.sentence("oom_killed"),
        "app was killed by the OOM killer"
    );

    let app = hungry.serve("survivor");
    kill(Pid::from_raw(hungry.pause_pid()), Signal::SIGKILL).expect("it runs");
    let said = await_cause(&lab, "default/hungry", "pause_ended");
    assert_eq!(
        said.causes()[0],
        "pause_ended",
        "the first cause: {}",
        said.line
    );
    let sentence = said.sentence("pause_ended");
    let begin = "the pause process has ended while survivor runs";
    assert!(sentence.starts_with(begin), "{sentence}");
    app.end();
}

#[test]
fn a_runtime_without_cri_is_no_obstacle() {
    let engine = Engine::podman();
    engine.import(&image::workload());
    let pod = engine.pod(Sharing::Plain);
    let app = pod.workload(&["serve"]).settled_in(libc::SYS_ppoll);
    let id = app.id().to_owned();
    let mut command = Command::new(pause_trace());
    command.args(["why", &id, "--no-ebpf"]);
    let run: Run = engine.node().output(command.stdin(Stdio::null())).into();
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains(" is running\n"), "{run:?}");
    assert!(run.stdout.contains("not known: no CRI "), "{run:?}");
}
