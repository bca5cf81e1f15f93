//! Pods that are declared at any time and in any order, while any window of records is lost: no
//! rule passes what it would call a fault if it had seen everything in time.

use std::collections::BTreeMap;

use super::*;
use crate::signal::SIGKILL;

/// A generator of numbers (xorshift), so that a failure can be told again.
struct Numbers(u64);

impl Numbers {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// The pod that a fact of userspace is about.
fn pod_of(fact: &Fact, pods: &BTreeMap<ContainerId, PodId>) -> Option<PodId> {
    Some(match fact {
        Fact::Pod(fact) => fact.pod.clone(),
        Fact::Container(fact) => fact.pod.clone(),
        Fact::PodStopping { pod, .. } | Fact::PodRemoved { pod } => pod.clone(),
        Fact::Observed(observation) => observation.pod.clone(),
        Fact::PauseStatus(status) | Fact::PauseStarted(status) => status.pod.clone(),
        Fact::PauseUnmeasured { pod, .. } => pod.clone(),
        Fact::ContainerStopping { container, .. }
        | Fact::SandboxUnknown { container }
        | Fact::SandboxPinned { container, .. } => pods.get(container)?.clone(),
        _ => return None,
    })
}

/// In which order the containers of a pod are declared.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// In that of their starts.
    Kept,
    Any,
}

/// The same events with later declarations. What else userspace says of a pod comes after them.
fn declared_late(events: &[Event], numbers: &mut Numbers, order: Order) -> Vec<Event> {
    let pods: BTreeMap<_, _> = events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Container(fact) => Some((fact.container.clone(), fact.pod.clone())),
            _ => None,
        })
        .collect();
    let most = [0, 3, 12, events.len()][numbers.below(4)];
    // What is left of a removed pod is judged some time after its removal is told, so that comes
    // before the time passes in which a process may end.
    let mut until: BTreeMap<PodId, usize> = BTreeMap::new();
    for (at, event) in events.iter().enumerate() {
        if let Fact::PodRemoved { pod } = &event.fact {
            let tick = |event: &Event| matches!(event.fact, Fact::Tick);
            let next = events[at..].iter().position(tick);
            let before = next.map_or(events.len() - 1, |next| at + next - 1);
            until.entry(pod.clone()).or_insert(before);
        }
    }
    let mut earliest: BTreeMap<PodId, usize> = BTreeMap::new();
    // A pod is not forgotten before its containers are declared.
    let mut latest: BTreeMap<PodId, usize> = BTreeMap::new();
    let mut placed: Vec<_> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let place = match pod_of(&event.fact, &pods) {
            Some(pod) => {
                let is_declaration = matches!(event.fact, Fact::Pod(_) | Fact::Container(_));
                let by = if is_declaration {
                    numbers.below(most + 1)
                } else {
                    0
                };
                let last = until.get(&pod).copied().unwrap_or(events.len() - 1);
                let last = last.max(at);
                let earliest = earliest.entry(pod.clone()).or_default();
                let latest = latest.entry(pod).or_default();
                if matches!(event.fact, Fact::PodRemoved { .. }) {
                    *earliest = (*earliest).max(*latest);
                }
                let place = (at + by).max(*earliest).min(last);
                *latest = (*latest).max(place);
                if order == Order::Kept || !matches!(event.fact, Fact::Container(_)) {
                    *earliest = place;
                }
                place
            }
            None => at,
        };
        let time = events[place].time;
        let is_said = pod_of(&event.fact, &pods).is_some();
        placed.push((
            (place, is_said, at),
            Event {
                time,
                fact: event.fact.clone(),
            },
        ));
    }
    placed.sort_by_key(|(key, _)| *key);
    placed.into_iter().map(|(_, event)| event).collect()
}

/// The same events without the records of a window: the losses come before what follows the
/// window's beginning, and say until when records were lost.
fn without_window(events: &[Event], from: usize, to: usize) -> Vec<Event> {
    let (before, rest) = events.split_at(from);
    let (window, after) = rest.split_at(to - from);
    let is_record = |event: &&Event| event.fact.record().is_some();
    let mut counts: BTreeMap<Kind, u64> = BTreeMap::new();
    for kind in window.iter().filter_map(|event| event.fact.record()) {
        *counts.entry(kind).or_default() += 1;
    }
    let time = window
        .iter()
        .filter(is_record)
        .map(|event| event.time)
        .max();
    let lost = counts.into_iter().map(|(kind, count)| Event {
        time: time.unwrap_or_default(),
        fact: Fact::Lost { kind, count },
    });
    let rest = window.iter().filter(|event| !is_record(event)).chain(after);
    before
        .iter()
        .cloned()
        .chain(lost)
        .chain(rest.cloned())
        .collect()
}

