//! The scenarios of the reference pod.

use std::pin::Pin;

use super::stage::{Play, Stage, StageError};
use crate::{
    probe,
    record::{Mark, Over, Said},
    scenario::{self, Played},
};

/// Scenarios that are played at once: they mostly wait.
pub(crate) const AT_ONCE: usize = 6;

/// A scenario under way: it gives what proves it, in a few words with numbers.
pub(crate) type Playing<'a> = Pin<Box<dyn Future<Output = Result<String, StageError>> + 'a>>;

/// Plays a scenario.
pub(crate) type PlayIt = for<'a> fn(&'a Play<'a>) -> Playing<'a>;

/// A life of the reference pod.
pub(crate) type Scenario = scenario::Scenario<PlayIt>;

impl From<StageError> for Said {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Lacking(_) => Self::Impossible(error.to_string()),
            _ => Self::Broken(error.to_string()),
        }
    }
}

/// Plays one scenario of a run and judges it.
pub(crate) async fn play_one(
    stage: &Stage,
    scenario: &'static Scenario,
    number: u32,
    selected: impl Fn(&str) -> bool,
) -> Played<PlayIt> {
    let began = probe::now();
    let play = Play::new(
        stage,
        std::process::id().wrapping_mul(64).wrapping_add(number),
    );
    let said = match (scenario.play)(&play).await {
        Ok(proof) => Said::Proof(proof),
        // What was waited for may be among what was lost.
        Err(error @ (StageError::Silent(_) | StageError::Unfound { .. }))
            if stage.live.look(|core| !core.lost.is_empty()) =>
        {
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
    let played = Played::judge(
        scenario,
        &over,
        (pipeline, &stage.verdicts),
        |_| true,
        selected,
    );
    pipeline.mark(|| Mark::Over(over));
    played
}
