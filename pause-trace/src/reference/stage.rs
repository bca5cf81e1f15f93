//! The stage of the scenarios: a scenario declares to the verifier what each pod and container
//! should be *before* it runs, and waits for the kernel's events.

mod declared_pod;
mod kind;

use std::{ops::Deref, time::Duration};

pub(crate) use self::{
    declared_pod::{ReferencePod, Started, join_of},
    kind::PodKind,
};
use super::{
    broken_pause::{Broken, READY},
    patience::Patience,
    pod::{self, Pause, PodPlan},
};
use crate::{
    event::{Fact, PauseStatus, PodFact, PodId, Source, Text},
    live::Live,
    node::cgroup::Layout,
    pipeline::Core,
    playing::{PlayError, Scene},
    scenario::SortedVerdicts,
};

/// How long to wait for an event of the kernel. It arrives within milliseconds; an emulated machine
/// takes longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// The parts that all scenarios of a run share.
pub(crate) struct Stage {
    pub(crate) live: Live,
    pub(crate) layout: Layout,
    pub(crate) pause: Pause,
    /// The arguments of the pause.
    pub(crate) pause_args: Vec<String>,
    pub(crate) patience: Patience,
    /// How long a pause is left alone between two measurements.
    pub(crate) idle: Duration,
    pub(crate) verdicts: SortedVerdicts,
}

impl Stage {
    pub(crate) fn new(
        live: Live,
        layout: Layout,
        (pause, pause_args): (Pause, Vec<String>),
        patience: Patience,
        idle: Duration,
    ) -> Self {
        Self {
            live,
            layout,
            pause,
            pause_args,
            patience,
            idle,
            verdicts: SortedVerdicts::default(),
        }
    }
}

/// A running scenario.
pub(crate) struct Play<'a> {
    pub(crate) stage: &'a Stage,
    /// Unique on this machine, for names in the host's namespaces.
    pub(crate) unique: u32,
    scene: Scene<'a>,
}

impl<'a> Deref for Play<'a> {
    type Target = Scene<'a>;

    fn deref(&self) -> &Scene<'a> {
        &self.scene
    }
}

/// Waits until `find` returns a value for the current state.
async fn reported<T>(
    live: &Live,
    patience: Patience,
    what: &str,
    find: impl FnMut(&Core) -> Option<T>,
) -> Result<T, PlayError> {
    let found = tokio::time::timeout(patience.of(DEADLINE), live.until(find)).await;
    found.map_err(|_| PlayError::Missed(format!("the kernel did not report {what}")))
}

impl<'a> Play<'a> {
    pub(crate) fn new(stage: &'a Stage, unique: u32) -> Self {
        let limit = stage.patience.of(DEADLINE);
        Self {
            stage,
            unique,
            scene: Scene::new(&stage.live, &stage.verdicts, limit),
        }
    }

    /// Waits until the kernel has reported something.
    pub(crate) async fn await_<T>(
        &self,
        what: &str,
        find: impl FnMut(&Core) -> Option<T>,
    ) -> Result<T, PlayError> {
        reported(self.live, self.stage.patience, what, find).await
    }

    /// Creates a pod whose pause breaks a promise, and starts its sandbox. The expected findings
    /// name the pause. Waits until the pause is ready.
    pub(crate) async fn pod_with(
        &self,
        kind: PodKind,
        broken: Broken,
    ) -> Result<ReferencePod<'a>, PlayError> {
        let mut pod = self
            .prepare_as(kind, kind.plan(Pause::Broken(broken)))
            .await?;
        let pause = pod.start_sandbox().await?;
        self.blame(pause);
        self.await_("the signal of the broken pause that it is ready", |core| {
            let signals = &core.state.processes.get(pause)?.others;
            signals
                .iter()
                .any(|other| other.last.signal == READY as i32)
                .then_some(())
        })
        .await?;
        Ok(pod)
    }

    /// Creates a pod and starts its sandbox.
    pub(crate) async fn pod(&self, kind: PodKind) -> Result<ReferencePod<'a>, PlayError> {
        let mut pod = self.prepare(kind).await?;
        pod.start_sandbox().await?;
        Ok(pod)
    }

    /// Creates and declares a pod without starting its sandbox.
    pub(crate) async fn prepare(&self, kind: PodKind) -> Result<ReferencePod<'a>, PlayError> {
        let mut plan = kind.plan(self.stage.pause.clone());
        plan.sandbox
            .argv
            .extend(self.stage.pause_args.iter().cloned());
        self.prepare_as(kind, plan).await
    }

    /// Measures a pause, leaves it alone, and measures it again.
    pub(crate) async fn leave_alone(
        &self,
        pod: &ReferencePod<'a>,
    ) -> Result<(PauseStatus, PauseStatus), PlayError> {
        let before = pod.look_at_pause()?;
        tokio::time::sleep(self.stage.patience.of(self.stage.idle)).await;
        Ok((before, pod.look_at_pause()?))
    }

    /// Like [`Play::prepare`], with a plan that may differ from the declaration, to plant a fault.
    pub(crate) async fn prepare_as(
        &self,
        kind: PodKind,
        plan: PodPlan,
    ) -> Result<ReferencePod<'a>, PlayError> {
        let modes = kind.modes();
        let name = Text::new(&plan.name);
        let file = match &plan.pause {
            Pause::Image(_) | Pause::Copy(..) | Pause::Broken(_) => None,
            Pause::File(path) => Some(Text::new(&path.to_string_lossy())),
        };
        let patience = self.stage.patience;
        let pod = pod::Pod::prepare(&self.stage.layout, plan, patience).await?;
        let id: PodId = pod.uid().into();
        self.add_pod(id.clone());
        let runtime = pod.runtime_pid() as u32;
        let runtime = self
            .await_("the start of the runtime", |core| {
                core.state
                    .processes
                    .by_pid(runtime)
                    .map(|process| process.id)
            })
            .await?;
        self.live.inject(Fact::Runtime { process: runtime });
        self.live.inject(Fact::Pod(PodFact {
            pod: id.clone(),
            namespace: Text::new("pause-trace"),
            name,
            modes: modes.clone(),
            source: Source::Reference,
        }));
        let pod = ReferencePod {
            live: self.live,
            patience,
            pod: Some(pod),
            id,
            modes,
            file,
            runtime,
        };
        pod.declare_sandbox();
        Ok(pod)
    }
}
