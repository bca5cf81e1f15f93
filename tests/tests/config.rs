//! The configuration file: what it changes, and what it refuses.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::{
    libc,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::{
    Run,
    lab::{Containerd, Version, image},
    pause_trace, run, scratch,
    watch::Watch,
};
use serde_json::Value;

/// The recording of a pod whose container ignores SIGTERM (PT301) and is killed (PT302).
const RECORDING: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/fixtures/containerd-pod-v1.ptrec"
);

const ACCEPTS: &str = "
    [[exception]]
    rule = ['PT301', 'killed-after-grace']
    namespace = 'def*'
    container = 'deaf'
    reason = 'known'
    expires = 2099-01-31
";

/// The path of a file with this text.
fn file(name: &str, text: &str) -> PathBuf {
    let path = scratch("config").join(name);
    fs::write(&path, text).expect("the directory can be written to");
    path
}

fn replay(config: &Path, args: &[&str]) -> Run {
    let mut command = Command::new(pause_trace());
    command.args(["replay", "--format", "json"]).args(args);
    command.arg("--config").arg(config).arg(RECORDING);
    command.output().expect("it starts").into()
}

/// The rules of the findings, those that count first, then those that are accepted.
fn findings(run: &Run) -> [Vec<String>; 2] {
    let findings = run.of_type("finding");
    let of = |is_accepted: bool| {
        let chosen = findings
            .iter()
            .filter(|finding| finding["exception"].is_object() == is_accepted);
        let mut rules: Vec<_> = chosen
            .map(|finding| finding["rule"].as_str().expect("a rule").to_owned())
            .collect();
        rules.sort();
        rules
    };
    [of(false), of(true)]
}

#[test]
fn an_accepted_finding_is_reported_and_does_not_fail_the_run() {
    let run = replay(&file("accepts.toml", ACCEPTS), &["--fail-on", "info"]);
    let [count, accepted] = findings(&run);
    assert_eq!(
        (&*count, &*accepted),
        (&[][..], &["PT301".to_owned(), "PT302".to_owned()][..]),
        "{run:?}"
    );
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.summary()["excepted"], 2, "{run:?}");
    assert_eq!(run.stderr, "", "each exception was used");
}

#[test]
fn an_expired_exception_and_an_unused_one_are_reported() {
    let expired = ACCEPTS.replace("2099-01-31", "2020-01-31");
    let unused = ACCEPTS.replace("'deaf'", "'other'");
    let run = replay(&file("expired.toml", &format!("{expired}{unused}")), &[]);
    assert_eq!(findings(&run)[1], [] as [String; 0], "{run:?}");
    assert_eq!(run.code, Some(1), "{run:?}");
    let said = "the exception for PT301, killed-after-grace def*/*/deaf expired on 2020-01-31";
    assert!(run.stderr.contains(said), "{run:?}");
    let said = "the exception for PT301, killed-after-grace def*/*/other was not used";
    assert!(run.stderr.contains(said), "{run:?}");
}

#[test]
fn a_severity_decides_what_is_reported_and_what_fails() {
    let text = "min-severity = 'warning'\n[severity]\nPT301 = 'info'\nPT302 = 'error'";
    let run = replay(&file("severity.toml", text), &[]);
    assert_eq!(findings(&run)[0], ["PT302"], "{run:?}");
    assert_eq!(run.of_type("finding")[0]["severity"], "error", "{run:?}");
    assert_eq!(run.code, Some(1), "{run:?}");
    // The command line wins.
    let run = replay(
        &file("severity.toml", text),
        &["--min-severity", "error", "--ignore", "PT302"],
    );
    assert_eq!((findings(&run)[0].len(), run.code), (0, Some(0)), "{run:?}");
}

#[test]
fn the_environment_wins_over_the_file() {
    let path = file("environment.toml", "ignore = ['PT301', 'PT302']");
    let output = Command::new(pause_trace())
        .args(["replay", "--format", "json", RECORDING])
        .env("PAUSE_TRACE_CONFIG_UNKNOWN", "nobody reads it")
        .env("PAUSE_TRACE_IGNORE", "PT302")
        .arg("--config")
        .arg(&path)
        .output()
        .expect("it starts");
    assert_eq!(findings(&output.into())[0], ["PT301"]);
}

