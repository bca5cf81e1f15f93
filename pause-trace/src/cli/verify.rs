//! `check` of the reference pod: the probe, the stage and the scenarios, from the first hook to the exit code.

use std::rc::Rc;

use anyhow::Result;
use tokio::sync::mpsc;

use super::{
    Console, End, Exit, Global,
    output::Output,
    recording::Record,
    scenario_reporter::{Message, ScenarioReporter, tell_until_over},
    select::Selection,
    session::{self, Interrupt},
};
use crate::{
    live::Live,
    node::cgroup::Layout,
    pipeline::Pipeline,
    playing::play,
    record::{Recorder, Run},
    reference::{
        patience::Patience,
        pod::Pause,
        scenario::{self, Scenario},
        stage::Stage,
    },
    report::Summary,
    rules,
    state::Limits,
};

/// What is to be played.
pub(super) struct Plan {
    pub(super) scenarios: Vec<&'static Scenario>,
    pub(super) pause: Pause,
    pub(super) pause_args: Vec<String>,
    pub(super) patience: Patience,
    /// A fault's findings are violations, rather than the proof that it is found.
    pub(super) inject: bool,
}

/// Plays a plan from the first hook to the exit code.
pub(super) fn run(
    plan: &Plan,
    selection: &Selection,
    (output, record): (&Output, &Record),
    global: &Global,
) -> Result<Exit> {
    selection.validate()?;
    let clock = session::clock()?;
    let mut console = Console::open(output, global, clock, false)?;
    let recording = record.start(clock, None)?;
    session::block_on(async {
        // Before anything is made that Ctrl-C would leave behind.
        let mut interrupt = Interrupt::catch()?;
        let recorder = recording.recorder();
        let (end, summary) = play_all(
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

/// Plays a plan, and gives why it stopped and how it came out; no summary where it was stopped before it began.
pub(super) async fn play_all(
    plan: &Plan,
    selection: &Selection,
    global: &Global,
    (console, recorder): (&mut Console, Option<Rc<dyn Recorder>>),
    interrupt: &mut Interrupt,
) -> Result<(End, Option<Summary>)> {
    let interrupted = interrupt.received();
    tokio::pin!(interrupted);

    let layout = Layout::discover()?;
    let options = session::options(&layout, global);
    let limits = plan.patience.limits(Limits::REFERENCE);
    let pipeline = Pipeline::new(limits, |rule| selection.takes(rule));
    let run = Run::Reference {
        inject: plan.inject,
    };
    let live = Live::start(&options, run, pipeline.recorded(recorder));
    let live = tokio::select! {
        live = live => live?,
        () = &mut interrupted => return Ok((End::Interrupted, None)),
    };
    let mut reporter = ScenarioReporter::new(plan.inject, plan.scenarios.len());
    let pause = (plan.pause.clone(), plan.pause_args.clone());
    let stage = Stage::new(live, layout, pause, plan.patience);
    let told = console
        .hello(&session::hello(&stage.live))
        .and_then(|()| console.flush());
    let end = match told {
        Ok(()) => {
            let (sender, messages) = mpsc::unbounded_channel();
            let selected = |id: &str| rules::find(id).is_some_and(|rule| selection.takes(rule));
            let playing = play(
                scenario::AT_ONCE,
                &plan.scenarios,
                |scenario, number| scenario::play_one(&stage, scenario, number, selected),
                |scenario| drop(sender.send(Message::Started(scenario))),
                |played| sender.send(Message::Played(Box::new(played))),
            );
            let (live, verdicts) = (&stage.live, &stage.verdicts);
            tell_until_over(
                &mut reporter,
                (&live.pipeline, verdicts),
                console,
                messages,
                async { drop(playing.await) },
                live.pump(),
                interrupted,
            )
            .await?
        }
        Err(failed) => End::from_failed(failed)?,
    };
    let times = session::end(&stage.live, end);
    let judged = (&stage.live.pipeline, &stage.verdicts);
    let (end, summary) = reporter.end(judged, console, times, end)?;
    Ok((end, Some(summary)))
}
