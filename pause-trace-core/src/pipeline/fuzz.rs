//! Fuzzes what follows the reader of a recording: events in any order and with any values, through
//! the state, the rules and the reports.

use pause_trace_fuzz::{Random, Target};

use super::*;
use crate::{
    record::{Next, Recording, Segment},
    report::{
        self, Clock, Format, Settings, Summary,
        html::{self, PageBuilder},
        testing::{CLOCK, Written},
    },
    text::TextStyle,
    timeline::{self, Journal, Timeline},
    verdict::Severity,
};

/// A recording of a containerd pod.
const RECORDED: &[u8] = include_bytes!("../../../tests/fixtures/containerd-pod-v1.ptrec");

const SETTINGS: Settings = Settings {
    clock: CLOCK,
    text_style: TextStyle::PLAIN,
    passes: true,
    fail_on: Severity::Info,
};

/// Limits that no time reaches.
const ENDLESS: Limits = Limits {
    zombie: Ktime::MAX,
    stop: Ktime::MAX,
    init: Ktime::MAX,
    teardown: Ktime::MAX,
    removal: Ktime::MAX,
    pin: Ktime::MAX,
    identity: Ktime::MAX,
    reaction: Ktime::MAX,
    zombies: u32::MAX,
};

/// Most events of an input.
const MOST: usize = 400;

/// The events of an input: one after the other, as recordings encode them.
fn events(mut input: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Ok((event, rest)) = postcard::take_from_bytes::<Event>(input) {
        if events.len() == MOST {
            break;
        }
        events.push(event);
        input = rest;
    }
    events
}

fn encoded(event: &Event) -> Vec<u8> {
    postcard::to_allocvec(event).expect("an event can be encoded")
}

/// What a run reports of these events, in two formats, and the state at its end.
fn reported(events: &[Event], limits: Limits) -> (String, Vec<Event>) {
    let pipeline = Pipeline::new(limits, |_| true);
    pipeline.follow();
    let journal = Rc::new(RefCell::new(Journal::default()));
    pipeline.observe(Box::new(Rc::clone(&journal)));
    let clock = match limits {
        limits if limits == ENDLESS => Clock { offset: i128::MAX },
        _ => CLOCK,
    };
    let mut page = PageBuilder::new(clock);
    page.begin(0);
    let written = Written::default();
    let mut reports = [Format::Json, Format::Text]
        .map(|format| report::new(format, Box::new(written.clone()), SETTINGS));
    for event in events {
        pipeline.process_event(event);
        let (verdicts, news) = (pipeline.verdicts(), pipeline.news());
        pipeline.read(|core| {
            page.see(event, &core.state);
            for verdict in &verdicts {
                page.verdict(verdict, &core.names, false);
            }
            for report in &mut reports {
                for verdict in &verdicts {
                    report
                        .verdict(verdict, &core.names)
                        .expect("memory has room");
                }
                for news in &news {
                    report.news(news, &core.names).expect("memory has room");
                }
            }
        });
        pipeline.next_deadline();
    }
    let snapshot = pipeline.read(|core| core.snapshot(core.last));
    pipeline.end_watch();
    let verdicts = pipeline.verdicts();
    pipeline.read(|core| {
        for report in &mut reports {
            for verdict in &verdicts {
                report
                    .verdict(verdict, &core.names)
                    .expect("memory has room");
            }
        }
    });
    drop(reports);
    // They take long, and depend little on the limits.
    if limits == ENDLESS {
        html::render(&page.into_page(&Summary::default())).expect("memory has room");
        timelines(&journal.borrow(), clock);
    }
    (written.text(), snapshot)
}

/// Writes the timeline of each pod in every format.
fn timelines(journal: &Journal, clock: Clock) {
    let pods: Vec<_> = journal.pods().map(|(pod, ..)| pod.clone()).collect();
    for pod in pods {
        if let Some(timeline) = Timeline::of(journal, &pod) {
            timeline::shown(TextStyle::PLAIN, &timeline);
            timeline::trace(&timeline);
            timeline::lines(&timeline, clock, |_| true).expect("memory has room");
        }
    }
}

/// What holds for every input.
fn judge(input: &[u8]) -> Vec<String> {
    let events = events(input);
    let (text, snapshot) = reported(&events, Limits::NODE);
    let hidden = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!text.contains(hidden), "not escaped: {text:?}");
    let (again, snapshot_again) = reported(&events, Limits::NODE);
    assert_eq!(text, again, "the same events give the same report");
    assert_eq!(
        snapshot, snapshot_again,
        "the same events give the same state"
    );
    // A later segment of a recording begins with the snapshot.
    reported(&snapshot, Limits::NODE);
    // The limits are in the recording, too.
    reported(&events, ENDLESS);
    let rules = text
        .split('"')
        .filter(|word| word.len() == 5 && word.starts_with("PT"));
    let mut rules: Vec<String> = rules.map(str::to_owned).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// The events of the recording, in parts.
fn recorded() -> Vec<Event> {
    let segment = Segment::new(RECORDED).expect("it is a recording");
    let mut recording = Recording::new(segment, || None);
    let mut events = Vec::new();
    while let Next::Entry(entry) = recording.next_entry().expect("memory can be read") {
        if let Entry::Event(event) = entry {
            events.push(event);
        }
    }
    events
}

/// The recording, with events that are left out, repeated, moved, and at other times.
fn generate(random: &mut Random) -> Vec<u8> {
    thread_local! {
        static EVENTS: Vec<Event> = recorded();
    }
    let mut events = EVENTS.with(Clone::clone);
    let start = random.below(events.len() / 2);
    let end = start + random.below(events.len() - start);
    events = events.drain(start..end).collect();
    events.truncate(MOST);
    for _ in 0..random.below(12) {
        if events.is_empty() {
            break;
        }
        let at = random.below(events.len());
        match random.below(6) {
            0 => drop(events.remove(at)),
            1 => {
                let event = events[random.below(events.len())].clone();
                events.insert(at, event);
            }
            2 => {
                let other = random.below(events.len());
                events.swap(at, other);
            }
            3 => events[at].time = random.awkward(),
            4 => {
                let other = &events[random.below(events.len())].fact;
                if let Fact::Fork { task } | Fact::Exec { task, .. } | Fact::Exit { task, .. } =
                    other
                {
                    let parent = task.process;
                    if let Fact::Fork { task } | Fact::Exec { task, .. } = &mut events[at].fact {
                        task.parent = parent;
                    }
                }
            }
            _ => events[at].time = events[at].time.wrapping_add(random.awkward()),
        }
    }
    events.iter().flat_map(encoded).collect()
}

#[test]
fn the_last_moment_has_no_time_after_it() {
    let mut events = recorded();
    for event in &mut events {
        event.time = Ktime::MAX;
    }
    for limits in [Limits::NODE, ENDLESS] {
        let (report, _) = reported(&events, limits);
        assert!(report.contains("recorded"), "{report}");
    }
}

#[test]
fn replay() {
    let parts: Vec<Vec<u8>> = recorded()
        .chunks(60)
        .map(|part| part.iter().flat_map(encoded).collect())
        .collect();
    Target::new("replay")
        .seeds(parts)
        .generator(generate)
        .longest(16 << 10)
        .memory(16 << 20, 4 << 10)
        .inputs(200)
        .run(judge);
}
