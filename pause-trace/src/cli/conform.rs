//! `check --cri`: the scenarios of a real runtime's pods, from the first hook to what is left of them.

use std::rc::Rc;

use anyhow::{Context as _, Result};
use pause_trace_cri::Socket;
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
    conformance::{
        Runtime,
        scenario::{self, Script},
        scenarios::{self, OWN_USERS},
        stage::Stage,
    },
    node::cgroup::Layout,
    playing::play_all,
    pods::Follower,
    record::{Recorder, Run},
    reference::patience::Patience,
    rules,
    scenario::SortedVerdicts,
    session::{self, Ended, Interrupt, Session, Setup, Stop},
    verdict::Verdict,
};

/// What is to be played, and where.
pub(super) struct Plan {
    pub(super) socket: Socket,
    /// The image that containers run.
    pub(super) image: String,
    /// `None` for all that the runtime says it can play.
    pub(super) scripts: Option<Vec<&'static Script>>,
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
    let clock = summary::clock()?;
    let console = Console::open(output, global, clock, false)?;
    let recording = record.start(clock, None)?;
    session::block_on(async {
        let recorder = recording.recorder();
        let exit = play(plan, selection, global, (console, recorder)).await?;
        Ok(recording.close(exit))
    })
}

async fn play(
    plan: &Plan,
    selection: &Selection,
    global: &Global,
    (mut console, recorder): (Console, Option<Rc<dyn Recorder>>),
) -> Result<Exit> {
    // Before anything is made that Ctrl-C would leave behind.
    let mut interrupt = Interrupt::catch()?;
    let setup = Setup {
        probe: global.probe(),
        run: Run::Conformance,
        limits: plan.patience.limits(scenario::LIMITS),
        selected: &|rule| selection.takes(rule),
        recorder,
        observers: Vec::new(),
    };
    let starting = async {
        let session = Session::start(setup).await?;
        // Last: what is made from here on is removed by name.
        let runtime = Runtime::open(plan.socket.clone(), &plan.image, plan.patience).await?;
        anyhow::Ok((session, runtime))
    };
    let Some(started) = interrupt.or(starting).await else {
        return Ok(console.finish(None, End::Interrupted)?);
    };
    let (Session { live, layout }, runtime) = started?;
    let stage = Stage {
        live,
        runtime,
        patience: plan.patience,
        verdicts: SortedVerdicts::default(),
    };
    let scripts = plan.choose(&stage);
    let mut reporter = ScenarioReporter::new(false, scripts.len()).among_others(is_of_evidence);
    let end = follow(
        &stage,
        &layout,
        (&scripts, selection),
        &mut reporter,
        &mut console,
        &mut interrupt,
    )
    .await;
    console.step(None, "removing the pods");
    // Whatever became of it: nothing may stay on the node.
    let cleared = stage.runtime.clear().await;
    let end = end?;
    let times = summary::end(&stage.live, end);
    let judged = (&stage.live.pipeline, &stage.verdicts);
    let (end, summary) = reporter.end(judged, &mut console, times, end)?;
    cleared?;
    Ok(console.finish(Some(&summary), end)?)
}

/// Plays the scenarios while the node's pods are followed: that is how the verifier comes to know ours.
async fn follow(
    stage: &Stage,
    layout: &Layout,
    (scripts, selection): (&[&'static Script], &Selection),
    reporter: &mut ScenarioReporter,
    console: &mut Console,
    interrupt: &mut Interrupt,
) -> Result<End> {
    let (live, verdicts) = (&stage.live, &stage.verdicts);
    let told = console
        .hello(&summary::hello(live))
        .and_then(|()| console.flush());
    if let Err(failed) = told {
        return Ok(End::from_failed(failed)?);
    }
    let mut follower = Follower::start(live, layout, Some(stage.runtime.socket().clone()))
        .context("failed to look at the node's pods")?;
    let settled = follower.settled();
    let (sender, progress) = mpsc::unbounded_channel();
    let selected = |id: &str| rules::find(id).is_some_and(|rule| selection.takes(rule));
    let playing = async {
        settled.await;
        play_all(scenario::AT_ONCE, scripts, sender, |script, number| {
            scenario::play_one(stage, script, number, selected)
        })
        .await;
    };
    let judged = (&live.pipeline, verdicts);
    let reporting = report_all(reporter, judged, console, progress, playing);
    let stop = Stop {
        interrupt: Some(interrupt),
        duration: None,
    };
    Ok(
        match session::drive(live, Some(&mut follower), stop, reporting).await? {
            Ended::Done(end) => end,
            Ended::TimeIsUp | Ended::Interrupted => End::Interrupted,
        },
    )
}

impl Plan {
    /// What was named, or all that the runtime can play: a kubelet, too, asks a runtime for user namespaces only where it
    /// says that it has them.
    fn choose(&self, stage: &Stage) -> Vec<&'static Script> {
        if let Some(named) = &self.scripts {
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
            .filter(|script| can || script.scenario.name != OWN_USERS)
            .collect()
    }
}

/// Of what is about no pod, losses and missing hooks are about every pod; the rest is about other people's containers.
pub(super) fn is_of_evidence(verdict: &Verdict) -> bool {
    ["PT901", "PT902"].contains(&verdict.rule.id)
}
