//! The reference check on this machine's kernel: every scenario passes, no record is lost, no
//! verdict is inconclusive.

use pause_trace_tests::run;

#[test]
fn every_scenario_passes_and_nothing_is_lost() {
    let run = run(["check", "--format", "json"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    for scenario in run.of_type("scenario") {
        assert_eq!(scenario["verdict"], "pass", "{scenario:#}");
    }
    let summary = run.summary();
    for count in ["fail", "inconclusive"] {
        assert_eq!(summary["verdicts"][count], 0, "{summary:#}");
        assert_eq!(summary["scenarios"][count], 0, "{summary:#}");
    }
    assert_eq!(summary["lost"], serde_json::json!({}), "{summary:#}");
}

#[test]
fn patience_stretches_limits_and_graces() {
    let scenarios = "stop-blocked,killed-after-grace";
    let run = run([
        "check",
        "--patience",
        "2",
        "--scenario",
        scenarios,
        "--format",
        "json",
    ]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    for scenario in run.of_type("scenario") {
        assert_eq!(scenario["verdict"], "pass", "{scenario:#}");
    }
    let proof = |scenario: &serde_json::Value| scenario["proof"].to_string();
    let is_stretched = |text: String| text.contains("its grace period is 600 ms");
    assert!(
        run.of_type("scenario")
            .into_iter()
            .map(|scenario| proof(&scenario))
            .any(is_stretched),
        "{run:#?}"
    );
}

#[test]
fn run_plants_faults_and_finds_them() {
    let run = run(["run", "--once", "--format", "json"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let scenarios = run.of_type("scenario");
    for fault in ["own-net", "ignores-term", "pause-no-reap"] {
        let scenario = scenarios.iter().find(|scenario| scenario["name"] == fault);
        let scenario = scenario.unwrap_or_else(|| panic!("{fault} was not planted: {run:#?}"));
        assert_eq!(scenario["verdict"], "pass", "{scenario:#}");
        assert!(
            !scenario["found"].as_array().expect("a list").is_empty(),
            "{scenario:#}"
        );
    }
    assert_eq!(
        run.of_type("finding").len(),
        0,
        "what was planted is no finding"
    );
}
