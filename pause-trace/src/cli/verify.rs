//! `check` on the reference pod, from loading the eBPF program to the exit code.

use std::{rc::Rc, time::Duration};

use anyhow::Result;
use tokio::sync::mpsc;

use super::{
    Console, End, Exit, Global,
    output::Output,
    recording::Record,
    scenario_reporter::{ScenarioReporter, report_all},
    select::Selection,
    summary,
};
use crate::{
    playing::play_all,
    record::{Recorder, Run},
    reference::{
        patience::Patience,
        pod::Pause,
        scenario::{self, Script},
        stage::Stage,
        trial,
    },
    report::Summary,
    rules,
    session::{self, Ended, Interrupt, Session, Setup, Stop},
    state::Limits,
};

/// The scenarios to run, and how.
pub(super) struct Plan {
    pub(super) scripts: Vec<&'static Script>,
    pub(super) pause: Pause,
    pub(super) pause_args: Vec<String>,
    pub(super) patience: Patience,
    /// How long a pause is left alone.
    pub(super) idle: Duration,
    /// Whether a fault's findings are violations, instead of the proof that the fault is found.
    pub(super) inject: bool,
}

/// Runs a plan and returns the exit code.
pub(super) fn run(
    plan: &Plan,
    selection: &Selection,
    (output, record): (&Output, &Record),
    global: &Global,
) -> Result<Exit> {
    selection.validate()?;
    let clock = summary::clock()?;
    output.refuse_recording(record)?;
    let mut console = Console::open(output, global, clock, false)?;
    let recording = record.start(clock, None)?;
    session::block_on(async {
        // Ctrl-C is caught before anything is created that it would leave behind.
        let mut interrupt = Interrupt::catch()?;
        let recorder = recording.recorder();
        let (end, summary) = play(
            plan,
            selection,
            global,
            (&mut console, recorder),
            &mut interrupt,
        )
        .await?;
        Ok(recording.close(console.finish(summary.as_ref(), end)?))
    })
}

/// Runs a plan. Returns why it stopped and the summary; no summary if it stopped before it began.
pub(super) async fn play(
    plan: &Plan,
    selection: &Selection,
    global: &Global,
    (console, recorder): (&mut Console, Option<Rc<dyn Recorder>>),
    interrupt: &mut Interrupt,
) -> Result<(End, Option<Summary>)> {
    let tried = interrupt.or(trial::of(&plan.pause, &plan.pause_args, plan.patience));
    match tried.await {
        Some(tried) => tried?,
        None => return Ok((End::Interrupted, None)),
    }
    let setup = Setup {
        probe: global.probe(),
        run: Run::Reference {
            inject: plan.inject,
        },
        limits: plan.patience.limits(Limits::REFERENCE),
        selected: &|rule| selection.selects(rule),
        recorders: recorder.into_iter().collect(),
        observers: Vec::new(),
    };
    let Some(session) = interrupt.or(Session::start(setup)).await else {
        return Ok((End::Interrupted, None));
    };
    let Session { live, layout } = session?;
    let mut reporter = ScenarioReporter::new(plan.inject, plan.scripts.len());
    let pause = (plan.pause.clone(), plan.pause_args.clone());
    let stage = Stage::new(live, layout, pause, plan.patience, plan.idle);
    let (live, verdicts) = (&stage.live, &stage.verdicts);
    let result = console
        .hello(&summary::hello(live))
        .and_then(|()| console.flush());
    let end = match result {
        Ok(()) => {
            let (sender, progress) = mpsc::unbounded_channel();
            let selected = |id: &str| rules::find(id).is_some_and(|rule| selection.selects(rule));
            let playing = play_all(
                scenario::AT_ONCE,
                &plan.scripts,
                sender,
                |script, number| scenario::play_one(&stage, script, number, selected),
            );
            let judged = (&live.pipeline, verdicts);
            let reporting = report_all(&mut reporter, judged, console, progress, playing);
            let stop = Stop {
                interrupt: Some(interrupt),
                duration: None,
            };
            match session::drive(live, None, stop, reporting).await? {
                Ended::Done(end) => end,
                Ended::TimeIsUp | Ended::Interrupted | Ended::Terminated => End::Interrupted,
            }
        }
        Err(failed) => End::from_failed(failed)?,
    };
    let times = summary::end(live, end);
    let (end, summary) = reporter.end((&live.pipeline, verdicts), console, times, end)?;
    Ok((end, Some(summary)))
}