#[test]
fn the_environment_names_a_file_and_is_named_if_it_is_wrong() {
    let path = file("named.toml", ACCEPTS);
    let with = |variable: &str, value: &Path, args: &[&str]| {
        let mut command = Command::new(pause_trace());
        let output = command.args(args).env(variable, value).output();
        Run::from(output.expect("it starts"))
    };
    let replay = ["replay", "--format", "json", RECORDING];
    let run = with("PAUSE_TRACE_CONFIG", &path, &replay);
    assert_eq!(run.code, Some(0), "{run:?}");
    let run = with("PAUSE_TRACE_FAIL_ON", Path::new("fatal"), &replay);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(
        run.stderr
            .contains("the environment sets PAUSE_TRACE_FAIL_ON"),
        "{run:?}"
    );
    // The command that shows what is wrong is not kept from it.
    let run = with("PAUSE_TRACE_COLOR", Path::new("fatal"), &["config", "show"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(
        run.stdout
            .contains("PAUSE_TRACE_COLOR=fatal, which is wrong: "),
        "{run:?}"
    );
}

#[test]
fn wrong_files_are_refused_before_anything_starts() {
    for (text, said) in [
        (
            "fail-in = 'error'",
            "there is no option \"fail-in\"; did you mean \"fail-on\"?",
        ),
        (
            "[[exception]]\nrule = 'PT301'",
            "exception 1: missing field `reason`",
        ),
        ("fail-on = [", "line 1, column "),
    ] {
        let path = file("wrong.toml", text);
        for args in [&["replay", RECORDING][..], &["config", "check"]] {
            let output = Command::new(pause_trace())
                .args(args)
                .arg("--config")
                .arg(&path)
                .output()
                .expect("it starts");
            let run = Run::from(output);
            assert_eq!(run.code, Some(2), "{args:?} {run:?}");
            assert!(run.stderr.contains(said), "{args:?} {run:?}");
        }
    }
    for (path, said) in [
        ("/nowhere/config.toml", "No such file"),
        ("/dev/null", "not a regular file"),
    ] {
        let run = run(["rules", "--config", path]);
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.contains(said), "{run:?}");
    }
}

#[test]
fn the_example_of_the_documentation_is_right() {
    let page = include_str!("../../docs/configuration.md");
    let (_, rest) = page.split_once("```toml\n").expect("it has an example");
    let (example, _) = rest.split_once("```").expect("it ends");
    let path = file("example.toml", example);
    let check = run([Path::new("config"), Path::new("check"), &path]);
    assert_eq!((check.code, &*check.stderr), (Some(0), ""), "{check:?}");
    let show = run([Path::new("config"), Path::new("show"), &path]);
    for line in [
        "fail-on = \"warning\"",
        "[watch]",
        "stop = \"10000ms\"",
        "PT302 = \"error\"",
    ] {
        assert!(show.stdout.contains(line), "{show:?}");
    }
    let schema: Value = serde_json::from_str(&run(["config", "schema"]).stdout).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    let of = |text: &str| {
        // Days have no type in JSON.
        let text = text.replace("2099-01-31", "'2099-01-31'");
        let table: toml::Table = text.parse().expect("TOML");
        serde_json::to_value(table).expect("JSON")
    };
    assert!(
        schema.is_valid(&of(example)),
        "{:?}",
        schema.iter_errors(&of(example)).next()
    );
    for wrong in [
        "fail-on = 'fatal'",
        "fail-in = 'error'",
        "[limits]\nzombi = 1",
        "[severity]\nPT999 = 'info'",
    ] {
        assert!(!schema.is_valid(&of(wrong)), "{wrong}");
    }
}

#[test]
fn a_hangup_reloads_the_exceptions_of_a_watch() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let path = file("reload.toml", "");
    let watch = Watch::start_with(lab.node(), [Path::new("--config"), &path]);
    let deaf = |name: &str| {
        let pod = lab.pod(name).run();
        let deaf = pod.container("deaf").workload(["ignore-term"]).start();
        let deaf = deaf.settled_in(libc::SYS_ppoll);
        deaf.stop(Duration::from_secs(1));
        let finding = watch.await_finding(pod.uid(), "PT301");
        deaf.remove();
        pod.remove();
        finding
    };
    let finding = deaf("before");
    assert!(finding["exception"].is_null(), "{finding}");
    let pid = Pid::from_raw(watch.pid().cast_signed());
    let hang_up = |text: &str, said: &str| {
        fs::write(&path, text).expect("this test made the file");
        kill(pid, Signal::SIGHUP).expect("it runs");
        _ = watch.await_error(said);
    };
    hang_up("fail-on = 5", "not reloaded: ");
    hang_up(
        &format!("fail-on = 'info'\n{ACCEPTS}"),
        "restart to change fail-on",
    );
    let finding = deaf("after");
    assert_eq!(finding["exception"]["reason"], "known", "{finding}");
    _ = watch.terminate(1);
}
