//! `check --cri`: runs the scenarios on pods that a real runtime creates, and removes these pods.

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
    summary, watch,
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

/// The scenarios to run, and the runtime to run them on.
pub(super) struct Plan {
    pub(super) socket: Socket,
    /// The image that the containers run.
    pub(super) image: String,
    /// `None` for every scenario that the runtime supports.
    pub(super) scripts: Option<Vec<&'static Script>>,
    pub(super) patience: Patience,
}

/// Runs a plan, and removes everything it created, however the run ends.
pub(super) fn run(
    plan: &Plan,
    selection: &Selection,
    (output, record): (&Output, &Record),
    global: &Global,
) -> Result<Exit> {
    selection.validate()?;
    let clock = summary::clock()?;
    output.refuse_recording(record)?;
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
    // Ctrl-C is caught before anything is created that it would leave behind.
    let mut interrupt = Interrupt::catch()?;
    let setup = Setup {
        probe: global.probe(),
        run: Run::Conformance,
        limits: plan.patience.limits(scenario::LIMITS),
        selected: &|rule| selection.selects(rule),
        recorders: recorder.into_iter().collect(),
        observers: Vec::new(),
    };
    let starting = async {
        watch::reach(&plan.socket).await?;
        let session = Session::start(setup).await?;
        // Last, because everything created from here on has to be removed from the runtime.
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
    // Also after an error: nothing may remain on the node.
    let cleared = stage.runtime.clear().await;
    let end = end?;
    let times = summary::end(&stage.live, end);
    let judged = (&stage.live.pipeline, &stage.verdicts);
    let (end, summary) = reporter.end(judged, &mut console, times, end)?;
    cleared?;
    Ok(console.finish(Some(&summary), end)?)
}

/// Runs the scenarios while the node's pods are followed. The verifier discovers the pods of the
/// scenarios like any other pod of the node.
async fn follow(
    stage: &Stage,
    layout: &Layout,
    (scripts, selection): (&[&'static Script], &Selection),
    reporter: &mut ScenarioReporter,
    console: &mut Console,
    interrupt: &mut Interrupt,
) -> Result<End> {
    let (live, verdicts) = (&stage.live, &stage.verdicts);
    let result = console
        .hello(&summary::hello(live))
        .and_then(|()| console.flush());
    if let Err(failed) = result {
        return Ok(End::from_failed(failed)?);
    }
    let mut follower = Follower::start(live, layout, Some(stage.runtime.socket().clone()))
        .context("failed to follow the node's pods")?;
    let settled = follower.settled();
    let (sender, progress) = mpsc::unbounded_channel();
    let selected = |id: &str| rules::find(id).is_some_and(|rule| selection.selects(rule));
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
            Ended::TimeIsUp | Ended::Interrupted | Ended::Terminated => End::Interrupted,
        },
    )
}

impl Plan {
    /// The scenarios that the user named, or all that the runtime supports. A kubelet, too,
    /// requests user namespaces only from a runtime that reports support for them.
    fn choose(&self, stage: &Stage) -> Vec<&'static Script> {
        if let Some(named) = &self.scripts {
            return named.clone();
        }
        let supported = stage.runtime.supports_users;
        if !supported {
            eprintln!(
                "pause-trace: skipped {OWN_USERS}: the runtime does not report support for user namespaces; --scenario \
                 {OWN_USERS} tries it anyway"
            );
        }
        scenarios::all()
            .filter(|script| supported || script.scenario.name != OWN_USERS)
            .collect()
    }
}

/// Whether a verdict on no pod concerns this run. Losses and missing hooks concern every pod; all
/// other such verdicts are about containers that this run did not create.
pub(super) fn is_of_evidence(verdict: &Verdict) -> bool {
    ["PT901", "PT902"].contains(&verdict.rule.id)
}
