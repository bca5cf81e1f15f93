//! Runs the files of deploy/ci as other projects would.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use pause_trace_tests::{dist, pause_trace, scratch, wire};
use serde_json::Value;

/// A file of deploy/ci.
fn file(name: &str) -> String {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/ci")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sarif(file: &Path) -> Vec<Value> {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let report: Value = serde_json::from_str(&text).expect("SARIF is JSON");
    assert_eq!(report["version"], "2.1.0");
    let results = report["runs"][0]["results"].as_array();
    results.expect("a run has results").clone()
}

/// Runs the script in a directory of its own.
fn run_script(name: &str, program: &Path) -> (Option<i32>, String, PathBuf) {
    let directory = scratch(name);
    let _ = fs::remove_dir_all(directory.join("results"));
    let file = directory.join("verify.sh");
    fs::write(&file, self::file("verify.sh")).expect("it can be written");
    let output = Command::new("sh")
        .arg(&file)
        .current_dir(&directory)
        .env("PAUSE_TRACE", program)
        .output()
        .expect("sh runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), stderr, directory.join("results"))
}

#[test]
fn the_script_passes_and_leaves_its_results() {
    let (code, stderr, results) = run_script("ci", &pause_trace());
    assert_eq!(code, Some(0), "{stderr}");
    let doctor = fs::read_to_string(results.join("doctor.json")).expect("it was written");
    for check in wire::objects(&doctor) {
        assert_ne!(check["state"], "missing", "{check:#}");
    }
    let junit = fs::read_to_string(results.join("check.xml")).expect("it was written");
    assert!(junit.contains("<testsuites "), "{junit}");
    assert!(junit.contains(r#"failures="0" errors="0""#), "{junit}");
    let fault = sarif(&results.join("fault.sarif"));
    let is_planted = |result: &Value| result["ruleId"] == "PT101" && result["level"] == "error";
    assert!(fault.iter().any(is_planted), "{fault:#?}");
    // Other tests may have broken pods on this machine now, so only the format is checked.
    sarif(&results.join("pods.sarif"));
}

#[test]
fn the_script_has_the_exit_code_of_its_worst_step() {
    let directory = scratch("ci-broken");
    let stub = directory.join("stub");
    // The exit codes of the four steps; the third must find a fault.
    for (codes, expected) in [
        ("0 0 1 0", 0),
        ("0 0 1 3", 3),
        ("3 1 1 0", 1),
        ("1 3 1 0", 1),
        ("1 4 1 3", 4),
        ("0 0 0 0", 1),
    ] {
        let turn = directory.join("turn");
        fs::write(&turn, codes).expect("it can be written");
        let text = format!(
            "#!/bin/sh\nread code rest < {turn}\necho \"$rest\" > {turn}\nexit $code\n",
            turn = turn.display()
        );
        fs::write(&stub, text).expect("it can be written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&stub, mode).expect("this process owns the file");
        let (code, stderr, _) = run_script("ci-broken", &stub);
        assert_eq!(code, Some(expected), "{codes}: {stderr}");
    }
}

/// The lines below a key of a YAML file that are indented more than it, without their indentation.
fn below<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().skip_while(|line| line.trim() != key);
    let outer = indent(lines.next().unwrap_or_else(|| panic!("no {key}: {text}")));
    let block: Vec<_> = lines
        .take_while(|line| line.trim().is_empty() || indent(line) > outer)
        .collect();
    let inner = indent(block[0]);
    block
        .iter()
        .map(|line| line.get(inner..).unwrap_or_default())
        .collect()
}

/// A directory of programs that stand for those of a runner: `sudo` writes its arguments down, and
/// `curl` copies a file.
fn runner(name: &str) -> PathBuf {
    let directory = scratch(name);
    for (program, text) in [
        ("sudo", "#!/bin/sh\nprintf '%s\\n' \"$@\" > sudo.log\n"),
        (
            "curl",
            "#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\ncp \"${2#file://}\" \"$1\"\n",
        ),
    ] {
        let path = directory.join(program);
        fs::write(&path, text).expect("it can be written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, mode).expect("this process owns the file");
    }
    directory
}

/// Runs a part of a job where the programs of `runner` come first.
fn job(directory: &Path, script: &str, variables: &[(&str, &str)]) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("sh")
        .args(["-ec", script])
        .current_dir(directory)
        .env("PATH", format!("{}:{path}", directory.display()))
        .env("RUNNER_TEMP", directory)
        .envs(variables.iter().copied())
        .output()
        .expect("sh runs")
}

fn sum(archive: &Path) -> String {
    let output = Command::new("sha256sum").arg(archive).output();
    let output = output.expect("sha256sum runs").stdout;
    String::from_utf8_lossy(&output[..64]).into_owned()
}

/// What `sudo` was asked to run: the program and the script that the archive contains.
#[track_caller]
fn assert_runs_the_archive(directory: &Path) {
    let asked = fs::read_to_string(directory.join("sudo.log")).expect("sudo was called");
    let words: Vec<_> = asked.lines().collect();
    let program = words[1].strip_prefix("PAUSE_TRACE=").expect("the program");
    assert!(Path::new(program).is_file(), "{asked}");
    assert_eq!(words[2], "BASELINE=known.jsonl", "{asked}");
    let script = directory.join(words.last().expect("the script"));
    let script = fs::read_to_string(script).expect("the script is in the archive");
    assert_eq!(script, file("verify.sh"));
}

#[test]
fn the_action_runs_the_script_of_an_archive_with_the_right_sum() {
    let action = file("action.yml");
    let (get, verify) = action.split_once("- name: Verify").expect("two steps");
    let (get, verify) = (below(get, "run: |"), below(verify, "run: |"));
    let directory = runner("ci-action");
    let archive = dist::file(".tar.gz");
    let name = archive.to_string_lossy();
    let url = format!("file://{name}");
    for source in [&*name, &url] {
        let sum = sum(&archive);
        let variables = [
            ("PAUSE_TRACE_ARCHIVE", source),
            ("PAUSE_TRACE_SHA256", &sum),
        ];
        let got = job(&directory, &get.join("\n"), &variables);
        assert!(got.status.success(), "{got:?}");
        let ran = job(
            &directory,
            &verify.join("\n"),
            &[("BASELINE", "known.jsonl")],
        );
        assert!(ran.status.success(), "{ran:?}");
        assert_runs_the_archive(&directory);
    }
    let wrong = "0".repeat(64);
    let variables = [
        ("PAUSE_TRACE_ARCHIVE", &*name),
        ("PAUSE_TRACE_SHA256", &wrong),
    ];
    let refused = job(&directory, &get.join("\n"), &variables);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
}

#[test]
fn the_job_of_gitlab_runs_the_script_of_an_archive() {
    let script: Vec<_> = below(&file("gitlab.yml"), "script:")
        .iter()
        .map(|line| line.strip_prefix("- ").expect("a list").to_owned())
        .collect();
    let directory = runner("ci-gitlab");
    let archive = dist::file(".tar.gz");
    let url = format!("file://{}", archive.display());
    let variables = [
        ("PAUSE_TRACE_ARCHIVE", &*url),
        ("PAUSE_TRACE_SHA256", &sum(&archive)),
        ("BASELINE", "known.jsonl"),
    ];
    let ran = job(&directory, &script.join("\n"), &variables);
    assert!(ran.status.success(), "{ran:?}");
    assert_runs_the_archive(&directory);
}

/// The plugin of node-problem-detector calls pause-trace with arguments that it takes.
#[test]
fn node_problem_detector_calls_what_exists() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/node-problem-detector/pause-trace.json"
    );
    let text = fs::read_to_string(path).expect("it is in the repository");
    let monitor: Value = serde_json::from_str(&text).expect("it is JSON");
    let rule = &monitor["rules"][0];
    assert_eq!(rule["condition"], monitor["conditions"][0]["type"]);
    let arguments = rule["args"].as_array().expect("arguments");
    let arguments = arguments
        .iter()
        .map(|argument| argument.as_str().expect("text"));
    let mut arguments: Vec<_> = arguments.collect();
    arguments.push("--help");
    let run = pause_trace_tests::run(arguments);
    assert_eq!(run.code, Some(0), "{run:?}");
}
