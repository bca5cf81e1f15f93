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

impl PlayError {
    /// What it says of the scenario that it ended.
    fn said(&self, has_lost: bool) -> Said {
        match self {
            // What it would have been found by may be among what was lost.
            Self::Unfound { .. } if has_lost => {
                Said::Impossible(format!("{self}, and records were lost"))
            }
            Self::Unexpected(_) | Self::Unfound { .. } => Said::Broken(self.to_string()),
            // What a runtime does not make, or hides from the kernel's hooks, is not proven wrong by that.
            _ => Said::Impossible(self.to_string()),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_not_found_is_held_against_nobody_where_records_were_lost() {
        let (rule, limit) = ("PT101".to_owned(), Duration::from_secs(1));
        let unfound = PlayError::Unfound { rule, limit };
        assert!(matches!(unfound.said(false), Said::Broken(_)));
        assert!(matches!(unfound.said(true), Said::Impossible(_)));
        let seen = PlayError::Unexpected("it said no".to_owned());
        assert!(matches!(seen.said(true), Said::Broken(_)));
    }
}
