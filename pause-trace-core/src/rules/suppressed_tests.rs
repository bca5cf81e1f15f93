//! A pod that writes so many records that not all of them are recorded: what rules say of it and of
//! its neighbours.

use std::collections::BTreeMap;

use super::testing::*;
use crate::{
    event::{Event, Fact, Kind, ProcessId, SignalResult, Text, WaitStatus},
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

/// Until it is known, the records of a container that another one made count as those of the other:
/// so it is on a node that is a container.
#[test]
fn what_was_suppressed_around_a_container_concerns_it() {
    const NODE: u64 = 4_000_001;
    let mut scene = Scene::new();
    for pod in PODS {
        scene.pod(pod);
    }
    let made = |scene: &mut Scene, cgroup, path: &str| {
        let path = Text::new(path);
        scene.push(Fact::CgroupMade { cgroup, path });
    };
    let inits = PODS.map(|pod| scene.container(pod, pod));
    let [inner, outer] = inits.map(|init| scene.cgroup(init));
    made(&mut scene, NODE, "/docker/node");
    made(&mut scene, inner, "/docker/node/kubepods/loud");
    made(&mut scene, outer, "/docker/node2/kubepods/neighbour");
    scene.push(Fact::RecordsSuppressed {
        cgroup: NODE,
        kind: Kind::Exec,
        count: 1,
    });
    assert_eq!(said(&scene, "PT101", "loud"), [Outcome::Inconclusive]);
    assert_eq!(said(&scene, "PT101", "neighbour"), [Outcome::Pass]);
}

/// The same of one that is declared later, but not of one that was made later.
#[test]
fn what_was_suppressed_around_a_container_before_its_declaration_concerns_it() {
    const NODE: u64 = 4_000_001;
    for (is_made_before, expected) in [(true, Outcome::Inconclusive), (false, Outcome::Pass)] {
        let mut scene = Scene::new();
        scene.pod("loud");
        let init = scene.container("loud", "loud");
        let own = scene.cgroup(init);
        let is_own =
            |event: &Event| matches!(event.fact, Fact::CgroupMade { cgroup, .. } if cgroup == own);
        let at = scene.events.iter().position(is_own).expect("it is made");
        let made = |cgroup, path| Fact::CgroupMade {
            cgroup,
            path: Text::new(path),
        };
        let time = scene.events[at].time;
        scene.events[at].fact = made(own, "/docker/node/kubepods/loud");
        let suppressed = Event {
            time: if is_made_before { time } else { time - 1 },
            fact: Fact::RecordsSuppressed {
                cgroup: NODE,
                kind: Kind::Exec,
                count: 1,
            },
        };
        let at_suppressed = if is_made_before { at + 1 } else { at };
        scene.events.insert(at_suppressed, suppressed);
        let node = Event {
            time: time - 2,
            fact: made(NODE, "/docker/node"),
        };
        scene.events.insert(at, node);
        assert_eq!(said(&scene, "PT101", "loud"), [expected]);
    }
}
