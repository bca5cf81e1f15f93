//! `why` as JSON, of the type in [`wire`](crate::report::wire).

use crate::{
    cli::pods::{NodeSnapshot, json::named},
    pods::PodView,
    report::wire::{Body, Line, Reason, When, Why},
    why::Explanation,
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
    };
    Line::new(Body::Why(Box::new(why))).text()
}
