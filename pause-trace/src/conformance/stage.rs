//! The pods and containers of a scenario: the runtime creates them, and the scenario waits for the
//! kernel's events.

use std::{cell::RefCell, ops::Deref, time::Duration};

use futures::future::try_join_all;
use nix::sys::signal::Signal;
use pause_trace_cri::messages::{
    ContainerConfig, ContainerMetadata, ExecOutput, IdMapping, ImageSpec, LinuxContainerConfig,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext,
    NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata, UserNamespace,
};

use super::{mark::NAMESPACE, runtime::Runtime};
use crate::{
    event::{ContainerId, Fact, Mode, Modes, Namespaces, PodId, ProcessId, Source, WaitStatus},
    live::Live,
    node::procfs::{self, SignalSets},
    pipeline::Core,
    playing::{PlayError, Scene},
    reference::{patience::Patience, stage::PodKind},
    scenario::SortedVerdicts,
};

/// How long to wait for an event of the kernel. It arrives within milliseconds; a machine that is
/// busy with pods takes longer.
const DEADLINE: Duration = Duration::from_secs(20);

/// How long an exec session may take.
const SESSION: Duration = Duration::from_secs(10);

/// A grace period that no healthy container needs.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// The ids of a pod with its own user namespace, as a kubelet assigns them: 64 Ki ids, starting at
/// a multiple of 64 Ki.
const USERS: IdMapping = IdMapping {
    host_id: 16 * 65_536,
    container_id: 0,
    length: 65_536,
};

/// The parts that all scenarios of a run share.
pub(crate) struct Stage {
    pub(crate) live: Live,
    pub(crate) runtime: Runtime,
    pub(crate) patience: Patience,
    pub(crate) verdicts: SortedVerdicts,
}

/// A running scenario.
pub(crate) struct Play<'a> {
    stage: &'a Stage,
    /// The name of the scenario.
    name: &'static str,
    /// The number of the scenario in this run.
    number: u32,
    /// The sandboxes that have not been removed.
    sandboxes: RefCell<Vec<String>>,
    scene: Scene<'a>,
}

impl<'a> Deref for Play<'a> {
    type Target = Scene<'a>;

    fn deref(&self) -> &Scene<'a> {
        &self.scene
    }
}

impl<'a> Play<'a> {
    pub(crate) fn new(stage: &'a Stage, name: &'static str, number: u32) -> Self {
        let limit = stage.patience.of(DEADLINE);
        Self {
            stage,
            name,
            number,
            sandboxes: RefCell::default(),
            scene: Scene::new(&stage.live, &stage.verdicts, limit),
        }
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.stage.runtime
    }

    /// Stretches a time by the patience that the user gave.
    fn patience(&self, time: Duration) -> Duration {
        self.stage.patience.of(time)
    }

    /// Waits until the kernel has reported something. Silence does not prove a violation: the
    /// runtime may not have created it, or may hide it from the kernel's hooks.
    async fn await_<T>(
        &self,
        what: &str,
        find: impl FnMut(&Core) -> Option<T>,
    ) -> Result<T, PlayError> {
        let limit = self.patience(DEADLINE);
        let found = tokio::time::timeout(limit, self.stage.live.until(find)).await;
        found.map_err(|_| {
            let silence = format!("{what} was not reported within {limit:?}");
            PlayError::Impossible(silence)
        })
    }

