//! The oracle finds each way in which a run fails, and passes one that is right.

use super::*;

const UID: &str = "12ab-0000-4000-8000-1";

const SECOND: Duration = Duration::from_secs(1);

fn killed() -> Made {
    Made {
        plan: "c2-pause-killed".into(),
        plant: Some("pause-killed"),
        signs: Signs {
            must: &["PT202"],
            may: &["PT203"],
            late: &["PT310"],
        },
        at: SECOND,
    }
}

fn healthy() -> Made {
    Made {
        plan: "c1-healthy".into(),
        at: SECOND,
        ..Made::default()
    }
}

fn said(rule: &str, verdict: &str, severity: &str) -> Value {
    json!({
        "type": "finding", "pod": {"uid": UID}, "rule": rule, "verdict": verdict,
        "severity": severity, "message": "because",
    })
}

fn verified() -> Value {
    json!({
        "type": "pod", "event": "verified", "pod": {"uid": UID},
        "verdicts": {"pass": 9, "fail": 0, "inconclusive": 0},
    })
}

/// The faults of a pod of which the watch says this.
fn judged(made: Made, lines: &[Value]) -> (Vec<Fault>, Oracle) {
    let mut oracle = Oracle::default();
    oracle.made(UID, made);
    let mut faults = Vec::new();
    for line in lines {
        faults.extend(oracle.line(2 * SECOND, line));
    }
    faults.extend(oracle.removed(3 * SECOND, UID));
    (faults, oracle)
}

#[test]
fn a_plant_that_is_found_and_a_healthy_pod_are_right() {
    let (faults, mut oracle) = judged(killed(), &[said("PT202", "fail", "error"), verified()]);
    assert_eq!(faults, []);
    assert_eq!(oracle.figures().found, 1);
    assert_eq!(oracle.end(9 * SECOND, false), []);
    let info = said("PT110", "fail", "info");
    let (faults, mut oracle) = judged(healthy(), &[info, verified()]);
    assert_eq!(faults, []);
    assert_eq!(oracle.end(9 * SECOND, false), []);
    assert_eq!(oracle.figures().pods, 1);
}

#[test]
fn a_plant_that_no_rule_speaks_of_is_missed() {
    let (faults, oracle) = judged(killed(), &[verified()]);
    assert!(
        matches!(&faults[..], [Fault::Missed { rule: "PT202", pod }] if pod.contains("c2-pause-killed")),
        "{faults:?}"
    );
    assert_eq!(oracle.figures().missed, 1);
}

#[test]
fn an_inconclusive_rule_needs_a_reason() {
    let open = said("PT202", "inconclusive", "error");
    let (faults, oracle) = judged(killed(), &[open.clone(), verified()]);
    assert_eq!(faults, []);
    assert_eq!((oracle.figures().open, oracle.figures().calm_open), (1, 1));
    let mut mute = open;
    mute["message"] = "".into();
    let (faults, _) = judged(killed(), &[mute, verified()]);
    assert!(matches!(&faults[..], [Fault::Missed { .. }]), "{faults:?}");
}

#[test]
fn an_accusation_of_a_healthy_pod_or_by_another_rule_is_a_false_alarm() {
    let is_alarm = |faults: &[Fault]| matches!(faults, [Fault::FalseAlarm { rule, message, .. }] if rule == "PT310" && message == "because");
    let alarm = said("PT310", "fail", "warning");
    let (faults, oracle) = judged(healthy(), &[alarm.clone(), verified()]);
    assert!(is_alarm(&faults), "{faults:?}");
    assert_eq!(oracle.figures().false_alarms, 1);
    let found = said("PT202", "fail", "error");
    let (faults, _) = judged(killed(), &[found, alarm, verified()]);
    assert!(is_alarm(&faults), "{faults:?}");
    let (faults, _) = judged(
        killed(),
        &[
            said("PT202", "fail", "error"),
            said("PT203", "fail", "error"),
            verified(),
        ],
    );
    assert_eq!(faults, [], "what follows from a plant is none");
}

#[test]
fn an_accusation_of_a_container_without_its_pod_and_one_after_the_end_are_false_alarms() {
    let mut oracle = Oracle::default();
    oracle.made(UID, healthy());
    oracle.contains(UID, &"ab".repeat(32));
    let mut line = said("PT310", "fail", "error");
    line["pod"] = Value::Null;
    line["container"] = json!({"id": "ab".repeat(32)});
    oracle.line(SECOND, &line);
    oracle.removed(SECOND, UID);
    let faults = oracle.line(SECOND, &verified());
    assert!(
        matches!(&faults[..], [Fault::FalseAlarm { .. }]),
        "{faults:?}"
    );
    let faults = oracle.line(SECOND, &said("PT205", "fail", "error"));
    assert!(
        matches!(&faults[..], [Fault::FalseAlarm { .. }]),
        "{faults:?}"
    );
}

