//! Runs the script of docs/ci.md as other projects would.

use std::{fs, path::Path, process::Command};

use pause_trace_tests::{pause_trace, scratch, wire};
use serde_json::Value;

/// The code blocks of a page in a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let starts = page.split(&fence).skip(1);
    starts
        .filter_map(|rest| rest.split("```").next())
        .map(str::to_owned)
        .collect()
}

fn page() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ci.md");
    fs::read_to_string(page).expect("docs/ci.md can be read")
}

fn sarif(file: &Path) -> Vec<Value> {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let report: Value = serde_json::from_str(&text).expect("SARIF is JSON");
    assert_eq!(report["version"], "2.1.0");
    let results = report["runs"][0]["results"].as_array();
    results.expect("a run has results").clone()
}

/// Runs the page's script in a directory of its own.
fn run_script(name: &str, program: &Path) -> (Option<i32>, String, std::path::PathBuf) {
    let script = blocks(&page(), "sh");
    let [script] = &script[..] else {
        panic!("the page has one script");
    };
    let directory = scratch(name);
    let _ = fs::remove_dir_all(directory.join("results"));
    let file = directory.join("pause-trace.sh");
    fs::write(&file, script).expect("it can be written");
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

#[test]
fn the_workflow_runs_the_script_and_uploads_its_results() {
    let page = page();
    let [workflow] = &blocks(&page, "yaml")[..] else {
        panic!("the page has one workflow");
    };
    for part in [
        "sh ci/pause-trace.sh",
        "path: results/",
        "sarif_file: results/pods.sarif",
    ] {
        assert!(workflow.contains(part), "{part}");
    }
}
