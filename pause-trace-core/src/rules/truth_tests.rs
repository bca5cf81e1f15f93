//! What every rule says of a fault and of a healthy pod: if it saw everything, if it found them
//! running, and if records were lost. `docs/truth.md` lists these tests.

mod faults;
mod healthy;
mod incomplete;
mod late;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use incomplete::assert_careful;

use super::{Ledger, Rule, all};
use crate::{
    event::*,
    rules::testing::*,
    signal::SIGTERM,
    state::{Limits, State},
    verdict::Verdict,
};

/// The worst that a rule says of a scene: `None` is silence.
fn worst(scene: &Scene, rule: &str) -> Option<Outcome> {
    let outcomes = scene.verdicts(rule).into_iter();
    outcomes.map(|verdict| verdict.outcome).max()
}

/// Judges events by some rules.
fn judged(events: &[Event], selected: impl Fn(&Rule) -> bool) -> (Ledger, Vec<Verdict>) {
    let mut state = State::new(Limits::REFERENCE);
    let mut ledger = Ledger::new(selected);
    for event in events {
        ledger.judge(&mut state, event, |_, _, _| ());
    }
    let verdicts = ledger.take();
    (ledger, verdicts)
}

/// How many records in a row are lost: one, a few, all that follow.
const RUNS: [usize; 3] = [1, 5, usize::MAX];

/// What was lost: the first record, and how many at most.
type Lost<'a> = (&'a Fact, usize);

/// Every way to lose a run of the records of a scene: what was lost, and the events with the losses
/// in place of the records.
fn losses(events: &[Event]) -> impl Iterator<Item = (Lost<'_>, Vec<Event>)> {
    let starts = (0..events.len()).filter(|at| events[*at].fact.record().is_some());
    let runs = starts.flat_map(|at| RUNS.map(|run| (at, run)));
    runs.map(move |(at, run)| {
        let mut rest = events.to_vec();
        let lost = rest[at..].iter_mut().filter_map(|event| {
            let kind = event.fact.record()?;
            Some((kind, &mut event.fact))
        });
        for (kind, fact) in lost.take(run) {
            *fact = Fact::Lost { kind, count: 1 };
        }
        ((&events[at].fact, run), rest)
    })
}

#[test]
fn every_rule_has_a_fault_and_says_so() {
    let rules: Vec<_> = faults::all().map(|fault| fault.0).collect();
    assert_eq!(rules, all().map(|rule| rule.id).collect::<Vec<_>>());
    for (rule, plant, seen, _) in faults::all() {
        let mut scene = Scene::new();
        plant(&mut scene, |_| {});
        assert_eq!(
            worst(&scene, rule),
            Some(*seen),
            "{:#?}",
            scene.verdicts(rule)
        );
    }
}

#[test]
fn faults_that_were_there_before_are_found_or_left_open() {
    for (rule, plant, _, found) in faults::all() {
        let mut scene = Scene::new();
        plant(&mut scene, Scene::attach_late);
        assert_eq!(
            worst(&scene, rule),
            *found,
            "{rule}: {:#?}",
            scene.verdicts(rule)
        );
    }
}

/// Ends every process of the pods, the youngest first, and removes the pods.
fn finish(scene: &mut Scene) {
    let runtime = scene.runtime;
    let forked = scene.events.iter().filter_map(|event| match &event.fact {
        Fact::Fork { task } => Some(task.process),
        _ => None,
    });
    let mut alive: Vec<_> = forked
        .filter(|process| !scene.has_ended(*process))
        .collect();
    while let Some(process) = alive.pop() {
        scene.signal(runtime, process, SIGTERM, SignalResult::Delivered);
        scene.handle(process, SIGTERM);
        scene.end(process, WaitStatus::exited(0));
    }
    scene.remove_pod("p");
    scene.wait_ms(2_000);
}

/// The worst that is said of each pod and container.
fn by_subject(verdicts: &[Verdict]) -> BTreeMap<(Option<PodId>, Option<ContainerId>), Outcome> {
    let mut worst = BTreeMap::new();
    for Verdict {
        subject, outcome, ..
    } in verdicts
    {
        let subject = (subject.pod.clone(), subject.container.clone());
        let said = worst.entry(subject).or_insert(*outcome);
        *said = (*said).max(*outcome);
    }
    worst
}

/// A pass says that all was seen: a rule that passes although the record of its fault is lost does
/// not name the kind of that record among those that it needs.
#[test]
fn a_lost_record_never_turns_a_fault_into_a_pass() {
    let mut turned = BTreeSet::new();
    for (rule, whole_events) in faults::told(finish) {
        let is_its = |known: &Rule| known.id == rule;
        let whole = by_subject(&judged(&whole_events, is_its).1);
        assert!(
            whole.values().any(|said| *said >= Outcome::Inconclusive),
            "{rule}: {whole:?}"
        );
        for (lost, events) in losses(&whole_events) {
            for (subject, outcome) in by_subject(&judged(&events, is_its).1) {
                if outcome == Outcome::Pass && whole.get(&subject) == Some(&Outcome::Fail) {
                    turned.insert(format!("{rule}: {subject:?}: {lost:?}"));
                }
            }
        }
    }
    assert!(turned.is_empty(), "{turned:#?}");
}

/// The failures that the whole events do not have.
fn accusations(verdicts: Vec<Verdict>, known: &[&str]) -> impl Iterator<Item = Verdict> {
    let is_new = |fail: &Verdict| !known.contains(&fail.rule.id);
    let fails = verdicts
        .into_iter()
        .filter(|said| said.outcome == Outcome::Fail);
    fails.filter(is_new)
}

