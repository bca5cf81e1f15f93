//! When a pod first listens.

use serde_json::Value as Json;

use super::{super::critical::Critical, *};
use crate::{
    event::{Kind, Text},
    report::{Hook, testing::CLOCK},
};

fn sum(timeline: &Timeline) -> Json {
    let text = lines(timeline, CLOCK, |_| true).expect("it is JSON");
    let last = text.lines().next_back().expect("it has an end");
    serde_json::from_str(last).expect("an object")
}

#[test]
fn the_first_listen_is_an_element_and_in_the_sentence() {
    let timeline = only(&listening(&[(8080, 3_800), (9090, 4_000)]));
    let phrases = phrases(&timeline);
    let order = [
        "app · runs /bin/sleep",
        "app · first listen on 0.0.0.0:8080: sleep (14434)",
        "app · listens on 0.0.0.0:9090: sleep (14434)",
        "pause · killed",
    ];
    let found: Vec<_> = order.iter().map(|begins| index(&phrases, begins)).collect();
    assert!(found.is_sorted(), "{phrases:#?}");
    let critical = Critical::of(&timeline).expect("it is up");
    let sentence = critical.sentence(&timeline);
    assert!(sentence.starts_with("up after 313 ms: "), "{sentence}");
    assert!(
        sentence.ends_with("; first listen after 4.11 s: app ran for 3.80 s until then"),
        "{sentence}"
    );
    let sum = sum(&timeline);
    assert_eq!(sum["up_ns"], critical.total());
    assert_eq!(
        sum["first_listen_ns"],
        EXECUTED + 3_800_000_000 - timeline.began.expect("its start was observed")
    );
    assert_eq!(sum["not_visible"], serde_json::json!(["udp"]));
    let text = lines(&timeline, CLOCK, |_| true).expect("it is JSON");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"));
    let listens: Vec<Json> = lines
        .filter(|line: &Json| line["what"] == "listens")
        .collect();
    let shown = |at: usize| {
        let Json::Object(line) = &listens[at] else {
            panic!("{listens:#?}")
        };
        (
            line["address"].clone(),
            line["port"].clone(),
            line["first"].clone(),
        )
    };
    assert_eq!(listens.len(), 2);
    assert_eq!(shown(0), ("0.0.0.0".into(), 8080.into(), true.into()));
    assert_eq!(shown(1), ("0.0.0.0".into(), 9090.into(), false.into()));
    let trace = trace(&timeline);
    let marks = trace["traceEvents"].as_array().expect("a list");
    assert!(marks.iter().any(|mark| mark["cat"] == "listens"), "{trace}");
}

/// The last sentences of the text.
fn foot(timeline: &Timeline) -> String {
    let shown = shown(TextStyle::PLAIN, timeline);
    shown.lines().next_back().expect("it has an end").to_owned()
}

#[test]
fn a_pod_that_does_not_listen_says_so_and_an_unseen_one_says_that() {
    let timeline = only(&recorded());
    assert_eq!(timeline.first_listen, None);
    assert!(foot(&timeline).starts_with("No process has listened"));
    assert_eq!(sum(&timeline).get("first_listen_ns"), None);

    // The kernel lacks the hook.
    let mut events = recorded();
    let missing = Fact::HookMissing {
        kind: Kind::Listen,
        reason: Text::new("no such tracepoint"),
    };
    events.insert(
        0,
        Event {
            time: events[0].time,
            fact: missing,
        },
    );
    let timeline = only(&events);
    assert!(foot(&timeline).contains("no hook"), "{}", foot(&timeline));
    let not_visible = serde_json::json!(["first_listen", "udp"]);
    assert_eq!(sum(&timeline)["not_visible"], not_visible);
}

#[test]
fn an_older_recording_does_not_say_that_nothing_listened() {
    let hook = |name: &str| Hook {
        hook: name.to_owned(),
        how: "tp_btf".into(),
    };
    let pod = |hooks: &[Hook]| {
        let mut journal = journal(&recorded());
        journal.begin(hooks);
        let pod = journal.pods().next().expect("there is a pod").0.clone();
        Timeline::of(&journal, &pod).expect("it is known")
    };
    let older = pod(&[hook("sched_process_fork")]);
    assert!(foot(&older).contains("no hook"), "{}", foot(&older));
    let newer = pod(&[hook("sched_process_fork"), hook("inet_sock_set_state")]);
    assert!(foot(&newer).starts_with("No process has listened"));
}
