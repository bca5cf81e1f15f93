//! What the rules say of events that somebody left out and said so.

use std::collections::BTreeSet;

use super::*;

/// Asserts that whatever `incomplete` makes of events, no fault turns into a pass, no healthy pod
/// fails, and no fault makes another rule fail.
pub(crate) fn assert_careful(incomplete: impl Fn(&[Event]) -> Vec<Vec<Event>>) {
    let mut wrong = BTreeSet::new();
    for (rule, whole_events) in faults::told(finish) {
        let is_its = |known: &Rule| known.id == rule;
        let whole = by_subject(&judged(&whole_events, is_its).1);
        for (way, events) in incomplete(&whole_events).iter().enumerate() {
            for (subject, outcome) in by_subject(&judged(events, is_its).1) {
                if outcome == Outcome::Pass && whole.get(&subject) == Some(&Outcome::Fail) {
                    wrong.insert(format!("{rule} passes: {subject:?}; {way}"));
                }
            }
        }
    }
    for (scene, known) in [
        (healthy::pods(), &[][..]),
        (healthy::restarted(), &["PT309"]),
    ] {
        for (way, events) in incomplete(&scene.events).iter().enumerate() {
            let (_, verdicts) = judged(events, |_| true);
            for fail in accusations(verdicts, known) {
                wrong.insert(format!("healthy: {fail:#?}; {way}"));
            }
        }
    }
    for (rule, whole_events) in faults::told(|_| ()) {
        let failed = |events: &[Event]| -> BTreeSet<_> {
            let verdicts = judged(events, |_| true).1.into_iter();
            let fails = verdicts.filter(|verdict| verdict.outcome == Outcome::Fail);
            fails.map(|fail| (fail.rule.id, fail.severity())).collect()
        };
        let whole = failed(&whole_events);
        for (way, events) in incomplete(&whole_events).iter().enumerate() {
            for fail in failed(events).difference(&whole) {
                if !NEIGHBOURS.contains(&(rule, fail.0)) {
                    wrong.insert(format!("{rule}: {fail:?}; {way}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