    /// Creates a pod and starts its sandbox.
    pub(crate) async fn pod(&self, kind: PodKind) -> Result<Pod<'_>, PlayError> {
        let nth = self.pods().len();
        let name = match nth {
            0 => self.name.to_owned(),
            _ => format!("{}-{}", self.name, nth + 1),
        };
        let uid = format!("{}-{}-{nth}", self.stage.runtime.mark, self.number);
        let modes = kind.modes();
        let label = |key: &str, value: &str| (format!("io.kubernetes.pod.{key}"), value.to_owned());
        let config = PodSandboxConfig {
            // runc refuses a host name if the uts namespace is the node's.
            hostname: match modes.uts {
                Mode::Node => String::new(),
                _ => name.clone(),
            },
            log_directory: self.stage.runtime.logs.display().to_string(),
            labels: [
                label("name", &name),
                label("namespace", NAMESPACE),
                label("uid", &uid),
                self.stage.runtime.mark.label(),
            ]
            .into(),
            metadata: Some(PodSandboxMetadata {
                name,
                uid: uid.clone(),
                namespace: NAMESPACE.to_owned(),
                attempt: 0,
            }),
            linux: Some(LinuxPodSandboxConfig {
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(options(&modes)),
                    ..LinuxSandboxSecurityContext::default()
                }),
                ..LinuxPodSandboxConfig::default()
            }),
            ..PodSandboxConfig::default()
        };
        self.add_pod(uid.as_str().into());
        let mut pod = Pod {
            play: self,
            id: uid.as_str().into(),
            modes,
            config,
            sandbox: String::new(),
            containers: Vec::new(),
            attempts: 0,
        };
        pod.run_sandbox().await?;
        Ok(pod)
    }

    /// Removes the remaining pods.
    pub(crate) async fn remove_all(&self) -> Result<(), PlayError> {
        let sandboxes = self.sandboxes.take();
        try_join_all(sandboxes.iter().map(async |sandbox| {
            let runtime = self.runtime();
            runtime.stop_sandbox(sandbox).await?;
            runtime.remove_sandbox(sandbox).await
        }))
        .await?;
        for pod in self.pods() {
            self.await_(&format!("the end of pod {pod}"), |core| {
                (!core.state.pods.contains_key(&pod)).then_some(())
            })
            .await?;
        }
        Ok(())
    }
}

/// A pod of the runtime.
pub(crate) struct Pod<'a> {
    play: &'a Play<'a>,
    pub(crate) id: PodId,
    /// The requested modes.
    modes: Modes,
    config: PodSandboxConfig,
    /// The id of the current sandbox.
    sandbox: String,
    /// The containers that were not stopped.
    containers: Vec<String>,
    /// The number of containers that were created.
    attempts: u32,
}

/// A container whose start the kernel has reported.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    /// Its first process.
    pub(crate) process: ProcessId,
    /// The namespaces that its entrypoint executed in.
    pub(crate) namespaces: Namespaces,
}

