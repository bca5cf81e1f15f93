//! Runs scenarios on the reference pod.

use std::pin::Pin;

use super::{
    pod::PodError,
    stage::{Play, Stage},
};
use crate::{
    playing::{self, PlayError},
    scenario::Played,
};

/// The scenarios that run at once. They mostly wait.
pub(crate) const AT_ONCE: usize = 6;

/// A running scenario. It returns its proof: a few words with numbers.
pub(crate) type Playing<'a> = Pin<Box<dyn Future<Output = Result<String, PlayError>> + 'a>>;

/// A scenario on the reference pod.
pub(crate) type Script = playing::Script<for<'a> fn(&'a Play<'a>) -> Playing<'a>>;

impl From<PodError> for PlayError {
    fn from(error: PodError) -> Self {
        let why = error.to_string();
        match error {
            // The reference runtime did not get the processor. This proves nothing about the pause.
            PodError::Unanswered { .. } => Self::Impossible(why),
            PodError::Refused(failure) => Self::Refused {
                why,
                errno: failure.errno(),
            },
            _ => Self::Unexpected(why),
        }
    }
}

/// Runs one scenario and judges it.
pub(crate) async fn play_one(
    stage: &Stage,
    script: &'static Script,
    number: u32,
    selected: impl Fn(&str) -> bool,
) -> Played {
    let unique = std::process::id().wrapping_mul(64).wrapping_add(number);
    let play = Play::new(stage, unique);
    let proof = (script.play)(&play).await;
    play.judge(&script.scenario, proof, |_| true, selected)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_unanswered_request_is_not_a_failure_of_the_pause() {
        let error = |what: &str, is_ours| {
            let (what, after) = (what.to_owned(), Duration::from_secs(1));
            PlayError::from(match is_ours {
                true => PodError::Unanswered { what, after },
                false => PodError::TimedOut { what, after },
            })
        };
        assert!(matches!(error("spawn", true), PlayError::Impossible(_)));
        assert!(matches!(error("exit", false), PlayError::Unexpected(_)));
    }
}
