//! The scenarios of a real runtime's pods.

use std::pin::Pin;

use super::stage::{Play, PlayError, Stage};
use crate::{
    probe,
    record::{Mark, Over, Said},
    rules,
    scenario::{self, Played},
    state::Limits,
    verdict::{Severity, Verdict},
};

/// Scenarios that are played at once. Making a pod is work for the runtime, and it makes those of the node too.
pub(crate) const AT_ONCE: usize = 4;

/// The node's, but for what scenarios have to wait for. All pods of the node are judged by them, and only ours told of.
pub(crate) const LIMITS: Limits = Limits {
    zombie: 2_000_000_000,
    stop: 2_000_000_000,
    removal: 2_000_000_000,
    ..Limits::NODE
};

/// A scenario under way: it gives what proves it, in a few words with numbers.
pub(crate) type Playing<'a> = Pin<Box<dyn Future<Output = Result<String, PlayError>> + 'a>>;

/// Plays a scenario.
pub(crate) type PlayIt = for<'a> fn(&'a Play<'a>) -> Playing<'a>;

/// A life of a real runtime's pod.
pub(crate) type Scenario = scenario::Scenario<PlayIt>;

impl From<PlayError> for Said {
    fn from(error: PlayError) -> Self {
        match error {
            PlayError::Unexpected(_) | PlayError::Unfound { .. } => Self::Broken(error.to_string()),
            // What a runtime does not make, or hides from the kernel's hooks, is not proven wrong by that.
            _ => Self::Impossible(error.to_string()),
        }
    }
}

/// Plays one scenario of a run, removes its pods, and judges it.
pub(crate) async fn play_one(
    stage: &Stage,
    scenario: &'static Scenario,
    number: u32,
    selected: impl Fn(&str) -> bool,
) -> Played<PlayIt> {
    let began = probe::now();
    let play = Play::new(stage, scenario.name, number);
    let said = (scenario.play)(&play).await;
    let removed = play.remove_all().await;
    let said = match said.and_then(|proof| removed.map(|()| proof)) {
        Ok(proof) => Said::Proof(proof),
        // What it would have found it by may be among what was lost.
        Err(error @ PlayError::Unfound { .. }) if stage.live.look(|core| !core.lost.is_empty()) => {
            Said::Impossible(format!("{error}, and records were lost"))
        }
        Err(error) => error.into(),
    };
    let over = Over {
        scenario: scenario.name.to_owned(),
        pods: play.pods(),
        culprit: play.culprit(),
        said,
        duration: probe::now().saturating_sub(began),
    };
    let pipeline = &stage.live.pipeline;
    // Nobody is told of them here, and they are not to pile up.
    drop(pipeline.news());
    let played = Played::judge(
        scenario,
        &over,
        (pipeline, &stage.verdicts),
        counts,
        selected,
    );
    pipeline.mark(|| Mark::Over(over));
    played
}

/// Whether a scenario is judged by a verdict. What is to be said of the node's pause image is said of each pod, and no
/// reason to call what it shows broken.
pub(crate) fn counts(verdict: &Verdict) -> bool {
    verdict.severity() == Severity::Error || rules::family(verdict.rule.id) != "pause"
}
