//! The scenarios of the reference pod.

use std::pin::Pin;

use super::{
    pod::PodError,
    stage::{Play, Stage, StageError},
};
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

impl StageError {
    /// What it says of the scenario that it ended.
    fn said(&self, has_lost: bool) -> Said {
        match self {
            Self::Lacking(_) | Self::Pod(PodError::Unanswered { .. }) => {
                Said::Impossible(self.to_string())
            }
            // What was waited for may be among what was lost.
            Self::Silent(_) | Self::Unfound { .. } if has_lost => {
                Said::Impossible(format!("{self}, and records were lost"))
            }
            _ => Said::Broken(self.to_string()),
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
        Err(error) => error.said(stage.live.look(|core| !core.lost.is_empty())),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_not_heard_is_held_against_nobody_where_records_were_lost() {
        let limit = Duration::from_secs(1);
        let rule = "PT403".to_owned();
        for silence in [
            StageError::Unfound { rule, limit },
            StageError::Silent("its end".to_owned()),
        ] {
            assert!(matches!(silence.said(false), Said::Broken(_)));
            assert!(matches!(silence.said(true), Said::Impossible(_)));
        }
        let unanswered = PodError::Unanswered {
            what: "spawn".to_owned(),
            after: limit,
        };
        let unanswered = StageError::Pod(unanswered);
        assert!(matches!(unanswered.said(false), Said::Impossible(_)));
        let seen = StageError::Unexpected("it said no".to_owned());
        assert!(matches!(seen.said(true), Said::Broken(_)));
    }
}
