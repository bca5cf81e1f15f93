//! Pods that are declared at any time and in any order, while any window of records is lost: no rule
//! passes what it would call a fault if it had seen everything in time.

use std::collections::BTreeMap;

use super::*;

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
                let earliest = earliest.entry(pod.clone()).or_default();
                let latest = latest.entry(pod).or_default();
                if matches!(event.fact, Fact::PodRemoved { .. }) {
                    *earliest = (*earliest).max(*latest);
                }
                let place = (at + by).max(*earliest).min(events.len() - 1);
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

/// The same events without the records of a window: the losses come before what follows the window's
/// beginning, and say until when records were lost.
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
