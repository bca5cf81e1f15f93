//! What is measured of pods, told as events.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use super::*;
use crate::{
    event::{Modes, WaitStatus},
    rules::testing::{Outcome, Scene},
    signal::SIGTERM,
    state::Limits,
};

/// Keeps what it is told.
#[derive(Clone, Debug, Default)]
struct Notes(Rc<RefCell<Vec<String>>>);

impl Notes {
    fn add(&self, note: String) {
        self.0.borrow_mut().push(note);
    }

    fn of(&self, what: &str) -> Vec<String> {
        let notes = self.0.borrow();
        let mut found: Vec<_> = notes
            .iter()
            .filter_map(|it| it.strip_prefix(what))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|it| it.trim().to_owned()).collect()
    }

    fn count(&self, what: &str) -> usize {
        self.of(what).len()
    }
}

impl Meter for Notes {
    fn record(&self, kind: Kind) {
        self.add(format!("record {}", kind.name()));
    }
    fn lost(&self, kind: Kind, count: u64) {
        self.add(format!("lost {} {count}", kind.name()));
    }
    fn suppressed(&self, kind: Kind, count: u64) {
        self.add(format!("suppressed {} {count}", kind.name()));
    }
    fn signal(&self, result: SignalResult) {
        self.add(format!("signal {result:?}"));
    }
    fn reaped(&self, reaper: Reaper, after: Ktime) {
        self.add(format!("reaped {} {}", reaper.name(), after / 1_000_000));
    }
    fn stopped(&self, end: StopEnd, after: Ktime) {
        self.add(format!("stopped {} {}", end.name(), after / 1_000_000));
    }
    fn started(&self, phase: Phase, took: Ktime) {
        self.add(format!("started {} {}", phase.name(), took / 1_000_000));
    }
    fn start_unmeasured(&self) {
        self.add("unmeasured".to_owned());
    }
    fn oom_killed(&self) {
        self.add("oom".to_owned());
    }
}

/// The state and the verdicts behind a measure.
struct Told {
    state: State,
    ledger: Ledger,
    measure: Measure<Notes>,
    notes: Notes,
}

fn told(events: &[Event]) -> Told {
    let notes = Notes::default();
    let mut measure = Measure::new(notes.clone());
    let mut state = State::new(Limits::REFERENCE);
    let mut ledger = Ledger::new(|_| true);
    for event in events {
        measure.event(event, &state);
        ledger.judge(&mut state, event, |change, state, ledger| {
            measure.change(event.time, change, state, ledger);
        });
    }
    Told {
        state,
        ledger,
        measure,
        notes,
    }
}

#[test]
fn records_losses_and_signals_are_counted() {
    let mut scene = Scene::new();
    scene.pod("p");
    let init = scene.container("p", "a");
    scene.signal(scene.runtime, init, SIGTERM, SignalResult::Ignored);
    scene.push(Fact::Lost {
        kind: Kind::Exit,
        count: 7,
    });
    scene.push(Fact::RecordsSuppressed {
        cgroup: 1,
        kind: Kind::Fork,
        count: 9,
    });
    scene.push(Fact::SignalsSuppressed {
        cgroup: 1,
        signal: SIGTERM,
        count: 11,
        first: 1,
        last: 2,
    });
    let notes = told(&scene.events).notes;
    assert_eq!(notes.count("record exec"), 2);
    assert_eq!(notes.of("signal"), ["Ignored"]);
    assert_eq!(notes.of("lost"), ["exit 7"]);
    assert_eq!(notes.of("suppressed"), ["fork 9", "signal_generate 11"]);
}

#[test]
fn who_reaps_and_how_long_it_takes() {
    let mut scene = Scene::new();
    let pause = scene.shared_pid_pod("p");
    let app = scene.container("p", "app");
    let child = scene.fork(app);
    let orphan = scene.fork(child);
    scene.exit(child, WaitStatus::exited(0));
    scene.wait_ms(20);
    scene.reap(child);
    scene.exit_to(orphan, pause, WaitStatus::exited(0));
    scene.wait_ms(40);
    scene.reap(orphan);
    scene.end(app, WaitStatus::exited(0));
    let notes = told(&scene.events).notes;
    assert_eq!(
        notes.of("reaped"),
        ["container 20", "outside 0", "pause 40"]
    );
}

#[test]
fn the_grace_that_a_container_uses_begins_with_its_stop_signal() {
    let mut scene = Scene::new();
    scene.pod("p");
    let killed = scene.container("p", "a");
    let handles = scene.container("p", "b");
    let unasked = scene.container("p", "c");
    for init in [killed, handles] {
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
    }
    scene.wait_ms(100);
    scene.end(handles, WaitStatus::exited(0));
    scene.end(unasked, WaitStatus::exited(0));
    scene.wait_ms(200);
    scene.signal(scene.runtime, killed, SIGKILL, SignalResult::Delivered);
    scene.end(killed, WaitStatus::killed(SIGKILL));
    let notes = told(&scene.events).notes;
    assert_eq!(notes.of("stopped"), ["itself 100", "killed 300"]);
}

