//! The critical path, the waterfall, the JSON lines and the trace.

use serde_json::Value as Json;

use super::{
    super::{
        critical::Critical,
        model::{Extent, Lane},
    },
    session, *,
};
use crate::{
    event::{ContainerId, ContainerKind, Text, WaitStatus},
    report::testing::{CLOCK, HOSTILE},
    verdict::ProcessRef,
};

#[test]
fn the_critical_path_has_no_gaps_and_adds_up() {
    let timeline = only(&recorded());
    let critical = Critical::of(&timeline).expect("it is up");
    let (began, up) = (
        timeline.began.expect("the start was observed"),
        timeline.up.expect("it is up"),
    );
    assert_eq!(critical.steps.first().map(|step| step.begin), Some(began));
    assert_eq!(critical.steps.last().map(|step| step.end), Some(up));
    assert!(
        critical
            .steps
            .windows(2)
            .all(|pair| pair[0].end == pair[1].begin),
        "{critical:?}"
    );
    assert_eq!(critical.total(), up - began);
    assert_eq!(
        critical.sentence(&timeline),
        "up after 313 ms: waiting 39 %, create pause 26 %, create app 21 %, CNI 10 %, shim 3 %"
    );
}

/// The recorded start with a container `setup` that ran, from the exec of the pause on, before the
/// app was created. The app's creation begins `later` ns after its end.
fn with_setup(kind: ContainerKind, status: WaitStatus, later: i64) -> Timeline {
    let mut timeline = only(&recorded());
    let of_app = |element: &&Element| {
        let lanes = &timeline.containers;
        let is_app =
            |lane: &Lane| *lane.name.0 == *b"app" && Some(&lane.id) == element.container.as_ref();
        lanes.iter().any(is_app)
    };
    let is = |what: fn(&ElementKind) -> bool| {
        let of = timeline.elements.iter().filter(of_app);
        of.clone()
            .find(|element| what(&element.what))
            .cloned()
            .expect("it is there")
    };
    let created = is(|what| *what == ElementKind::Create);
    let run = is(|what| matches!(what, ElementKind::Run { .. }));
    let end = created.time.checked_add_signed(-later).expect("a time");
    let id: ContainerId = "setup".into();
    let process = run.process.map(|process| ProcessRef {
        id: ProcessId { pid: 7, start: 7 },
        ..process
    });
    for (time, extent, what) in [
        (end - 30_000_000, Extent::Until(end), run.what.clone()),
        (end, Extent::Moment, ElementKind::Exited { status }),
    ] {
        timeline.elements.push(Element {
            time,
            extent,
            what,
            process,
            container: Some(id.clone()),
            ..run.clone()
        });
    }
    timeline.elements.sort_by_key(|element| element.time);
    let lane = Lane {
        id,
        name: Text::new("setup"),
        kind,
    };
    let app = timeline.containers.len() - 1;
    timeline.containers.insert(app, lane);
    timeline
}

#[test]
fn a_container_that_succeeded_before_the_next_was_created_is_a_step() {
    let sentence = |kind, status, later| {
        let timeline = with_setup(kind, status, later);
        Critical::of(&timeline)
            .expect("it is up")
            .sentence(&timeline)
    };
    let (app, ok) = (ContainerKind::App, WaitStatus::exited(0));
    let init = sentence(app, ok, 1_000_000);
    assert!(init.contains("run setup 10 %"), "{init}");
    assert!(init.contains("waiting 30 %"), "{init}");
    for (kind, status, later) in [
        (app, WaitStatus::exited(1), 1_000_000),
        (app, WaitStatus::killed(9), 1_000_000),
        (app, ok, -1_000_000),
        (ContainerKind::Ephemeral, ok, 1_000_000),
    ] {
        let other = sentence(kind, status, later);
        assert!(!other.contains("run setup"), "{kind:?} {status}: {other}");
    }
}

#[test]
fn an_element_that_outlasts_a_step_does_not_hide_it() {
    // `runc start` of the sandbox ends after the pause has executed, and the second plugin ends
    // after the first.
    let timeline = only(&edited(|line| {
        if line["fact"] == "exit" && line["process"]["pid"] == 14405 {
            line["time"] = (line["time"].as_u64().expect("a time") + 15_000_000).into();
        }
        if line["fact"] == "exit" && line["process"]["pid"] == 14353 {
            line["time"] = (line["time"].as_u64().expect("a time") + 20_000_000).into();
        }
        true
    }));
    let critical = Critical::of(&timeline).expect("it is up");
    let sentence = critical.sentence(&timeline);
    assert!(sentence.contains("create pause 26 %"), "{sentence}");
    let cni: Vec<_> = critical
        .steps
        .iter()
        .filter(|step| step.share.name() == "cni")
        .collect();
    assert_eq!(
        cni.len(),
        2,
        "the first step ends where the second begins: {cni:?}"
    );
    assert_eq!(cni[0].end, cni[1].begin);
}