/// What was done to the events of one telling, and the events.
fn telling(events: &[Event], numbers: &mut Numbers, order: Order) -> (String, Vec<Event>) {
    let late = declared_late(events, numbers, order);
    let from = numbers.below(late.len());
    let length = [0, 1, 5, 20, late.len()][numbers.below(5)];
    let to = (from + length).min(late.len());
    let name = |(at, event): (usize, &Event)| {
        let fact = format!("{:?}", event.fact);
        let name = fact.split([' ', '(']).next().unwrap_or_default();
        let is_lost = (from..to).contains(&at) && event.fact.record().is_some();
        match is_lost {
            true => format!("({name})"),
            false => name.to_owned(),
        }
    };
    let what = late.iter().enumerate().map(name).collect::<Vec<_>>();
    let what = what.join(" ");
    (what, without_window(&late, from, to))
}

/// The pause was judged without the container, which then takes that back.
#[test]
fn a_pause_that_ended_before_its_container_was_declared_died_all_the_same() {
    for (stops, rule) in [(false, "PT202"), (true, "PT309")] {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        let runtime = scene.runtime;
        let sender = if stops { runtime } else { scene.stranger };
        let signal = if stops { SIGTERM } else { SIGKILL };
        scene.signal(sender, pause, signal, SignalResult::Delivered);
        scene.end(pause, WaitStatus::killed(signal));
        let is_its =
            |event: &Event| matches!(&event.fact, Fact::Container(fact) if &*fact.container == "a");
        for waits in [false, true] {
            let mut events = scene.events.clone();
            let at = events.iter().position(is_its).expect("it is declared");
            let mut declared = events.remove(at);
            let mut time = events.last().expect("there are events").time;
            let mut later = |by| {
                time += by;
                time
            };
            let tick = |time| Event {
                time,
                fact: Fact::Tick,
            };
            if waits {
                events.push(tick(later(2_000_000_000)));
            }
            declared.time = later(1_000);
            events.push(declared);
            events.push(tick(later(2_000_000_000)));
            let verdicts = judged(&events, |known| known.id == rule).1;
            let last = verdicts.last().map(|verdict| verdict.outcome);
            assert_eq!(last, Some(Outcome::Fail), "{rule}, {waits}");
        }
    }
}

const TELLINGS: usize = 80;

#[test]
fn neither_a_late_declaration_nor_a_lost_window_turns_a_fault_into_a_pass() {
    let mut turned = BTreeMap::new();
    for (number, (rule, whole_events)) in faults::told(finish).enumerate() {
        let is_its = |known: &Rule| known.id == rule;
        let whole = by_subject(&judged(&whole_events, is_its).1);
        let mut numbers = Numbers(0x9e37_79b9 + number as u64);
        for _ in 0..TELLINGS {
            let (what, events) = telling(&whole_events, &mut numbers, Order::Any);
            for (subject, outcome) in by_subject(&judged(&events, is_its).1) {
                if outcome == Outcome::Pass && whole.get(&subject) == Some(&Outcome::Fail) {
                    turned.entry((rule, subject)).or_insert(what.clone());
                }
            }
        }
    }
    assert!(turned.is_empty(), "{turned:#?}");
}

