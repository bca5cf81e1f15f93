//! Reports scenarios as they run: the verdicts and the outcome of each, and the summary.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{Console, End, summary};
use crate::{
    event::Ktime,
    pipeline::{LossFilter, Pipeline},
    playing::Progress,
    probe,
    record::Mark,
    report::{ScenarioResult, Summary},
    rules::Counts,
    scenario::{Played, SortedVerdicts},
    sink::Failed,
    verdict::{Outcome, Verdict},
};

/// Reports scenarios until all have run.
pub(super) async fn report_all(
    reporter: &mut ScenarioReporter,
    (pipeline, verdicts): (&Pipeline, &SortedVerdicts),
    console: &mut Console,
    mut progress: UnboundedReceiver<Progress>,
    playing: impl Future<Output = ()>,
) -> Result<End> {
    tokio::pin!(playing);
    let mut is_playing = true;
    loop {
        tokio::select! {
            biased;
            Some(progress) = progress.recv() => {
                if let Err(failed) = reporter.progress(progress, (pipeline, verdicts), console) {
                    return Ok(End::from_failed(failed)?);
                }
            }
            () = &mut playing, if is_playing => is_playing = false,
            () = console.tick() => {}
        }
        if !is_playing && progress.is_empty() {
            return Ok(End::Finished);
        }
    }
}

/// Reports scenarios, and counts for the summary what it has reported.
pub(super) struct ScenarioReporter {
    inject: bool,
    total: usize,
    started: usize,
    /// Verdicts that the ledger counts and the report omits: injected faults that were found, and
    /// what these faults left inconclusive.
    unreported: BTreeMap<&'static str, Counts>,
    scenarios: Counts,
    /// On a node with other pods: whether a verdict on no pod concerns this run.
    is_ours: Option<fn(&Verdict) -> bool>,
    /// Verdicts on pods and containers that do not belong to this run.
    foreign: Vec<Verdict>,
}

impl ScenarioReporter {
    pub(super) fn new(inject: bool, total: usize) -> Self {
        Self {
            inject,
            total,
            started: 0,
            unreported: BTreeMap::new(),
            scenarios: Counts::default(),
            is_ours: None,
            foreign: Vec::new(),
        }
    }

    /// For a node with other pods: a verdict on no pod is reported only if `is_ours` accepts it.
    pub(super) fn among_others(self, is_ours: fn(&Verdict) -> bool) -> Self {
        Self {
            is_ours: Some(is_ours),
            ..self
        }
    }

    fn progress(
        &mut self,
        progress: Progress,
        (pipeline, verdicts): (&Pipeline, &SortedVerdicts),
        console: &mut Console,
    ) -> Result<(), Failed> {
        match progress {
            Progress::Started(scenario) => {
                self.started += 1;
                console.step(Some((self.started, self.total)), scenario.name);
                Ok(())
            }
            Progress::Played(played) => {
                let time = probe::now();
                pipeline.mark(|| Mark::ScenarioReported {
                    scenario: played.scenario.name.to_owned(),
                    time,
                });
                self.report(&played, time, (pipeline, verdicts), console)
            }
        }
    }

