//! A pod that was declared to the verifier: starts, stops and removes its containers, and waits for
//! the kernel's events of them.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::reported;
use crate::{
    event::{
        ContainerFact, ContainerId, ContainerKind, Fact, Mode, Modes, Observation, Observed,
        PauseStatus, PodId, ProcessId, Source, Text,
    },
    live::Live,
    node::procfs,
    pipeline::Core,
    playing::PlayError,
    reference::{
        patience::Patience,
        pod::{self, PodError, Prepared},
        protocol::{Answer, Join, Request, Status},
    },
};

/// Waits until a pause sleeps. A signal that arrives before the pause has set up its handlers is
/// not its fault. No event reports the setup, and on a busy machine the first signal may arrive
/// before it.
async fn at_rest(pause: ProcessId, patience: Patience) {
    const MAX_WAIT: Duration = Duration::from_secs(10);
    let rests = async {
        while !procfs::is_at_rest(pause.pid) {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    };
    // A pause that never sleeps is judged as it is.
    let _ = tokio::time::timeout(patience.of(MAX_WAIT), rests).await;
}

/// A pod that was declared to the verifier.
pub(crate) struct ReferencePod<'a> {
    pub(super) live: &'a Live,
    pub(crate) patience: Patience,
    /// Taken when it is removed.
    pub(super) pod: Option<pod::Pod>,
    pub(crate) id: PodId,
    pub(crate) modes: Modes,
    pub(super) file: Option<Text>,
    pub(crate) runtime: ProcessId,
}

/// A container or exec session whose exec the kernel has reported.
pub(crate) struct Started {
    pub(crate) container: pod::Container,
    pub(crate) id: ContainerId,
    pub(crate) process: ProcessId,
}

impl Started {
    pub(crate) async fn ask(&self, request: Request) -> Result<Answer, PlayError> {
        Ok(self.container.ask(request).await?)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.container.pid
    }
}

