//! `why` as JSON, of the type in [`wire`](crate::report::wire).

use crate::{
    cli::{
        history::Told,
        pods::{NodeSnapshot, json::named},
    },
    pods::PodView,
    report::wire::{Body, Line, Reason, RemovedPod, When, Why},
    why::{Explanation, Life, Removed},
};

/// The only line.
pub(super) fn line(
    node: &NodeSnapshot,
    pod: &PodView,
    explanation: &Explanation,
    unknown: &[String],
) -> serde_json::Result<String> {
    let why = Why {
        when: When::new(node.clock, node.now),
        pod: named(pod),
        phase: explanation.phase.name(),
        is_problem: explanation.is_problem(),
        is_undecided: explanation.is_undecided(),
        reasons: explanation.reasons.iter().map(Reason::new).collect(),
        unknown: unknown.to_vec(),
        history: node
            .told
            .as_ref()
            .map(|told| told.json(&pod.id, node.clock)),
        removed: None,
    };
    Line::new(Body::Why(Box::new(why))).text()
}

/// The only line, for a pod that the node no longer has.
pub(super) fn removed(
    node: &NodeSnapshot,
    told: &Told,
    pod: &PodView,
    life: &Life,
    removed: &Removed,
) -> serde_json::Result<String> {
    let explanation = &removed.explanation;
    let why = Why {
        when: When::new(node.clock, node.now),
        pod: named(pod),
        phase: explanation.phase.name(),
        is_problem: explanation.is_problem(),
        is_undecided: removed.is_undecided,
        reasons: explanation.reasons.iter().map(Reason::new).collect(),
        unknown: removed.unknown.clone(),
        history: Some(told.json(&pod.id, node.clock)),
        removed: Some(RemovedPod::new(life, node.clock)),
    };
    Line::new(Body::Why(Box::new(why))).text()
}
