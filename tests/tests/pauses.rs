//! Judges other pauses, correct and faulty ones, by what they do.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use pause_trace_tests::{c_pause, lab::catatonit, pause_binary, run, scratch};

/// Scenarios that test the pause itself. They are used for pauses that only SIGKILL ends: with
/// every scenario, such a check takes two minutes.
const TRYING: [&str; 12] = [
    "pod-plain",
    "pod-shared-pid",
    "pause-outlives",
    "nothing-remains",
    "pause-kill-takes-all",
    "pause-sigterm",
    "pause-sigint",
    "pause-sigkill",
    "pause-sturdy",
    "orphans-of-container",
    "pause-cost",
    "pause-idle",
];

/// The exit code, and the rules of level `error` that a pause breaks. An empty `scenarios` runs
/// all.
fn judge(pause: &Path, args: &[&str], scenarios: &[&str]) -> (Option<i32>, BTreeSet<String>) {
    let mut command = vec!["check".to_owned(), "--format".to_owned(), "json".to_owned()];
    command.extend(["--pause".to_owned(), pause.to_string_lossy().into_owned()]);
    // Several tests run at once, so the machine may be slow. Longer limits are safe: no pause here
    // is faulty only by being slow.
    command.extend(["--patience", "2"].map(str::to_owned));
    command.extend(args.iter().map(|arg| format!("--pause-arg={arg}")));
    for scenario in scenarios {
        command.extend(["--scenario", scenario].map(str::to_owned));
    }
    let run = run(command);
    // A failing test shows it: a scenario may fail without a finding.
    for scenario in run.of_type("scenario") {
        if scenario["verdict"] != "pass" {
            eprintln!("{scenario}");
        }
    }
    let violated = run
        .of_type("finding")
        .iter()
        .filter(|finding| finding["severity"] == "error")
        .map(|finding| finding["rule"].as_str().expect("a rule").to_owned())
        .collect();
    (run.code, violated)
}

#[track_caller]
fn assert_violates(pause: &Path, expected: &[&str]) {
    assert_violates_in(&[], pause, expected);
}

#[track_caller]
fn assert_violates_in(scenarios: &[&str], pause: &Path, expected: &[&str]) {
    let (code, violated) = judge(pause, &[], scenarios);
    let expected: BTreeSet<String> = expected.iter().map(|rule| (*rule).to_owned()).collect();
    assert_eq!(violated, expected, "{}", pause.display());
    assert_eq!(
        code,
        Some(i32::from(!expected.is_empty())),
        "{}",
        pause.display()
    );
}

#[test]
fn the_built_in_pause_as_a_file_passes() {
    assert_violates(&pause_binary(), &[]);
}

#[test]
fn a_pause_that_only_root_may_reach_passes() {
    let directory = scratch("root-only");
    let pause = directory.join("my-pause");
    fs::copy(pause_binary(), &pause).expect("there is room");
    for path in [&directory, &pause] {
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .expect("this process owns the file");
    }
    let scenarios = ["pod-plain", "pod-own-users", "pause-sigterm"];
    assert_violates_in(&scenarios, &pause, &[]);
}

#[test]
fn a_correct_pause_in_c_passes() {
    assert_violates(&c_pause("correct"), &[]);
}

#[test]
fn catatonit_passes() {
    assert_eq!(
        judge(&catatonit(), &["-P"], &[]),
        (Some(0), BTreeSet::new())
    );
}

#[test]
fn a_pause_without_a_sigchld_handler_leaves_zombies() {
    assert_violates_in(&TRYING, &c_pause("no_sigchld"), &["PT402"]);
}

#[test]
fn a_pause_that_blocks_sigterm_does_not_stop() {
    assert_violates_in(&TRYING, &c_pause("blocks_sigterm"), &["PT306"]);
}

#[test]
fn a_pause_that_exits_with_1_does_not_stop_cleanly() {
    assert_violates(&c_pause("exits_1_on_sigterm"), &["PT306"]);
}

#[test]
fn a_pause_that_exits_on_any_signal_is_fragile() {
    let (code, violated) = judge(&c_pause("exits_on_first_signal"), &[], &[]);
    assert_eq!(code, Some(1));
    assert!(violated.contains("PT307"), "{violated:?}");
}

#[test]
fn a_pause_that_forks_helpers_is_not_minimal() {
    let (code, violated) = judge(&c_pause("forks_helpers"), &[], &[]);
    assert_eq!(code, Some(1));
    assert!(violated.contains("PT501"), "{violated:?}");
}

#[test]
fn a_pause_that_opens_sockets_is_not_minimal() {
    assert_violates(&c_pause("opens_sockets"), &["PT501"]);
}

#[test]
fn a_pause_that_crashes_dies() {
    let (code, violated) = judge(&c_pause("crashes"), &[], &[]);
    assert_eq!(code, Some(1));
    assert!(violated.contains("PT202"), "{violated:?}");
}

/// Scenarios that see a pause at work for longer than a moment.
const IDLE: [&str; 2] = ["pod-plain", "pause-idle"];

#[test]
fn a_pause_that_spins_after_half_a_second_is_not_minimal() {
    assert_violates_in(&IDLE, &c_pause("spins"), &["PT501"]);
}

#[test]
fn a_pause_that_leaks_descriptors_is_not_minimal() {
    assert_violates_in(&IDLE, &c_pause("leaks"), &["PT501"]);
}

#[test]
fn a_pause_that_grows_is_not_minimal() {
    assert_violates_in(&IDLE, &c_pause("grows"), &["PT501"]);
}

#[test]
fn a_pause_that_is_left_alone_for_longer_is_measured_over_that_time() {
    let run = run([
        "check",
        "--format",
        "json",
        "--scenario",
        "pause-idle",
        "--idle",
        "3s",
    ]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let proof = run.of_type("scenario")[0]["proof"].to_string();
    assert!(proof.contains(" in 3."), "{proof}");
}

/// A file that the kernel refuses to execute proves nothing about a pause.
#[test]
fn a_pause_that_cannot_be_executed_is_an_error_of_the_set_up() {
    // The message has the path without links and dots.
    let directory = fs::canonicalize(scratch("not-executable")).expect("it is ours");
    let written = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, bytes).expect("there is room");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
        path
    };
    let no_interpreter = written("script", b"#!/no/such/interpreter\n");
    let mut foreign = fs::read(pause_binary()).expect("it is built");
    // e_machine of the ELF header: no machine.
    foreign[18..20].fill(0xfe);
    let foreign = written("foreign", &foreign);
    for (pause, reason) in [
        (no_interpreter, "No such file or directory"),
        (foreign, "Exec format error"),
    ] {
        let pause = pause.to_string_lossy().into_owned();
        let run = run(["check", "--pause", &pause]);
        assert_eq!(run.code, Some(4), "{run:?}");
        assert!(run.stderr.contains(&pause), "{run:?}");
        assert!(run.stderr.contains(reason), "{run:?}");
        assert!(!run.stdout.contains("PT"), "{run:?}");
    }
}
