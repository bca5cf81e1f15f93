//! Drives a run of scenarios: the probe, the stage, the report, and Ctrl-C.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;

use super::{
    Console, End, Exit, Global,
    output::Output,
    select::Selection,
    session::{self, Interrupt, Losses},
};
use crate::{
    live::Live,
    node::cgroup::Layout,
    probe,
    reference::{
        check::{self, Played},
        pod::Pause,
        scenario::Scenario,
        stage::Stage,
    },
    report::{Failed, ScenarioResult, Summary},
    rules::{self, Counts},
    state::Limits,
    verdict::{Outcome, Verdict},
};

/// What is to be played.
pub(super) struct Plan {
    pub(super) scenarios: Vec<&'static Scenario>,
    pub(super) pause: Pause,
    pub(super) pause_args: Vec<String>,
    /// A fault's findings are violations, rather than the proof that it is found.
    pub(super) inject: bool,
}

/// What the scenarios that are under way say.
enum Message {
    Started(&'static Scenario),
    Played(Box<Played>),
}

/// Plays a plan from the first hook to the exit code.
pub(super) fn run(
    plan: &Plan,
    selection: &Selection,
    output: &Output,
    global: &Global,
) -> Result<Exit> {
    selection.validate()?;
    let console = Console::open(output, global, session::clock()?, false)?;
    session::block_on(async {
        // Before anything is made that Ctrl-C would leave behind.
        let mut interrupt = Interrupt::catch()?;
        let mut console = console;
        let (end, summary) = play(plan, selection, global, &mut console, &mut interrupt).await?;
        Ok(console.finish(summary.as_ref(), end)?)
    })
}

/// Plays a plan, and gives why it stopped and how it came out; no summary where it was stopped before it began.
pub(super) async fn play(
    plan: &Plan,
    selection: &Selection,
    global: &Global,
    console: &mut Console,
    interrupt: &mut Interrupt,
) -> Result<(End, Option<Summary>)> {
    let interrupted = interrupt.received();
    tokio::pin!(interrupted);

    let layout = Layout::discover()?;
    let options = session::options(&layout, global);
    let live = Live::start(&options, Limits::REFERENCE, |rule| selection.takes(rule));
    let live = tokio::select! {
        live = live => live?,
        () = &mut interrupted => return Ok((End::Interrupted, None)),
    };
    let mut tale = Tale::new(plan.inject, plan.scenarios.len());
    let stage = Stage::new(live, layout, plan.pause.clone(), plan.pause_args.clone());
    let end = {
        let told = console
            .hello(&session::hello(&stage.live))
            .and_then(|()| console.flush());
        match told {
            Ok(()) => {
                let pump = stage.live.pump();
                let (sender, mut messages) = mpsc::unbounded_channel();
                let started = |scenario| drop(sender.send(Message::Started(scenario)));
                let played = |played| sender.send(Message::Played(Box::new(played)));
                let selected = |id: &str| rules::find(id).is_some_and(|rule| selection.takes(rule));
                let playing = check::play(&stage, &plan.scenarios, selected, started, played);
                tokio::pin!(pump, playing);
                let mut is_playing = true;
                loop {
                    tokio::select! {
                        biased;
                        () = &mut interrupted => break Ok(End::Interrupted),
                        Some(message) = messages.recv() => {
                            if let Err(failed) = tale.hear(message, &stage, console) {
                                break Err(failed);
                            }
                        }
                        _ = &mut playing, if is_playing => is_playing = false,
                        result = &mut pump => {
                            result.context("failed to read the kernel's events")?;
                        }
                        () = console.tick() => {}
                        else => break Ok(End::Finished),
                    }
                    if !is_playing && messages.is_empty() {
                        break Ok(End::Finished);
                    }
                }
            }
            Err(failed) => Err(failed),
        }
    };
    let end = match end {
        Ok(end) => end,
        Err(failed) => End::from_failed(failed)?,
    };
    let told = tale.tell_general(&stage, console);
    let end = match (end, told) {
        (End::Finished, Err(failed)) => End::from_failed(failed)?,
        _ => end,
    };
    let is_interrupted = end == End::Interrupted;
    let summary = session::summary(&stage.live, &tale.untold, tale.scenarios, is_interrupted);
    Ok((end, Some(summary)))
}

/// What has been told so far, for the summary.
struct Tale {
    inject: bool,
    total: usize,
    started: usize,
    /// What the ledger counts and was not told: what was planted to be found, and what that left undecided.
    untold: BTreeMap<&'static str, Counts>,
    scenarios: Counts,
    losses: Losses,
}

impl Tale {
    fn new(inject: bool, total: usize) -> Self {
        Self {
            inject,
            total,
            started: 0,
            untold: BTreeMap::new(),
            scenarios: Counts::default(),
            losses: Losses::default(),
        }
    }

    fn hear(
        &mut self,
        message: Message,
        stage: &Stage,
        console: &mut Console,
    ) -> Result<(), Failed> {
        match message {
            Message::Started(scenario) => {
                self.started += 1;
                console.step(Some((self.started, self.total)), scenario.name);
                Ok(())
            }
            Message::Played(played) => self.tell(&played, stage, console),
        }
    }

    /// A scenario's verdicts, and then the scenario.
    fn tell(
        &mut self,
        played: &Played,
        stage: &Stage,
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
        stage.live.look(|core| {
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
            time: probe::now(),
            family: scenario.family(),
            name: scenario.name,
            title: scenario.title,
            outcome,
            proof,
            reason,
            found,
            duration: *duration,
        })?;
        self.tell_general(stage, console)?;
        console.flush()
    }

    /// What is about no pod: losses, missing hooks.
    fn tell_general(&mut self, stage: &Stage, console: &mut Console) -> Result<(), Failed> {
        self.losses.tell(&stage.live, console)?;
        let verdicts = stage.verdicts_of_none();
        stage.live.look(|core| {
            verdicts
                .iter()
                .try_for_each(|verdict| console.verdict(verdict, &core.names))
        })?;
        Ok(())
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
