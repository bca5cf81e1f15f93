//! The scenarios of a real runtime's pods.

use std::pin::Pin;

use super::{
    runtime::CallError,
    stage::{Play, Stage},
};
use crate::{
    playing::{self, PlayError},
    rules,
    scenario::Played,
    state::Limits,
    verdict::{Severity, Verdict},
};

/// Scenarios that are played at once. Making a pod is work for the runtime, and it makes those of the node too.
pub(crate) const AT_ONCE: usize = 4;

/// The node's limits, but for what scenarios have to wait for. All pods of the node are judged by them, and only ours are
/// reported.
pub(crate) const LIMITS: Limits = Limits {
    zombie: 2_000_000_000,
    stop: 2_000_000_000,
    removal: 2_000_000_000,
    ..Limits::NODE
};

/// A scenario under way: it gives what proves it, in a few words with numbers.
pub(crate) type Playing<'a> = Pin<Box<dyn Future<Output = Result<String, PlayError>> + 'a>>;

/// A life of a real runtime's pod.
pub(crate) type Script = playing::Script<for<'a> fn(&'a Play<'a>) -> Playing<'a>>;

impl From<CallError> for PlayError {
    /// A runtime that does not do what it is asked for does not prove its pods wrong.
    fn from(error: CallError) -> Self {
        Self::Impossible(format!("failed to {error}"))
    }
}

/// Plays one scenario of a run, removes its pods, and judges it.
pub(crate) async fn play_one(
    stage: &Stage,
    script: &'static Script,
    number: u32,
    selected: impl Fn(&str) -> bool,
) -> Played {
    let play = Play::new(stage, script.scenario.name, number);
    let proof = (script.play)(&play).await;
    let removed = play.remove_all().await;
    let proof = proof.and_then(|proof| removed.map(|()| proof));
    // News of the node's pods are not reported here, and must not pile up.
    drop(stage.live.pipeline.news());
    play.judge(&script.scenario, proof, counts, selected)
}

/// Whether a scenario is judged by a verdict. The node's pause image is judged in each pod, and is no reason to call what
/// the scenario shows broken.
pub(crate) fn counts(verdict: &Verdict) -> bool {
    verdict.severity() == Severity::Error || rules::family(verdict.rule.id) != "pause"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_that_refuses_proves_nothing() {
        let refused = PlayError::from(CallError::Lost("list pods".to_owned()));
        assert!(matches!(refused, PlayError::Impossible(_)));
    }
}
