//! The page that `pause-trace report` writes, in a real browser.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pause_trace_tests::{Run, chromium, run, scratch};
use serde_json::{Value, json};

fn recording() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/containerd-pod-v1.ptrec")
}

/// The page of the recorded pod.
fn page(name: &str) -> (PathBuf, Run) {
    let path = scratch("report").join(name);
    let run = run([
        "report".as_ref(),
        recording().as_os_str(),
        "--html".as_ref(),
        path.as_os_str(),
    ]);
    (path, run)
}

/// The data of the page, and the text before and after it.
fn parts(page: &str) -> (&str, Value, &str) {
    let (before, rest) = page.split_once("id=\"data\">").expect("it carries data");
    let (data, after) = rest.split_once("</script>").expect("the data ends");
    (before, serde_json::from_str(data).expect("JSON"), after)
}

/// The page with other data, which is escaped as pause-trace escapes it.
fn with_data(name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let (path, _) = page(name);
    let whole = fs::read_to_string(&path).expect("it was written");
    let (before, mut data, after) = parts(&whole);
    change(&mut data);
    let data = data.to_string().replace('<', "\\u003c");
    fs::write(&path, format!("{before}id=\"data\">{data}</script>{after}"))
        .expect("this process owns the file");
    path
}

#[test]
fn a_recorded_pod_is_shown_with_its_findings() {
    let (path, run) = page("pod.html");
    assert_eq!(run.code, Some(1), "{run:?}");
    let shown = chromium::open(&path, "find=recorded");
    assert_eq!(shown.complaints, [""; 0]);
    for expected in [
        "data-state=\"drawn\"",
        "PT301 stop-ignored · error",
        "PT302 killed-after-grace",
        "the pause's",
        "<svg",
        "k-container",
        "k-session",
        "SIGTERM",
        "What PT301 checks",
    ] {
        assert!(shown.dom.contains(expected), "{expected}: {shown:#?}");
    }
}

#[test]
fn names_from_pods_stay_text() {
    const HOSTILE: &str = "</script><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
    let path = with_data("hostile.html", |data| {
        let pods = data["pods"].as_array_mut().expect("a list");
        pods.truncate(1);
        let pod = &mut pods[0];
        for key in ["name", "namespace", "uid", "scenario"] {
            pod[key] = json!(HOSTILE);
        }
        for (list, key) in [
            ("containers", "name"),
            ("processes", "comm"),
            ("processes", "file"),
            ("signals", "from"),
            ("spans", "name"),
            ("spans", "lane"),
            ("findings", "message"),
        ] {
            for one in pod[list].as_array_mut().expect("a list") {
                one[key] = json!(HOSTILE);
            }
        }
    });
    let shown = chromium::open(&path, "find=owned");
    assert_eq!(shown.complaints, [""; 0]);
    assert!(shown.dom.contains("data-state=\"drawn\""));
    assert!(!shown.dom.contains("<img"), "{}", shown.dom);
    assert!(shown.dom.contains("<title>pause-trace report</title>"));
    assert_eq!(shown.dom.matches("<script").count(), 2);
    assert!(shown.dom.contains("&lt;img src=x"), "it is shown");
}

#[test]
fn a_thousand_pods_are_a_thousand_lines_until_one_is_opened() {
    let path = with_data("many.html", |data| {
        let pods = data["pods"].as_array_mut().expect("a list");
        let first = pods[0].clone();
        pods.clear();
        pods.extend((0..1_000).map(|number| {
            let mut pod = first.clone();
            pod["name"] = json!(format!("web-{number:04}"));
            pod
        }));
    });
    let all = chromium::open(&path, "");
    assert_eq!(all.complaints, [""; 0]);
    assert_eq!(all.dom.matches("<details class=\"pod\"").count(), 1_000);
    assert_eq!(all.dom.matches("<svg").count(), 0, "nothing is opened");
    let one = chromium::open(&path, "find=web-0777");
    assert_eq!(one.dom.matches("<svg").count(), 1, "the one that was found");
    assert!(one.dom.contains("1 of 1000"));
}

#[test]
fn unreadable_input_and_unwritable_output_are_reported() {
    let refused = |args: &[&str], code: i32, message: &str| {
        let run = run(args);
        assert_eq!(run.code, Some(code), "{args:?}: {run:?}");
        assert!(run.stderr.contains(message), "{args:?}: {run:?}");
    };
    let recording = recording();
    let recording = recording.to_str().expect("the path is UTF-8");
    refused(
        &["report", "/nonexistent", "--html", "/dev/null"],
        2,
        "No such file",
    );
    refused(
        &["report", recording, "--html", "/proc/nowhere/x"],
        2,
        "failed to create",
    );
    refused(
        &["report", recording, "--html", "/dev/full"],
        4,
        "No space left",
    );
    refused(
        &["report", recording, "--html", "x", "--once"],
        2,
        "cannot be used",
    );
    refused(&["report", recording], 2, "--html");
}