#[test]
fn a_real_start_is_measured_once_it_has_settled() {
    let events = crate::timeline::testing::recorded();
    let last = events.last().expect("there are some").time;
    let mut told = told(&events);
    told.measure.settle(last + SETTLED);
    let phases = told.notes.of("started");
    let named: Vec<_> = phases
        .iter()
        .filter_map(|it| it.split(' ').next())
        .collect();
    assert_eq!(named, ["cni", "create", "sandbox", "start"], "{phases:?}");
    assert_eq!(told.notes.count("unmeasured"), 0);
    // Not once more.
    told.measure.settle(last + 10 * SETTLED);
    assert_eq!(told.notes.of("started"), phases);
}

#[test]
fn a_start_with_lost_records_is_not_measured() {
    let mut events = crate::timeline::testing::recorded();
    let is_app = |event: &Event| matches!(&event.fact, Fact::Exec { file, .. } if file.0.ends_with(b"/sleep"));
    let at = events.iter().position(is_app).expect("it executes");
    let fact = Fact::Lost {
        kind: Kind::Fork,
        count: 1,
    };
    let time = events[at].time;
    events.insert(at + 1, Event { time, fact });
    let last = events.last().expect("there are some").time;
    let mut told = told(&events);
    told.measure.settle(last + SETTLED);
    assert_eq!(told.notes.count("started"), 0);
    assert_eq!(told.notes.count("unmeasured"), 1);
}

#[test]
fn a_pod_that_lives_shorter_than_a_start_settles_is_measured_at_its_removal() {
    let mut events = crate::timeline::testing::recorded();
    let is_app = |event: &Event| matches!(&event.fact, Fact::Exec { file, .. } if file.0.ends_with(b"/sleep"));
    let at = events.iter().position(is_app).expect("it executes");
    let removed = events
        .iter()
        .find(|it| matches!(it.fact, Fact::PodRemoved { .. }));
    let removed = removed.expect("the pod is removed").clone();
    events.truncate(at + 1);
    let time = events[at].time + 1;
    events.push(Event { time, ..removed });
    let told = told(&events);
    assert_eq!(told.notes.count("started start"), 1);
}

#[test]
fn a_listen_after_the_start_was_measured_is_measured_once() {
    let events = crate::timeline::testing::listening(&[(8080, 3_800), (9090, 4_000)]);
    let notes = told(&events).notes;
    assert_eq!(notes.of("started first_listen"), ["4113"]);
    assert_eq!(notes.count("started start"), 1);
}

#[test]
fn a_listen_before_the_start_is_measured_is_a_part_of_it() {
    let events = crate::timeline::testing::listening(&[(8080, 500), (9090, 4_000)]);
    let notes = told(&events).notes;
    assert_eq!(notes.of("started first_listen"), ["813"]);
}

/// Pods of which the second leaves a zombie to its pause and so fails.
fn three_pods() -> Scene {
    let mut scene = Scene::new();
    for pod in ["a", "b", "c"] {
        let pause = scene.shared_pid_pod(pod);
        let app = scene.container(pod, &format!("app-{pod}"));
        if pod == "b" {
            let child = scene.fork(app);
            let orphan = scene.fork(child);
            scene.end(child, WaitStatus::exited(0));
            scene.exit_to(orphan, pause, WaitStatus::exited(0));
        }
    }
    scene.wait_ms(1_000);
    scene
}

#[test]
fn what_there_is_now_is_counted() {
    let scene = three_pods();
    scene.expect("PT402", &[Outcome::Fail]);
    let told = told(&scene.events);
    let now = Now::of(&told.state, &told.ledger, 0);
    let Now {
        pods,
        pauses,
        containers,
        zombies,
        overdue,
        by_pod,
    } = now;
    assert_eq!((pods, pauses, containers), (3, 3, 3));
    assert_eq!((zombies, overdue), (1, 1));
    assert_eq!(by_pod, BTreeMap::new());
}

#[test]
fn pods_beyond_the_cap_are_counted_together() {
    let told = told(&three_pods().events);
    let key = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
    let (default, other) = (|name| key("default", name), key(OTHER, OTHER));
    let all = Now::of(&told.state, &told.ledger, 100).by_pod;
    assert_eq!(all[&default("b")].zombies, 1);
    assert_eq!(all[&default("b")].findings["PT402"], 1);
    assert_eq!(all.len(), 4);
    assert_eq!(all[&other], PodNow::default());
    let one = Now::of(&told.state, &told.ledger, 1).by_pod;
    assert_eq!(
        one.keys().cloned().collect::<Vec<_>>(),
        [other.clone(), default("a")]
    );
    assert_eq!(one[&other], all[&default("b")]);
}

#[test]
fn a_pod_that_is_gone_has_no_labels() {
    let mut scene = three_pods();
    scene.remove_pod("b");
    scene.wait_ms(10_000);
    let told = told(&scene.events);
    let all = Now::of(&told.state, &told.ledger, 100).by_pod;
    assert!(!all.keys().any(|(_, name)| name == "b"), "{all:?}");
    assert_eq!(all.len(), 3);
}

#[test]
fn the_name_of_a_pod_is_escaped_and_two_pods_may_share_it() {
    let mut scene = Scene::new();
    for pod in ["one", "two"] {
        scene.declare_pod(pod, &Modes::plain());
        if let Some(event) = scene.events.last_mut()
            && let Fact::Pod(fact) = &mut event.fact
        {
            fact.name = crate::event::Text::new("w\u{1b}\"\n");
        }
    }
    let told = told(&scene.events);
    let all = Now::of(&told.state, &told.ledger, 100).by_pod;
    let names: Vec<_> = all.keys().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, [OTHER, "w\\u{1b}\"\\u{a}"]);
}