#[test]
fn lines_fit_the_terminal_whatever_the_name_of_a_pod() {
    let events = edited(|line| {
        if line["fact"] == "container" || line["fact"] == "pod" {
            line["name"] = HOSTILE
                .repeat(3)
                .chars()
                .flat_map(char::escape_unicode)
                .collect::<String>()
                .into();
        }
        true
    });
    for events in [events, recorded()] {
        for (width, utf8) in [(80, true), (80, false), (133, true), (240, false)] {
            let text_style = TextStyle {
                width: Some(width),
                utf8,
                color: false,
            };
            let text = shown(text_style, &only(&events));
            for line in text.lines().skip(1) {
                assert!(
                    line.chars().count() < width,
                    "{} in {width}: {line}",
                    line.chars().count()
                );
                assert!(utf8 || line.is_ascii(), "{line}");
                assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
}

#[test]
fn a_waterfall_has_80_columns() {
    let text_style = TextStyle {
        width: Some(80),
        utf8: true,
        color: false,
    };
    let text = shown(text_style, &only(&recorded()));
    let start = text.lines().take(15).collect::<Vec<_>>().join("\n");
    assert_eq!(
        start,
        "\
default/web  uid 000037e5-0000-4000-8000-000000000001
up after 313 ms: waiting 39 %, create pause 26 %, create app 21 %, CNI 10 %,
shim 3 %

AT        TOOK       WHAT                                0              313 ms
+0 ns                creates net 4026532247: containerd… │
+2.0 ms   30 ms      CNI bridge                          ███
+3.0 ms   19 ms      CNI loopback                        ██
+18 ms    11 ms      CNI   host-local                     ██
+115 ms   10 ms      containerd-shim-runc-v2                    ██
+123 ms   11.11 s    containerd-shim-runc-v2, killed by…         █████████████▶
+130 ms   83 ms      pause · create                              ███████
+130 ms   56 ms      pause · runc                                █████
+137 ms   21 ms      pause · runc (re-executed)                   ██
+148 ms              pause · cgroup created                       │"
    );
}

#[test]
fn json_lines_have_the_fields_of_their_kind() {
    let timeline = only(&recorded());
    let text = lines(&timeline, CLOCK, |_| true).expect("memory has room");
    let objects: Vec<Json> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    assert_eq!(objects.len(), timeline.elements.len() + 2);
    let bridge = objects
        .iter()
        .find(|object| object["what"] == "cni")
        .expect("it has one");
    assert_eq!(bridge["file"], "/usr/lib/cni/bridge");
    assert_eq!(
        (&bridge["type"], &bridge["delegated"]),
        (&"element".into(), &false.into())
    );
    assert_eq!(bridge["pod"]["name"], "web");
    assert_eq!(bridge["evidence"], "net 4026532247 is the pod's");
    let joined = objects
        .iter()
        .find(|object| object["what"] == "joined")
        .expect("it has some");
    assert_eq!(
        (&joined["whose"], &joined["namespaces"]["net"]),
        (&"pod".into(), &NET.into())
    );
    let sum = objects.last().expect("there is one");
    assert_eq!(sum["type"], "timeline");
    assert_eq!(sum["not_visible"], serde_json::json!(["udp"]));
    let path = sum["path"].as_array().expect("a list");
    let took: u64 = path
        .iter()
        .filter_map(|step| step["duration_ns"].as_u64())
        .sum();
    assert_eq!(Some(took), sum["up_ns"].as_u64());
}

/// The requirements of Trace Event Format, sections "JSON Object Format", "Metadata Events" and
/// "Complete Events".
#[test]
fn a_trace_meets_the_requirements_of_its_format() {
    let mut events = recorded();
    events.extend(session());
    for timeline in [only(&events), only(&recorded())] {
        let trace = trace(&timeline);
        let events = trace["traceEvents"].as_array().expect("a list");
        let mut open: std::collections::HashMap<(u64, u64), Vec<f64>> = Default::default();
        let mut named = std::collections::HashSet::new();
        let mut last = 0.0;
        for event in events {
            let (pid, tid) = (
                event["pid"].as_u64().expect("a pid"),
                event["tid"].as_u64().expect("a tid"),
            );
            let ns = |key: &str| (event[key].as_f64().expect("a time") * 1e3).round();
            let ts = ns("ts");
            assert!(
                event["name"].as_str().is_some_and(|name| !name.is_empty()),
                "{event}"
            );
            match event["ph"].as_str() {
                Some("M") => {
                    let is_named =
                        |key: &str| event["args"][key].is_string() || event["args"][key].is_u64();
                    match event["name"].as_str() {
                        Some("process_name" | "thread_name") => {
                            assert!(is_named("name"), "{event}")
                        }
                        Some("process_sort_index") => assert!(is_named("sort_index"), "{event}"),
                        _ => panic!("{event}"),
                    }
                    if event["name"] == "thread_name" {
                        named.insert((pid, tid));
                    }
                    continue;
                }
                Some("i") => assert_eq!(event["s"], "t", "{event}"),
                Some("X") => {
                    let end = ts + ns("dur");
                    let stack = open.entry((pid, tid)).or_default();
                    while stack.last().is_some_and(|top| *top <= ts) {
                        stack.pop();
                    }
                    assert!(
                        stack.last().is_none_or(|top| end <= *top),
                        "slices of a track nest: {event}"
                    );
                    stack.push(end);
                }
                _ => panic!("{event}"),
            }
            assert!(
                named.contains(&(pid, tid)),
                "every track has a name: {event}"
            );
            assert!(ts >= last, "by time: {event}");
            last = ts;
        }
        assert!(
            events
                .iter()
                .any(|event| event["ph"] == "X" && event["cat"] == "critical_path")
        );
        let spans = timeline
            .elements
            .iter()
            .filter(|element| element.extent != Extent::Moment)
            .count();
        assert!(events.iter().filter(|event| event["ph"] == "X").count() >= spans);
    }
}