impl ReferencePod<'_> {
    /// The pod itself, for actions that need no declaration.
    pub(crate) fn inner(&mut self) -> &mut pod::Pod {
        self.pod
            .as_mut()
            .expect("a pod is used before it is removed")
    }

    fn inner_ref(&self) -> &pod::Pod {
        self.pod
            .as_ref()
            .expect("a pod is used before it is removed")
    }

    pub(crate) fn live(&self) -> &Live {
        self.live
    }

    async fn await_<T>(
        &self,
        what: &str,
        find: impl FnMut(&Core) -> Option<T>,
    ) -> Result<T, PlayError> {
        reported(self.live, self.patience, what, find).await
    }

    pub(super) fn declare_sandbox(&self) {
        let sandbox = self.inner_ref().sandbox();
        self.declare(
            &sandbox.id,
            &sandbox.name,
            sandbox.cgroup_id,
            ContainerKind::Sandbox,
            &self.modes,
            self.file.clone(),
        );
    }

    fn declare(
        &self,
        id: &str,
        name: &str,
        cgroup: u64,
        what: ContainerKind,
        modes: &Modes,
        file: Option<Text>,
    ) {
        self.live.inject(Fact::Container(ContainerFact {
            container: id.into(),
            pod: self.id.clone(),
            name: Text::new(name),
            what,
            cgroup,
            modes: modes.clone(),
            stop_signal: Signal::SIGTERM as i32,
            sandbox: None,
            file,
            source: Source::Reference,
        }));
    }

    /// Runs the pause of the declared sandbox. Returns the pause when the kernel has reported its
    /// exec.
    pub(crate) async fn start_sandbox(&mut self) -> Result<ProcessId, PlayError> {
        self.inner().start_sandbox().await?;
        let sandbox: ContainerId = self.inner_ref().sandbox().id.as_str().into();
        let pause = self
            .await_("the pause's exec", |core| {
                core.state.containers.get(&sandbox)?.init
            })
            .await?;
        at_rest(pause, self.patience).await;
        Ok(pause)
    }

    /// Starts a new sandbox for the same pod.
    pub(crate) async fn replace_sandbox(&mut self) -> Result<ProcessId, PlayError> {
        self.inner().prepare_sandbox().await?;
        self.declare_sandbox();
        self.start_sandbox().await
    }

    /// The pause of the current sandbox.
    pub(crate) fn pause(&self) -> Result<ProcessId, PlayError> {
        let sandbox: ContainerId = self.inner_ref().sandbox().id.as_str().into();
        self.live
            .read(|core| core.state.containers.get(&sandbox)?.init)
            .ok_or_else(|| PlayError::Unexpected("the sandbox has no pause".to_owned()))
    }

    /// The mode of a container's pid namespace for the reference runtime.
    fn pid_mode(&self, modes: &Modes) -> Result<pod::PidMode, PlayError> {
        Ok(match &modes.pid {
            Mode::Pod => pod::PidMode::Pod,
            Mode::Container => pod::PidMode::Container,
            Mode::Node => pod::PidMode::Node,
            Mode::Unknown => {
                let why = "a reference container has no pid mode".to_owned();
                return Err(PlayError::Unexpected(why));
            }
            Mode::Target(target) => {
                let target = self
                    .live
                    .read(|core| core.state.containers.get(target)?.init);
                let target = target
                    .ok_or_else(|| PlayError::Unexpected("the target does not run".to_owned()))?;
                pod::PidMode::Target(target.pid as i32)
            }
        })
    }

    /// Starts a container with the pod's modes.
    pub(crate) async fn container(&mut self, name: &str) -> Result<Started, PlayError> {
        self.container_as(name, ContainerKind::App, self.modes.clone(), |plan| plan)
            .await
    }

    /// Starts a container that is declared with these modes. `edit` may change its plan, to plant a
    /// fault.
    pub(crate) async fn container_as(
        &mut self,
        name: &str,
        what: ContainerKind,
        modes: Modes,
        edit: impl FnOnce(pod::ContainerPlan) -> pod::ContainerPlan,
    ) -> Result<Started, PlayError> {
        let prepared = self.prepare_container(name, what, modes, edit).await?;
        self.launch(prepared).await
    }

    /// Creates and declares a container without starting it.
    pub(crate) async fn prepare_container(
        &mut self,
        name: &str,
        what: ContainerKind,
        modes: Modes,
        edit: impl FnOnce(pod::ContainerPlan) -> pod::ContainerPlan,
    ) -> Result<Prepared, PlayError> {
        let mode = self.pid_mode(&modes)?;
        let plan = edit(self.inner().container(mode).named(name));
        let prepared = self.inner().prepare_container(plan).await?;
        self.declare(&prepared.id, name, prepared.cgroup_id, what, &modes, None);
        Ok(prepared)
    }

    /// Runs a declared container.
    pub(crate) async fn launch(&mut self, prepared: Prepared) -> Result<Started, PlayError> {
        let container = self.inner().launch(prepared).await?;
        self.executed(container).await
    }

    /// Waits until the kernel has reported a container's exec.
    async fn executed(&self, container: pod::Container) -> Result<Started, PlayError> {
        let id: ContainerId = container.id.as_str().into();
        let pid = container.pid as u32;
        let what = format!("the exec of {}", container.name);
        let process = self
            .await_(&what, |core| {
                let process = core.state.processes.by_pid(pid)?;
                // One that has no cgroup of its own (a fault) executes outside every container.
                (process.executed.is_some() || !process.file.0.is_empty()).then_some(process.id)
            })
            .await?;
        Ok(Started {
            container,
            id,
            process,
        })
    }

    /// Starts an exec session or probe.
    pub(crate) async fn exec(
        &mut self,
        container: &Started,
        edit: impl FnOnce(pod::ContainerPlan) -> pod::ContainerPlan,
    ) -> Result<Started, PlayError> {
        let plan = edit(self.inner().session(&container.container));
        let session = self.inner().exec(&container.container, plan).await?;
        self.executed(session).await
    }

    /// Reports to the verifier the result of an experiment inside a container.
    pub(crate) fn observe(&self, container: &Started, what: Observed, holds: bool, detail: &str) {
        self.live.inject(Fact::Observed(Observation {
            pod: self.id.clone(),
            container: container.id.clone(),
            what,
            holds,
            detail: Text::new(detail),
        }));
    }

    /// Reads the state of the pause, reports it to the verifier, and returns it.
    pub(crate) fn look_at_pause(&self) -> Result<PauseStatus, PlayError> {
        let pause = self.pause()?;
        let status = procfs::pause_status(&self.id, pause).map_err(|source| {
            PlayError::io(
                format!("read the state of the pause, pid {}", pause.pid),
                source,
            )
        })?;
        self.live.inject(Fact::PauseStatus(status.clone()));
        Ok(status)
    }

    /// Waits until the kernel has reported the end of a process.
    pub(crate) async fn ended(&self, process: ProcessId) -> Result<(), PlayError> {
        self.await_(&format!("the end of pid {}", process.pid), |core| {
            core.state
                .processes
                .get(process)
                .is_none_or(|process| process.ended.is_some())
                .then_some(())
        })
        .await
    }

    /// Waits until the kernel has reported that every process of the pod was reaped.
    pub(crate) async fn quiet(&self) -> Result<(), PlayError> {
        let id = self.id.clone();
        self.await_("the reaping of the pod's processes", |core| {
            core.state
                .pods
                .get(&id)
                .is_none_or(|pod| pod.zombies == 0)
                .then_some(())
        })
        .await
    }

    /// Stops the whole pod: SIGTERM to the containers, SIGKILL after the grace period (stretched by
    /// the patience), then the pause.
    pub(crate) async fn stop(&mut self, grace: Duration) -> Result<Vec<pod::Stopped>, PlayError> {
        let grace = self.patience.of(grace);
        let grace_ns = grace.as_nanos() as u64;
        self.live.inject(Fact::PodStopping {
            pod: self.id.clone(),
            grace: grace_ns,
        });
        let stopped = self.inner().stop(grace).await?;
        Ok(stopped)
    }

    /// Stops one container as a runtime does, with a grace period that is stretched by the
    /// patience. Returns its exit status and whether it had to be killed.
    pub(crate) async fn stop_container(
        &mut self,
        container: &Started,
        grace: Duration,
    ) -> Result<(Status, bool), PlayError> {
        let grace = self.patience.of(grace);
        let grace_ns = grace.as_nanos() as u64;
        self.live.inject(Fact::ContainerStopping {
            container: container.id.clone(),
            grace: grace_ns,
        });
        let pid = container.pid();
        self.inner().signal(pid, Signal::SIGTERM).await?;
        match self.inner().exited_within(pid, grace).await {
            Ok(status) => Ok((status, false)),
            Err(PodError::TimedOut { .. }) => {
                self.inner().signal(pid, Signal::SIGKILL).await?;
                Ok((self.inner().exited(pid).await?, true))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Declares the pod as removed, without changing it.
    pub(crate) fn declare_removed(&self) {
        self.live.inject(Fact::PodRemoved {
            pod: self.id.clone(),
        });
    }

    /// Removes what is left of the pod, and waits for the last verdicts on it.
    pub(crate) async fn remove(mut self) -> Result<(), PlayError> {
        if let Some(pod) = self.pod.take() {
            pod.remove().await?;
        }
        let id = self.id.clone();
        if self.live.read(|core| {
            core.state
                .pods
                .get(&id)
                .is_some_and(|pod| pod.removed.is_none())
        }) {
            self.quiet().await?;
            self.declare_removed();
        }
        self.await_("the end of the pod", |core| {
            (!core.state.pods.contains_key(&id)).then_some(())
        })
        .await
    }

    /// Stops and removes the pod.
    pub(crate) async fn finish(mut self) -> Result<(), PlayError> {
        self.stop(Duration::from_secs(5)).await?;
        self.remove().await
    }
}

/// A join of another process' namespace, to plant a fault.
pub(crate) fn join_of(process: ProcessId, kind: &str) -> Join {
    Join::of(process.pid as i32, kind)
}