impl Pod<'_> {
    async fn run_sandbox(&mut self) -> Result<(), PlayError> {
        self.sandbox = self.play.runtime().run_sandbox(&mut self.config).await?;
        let sandbox = self.sandbox.clone();
        self.play.sandboxes.borrow_mut().push(sandbox);
        self.pause().await?;
        Ok(())
    }

    /// Waits until the kernel has reported the pause.
    pub(crate) async fn pause(&self) -> Result<Container, PlayError> {
        self.started(&self.sandbox, "the pause").await
    }

    /// Waits until the runtime has described the sandbox over CRI. A bundle, which is read first,
    /// contains only what the runtime made of the request.
    pub(crate) async fn described(&self) -> Result<(), PlayError> {
        let is_described = |core: &Core| {
            let sandbox = core.state.containers.get(&*self.sandbox)?;
            (sandbox.source == Source::Cri).then_some(())
        };
        self.play
            .await_("the runtime's answer about the sandbox", is_described)
            .await
    }

    /// Stops the current sandbox and starts a new one, as a kubelet does when a sandbox has
    /// changed.
    pub(crate) async fn replace_sandbox(&mut self) -> Result<(), PlayError> {
        let old = self.sandbox.clone();
        self.stop_all(GRACE).await?;
        self.play.runtime().stop_sandbox(&old).await?;
        if let Some(metadata) = &mut self.config.metadata {
            metadata.attempt += 1;
        }
        self.run_sandbox().await
    }

    /// Starts a container that runs the workload, or restarts the container of this name.
    pub(crate) async fn container(
        &mut self,
        name: &str,
        behaviour: &[&str],
    ) -> Result<Container, PlayError> {
        self.container_as(name, behaviour, |_| ()).await
    }

    /// Like [`Pod::container`], with privileges and namespaces that `edit` changes.
    pub(crate) async fn container_as(
        &mut self,
        name: &str,
        behaviour: &[&str],
        edit: impl FnOnce(&mut LinuxContainerSecurityContext),
    ) -> Result<Container, PlayError> {
        let mut security = LinuxContainerSecurityContext {
            namespace_options: Some(options(&self.modes)),
            ..LinuxContainerSecurityContext::default()
        };
        edit(&mut security);
        let attempt = self.attempts;
        self.attempts += 1;
        let runtime = self.play.runtime();
        let label = |key: &str, value: &str| (format!("io.kubernetes.{key}"), value.to_owned());
        let metadata = self.config.metadata.clone().unwrap_or_default();
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: name.to_owned(),
                attempt,
            }),
            image: Some(ImageSpec {
                image: runtime.image.clone(),
            }),
            command: ["/workload"]
                .iter()
                .chain(behaviour)
                .map(|word| (*word).to_owned())
                .collect(),
            labels: [
                label("container.name", name),
                label("pod.name", &metadata.name),
                label("pod.namespace", NAMESPACE),
                label("pod.uid", &metadata.uid),
            ]
            .into(),
            log_path: format!("{}-{name}-{attempt}.log", metadata.uid),
            linux: Some(LinuxContainerConfig {
                security_context: Some(security),
                ..LinuxContainerConfig::default()
            }),
            ..ContainerConfig::default()
        };
        let id = runtime
            .start_container(&self.sandbox, config, &self.config)
            .await?;
        self.containers.push(id.clone());
        let container = self.started(&id, &format!("container {name}")).await?;
        self.ready(&container, behaviour).await?;
        Ok(container)
    }

    /// Waits until the workload has set up its signal handling. A stop signal before that would
    /// find the default disposition.
    ///
    /// The kernel's hooks do not report signal dispositions, so `/proc` is polled.
    async fn ready(&self, container: &Container, behaviour: &[&str]) -> Result<(), PlayError> {
        const PERIOD: Duration = Duration::from_millis(2);
        let pid = container.process.pid;
        let is_running = || {
            let ended = |core: &Core| core.state.containers.get(&container.id)?.ended;
            self.read(ended).is_none() && !procfs::is_gone(container.process)
        };
        let ready = async {
            while SignalSets::of(pid).is_some_and(|sets| !is_ready(behaviour, sets)) && is_running()
            {
                tokio::time::sleep(PERIOD).await;
            }
        };
        let limit = self.play.patience(DEADLINE);
        tokio::time::timeout(limit, ready).await.map_err(|_| {
            PlayError::Unexpected(format!(
                "workload {} (pid {pid}) did not set up its signal handling",
                behaviour.join(" ")
            ))
        })
    }

    /// Waits until a container's first process has a child that has executed.
    pub(crate) async fn has_child(&self, container: &Container) -> Result<(), PlayError> {
        self.play
            .await_("the container's child", |core| {
                let mut children = core.state.processes.children(container.process);
                children.any(|child| child.executed.is_some()).then_some(())
            })
            .await
    }

    /// Waits until the kernel has reported a container's entrypoint, and the runtime or a bundle
    /// has described the container.
    async fn started(&self, id: &str, what: &str) -> Result<Container, PlayError> {
        let id: ContainerId = id.into();
        self.play
            .await_(&format!("the start of {what}"), |core| {
                let container = core.state.containers.get(&id)?;
                Some(Container {
                    id: id.clone(),
                    process: container.init?,
                    namespaces: container.namespaces?,
                })
            })
            .await
    }

    /// Runs the workload in a container to its end, as an exec probe does. It must exit with 0.
    pub(crate) async fn exec(
        &self,
        container: &Container,
        behaviour: &[&str],
    ) -> Result<(), PlayError> {
        let command: Vec<&str> = ["/workload"].iter().chain(behaviour).copied().collect();
        let ExecOutput { exit_code, .. } = self
            .play
            .runtime()
            .exec(&container.id, &command, self.play.patience(SESSION))
            .await?;
        if exit_code != 0 {
            let why = format!("workload {} exited with {exit_code}", behaviour.join(" "));
            return Err(PlayError::Unexpected(why));
        }
        Ok(())
    }

    /// Stops a container, and returns its exit status.
    pub(crate) async fn stop(
        &mut self,
        container: &Container,
        grace: Duration,
    ) -> Result<WaitStatus, PlayError> {
        self.stop_one(&container.id, grace).await?;
        self.containers.retain(|id| **id != *container.id);
        self.ended(container).await
    }

    async fn stop_one(&self, container: &str, grace: Duration) -> Result<(), PlayError> {
        let grace = self.play.patience(grace);
        self.play.stage.live.inject(Fact::ContainerStopping {
            container: container.into(),
            grace: grace.as_nanos() as u64,
        });
        let runtime = self.play.runtime();
        Ok(runtime.stop_container(container, grace).await?)
    }

    /// Waits for a container's end, and returns its exit status.
    pub(crate) async fn ended(&self, container: &Container) -> Result<WaitStatus, PlayError> {
        let pid = container.process.pid;
        self.play
            .await_(&format!("the end of pid {pid}"), |core| {
                let container = core.state.containers.get(&container.id)?;
                container.ended.map(|ended| ended.status)
            })
            .await
    }

    /// Removes a container that has ended.
    pub(crate) async fn remove(&mut self, container: &Container) -> Result<(), PlayError> {
        self.containers.retain(|id| **id != *container.id);
        let runtime = self.play.runtime();
        // The kernel reports the end before the runtime knows of it. Until then the runtime refuses
        // to remove the container. A stop call waits until the runtime knows.
        let grace = self.play.patience(GRACE);
        runtime.stop_container(&container.id, grace).await?;
        Ok(runtime.remove_container(&container.id).await?)
    }

    /// Stops all containers at the same time.
    async fn stop_all(&mut self, grace: Duration) -> Result<(), PlayError> {
        let containers = std::mem::take(&mut self.containers);
        try_join_all(containers.iter().map(|id| self.stop_one(id, grace))).await?;
        Ok(())
    }

    /// Stops the containers, then the pause, and waits for the last verdicts.
    pub(crate) async fn finish(mut self) -> Result<(), PlayError> {
        self.stop_all(GRACE).await?;
        self.play.remove_all().await
    }

    /// Calls `read` with the current state.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Core) -> T) -> T {
        self.play.stage.live.read(read)
    }
}

