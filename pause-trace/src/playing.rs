//! Runs scenarios. Their pods are created by the reference runtime or by a real one.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt::Display,
    io,
    time::Duration,
};

use futures::{StreamExt as _, stream};
use nix::errno::Errno;
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    event::{Ktime, PodId, ProcessId},
    live::Live,
    pipeline::Pipeline,
    probe,
    record::{Mark, PlayResult, ScenarioEnd},
    scenario::{Played, Scenario, SortedVerdicts},
    verdict::Verdict,
};

/// A scenario, and the function that runs it.
pub(crate) struct Script<F: 'static> {
    pub(crate) scenario: Scenario,
    pub(crate) play: F,
}

/// Why a scenario could not be completed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlayError {
    /// The machine or the runtime cannot do it. This proves nothing.
    #[error("{0}")]
    Impossible(String),
    /// Something was not reported or not found in time.
    #[error("{0}")]
    Missed(String),
    /// The kernel refused a call. Some scenarios expect that.
    #[error("{why}")]
    Refused { why: String, errno: Errno },
    /// Something unexpected happened.
    #[error("{0}")]
    Unexpected(String),
}

impl PlayError {
    /// An I/O error on a file or process of the scenario. `what` completes "failed to …".
    pub(crate) fn io(what: impl Display, source: io::Error) -> Self {
        Self::Unexpected(format!("failed to {what}: {source}"))
    }

    /// How the error decides the scenario.
    fn result(self, has_lost: bool) -> PlayResult {
        match self {
            Self::Impossible(why) => PlayResult::Impossible(why),
            // The missing record may be among the lost ones.
            Self::Missed(why) if has_lost => {
                PlayResult::Impossible(format!("{why}, and records were lost"))
            }
            Self::Missed(why) | Self::Refused { why, .. } | Self::Unexpected(why) => {
                PlayResult::Broken(why)
            }
        }
    }
}

/// The pods of one scenario, and the verifier's findings on them.
pub(crate) struct Scene<'a> {
    pub(crate) live: &'a Live,
    verdicts: &'a SortedVerdicts,
    /// How long to wait for a finding.
    limit: Duration,
    began: Ktime,
    pods: RefCell<Vec<PodId>>,
    culprit: Cell<Option<ProcessId>>,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(live: &'a Live, verdicts: &'a SortedVerdicts, limit: Duration) -> Self {
        Self {
            live,
            verdicts,
            limit,
            began: probe::now(),
            pods: RefCell::default(),
            culprit: Cell::default(),
        }
    }

    /// The pods that were created.
    pub(crate) fn pods(&self) -> Vec<PodId> {
        self.pods.borrow().clone()
    }

    /// Registers a pod before it is created.
    pub(crate) fn add_pod(&self, pod: PodId) {
        self.pods.borrow_mut().push(pod);
    }

    /// Sets the process that the expected finding must name.
    pub(crate) fn blame(&self, process: ProcessId) {
        self.culprit.set(Some(process));
    }

    /// Waits until a rule has reported a violation by one of the pods.
    pub(crate) async fn found(&self, rule: &str) -> Result<Verdict, PlayError> {
        self.found_where(rule, |_| true).await
    }

    /// Waits until a rule has reported a violation by one of the pods that `is` accepts.
    pub(crate) async fn found_where(
        &self,
        rule: &str,
        is: impl Fn(&Verdict) -> bool,
    ) -> Result<Verdict, PlayError> {
        let pipeline = &self.live.pipeline;
        let wait = async {
            loop {
                // Before the search, so that events during the search wake this up.
                let changed = self.live.changed();
                if let Some(finding) =
                    self.verdicts
                        .finding(pipeline, rule, &self.pods.borrow(), &is)
                {
                    return finding;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(self.limit, wait).await;
        let limit = self.limit;
        waited.map_err(|_| PlayError::Missed(format!("{rule} reported nothing within {limit:?}")))
    }

    /// Judges the scenario by the verdicts that `counts` accepts, and marks it in the recording.
    pub(crate) fn judge(
        &self,
        scenario: &'static Scenario,
        proof: Result<String, PlayError>,
        counts: impl Fn(&Verdict) -> bool,
        selected: impl Fn(&str) -> bool,
    ) -> Played {
        let result = match proof {
            Ok(proof) => PlayResult::Proof(proof),
            Err(error) => error.result(self.live.read(|core| !core.records.lost.is_empty())),
        };
        let over = ScenarioEnd {
            scenario: scenario.name.to_owned(),
            pods: self.pods(),
            culprit: self.culprit.get(),
            result,
            duration: probe::now().saturating_sub(self.began),
        };
        let pipeline: &Pipeline = &self.live.pipeline;
        let judged = (pipeline, self.verdicts);
        let played = Played::judge(scenario, &over, judged, counts, selected);
        pipeline.mark(|| Mark::ScenarioEnded(over));
        played
    }
}

/// The progress of the scenarios.
pub(crate) enum Progress {
    Started(&'static Scenario),
    Played(Box<Played>),
}

/// Runs scenarios, `at_once` at a time, and sends each result in the given order. Stops when the
/// receiver is gone. `play_one` gets a script and its number, from 1.
pub(crate) async fn play_all<F, P>(
    at_once: usize,
    scripts: &[&'static Script<F>],
    sender: UnboundedSender<Progress>,
    play_one: impl Fn(&'static Script<F>, u32) -> P,
) where
    P: Future<Output = Played>,
{
    let number = Cell::new(0_u32);
    let mut waiting: VecDeque<&'static Script<F>> = scripts.iter().copied().collect();
    let (play_one, number, sender) = (&play_one, &number, &sender);
    let playing = std::iter::from_fn(move || waiting.pop_front()).map(|script| async move {
        // A receiver that is gone is noticed at the end of the scenario.
        let _ = sender.send(Progress::Started(&script.scenario));
        number.set(number.get() + 1);
        play_one(script, number.get()).await
    });
    let mut played = stream::iter(playing).buffered(at_once);
    while let Some(played) = played.next().await {
        if sender.send(Progress::Played(Box::new(played))).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_report_is_inconclusive_if_records_were_lost() {
        let missed = || PlayError::Missed("PT403 reported nothing".to_owned());
        assert!(matches!(missed().result(false), PlayResult::Broken(_)));
        assert!(matches!(missed().result(true), PlayResult::Impossible(_)));
        let unexpected = PlayError::Unexpected("it said no".to_owned());
        assert!(matches!(unexpected.result(true), PlayResult::Broken(_)));
        let unable = PlayError::Impossible("no user namespaces".to_owned());
        assert!(matches!(unable.result(false), PlayResult::Impossible(_)));
    }
}
