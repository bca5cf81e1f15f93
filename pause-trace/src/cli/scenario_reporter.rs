//! Tells of scenarios as they are played: the verdicts of each, what came of it, and how it all came out.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{
    Console, End,
    summary::{self, Losses},
};
use crate::{
    event::Ktime,
    pipeline::Pipeline,
    playing::Progress,
    probe,
    record::Mark,
    report::{ScenarioResult, Summary},
    rules::Counts,
    scenario::{Played, SortedVerdicts},
    sink::Failed,
    verdict::{Outcome, Verdict},
};

/// Reports scenarios until all have been played.
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

/// What has been told so far, for the summary.
pub(super) struct ScenarioReporter {
    inject: bool,
    total: usize,
    started: usize,
    /// What the ledger counts and was not told: what was planted to be found, and what that left undecided.
    untold: BTreeMap<&'static str, Counts>,
    scenarios: Counts,
    losses: Losses,
    /// Where others make pods too: whether a verdict on no pod is about this run.
    is_ours: Option<fn(&Verdict) -> bool>,
    /// Verdicts on what is not this run's.
    strangers: Vec<Verdict>,
}

impl ScenarioReporter {
    pub(super) fn new(inject: bool, total: usize) -> Self {
        Self {
            inject,
            total,
            started: 0,
            untold: BTreeMap::new(),
            scenarios: Counts::default(),
            losses: Losses::default(),
            is_ours: None,
            strangers: Vec::new(),
        }
    }

    /// The same on a node where others make pods too: of what is about no pod, only what `is_ours` takes is told.
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
                pipeline.mark(|| Mark::ScenarioTold {
                    scenario: played.scenario.name.to_owned(),
                    time,
                });
                self.tell(&played, time, (pipeline, verdicts), console)
            }
        }
    }

    /// A scenario's verdicts, and then the scenario.
    pub(super) fn tell(
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
        let (caught, told): (Vec<_>, Vec<_>) = verdicts
            .iter()
            .partition(|verdict| scenario.expects(verdict) && !self.inject);
        // What a fault leaves undecided beside what it is named for is no doubt about this machine.
        let (undecided, told): (Vec<_>, Vec<_>) = told
            .into_iter()
            .partition(|verdict| scenario.is_fault() && verdict.outcome == Outcome::Inconclusive);
        self.leave_out(caught.iter().chain(&undecided).copied());
        pipeline.look(|core| {
            told.iter()
                .try_for_each(|verdict| console.verdict(verdict, &core.names))
        })?;
        let mut found: Vec<_> = caught.iter().map(|verdict| verdict.rule.id).collect();
        if self.inject {
            found = told
                .iter()
                .filter(|verdict| verdict.outcome == Outcome::Fail)
                .map(|verdict| verdict.rule.id)
                .collect();
        }
        found.sort_unstable();
        found.dedup();
        let first = caught
            .iter()
            .find(|verdict| scenario.finds.first() == Some(&verdict.rule.id));
        let (mut outcome, mut words) = (judgement.outcome, judgement.words.clone());
        if self.inject {
            // The fault was planted to be found: that it was is a violation, that it was not is no proof of anything.
            (outcome, words) = match outcome {
                Outcome::Pass if found.is_empty() => {
                    (Outcome::Inconclusive, "its rule was not asked".to_owned())
                }
                Outcome::Pass => (Outcome::Fail, "found, as planted".to_owned()),
                _ => (Outcome::Inconclusive, words),
            };
        } else if let (Outcome::Pass, Some(verdict)) = (outcome, first) {
            words = format!("{} caught it: {}", verdict.rule.id, verdict.details.message);
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
        self.tell_general(pipeline, sorted, console)?;
        console.flush()
    }

    /// What is about no pod: losses, missing hooks.
    fn tell_general(
        &mut self,
        pipeline: &Pipeline,
        sorted: &SortedVerdicts,
        console: &mut Console,
    ) -> Result<(), Failed> {
        self.losses.tell(pipeline, console)?;
        summary::tell_unrecorded(pipeline, console)?;
        let (told, untold): (Vec<_>, Vec<_>) = sorted
            .take_of_none(pipeline)
            .into_iter()
            .partition(|verdict| self.is_ours.is_none_or(|is_ours| is_ours(verdict)));
        self.strangers.extend(untold);
        pipeline.look(|core| {
            told.iter()
                .try_for_each(|verdict| console.verdict(verdict, &core.names))
        })
    }

    /// Tells what was not told yet; gives how it all came out. `since` and `until`: when it began and ended.
    pub(super) fn end(
        mut self,
        (pipeline, sorted): (&Pipeline, &SortedVerdicts),
        console: &mut Console,
        (since, until): (Ktime, Ktime),
        end: End,
    ) -> Result<(End, Summary)> {
        let told = self.tell_general(pipeline, sorted, console);
        let end = match (end, told) {
            (End::Finished, Err(failed)) => End::from_failed(failed)?,
            _ => end,
        };
        if self.is_ours.is_some() {
            let mut strangers = std::mem::take(&mut self.strangers);
            strangers.extend(sorted.take_rest(pipeline));
            self.leave_out(strangers.iter());
        }
        let summary = Summary {
            scenarios: self.scenarios,
            interrupted: end == End::Interrupted,
            ..summary::summary(pipeline, (since, until), &self.untold)
        };
        Ok((end, summary))
    }

    /// Leaves verdicts out of the summary: of each rule and subject the worst, as the ledger counts it.
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
            self.untold.entry(rule).or_default().count(outcome, 1);
        }
    }
}
