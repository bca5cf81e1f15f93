//! What the rules say if records of a pod are left out of a recording, because the pod has written
//! its share.

use std::collections::BTreeSet;

use super::*;
use crate::record::Shares;

/// How many records each pod may write: none, and more and more of its life.
const RECORDS: [u64; 9] = [0, 1, 2, 3, 4, 6, 9, 14, 24];

/// What is recorded of events.
fn recorded(events: &[Event], mut shares: Shares) -> Vec<Event> {
    let mut state = State::new(Limits::REFERENCE);
    let mut ledger = Ledger::new(|_| false);
    let mut recorded = Vec::new();
    for event in events {
        shares.admit(event, &state, |event| recorded.push(event.clone()));
        ledger.judge(&mut state, event, |_, _, _| ());
    }
    let last = events.last().map_or(0, |event| event.time);
    recorded.extend(shares.pending(last));
    recorded
}

#[test]
fn a_record_that_is_left_out_never_turns_a_fault_into_a_pass() {
    let mut turned = BTreeSet::new();
    for (rule, whole_events) in faults::told(finish) {
        let is_its = |known: &Rule| known.id == rule;
        let whole = by_subject(&judged(&whole_events, is_its).1);
        for records in RECORDS {
            let events = recorded(&whole_events, Shares::strict(records));
            for (subject, outcome) in by_subject(&judged(&events, is_its).1) {
                if outcome == Outcome::Pass && whole.get(&subject) == Some(&Outcome::Fail) {
                    turned.insert(format!("{rule}: {subject:?}: {records}"));
                }
            }
        }
    }
    assert!(turned.is_empty(), "{turned:#?}");
}

#[test]
fn a_record_that_is_left_out_never_makes_a_healthy_pod_fail() {
    let mut all_kept = 0;
    for (scene, known) in [
        (healthy::pods(), &[][..]),
        (healthy::restarted(), &["PT309"]),
    ] {
        for records in RECORDS {
            let events = recorded(&scene.events, Shares::strict(records));
            let is_left_out = |event: &Event| matches!(event.fact, Fact::RecordsSuppressed { .. });
            all_kept += usize::from(!events.iter().any(is_left_out));
            let (_, verdicts) = judged(&events, |_| true);
            let failed: Vec<_> = accusations(verdicts, known).collect();
            assert!(failed.is_empty(), "{records}: {failed:#?}");
        }
    }
    assert!(all_kept <= RECORDS.len(), "{all_kept}");
}

#[test]
fn a_record_that_is_left_out_never_makes_another_rule_fail() {
    let mut accused = BTreeSet::new();
    for (rule, whole_events) in faults::told(|_| ()) {
        let failed = |events: &[Event]| -> BTreeSet<_> {
            let verdicts = judged(events, |_| true).1.into_iter();
            let fails = verdicts.filter(|verdict| verdict.outcome == Outcome::Fail);
            fails.map(|fail| (fail.rule.id, fail.severity())).collect()
        };
        let whole = failed(&whole_events);
        for records in RECORDS {
            let events = recorded(&whole_events, Shares::strict(records));
            for fail in failed(&events).difference(&whole) {
                if !NEIGHBOURS.contains(&(rule, fail.0)) {
                    accused.insert(format!("{rule}: {fail:?}; {records}"));
                }
            }
        }
    }
    assert!(accused.is_empty(), "{accused:#?}");
}