/// Whether the workload has set up the signal handling of its behaviour (workload/src).
fn is_ready(behaviour: &[&str], sets: SignalSets) -> bool {
    match behaviour.first() {
        Some(&"block-term") => sets.blocks(Signal::SIGTERM),
        Some(&"ignore-term") => sets.catches(Signal::SIGCHLD),
        // `shell` blocks its signals only between two waits for them, so they may appear unblocked.
        // The scenario waits for its child instead, which is forked later.
        Some(&("crash" | "shell")) => true,
        _ => sets.catches(Signal::SIGTERM),
    }
}

/// The namespace options that a kubelet requests for these modes.
fn options(modes: &Modes) -> NamespaceOption {
    let mode = |mode: &Mode| match mode {
        Mode::Node => i32::from(NamespaceMode::Node),
        Mode::Container => NamespaceMode::Container.into(),
        _ => NamespaceMode::Pod.into(),
    };
    NamespaceOption {
        network: mode(&modes.net),
        pid: mode(&modes.pid),
        ipc: mode(&modes.ipc),
        target_id: String::new(),
        // A kubelet leaves this out for the node's user namespace, because an old runtime may not
        // know the field.
        userns_options: (modes.user == Mode::Pod).then(|| UserNamespace {
            mode: NamespaceMode::Pod.into(),
            uids: vec![USERS],
            gids: vec![USERS],
        }),
    }
}
