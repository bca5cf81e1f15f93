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
        // The waterfall of its start, from the critical path to the bars.
        "What the start waited for:",
        "class=\"lane path\"",
        "bar w-create",
        "bar w-cni",
        "bar w-run",
        "CNI bridge",
        // The rules, on the page and in the line of the pod.
        "Findings by rule",
        "<details class=\"rule\">",
        "in 1 pod",
        "<span class=\"bad\">PT301 </span>",
        // A process that has ended does not look like one that runs.
        "<li class=\"mono ended\">",
        "ended: exit",
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
            ("findings", "subject"),
        ] {
            for one in pod[list].as_array_mut().expect("a list") {
                one[key] = json!(HOSTILE);
            }
        }
        pod["start"]["sentence"] = json!(HOSTILE);
        pod["start"]["doubts"] = json!([HOSTILE]);
        for list in ["path", "bars"] {
            for one in pod["start"][list].as_array_mut().expect("a list") {
                one["text"] = json!(HOSTILE);
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

/// The page, and a script at its end that notes what the browser made of it.
fn measured(name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let path = with_data(name, change);
    let whole = fs::read_to_string(&path).expect("it was written");
    let script = "<script>
        // The bars are drawn when the pod is opened, which the browser tells later.
        setTimeout(() => {
            const root = document.documentElement;
            const color = (found) => getComputedStyle(found).color;
            root.dataset.wide = root.scrollWidth > root.clientWidth;
            root.dataset.back = getComputedStyle(document.body).backgroundColor;
            root.dataset.text = color(document.body);
            const row = document.querySelectorAll('.fall li')[1];
            const [what, lane] = ['.what', '.lane'].map((of) => row.querySelector(of).getBoundingClientRect());
            root.dataset.below = lane.top >= what.bottom - 1;
            root.dataset.inside = [...document.querySelectorAll('.bar')].every((bar) => {
                const [own, all] = [bar, bar.parentElement].map((of) => of.getBoundingClientRect());
                return own.left >= all.left - 1 && own.right <= all.right + 4;
            });
        });
        </script></body>";
    fs::write(&path, whole.replace("</body>", script)).expect("this process owns the file");
    path
}

#[test]
fn the_waterfall_fits_a_phone_and_follows_the_colours_of_the_reader() {
    let path = measured("phone.html", |_| {});
    for (size, dark, below) in [
        ((1_100, 1_500), false, "false"),
        ((1_100, 1_500), true, "false"),
        ((500, 1_000), false, "true"),
        ((500, 1_000), true, "true"),
    ] {
        let shown = chromium::open_in(&path, "find=recorded", size, dark);
        assert_eq!(shown.complaints, [""; 0]);
        let (back, text) = match dark {
            true => ("rgb(13, 17, 23)", "rgb(230, 237, 243)"),
            false => ("rgb(255, 255, 255)", "rgb(27, 31, 36)"),
        };
        for (name, value) in [
            ("wide", "false"),
            ("inside", "true"),
            ("below", below),
            ("back", back),
            ("text", text),
        ] {
            let expected = format!("data-{name}=\"{value}\"");
            let root = shown.dom.lines().next().unwrap_or_default();
            let root = &shown.dom[..shown.dom.find("<head>").unwrap_or(root.len())];
            assert!(root.contains(&expected), "{size:?} {expected}: {root}");
        }
    }
}

#[test]
fn more_bars_than_a_page_has_room_for_are_counted_and_a_start_may_be_unknown() {
    let path = with_data("omitted.html", |data| {
        let pods = data["pods"].as_array_mut().expect("a list");
        pods.truncate(1);
        pods[0]["start"]["omitted"] = json!(7);
    });
    let shown = chromium::open(&path, "");
    assert!(shown.dom.contains("7 more elements are not shown"));
    let path = with_data("unknown.html", |data| {
        let pods = data["pods"].as_array_mut().expect("a list");
        pods.truncate(1);
        pods[0]["start"] = Value::Null;
    });
    let shown = chromium::open(&path, "");
    assert!(shown.dom.contains("its start was not observed"));
    assert!(!shown.dom.contains("class=\"fall"), "{}", shown.dom);
}

/// The page has what `timeline` has: one computation.
#[test]
fn the_sentence_about_the_start_is_that_of_timeline() {
    let (path, _) = page("same.html");
    let whole = fs::read_to_string(&path).expect("it was written");
    let (_, data, _) = parts(&whole);
    let pods = data["pods"].as_array().expect("a list");
    let pod = pods.iter().find(|pod| pod["name"] == "recorded");
    let start = &pod.expect("it is there")["start"];
    let shown = run([
        "timeline".as_ref(),
        "recorded".as_ref(),
        "--recording".as_ref(),
        recording().as_os_str(),
        "--format".as_ref(),
        "json".as_ref(),
    ]);
    let lines = shown.stdout.lines();
    let last: Value = serde_json::from_str(lines.last().expect("lines")).expect("JSON");
    assert_eq!(start["sentence"], last["message"]);
    let path = last["path"].as_array().expect("a list");
    let took = |step: &Value| {
        step["end"]
            .as_i64()
            .zip(step["at"].as_i64())
            .map(|(end, at)| end - at)
    };
    let steps = start["path"].as_array().expect("a list");
    let shown: Vec<_> = steps
        .iter()
        .map(|step| (step["kind"].clone(), took(step)))
        .collect();
    let expected: Vec<_> = path
        .iter()
        .map(|step| (step["what"].clone(), step["duration_ns"].as_i64()))
        .collect();
    assert_eq!(shown, expected);
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