#[test]
fn what_a_disturbance_permits_is_not_permitted_without_one() {
    let lines = [
        said("PT202", "fail", "error"),
        said("PT310", "fail", "error"),
    ];
    for (is_disturbed, expected) in [(true, 0), (false, 1)] {
        let mut oracle = Oracle::default();
        oracle.made(UID, killed());
        if is_disturbed {
            oracle.disturbed(SECOND);
            oracle.calm(2 * SECOND);
        }
        lines.iter().for_each(|line| {
            oracle.line(3 * SECOND, line);
        });
        oracle.line(3 * SECOND, &verified());
        let faults = oracle.removed(3 * SECOND, UID);
        assert_eq!(faults.len(), expected, "{faults:?}");
    }
}

#[test]
fn a_disturbance_long_before_or_after_a_pod_is_none_of_it() {
    let mut oracle = Oracle::default();
    oracle.disturbed(SECOND);
    oracle.calm(2 * SECOND);
    oracle.disturbed(60 * SECOND);
    let is_disturbed = [(0, 0), (0, 1), (4, 5), (20, 30), (20, 70), (90, 95)]
        .map(|(from, to)| oracle.overlaps(from * SECOND, to * SECOND));
    assert_eq!(is_disturbed, [false, true, true, false, true, true]);
}

#[test]
fn a_pod_without_a_verdict_is_silent() {
    let is_silent =
        |faults: &[Fault]| matches!(faults, [Fault::Silent { pod }] if pod.contains(UID));
    let (faults, mut oracle) = judged(healthy(), &[]);
    assert_eq!((faults, oracle.waiting()), (Vec::new(), 1));
    let faults = oracle.end(9 * SECOND, false);
    assert!(is_silent(&faults), "{faults:?}");

    let mut nothing = verified();
    nothing["verdicts"]["pass"] = 0.into();
    let (faults, _) = judged(healthy(), &[nothing]);
    assert!(is_silent(&faults), "{faults:?}");

    let (_, mut oracle) = judged(healthy(), &[]);
    assert_eq!(oracle.end(9 * SECOND, true), [], "the run was interrupted");
}

#[test]
fn a_pod_that_only_a_disturbance_saw_must_be_named() {
    let id = "cd".repeat(32);
    let line = json!({
        "type": "finding", "rule": "PT903", "verdict": "inconclusive", "severity": "warning",
        "message": format!("container {id} belongs to no known pod"),
    });
    let silent = |is_disturbed, is_named| {
        let mut oracle = Oracle::default();
        oracle.made(UID, healthy());
        oracle.contains(UID, &id);
        if is_disturbed {
            oracle.disturbed(SECOND);
            oracle.calm(3 * SECOND);
        }
        if is_named {
            oracle.line(4 * SECOND, &line);
        }
        oracle.removed(4 * SECOND, UID);
        oracle.end(9 * SECOND, false).len()
    };
    assert_eq!(silent(true, true), 0);
    assert_eq!([silent(true, false), silent(false, true)], [1, 1]);
}

#[test]
fn too_many_open_plants_without_a_disturbance_are_a_fault() {
    let run = |open: u64, found: u64| {
        let mut oracle = Oracle::default();
        for index in 0..open + found {
            let uid = format!("pod-{index}");
            oracle.made(&uid, killed());
            let verdict = if index < open { "inconclusive" } else { "fail" };
            for mut line in [said("PT202", verdict, "error"), verified()] {
                line["pod"]["uid"] = uid.clone().into();
                oracle.line(SECOND, &line);
            }
            oracle.removed(SECOND, &uid);
        }
        oracle.end(2 * SECOND, false)
    };
    assert_eq!(run(1, 3), []);
    assert_eq!(run(5, 95), []);
    assert_eq!(run(6, 94), [Fault::Undecided { open: 6, of: 100 }]);
}

#[test]
fn a_watch_that_grows_is_found_and_one_that_varies_is_not() {
    let grown = |of: fn(u64) -> Sample| {
        let samples: Vec<_> = (0..40).map(of).collect();
        growth::of(&samples)
            .iter()
            .map(|growth| growth.what)
            .collect::<Vec<_>>()
    };
    let flat = |n: u64| Sample {
        rss: 30_000 + n % 7 * 400,
        pss: 20_000 + n % 5 * 300,
        descriptors: 40 + n % 9,
    };
    assert!(grown(flat).is_empty());
    let more = grown(|n| Sample {
        rss: 30_000 + n * 200,
        pss: 20_000 + n * 200,
        descriptors: 40 + n,
    });
    assert_eq!(more.len(), 3, "{more:?}");
    let leaks = grown(|n| Sample {
        descriptors: 40 + n,
        ..Sample::default()
    });
    assert_eq!(leaks, ["open descriptors"]);

    let mut oracle = Oracle::default();
    for descriptors in 0..40 {
        oracle.sample(Sample {
            descriptors,
            ..Sample::default()
        });
    }
    let faults = oracle.end(SECOND, false);
    assert!(matches!(&faults[..], [Fault::Grows(_)]), "{faults:?}");
}

#[test]
fn lines_that_the_watch_dropped_are_a_fault_and_events_are_counted() {
    let mut oracle = Oracle::default();
    let loss = |kind: &str| json!({"type": "loss", "kind": kind, "lost": 3});
    oracle.line(SECOND, &loss("exec"));
    assert_eq!((oracle.faults(), oracle.figures().lost), (&[][..], 3));
    oracle.line(SECOND, &loss("output"));
    assert!(matches!(oracle.faults(), [Fault::Other(_)]));
}
