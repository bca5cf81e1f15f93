//! `--baseline`, `--quiet` and the formats with a line for each finding or for the node: a recorded
//! pod whose two findings are known is judged again.

use std::{fs, path::PathBuf};

use pause_trace_tests::{Run, run, scratch, wire};

/// A recording of a pod with a container that ignores SIGTERM: PT301 and PT302.
const RECORDING: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/fixtures/containerd-pod-v1.ptrec"
);

fn replay(arguments: &[&str]) -> Run {
    run(["replay", RECORDING].iter().chain(arguments))
}

/// A JSON report of the recording, without the lines that contain a text.
fn baseline(name: &str, without: &str) -> PathBuf {
    let path = scratch("baseline").join(name);
    let text = path.to_string_lossy();
    let made = replay(&["--format", "json", "--output", &text]);
    assert_eq!(made.code, Some(1), "{made:?}");
    let report = fs::read_to_string(&path).expect("it was written");
    assert!(wire::objects(&report).len() > 2, "{report}");
    let kept = report.lines().filter(|line| !line.contains(without));
    let kept: Vec<_> = kept.map(|line| format!("{line}\n")).collect();
    fs::write(&path, kept.concat()).expect("it is ours");
    path
}

#[test]
fn a_run_fails_on_new_findings_only() {
    let all = baseline("all.jsonl", "no line has this");
    let known = replay(&["--baseline", &all.to_string_lossy(), "--format", "brief"]);
    assert_eq!((known.code, &*known.stdout), (Some(0), ""), "{known:?}");

    let part = baseline("part.jsonl", "PT301");
    let new = replay(&["--baseline", &part.to_string_lossy(), "--format", "brief"]);
    assert_eq!(new.code, Some(1), "{new:?}");
    let lines: Vec<_> = new.stdout.lines().collect();
    let [line] = lines[..] else {
        panic!("one finding is new: {new:?}");
    };
    let expected = "default/recorded/deaf: error: PT301 stop-ignored: ";
    assert!(line.starts_with(expected), "{line}");
}

#[test]
fn findings_that_did_not_occur_again_are_counted() {
    let all = baseline("gone.jsonl", "no line has this");
    let all = all.to_string_lossy();
    let gone = replay(&["--baseline", &all, "--ignore", "PT302"]);
    assert_eq!(gone.code, Some(0), "{gone:?}");
    let note = "1 finding of the baseline did not occur again";
    assert!(gone.stderr.contains(note), "{gone:?}");
}

#[test]
fn a_baseline_that_is_none_is_refused() {
    let text = scratch("baseline").join("text");
    fs::write(&text, "PT301 default/recorded\n").expect("it is ours");
    let text = text.to_string_lossy();
    for (path, message) in [
        (&*text, "line 1 is not a line of a JSON report"),
        ("/nonexistent", "/nonexistent: No such file"),
        ("/tmp", "Is a directory"),
    ] {
        let refused = replay(&["--baseline", path]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(message), "{refused:?}");
    }
    let same = baseline("same.jsonl", "no line has this");
    let same = same.to_string_lossy();
    let refused = replay(&["--baseline", &same, "--output", &same]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let kept = fs::read(&*same).expect("it is still there");
    assert!(!kept.is_empty(), "{refused:?}");
}

#[test]
fn quiet_text_has_findings_and_nothing_else() {
    let quiet = replay(&["-q"]);
    assert_eq!(quiet.code, Some(1), "{quiet:?}");
    let first_lines = quiet.stdout.split("\n\n").map(|block| block.lines().next());
    let first_lines: Vec<_> = first_lines.map(Option::unwrap_or_default).collect();
    let [one, other] = first_lines[..] else {
        panic!("two findings: {quiet:?}");
    };
    assert!(
        one.contains("✗ PT301") && other.contains("✗ PT302"),
        "{quiet:?}"
    );
    let none = replay(&["-q", "--ignore", "PT3"]);
    assert_eq!((none.code, &*none.stdout), (Some(0), ""), "{none:?}");
}

/// The recorded run was ended by Ctrl-C; its replay was not.
#[test]
fn a_replay_without_the_wanted_pods_is_inconclusive() {
    for arguments in [["--pod", "nosuch"], ["--require-pods", "2"]] {
        let replay = replay(&[&arguments[..], &["--ignore", "PT3"]].concat());
        assert_eq!(replay.code, Some(3), "{arguments:?}: {replay:?}");
        assert!(!replay.stderr.is_empty(), "{replay:?}");
    }
}

#[test]
fn quiet_json_has_no_passes_and_no_news() {
    let quiet = replay(&["-q", "--format", "json"]);
    assert_eq!(quiet.code, Some(1), "{quiet:?}");
    let objects = quiet.objects();
    let types: Vec<_> = objects.iter().map(|object| &object["type"]).collect();
    assert_eq!(
        types,
        [
            "hello", "finding", "verdict", "finding", "verdict", "summary"
        ],
        "{quiet:?}"
    );
}

#[test]
fn node_problem_detector_gets_one_short_line() {
    let problem = replay(&["--format", "npd"]);
    assert_eq!(problem.code, Some(1), "{problem:?}");
    let expected = "1 finding: PT301 stop-ignored default/recorded/deaf\n";
    assert_eq!(problem.stdout, expected, "{problem:?}");
    let healthy = replay(&["--format", "npd", "--ignore", "PT3"]);
    assert_eq!(healthy.code, Some(0), "{healthy:?}");
    assert_eq!(healthy.stdout, "no finding, 1 pod\n", "{healthy:?}");
}
