//! Where a scenario plays: it has the runtime make pods, and waits for what the kernel says of them.

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

/// How long the kernel's word is waited for. It comes within milliseconds; a machine that is busy with pods takes longer.
const DEADLINE: Duration = Duration::from_secs(20);

/// How long an exec session may take.
const SESSION: Duration = Duration::from_secs(10);

/// The grace of a stop that nothing should need.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// The ids of a user-namespaced pod on the node, as a kubelet gives them: 64 Ki from a multiple of that.
const USERS: IdMapping = IdMapping {
    host_id: 16 * 65_536,
    container_id: 0,
    length: 65_536,
};

/// What all scenarios of a run share.
pub(crate) struct Stage {
    pub(crate) live: Live,
    pub(crate) runtime: Runtime,
    pub(crate) patience: Patience,
    pub(crate) verdicts: SortedVerdicts,
}

/// One scenario being played.
pub(crate) struct Play<'a> {
    stage: &'a Stage,
    /// The scenario's.
    name: &'static str,
    /// Of the scenario in this run.
    number: u32,
    /// Those that have not been removed.
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

    /// A time that is meant for hardware, on this machine.
    fn patience(&self, time: Duration) -> Duration {
        self.stage.patience.of(time)
    }

    /// Waits until the kernel has reported something. What a runtime does not make, or hides from the kernel's hooks, is not
    /// proven wrong by silence.
    async fn await_<T>(
        &self,
        what: &str,
        find: impl FnMut(&Core) -> Option<T>,
    ) -> Result<T, PlayError> {
        let limit = self.patience(DEADLINE);
        let found = tokio::time::timeout(limit, self.stage.live.until(find)).await;
        found.map_err(|_| {
            let silence = format!("the kernel reported nothing of {what} within {limit:?}");
            PlayError::Impossible(silence)
        })
    }

    /// A pod with its sandbox up.
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
            // runc refuses a host name where the uts namespace is the node's.
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

    /// Removes the pods that are still there.
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

/// A pod of a runtime's.
pub(crate) struct Pod<'a> {
    play: &'a Play<'a>,
    pub(crate) id: PodId,
    /// As they were asked for.
    modes: Modes,
    config: PodSandboxConfig,
    /// Of the sandbox that counts.
    sandbox: String,
    /// Those that were not stopped.
    containers: Vec<String>,
    /// Containers that were made.
    attempts: u32,
}

/// A container that the kernel has reported.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    /// Its first process.
    pub(crate) process: ProcessId,
    /// Those that its entrypoint executed in.
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

    /// The pause, once the kernel has reported it.
    pub(crate) async fn pause(&self) -> Result<Container, PlayError> {
        self.seen(&self.sandbox, "the pause").await
    }

    /// Waits until the runtime itself has said what it was asked for: a bundle that was read first tells only what it made of it.
    pub(crate) async fn described(&self) -> Result<(), PlayError> {
        let is_told = |core: &Core| {
            let sandbox = core.state.containers.get(&*self.sandbox)?;
            (sandbox.source == Source::Cri).then_some(())
        };
        self.play
            .await_("the runtime's answer about the sandbox", is_told)
            .await
    }

    /// A new sandbox instead of the one that counts, which is stopped, as a kubelet does when it has changed.
    pub(crate) async fn replace_sandbox(&mut self) -> Result<(), PlayError> {
        let old = self.sandbox.clone();
        self.stop_all(GRACE).await?;
        self.play.runtime().stop_sandbox(&old).await?;
        if let Some(metadata) = &mut self.config.metadata {
            metadata.attempt += 1;
        }
        self.run_sandbox().await
    }

    /// A container of the pod's image that runs the workload, or a restart of the one of that name.
    pub(crate) async fn container(
        &mut self,
        name: &str,
        behaviour: &[&str],
    ) -> Result<Container, PlayError> {
        self.container_as(name, behaviour, |_| ()).await
    }

    /// The same with privileges and namespaces that `edit` changes.
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
        let container = self.seen(&id, &format!("container {name}")).await?;
        self.ready(&container, behaviour).await?;
        Ok(container)
    }

    /// Waits until the workload does about signals what it will: a stop that comes before finds none of it.
    ///
    /// The kernel reports nothing of that, so it is looked for.
    async fn ready(&self, container: &Container, behaviour: &[&str]) -> Result<(), PlayError> {
        const PERIOD: Duration = Duration::from_millis(2);
        let pid = container.process.pid;
        let is_running = || {
            let ended = |core: &Core| core.state.containers.get(&container.id)?.ended;
            self.look(ended).is_none() && !procfs::is_gone(container.process)
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
                "workload {} (pid {pid}) does not settle",
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

    /// Waits until the kernel has reported a container's entrypoint, and somebody has said whose it is.
    async fn seen(&self, id: &str, what: &str) -> Result<Container, PlayError> {
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

    /// Runs the workload in a container, as a probe does, to its end; it must end with 0.
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
            let why = format!("workload {} ended with {exit_code}", behaviour.join(" "));
            return Err(PlayError::Unexpected(why));
        }
        Ok(())
    }

    /// Has a container stopped; gives how it ended.
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

    /// Waits for a container's end; gives how it ended.
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
        // The kernel says first that it has ended. A runtime that does not know it yet refuses to remove it, and one that is
        // told to stop it waits until it does.
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

    /// An orderly end: the containers, then the pause; and waits for the last verdicts.
    pub(crate) async fn finish(mut self) -> Result<(), PlayError> {
        self.stop_all(GRACE).await?;
        self.play.remove_all().await
    }

    /// What the kernel has shown the verifier of this pod.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Core) -> T) -> T {
        self.play.stage.live.look(look)
    }
}

/// Whether the workload has set what its behaviour does about signals (workload/src).
fn is_ready(behaviour: &[&str], sets: SignalSets) -> bool {
    match behaviour.first() {
        Some(&"block-term") => sets.blocks(Signal::SIGTERM),
        Some(&"ignore-term") => sets.catches(Signal::SIGCHLD),
        // It waits for signals, which the kernel unblocks for as long; but it has a child only after that.
        Some(&("crash" | "shell")) => true,
        _ => sets.catches(Signal::SIGTERM),
    }
}

/// What a kubelet asks for where a pod is to have these.
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
        // Kubelets say nothing of users where they are the node's and the runtime may never have heard of it.
        userns_options: (modes.user == Mode::Pod).then(|| UserNamespace {
            mode: NamespaceMode::Pod.into(),
            uids: vec![USERS],
            gids: vec![USERS],
        }),
    }
}
