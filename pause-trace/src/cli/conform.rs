//! `check --cri`: the scenarios of a real runtime's pods, from the first hook to what is left of them.

use std::rc::Rc;

use anyhow::{Context as _, Result};
use pause_trace_cri::Socket;
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
    conformance::{
        Runtime,
        scenario::{self, Scenario},
        scenarios::{self, OWN_USERS},
        stage::Stage,
    },
    live::Live,
    node::cgroup::Layout,
    pipeline::Pipeline,
    playing::play,
    pods::Follower,
    record::{Recorder, Run},
    reference::patience::Patience,
    rules,
    scenario::SortedVerdicts,
    verdict::Verdict,
};

/// What is to be played, and where.
pub(super) struct Plan {
    pub(super) socket: Socket,
    /// The image that containers run.
    pub(super) image: String,
    /// `None` for all that the runtime says it can play.
    pub(super) scenarios: Option<Vec<&'static Scenario>>,
    pub(super) patience: Patience,
}

/// Plays a plan, and removes what it made, however it ends.
pub(super) fn run(
    plan: &Plan,
    selection: &Selection,
    (output, record): (&Output, &Record),
    global: &Global,
) -> Result<Exit> {
    selection.validate()?;
    let clock = session::clock()?;
    let console = Console::open(output, global, clock, false)?;
    let recording = record.start(clock, None)?;
    session::block_on(async {
        let recorder = recording.recorder();
        let exit = play_all(plan, selection, global, (console, recorder)).await?;
        Ok(recording.close(exit))
    })
}

async fn play_all(
    plan: &Plan,
    selection: &Selection,
    global: &Global,
    (mut console, recorder): (Console, Option<Rc<dyn Recorder>>),
) -> Result<Exit> {
    // Before anything is made that Ctrl-C would leave behind.
    let mut interrupt = Interrupt::catch()?;
    let interrupted = interrupt.received();
    tokio::pin!(interrupted);

    let layout = Layout::discover()?;
    let options = session::options(&layout, global);
    let limits = plan.patience.limits(scenario::LIMITS);
    let starting = async {
        let pipeline = Pipeline::new(limits, |rule| selection.takes(rule));
        let pipeline = pipeline.recorded(recorder);
        let live = Live::start(&options, Run::Conformance, pipeline).await?;
        // Last: what is made from here on is removed by name.
        let runtime = Runtime::open(plan.socket.clone(), &plan.image, plan.patience).await?;
        anyhow::Ok(Stage {
            live,
            runtime,
            patience: plan.patience,
            verdicts: SortedVerdicts::default(),
        })
    };
    let stage = tokio::select! {
        stage = starting => stage?,
        () = &mut interrupted => return Ok(console.finish(None, End::Interrupted)?),
    };
    let scenarios = plan.choose(&stage);
    let mut reporter = ScenarioReporter::new(false, scenarios.len()).among_others(is_of_evidence);
    let end = follow(
        &stage,
        &layout,
        (&scenarios, selection),
        &mut reporter,
        &mut console,
        interrupted,
    )
    .await;
    console.step(None, "removing the pods");
    // Whatever became of it: nothing may stay on the node.
    let cleared = stage.runtime.clear().await;
    let end = end?;
    let times = session::end(&stage.live, end);
    let judged = (&stage.live.pipeline, &stage.verdicts);
    let (end, summary) = reporter.end(judged, &mut console, times, end)?;
    cleared?;
    Ok(console.finish(Some(&summary), end)?)
}

/// Plays the scenarios while the node's pods are followed: by that the verifier hears of ours.
async fn follow(
    stage: &Stage,
    layout: &Layout,
    (scenarios, selection): (&[&'static Scenario], &Selection),
    reporter: &mut ScenarioReporter,
    console: &mut Console,
    interrupted: impl Future<Output = ()>,
) -> Result<End> {
    let told = console
        .hello(&session::hello(&stage.live))
        .and_then(|()| console.flush());
    if let Err(failed) = told {
        return Ok(End::from_failed(failed)?);
    }
    let (live, verdicts) = (&stage.live, &stage.verdicts);
    let mut follower = Follower::start(live, layout, Some(stage.runtime.socket().clone()))
        .context("failed to look at the node's pods")?;
    let settled = follower.settled();
    let (sender, messages) = mpsc::unbounded_channel();
    let selected = |id: &str| rules::find(id).is_some_and(|rule| selection.takes(rule));
    let playing = async {
        settled.await;
        let played = play(
            scenario::AT_ONCE,
            scenarios,
            |scenario, number| scenario::play_one(stage, scenario, number, selected),
            |scenario| drop(sender.send(Message::Started(scenario))),
            |played| sender.send(Message::Played(Box::new(played))),
        );
        drop(played.await);
    };
    let running = async {
        tokio::select! {
            result = live.pump() => result,
            result = follower.run() => result,
        }
    };
    tell_until_over(
        reporter,
        (&live.pipeline, verdicts),
        console,
        messages,
        playing,
        running,
        interrupted,
    )
    .await
}

impl Plan {
    /// What was named, or all that the runtime can play: a kubelet, too, asks a runtime for user namespaces only where it
    /// says that it has them.
    fn choose(&self, stage: &Stage) -> Vec<&'static Scenario> {
        if let Some(named) = &self.scenarios {
            return named.clone();
        }
        let can = stage.runtime.makes_users;
        if !can {
            eprintln!(
                "pause-trace: left out {OWN_USERS}: the runtime does not say that it makes user namespaces; --scenario \
                 {OWN_USERS} tries it"
            );
        }
        scenarios::all()
            .filter(|scenario| can || scenario.name != OWN_USERS)
            .collect()
    }
}

/// Of what is about no pod, losses and missing hooks are about every pod; the rest is about other people's containers.
pub(super) fn is_of_evidence(verdict: &Verdict) -> bool {
    ["PT901", "PT902"].contains(&verdict.rule.id)
}