#[test]
fn neither_a_late_declaration_nor_a_lost_window_makes_a_healthy_pod_fail() {
    let mut failed = BTreeMap::new();
    let mut numbers = Numbers(0x2545_f491);
    for (scene, known) in [
        (healthy::pods(), &[][..]),
        (healthy::restarted(), &["PT309"]),
    ] {
        for _ in 0..4 * TELLINGS {
            let (what, events) = telling(&scene.events, &mut numbers, Order::Kept);
            let (_, verdicts) = judged(&events, |_| true);
            for fail in accusations(verdicts, known) {
                failed
                    .entry(fail.rule.id)
                    .or_insert((fail.details.message.clone(), what.clone()));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The same events with some of them said only right before a later one.
fn delayed(scene: &Scene, is: impl Fn(&Fact) -> bool, until: impl Fn(&Fact) -> bool) -> Vec<Event> {
    let until = scene.events.iter().position(|event| until(&event.fact));
    let until = until.expect("it happens");
    let (before, after) = scene.events.split_at(until);
    let (late, early): (Vec<_>, Vec<_>) = before.iter().cloned().partition(|event| is(&event.fact));
    let time = after[0].time;
    let late = late.into_iter().map(|event| Event { time, ..event });
    early
        .into_iter()
        .chain(late)
        .chain(after.iter().cloned())
        .collect()
}

/// The worst that a rule says of these events.
fn worst_of(events: &[Event], rule: &str) -> Option<Outcome> {
    let verdicts = judged(events, |known| known.id == rule).1.into_iter();
    verdicts.map(|verdict| verdict.outcome).max()
}

fn is_container(fact: &Fact, what: ContainerKind) -> bool {
    matches!(fact, Fact::Container(fact) if fact.what == what)
}

fn is_exit_of(fact: &Fact, process: ProcessId) -> bool {
    matches!(fact, Fact::Exit { task, .. } if task.process == process)
}

fn is_removal(fact: &Fact) -> bool {
    matches!(fact, Fact::PodRemoved { .. })
}

#[test]
fn a_process_that_left_a_container_before_its_declaration_is_the_pods() {
    let mut scene = Scene::new();
    let (pause, init) = (scene.pod("p"), scene.container("p", "a"));
    let daemon = scene.fork(init);
    scene.move_to(daemon, 1);
    scene.fork(daemon);
    scene.end(init, WaitStatus::exited(0));
    scene.end(pause, WaitStatus::killed(SIGTERM));
    scene.remove_pod("p");
    scene.wait_ms(1_100);
    let is_app = |fact: &Fact| is_container(fact, ContainerKind::App);
    let events = delayed(&scene, is_app, |fact| is_exit_of(fact, init));
    let verdicts = judged(&events, |known| known.id == "PT205").1;
    let [verdict] = &verdicts[..] else {
        panic!("{verdicts:#?}")
    };
    assert_eq!(verdict.outcome, Outcome::Fail);
    let message = &verdict.details.message;
    assert!(message.starts_with("2 processes are"), "{message}");
}

/// A pod whose pause the runtime stops before its container.
fn stopped_before(is_asked: bool) -> (Scene, ProcessId) {
    let mut scene = Scene::new();
    let (pause, init) = (scene.pod("p"), scene.container("p", "a"));
    if is_asked {
        scene.stop_pod("p", 1_000);
    }
    scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
    scene.exit(pause, WaitStatus::exited(0));
    scene.reap(pause);
    scene.wait_ms(if is_asked { 10 } else { 1_100 });
    scene.end(init, WaitStatus::exited(0));
    scene.remove_pod("p");
    (scene, pause)
}

#[test]
fn the_end_of_a_pause_that_is_declared_after_it_is_judged_by_what_ran_then() {
    let is_sandbox = |fact: &Fact| is_container(fact, ContainerKind::Sandbox);
    let (scene, pause) = stopped_before(false);
    let is_reaped = |fact: &Fact| matches!(fact, Fact::Reaped { process } if *process == pause);
    let events = delayed(&scene, is_sandbox, is_reaped);
    assert_eq!(worst_of(&events, "PT309"), Some(Outcome::Fail));
    let (scene, _) = stopped_before(true);
    let events = delayed(&scene, is_sandbox, is_removal);
    assert_eq!(worst_of(&events, "PT309"), Some(Outcome::Fail));
}

#[test]
fn a_replacement_is_not_passed_if_a_container_of_the_former_sandbox_is_declared_later() {
    let mut scene = Scene::new();
    let former = scene.pod("p");
    scene.container("p", "a");
    scene.end(former, WaitStatus::killed(SIGTERM));
    scene.sandbox("p", |_| {});
    scene.wait_ms(1_100);
    scene.remove_pod("p");
    assert_eq!(worst_of(&scene.events, "PT203"), Some(Outcome::Fail));
    let is_app = |fact: &Fact| is_container(fact, ContainerKind::App);
    let events = delayed(&scene, is_app, is_removal);
    assert_eq!(worst_of(&events, "PT203"), Some(Outcome::Inconclusive));
}

#[test]
fn a_pod_of_which_only_the_end_was_seen_lived_at_the_loss() {
    let mut scene = Scene::new();
    let pause = scene.pod("p");
    let net = scene.namespaces(pause).net;
    let flag = NamespaceKind::Net.flag();
    scene.change_namespaces(scene.stranger, NamespaceCall::Setns, flag, 0, |ns| {
        ns.net = net
    });
    scene.end(pause, WaitStatus::exited(0));
    scene.remove_pod("p");
    let is_declaration = |fact: &Fact| matches!(fact, Fact::Pod(_) | Fact::Container(_));
    let events = delayed(&scene, is_declaration, is_removal);
    let position = |is: &dyn Fn(&Fact) -> bool| {
        let at = events.iter().position(|event| is(&event.fact));
        at.expect("it happens")
    };
    let first = position(&|fact| fact.record().is_some());
    let events = without_window(&events, first, position(&|fact| is_exit_of(fact, pause)));
    assert_eq!(worst_of(&events, "PT110"), Some(Outcome::Inconclusive));
}

#[test]
fn a_clone_created_no_namespace_of_a_pod_that_is_not_declared() {
    let mut scene = Scene::new();
    let foreign = scene.pod("q");
    let foreign = scene.namespaces(foreign).net;
    scene.pod("p");
    let init = scene.container("p", "a");
    scene.clone_with(init, |ns, _| (ns.net, ns.uts) = (foreign, 77));
    scene.end(init, WaitStatus::exited(0));
    scene.remove_pod("p");
    let is_its = |fact: &Fact| match fact {
        Fact::Pod(fact) => *fact.pod == *"q",
        Fact::Container(fact) => *fact.pod == *"q",
        _ => false,
    };
    let events = delayed(&scene, is_its, is_removal);
    let verdicts = judged(&events, |known| known.id == "PT109").1;
    let of_p = |verdict: &&Verdict| verdict.subject.pod == Some("p".into());
    let worst = verdicts.iter().filter(of_p).map(|verdict| verdict.outcome);
    assert_eq!(worst.max(), Some(Outcome::Inconclusive), "{verdicts:#?}");
}
