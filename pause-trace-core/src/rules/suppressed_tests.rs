//! A pod that writes so many records that not all of them are recorded: what rules say of it and of
//! its neighbours.

use std::collections::BTreeMap;

use super::testing::*;
use crate::{
    event::{Event, Fact, Kind, ProcessId, SignalResult, WaitStatus},
    signal::{SIGKILL, SIGTERM},
    verdict::Verdict,
};

const PODS: [&str; 2] = ["loud", "neighbour"];

/// A pod whose records of this kind were suppressed, and a neighbour; and their entrypoints.
fn flooded(kind: Kind) -> (Scene, [ProcessId; 2]) {
    let mut scene = Scene::new();
    let inits = PODS.map(|pod| {
        scene.pod(pod);
        scene.container(pod, pod)
    });
    suppress(&mut scene, inits[0], kind);
    (scene, inits)
}

fn suppress(scene: &mut Scene, init: ProcessId, kind: Kind) {
    let (cgroup, count) = (scene.cgroup(init), 1_000);
    scene.push(Fact::RecordsSuppressed {
        cgroup,
        kind,
        count,
    });
}

/// The same, with both pods ended in order.
fn ended(kind: Kind) -> Scene {
    let (mut scene, inits) = flooded(kind);
    for (pod, init) in PODS.into_iter().zip(inits) {
        let pause = scene.pause_of(pod);
        scene.end(init, WaitStatus::exited(0));
        scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
        scene.end(pause, WaitStatus::exited(0));
        scene.remove_pod(pod);
    }
    scene.wait_ms(1_100);
    scene
}

/// What a rule last said of a pod or of each of its containers, without repetitions.
fn said(scene: &Scene, rule: &str, pod: &str) -> Vec<Outcome> {
    let mut last = BTreeMap::new();
    for Verdict {
        subject, outcome, ..
    } in scene.verdicts(rule)
    {
        if subject.pod.as_deref() == Some(pod) {
            last.insert(subject.container, outcome);
        }
    }
    let mut said: Vec<_> = last.into_values().collect();
    said.dedup();
    said
}

#[test]
fn only_the_verdicts_of_the_pod_that_floods_are_inconclusive() {
    let scene = ended(Kind::Fork);
    for rule in ["PT109", "PT205"] {
        assert_eq!(said(&scene, rule, "loud"), [Outcome::Inconclusive]);
        assert_eq!(said(&scene, rule, "neighbour"), [Outcome::Pass]);
    }
}

#[test]
fn a_pass_is_withdrawn() {
    let (scene, _) = flooded(Kind::Exec);
    assert_eq!(said(&scene, "PT101", "loud"), [Outcome::Inconclusive]);
    assert_eq!(said(&scene, "PT101", "neighbour"), [Outcome::Pass]);
}

#[test]
fn suppressed_calls_concern_only_the_rules_that_need_them() {
    let scene = ended(Kind::Namespace);
    assert_eq!(said(&scene, "PT109", "loud"), [Outcome::Inconclusive]);
    assert_eq!(said(&scene, "PT205", "loud"), [Outcome::Pass]);
}

/// A child that is not watched may be who sent a signal from inside the pod.
#[test]
fn nobody_is_accused_by_what_may_not_have_been_recorded() {
    for (is_flooded, expected) in [(false, Outcome::Fail), (true, Outcome::Inconclusive)] {
        let mut scene = Scene::new();
        scene.pod("loud");
        let init = scene.container("loud", "loud");
        if is_flooded {
            suppress(&mut scene, init, Kind::Fork);
        }
        scene.signal(scene.stranger, init, SIGKILL, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGKILL));
        assert_eq!(said(&scene, "PT310", "loud"), [expected]);
    }
}

#[test]
fn what_was_suppressed_before_the_declaration_counts() {
    let mut scene = ended(Kind::Fork);
    let is_flood = |event: &Event| matches!(event.fact, Fact::RecordsSuppressed { .. });
    let at = scene.events.iter().position(is_flood).expect("it is there");
    let flood = scene.events.remove(at);
    let is_declared =
        |event: &Event| matches!(&event.fact, Fact::Container(fact) if &*fact.container == "loud");
    let at = scene.events.iter().position(is_declared).expect("declared");
    let time = scene.events[at].time;
    scene.events.insert(at, Event { time, ..flood });
    assert_eq!(said(&scene, "PT205", "loud"), [Outcome::Inconclusive]);
    assert_eq!(said(&scene, "PT205", "neighbour"), [Outcome::Pass]);
}