    /// Reports the verdicts of a scenario, then the scenario.
    pub(super) fn report(
        &mut self,
        played: &Played,
        time: Ktime,
        (pipeline, sorted): (&Pipeline, &SortedVerdicts),
        console: &mut Console,
    ) -> Result<(), Failed> {
        let Played {
            scenario,
            judgement,
            verdicts,
            duration,
        } = played;
        let (expected, reported): (Vec<_>, Vec<_>) = verdicts
            .iter()
            .partition(|verdict| scenario.expects(verdict) && !self.inject);
        // An injected fault may leave other rules inconclusive. That is no doubt about this
        // machine.
        let (undecided, reported): (Vec<_>, Vec<_>) = reported
            .into_iter()
            .partition(|verdict| scenario.is_fault() && verdict.outcome == Outcome::Inconclusive);
        self.leave_out(expected.iter().chain(&undecided).copied());
        pipeline.read(|core| {
            reported
                .iter()
                .try_for_each(|verdict| console.verdict(verdict, &core.names))
        })?;
        let mut found: Vec<_> = expected.iter().map(|verdict| verdict.rule.id).collect();
        if self.inject {
            found = reported
                .iter()
                .filter(|verdict| verdict.outcome == Outcome::Fail)
                .map(|verdict| verdict.rule.id)
                .collect();
        }
        found.sort_unstable();
        found.dedup();
        let first = expected
            .iter()
            .find(|verdict| scenario.finds.first() == Some(&verdict.rule.id));
        let (mut outcome, mut words) = (judgement.outcome, judgement.words.clone());
        if self.inject {
            // With --inject, a fault that is found is a violation; a fault that is not found proves
            // nothing.
            (outcome, words) = match outcome {
                Outcome::Pass if found.is_empty() => (
                    Outcome::Inconclusive,
                    "its rule was not selected".to_owned(),
                ),
                Outcome::Pass => (Outcome::Fail, "found, as expected".to_owned()),
                _ => (Outcome::Inconclusive, words),
            };
        } else if let (Outcome::Pass, Some(verdict)) = (outcome, first) {
            words = format!("{} reports: {}", verdict.rule.id, verdict.details.message);
        }
        self.scenarios.count(outcome, 1);
        let (proof, reason) = if outcome == Outcome::Pass {
            (words, String::new())
        } else {
            (String::new(), words)
        };
        console.scenario(&ScenarioResult {
            time,
            family: scenario.family(),
            name: scenario.name,
            title: scenario.title,
            outcome,
            proof,
            reason,
            found,
            duration: *duration,
        })?;
        self.report_general(pipeline, sorted, LossFilter::Complete, console)?;
        console.flush()
    }

    /// Reports what concerns no pod: losses, missing hooks.
    fn report_general(
        &mut self,
        pipeline: &Pipeline,
        sorted: &SortedVerdicts,
        losses: LossFilter,
        console: &mut Console,
    ) -> Result<(), Failed> {
        let losses = pipeline.losses(losses);
        losses.iter().try_for_each(|loss| console.loss(loss))?;
        summary::report_failed_recording(pipeline, console)?;
        let (reported, unreported): (Vec<_>, Vec<_>) = sorted
            .take_of_none(pipeline)
            .into_iter()
            .partition(|verdict| self.is_ours.is_none_or(|is_ours| is_ours(verdict)));
        self.foreign.extend(unreported);
        pipeline.read(|core| {
            reported
                .iter()
                .try_for_each(|verdict| console.verdict(verdict, &core.names))
        })
    }

    /// Reports the rest and returns the summary. `since` and `until`: the start and end of the run.
    pub(super) fn end(
        mut self,
        (pipeline, sorted): (&Pipeline, &SortedVerdicts),
        console: &mut Console,
        (since, until): (Ktime, Ktime),
        end: End,
    ) -> Result<(End, Summary)> {
        let reported = self.report_general(pipeline, sorted, LossFilter::All, console);
        let end = match (end, reported) {
            (End::Finished, Err(failed)) => End::from_failed(failed)?,
            _ => end,
        };
        if self.is_ours.is_some() {
            let mut foreign = std::mem::take(&mut self.foreign);
            foreign.extend(sorted.take_rest(pipeline));
            self.leave_out(foreign.iter());
        }
        let summary = Summary {
            scenarios: self.scenarios,
            interrupted: end == End::Interrupted,
            ..summary::summary(pipeline, (since, until), &self.unreported)
        };
        Ok((end, summary))
    }

    /// Excludes verdicts from the summary. Like the ledger, it counts the worst verdict of each
    /// rule and subject.
    fn leave_out<'a>(&mut self, verdicts: impl Iterator<Item = &'a Verdict>) {
        let mut standing = HashMap::new();
        for verdict in verdicts {
            let key = (
                verdict.rule.id,
                &verdict.subject.pod,
                &verdict.subject.container,
            );
            let outcome = standing.entry(key).or_insert(verdict.outcome);
            *outcome = verdict.outcome.max(*outcome);
        }
        for ((rule, ..), outcome) in standing {
            self.unreported.entry(rule).or_default().count(outcome, 1);
        }
    }
}
