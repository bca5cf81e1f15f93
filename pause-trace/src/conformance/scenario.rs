//! Runs scenarios on pods of a real runtime.

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

/// The scenarios that run at once. It is low because the runtime also serves the node's own pods.
pub(crate) const AT_ONCE: usize = 4;

/// The node's limits, with shorter ones where scenarios have to wait. They apply to all pods of the
/// node, but only the pods of this run are reported.
pub(crate) const LIMITS: Limits = Limits {
    zombie: 2_000_000_000,
    stop: 2_000_000_000,
    removal: 2_000_000_000,
    ..Limits::NODE
};

/// A running scenario. It returns its proof: a few words with numbers.
pub(crate) type Playing<'a> = Pin<Box<dyn Future<Output = Result<String, PlayError>> + 'a>>;

/// A scenario on pods of a real runtime.
pub(crate) type Script = playing::Script<for<'a> fn(&'a Play<'a>) -> Playing<'a>>;

impl From<CallError> for PlayError {
    /// A failed call to the runtime proves nothing about its pods.
    fn from(error: CallError) -> Self {
        Self::Impossible(format!("failed to {error}"))
    }
}

/// Runs one scenario, removes its pods, and judges it.
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
    // News of the node's pods is not reported here, and must not accumulate.
    drop(stage.live.pipeline.news());
    play.judge(&script.scenario, proof, counts, selected)
}

/// Whether a verdict decides a scenario. The node's pause image is judged in each pod. A warning
/// about it does not make a scenario fail.
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