#[test]
fn a_lost_record_never_makes_a_healthy_pod_fail() {
    let mut failed = Vec::new();
    for (scene, known) in [
        (healthy::pods(), &[][..]),
        (healthy::restarted(), &["PT309"]),
    ] {
        for (lost, events) in losses(&scene.events) {
            let (_, verdicts) = judged(&events, |_| true);
            for fail in accusations(verdicts, known) {
                failed.push(format!(
                    "{}: {}; without {lost:?}",
                    fail.rule.id, fail.details.message
                ));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Faults that are true, and that the second rule reports if a record was lost that tells that they
/// are the first rule's: a move into another pod's namespaces as one out of the own ones, a kill of
/// a pause as that of a process, a zombie as any parent's.
const NEIGHBOURS: [(&str, &str); 5] = [
    ("PT110", "PT108"),
    ("PT202", "PT310"),
    ("PT208", "PT401"),
    ("PT402", "PT401"),
    ("PT404", "PT401"),
];

/// What is reported of a fault of which records were lost is a part of what is reported of it.
#[test]
fn a_lost_record_never_makes_another_rule_fail() {
    let mut accused = BTreeSet::new();
    for (rule, whole_events) in faults::told(|_| ()) {
        let failed = |events: &[Event]| -> BTreeSet<_> {
            let verdicts = judged(events, |_| true).1.into_iter();
            let fails = verdicts.filter(|verdict| verdict.outcome == Outcome::Fail);
            fails.map(|fail| (fail.rule.id, fail.severity())).collect()
        };
        let whole = failed(&whole_events);
        for (lost, events) in losses(&whole_events) {
            for fail in failed(&events).difference(&whole) {
                if !NEIGHBOURS.contains(&(rule, fail.0)) {
                    accused.insert(format!("{rule}: {fail:?}; without {lost:?}"));
                }
            }
        }
    }
    assert!(accused.is_empty(), "{accused:#?}");
}

/// Every rule that needs records passes some of these pods, and none after a loss of a kind that it
/// needs: neither what it would say later, nor what it has said.
#[test]
fn no_pass_stands_after_a_loss() {
    let scene = healthy::pods();
    let (whole, verdicts) = judged(&scene.events, |_| true);
    let of =
        |ledger: &Ledger, rule: &Rule| ledger.counts().get(rule.id).copied().unwrap_or_default();
    let sound = verdicts
        .iter()
        .all(|verdict| verdict.outcome == Outcome::Pass);
    assert!(sound, "{verdicts:#?}");
    let position = |is: fn(&Fact) -> bool| scene.events.iter().position(|event| is(&event.fact));
    let declared = scene
        .events
        .iter()
        .rposition(|event| matches!(event.fact, Fact::Pod(_)));
    let moments = [
        declared.expect("there are pods") + 1,
        position(|fact| matches!(fact, Fact::PodStopping { .. })).expect("they are stopped"),
        position(|fact| matches!(fact, Fact::PodRemoved { .. })).expect("they are removed"),
    ];
    for rule in all() {
        let passes = of(&whole, rule).pass;
        assert!(
            passes > 0 || rule.id >= "PT9",
            "{rule:?} passes none of the pods"
        );
        for kind in Kind::ALL {
            for moment in moments {
                let time = scene.events[moment].time;
                let mut events = scene.events.clone();
                events.insert(
                    moment,
                    Event {
                        time,
                        fact: Fact::Lost { kind, count: 1 },
                    },
                );
                let (ledger, verdicts) = judged(&events, |known| known.id == rule.id);
                let counts = of(&ledger, rule);
                if rule.needs_kind(kind) {
                    assert_eq!(
                        (counts.pass, counts.fail),
                        (0, 0),
                        "{kind:?}: {verdicts:#?}"
                    );
                    assert!(
                        counts.inconclusive >= passes,
                        "{rule:?} {kind:?}: {verdicts:#?}"
                    );
                } else {
                    assert_eq!(
                        (counts.pass, counts.fail),
                        (passes, 0),
                        "{kind:?}: {verdicts:#?}"
                    );
                }
            }
        }
    }
}

/// What of the rules changes if no runtime can be asked: the stop signals of containerd's
/// containers are in no bundle, and only the runtime knows which sandboxes it knows.
#[test]
fn the_rules_that_need_a_runtime_are_listed() {
    let (mut silent, mut open) = (BTreeSet::new(), BTreeSet::new());
    let mut scenes = vec![healthy::pods()];
    scenes.extend(faults::all().map(|(_, plant, _, _)| {
        let mut scene = Scene::new();
        plant(&mut scene, |_| {});
        scene
    }));
    for mut scene in scenes {
        let said: Vec<_> = all().map(|rule| worst(&scene, rule.id)).collect();
        scene.forget_stop_signals();
        let is_of_cri = |event: &Event| matches!(event.fact, Fact::SandboxUnknown { .. });
        scene.events.retain(|event| !is_of_cri(event));
        for (rule, said) in all().zip(said) {
            match (said, worst(&scene, rule.id)) {
                (before, now) if before == now => {}
                (_, None) => _ = silent.insert(rule.id),
                (_, Some(now)) => {
                    assert_eq!(now, Outcome::Inconclusive, "{}", rule.id);
                    open.insert(rule.id);
                }
            }
        }
    }
    assert!(silent.into_iter().eq(super::SILENT_WITHOUT_CRI));
    assert!(open.into_iter().eq(super::OPEN_WITHOUT_CRI));
}
