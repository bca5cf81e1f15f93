//! A container runtime, called as a kubelet calls it.

use std::{
    cell::{Cell, RefCell},
    fs,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use pause_trace_cri::{
    Client, CriError, Detail, Socket, Timeouts,
    messages::{ContainerConfig, ExecOutput, PodSandboxConfig},
};
use tokio::{net::UnixStream, sync::oneshot, task::JoinHandle};

use super::{failure::failed, leftovers, mark::Mark};
use crate::{event::escape, node::program, reference::patience::Patience, runtimes::KUBELET};

/// How long to wait for an answer. A runtime that takes longer counts as hung, and is not called
/// again.
const TIMEOUTS: Timeouts = Timeouts {
    query: Duration::from_secs(10),
    change: Duration::from_secs(30),
};

/// The runtime, and the calls of this run.
pub(crate) struct Runtime {
    client: Client,
    /// The name and version that the runtime reports.
    pub(super) name: String,
    pub(super) image: String,
    pub(super) mark: Mark,
    /// The directory of the containers' logs.
    pub(super) logs: PathBuf,
    /// Whether it supports pods with their own user namespace.
    pub(crate) supports_users: bool,
    /// Whether it uses the systemd cgroup driver: pods are then in slices.
    pub(super) wants_slices: Cell<bool>,
    /// The failed call since which the runtime does not answer.
    lost: RefCell<Option<String>>,
    /// Running calls. They are never cancelled, because what they create must be known to be
    /// removed.
    under_way: RefCell<Vec<JoinHandle<()>>>,
}

/// A failed call. Its text fits "failed to …".
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error(transparent)]
    Cri(#[from] CriError),
    #[error("call the runtime again after it failed to {0}")]
    Lost(String),
}

impl Runtime {
    /// Connects to a runtime, checks that it can create pods and has the image, and removes the
    /// leftovers of earlier runs.
    pub(crate) async fn open(socket: Socket, image: &str, patience: Patience) -> Result<Self> {
        let timeouts = Timeouts {
            query: patience.of(TIMEOUTS.query),
            change: patience.of(TIMEOUTS.change),
        };
        let client = Client::connect(socket).with_timeouts(timeouts);
        let (_, version) = client.version().await.map_err(failed)?;
        let name = format!(
            "{} {}",
            shown(&version.runtime_name),
            shown(&version.runtime_version)
        );
        let status = client.status().await.map_err(failed)?;
        for condition in &status.conditions {
            if ["RuntimeReady", "NetworkReady"].contains(&&*condition.r#type) && !condition.status {
                bail!(
                    "{name} cannot create pods: it is not {}, because of {}: {}",
                    condition.r#type,
                    shown(&condition.reason),
                    shown(&condition.message),
                );
            }
        }
        let mark = Mark::own().context("failed to read /proc/self/stat")?;
        if let Some(kubelet) = kubelet_of(client.socket()).await {
            bail!(
                "the kubelet (pid {kubelet}) removes pods that it did not create within seconds: stop it for the minute that \
                 this check takes (systemctl stop kubelet), and start it again afterwards; the node's pods keep running"
            );
        }
        // Before the check of the image, so that leftovers are removed in any case.
        leftovers::of_dead_runs(&client).await?;
        let found = client
            .image_status(image, Detail::Plain)
            .await
            .map_err(failed)?;
        if found.image.is_none() {
            bail!(
                "{name} has no image {}; import it: pause-trace image -o pause-trace.tar && \
                 ctr -n k8s.io images import pause-trace.tar",
                shown(image)
            );
        }
        let handlers = client.handlers().await.map_err(failed)?;
        let supports_users = handlers.iter().any(|handler| {
            let features = handler.features.unwrap_or_default();
            handler.name.is_empty() && features.user_namespaces
        });
        let logs = leftovers::make_logs(mark)?;
        Ok(Self {
            client,
            name,
            image: image.to_owned(),
            mark,
            logs,
            supports_users,
            wants_slices: Cell::new(false),
            lost: RefCell::default(),
            under_way: RefCell::default(),
        })
    }

    /// The runtime's socket.
    pub(crate) fn socket(&self) -> &Socket {
        self.client.socket()
    }

    /// Removes everything that this run has created.
    pub(crate) async fn clear(&self) -> Result<()> {
        let calls = self.under_way.take();
        for call in calls {
            // Each call has its own time-out.
            call.await.ok();
        }
        let client = match &*self.lost.borrow() {
            None => Some(self.client.clone()),
            // The processes are killed in any case. The next run removes the pods from the runtime.
            Some(_) => None,
        };
        leftovers::of_run(client.as_ref(), self.mark, &self.logs).await
    }

    /// The parent cgroup of this run's pods, in the form that the runtime's cgroup driver requires.
    pub(super) fn cgroup_parent(&self) -> String {
        match self.wants_slices.get() {
            true => format!("{}.slice", self.mark),
            false => format!("/{}", self.mark),
        }
    }

    /// Creates a sandbox. A runtime with the systemd cgroup driver refuses a parent that is not a
    /// slice; the call is then repeated with a slice.
    pub(super) async fn run_sandbox(
        &self,
        config: &mut PodSandboxConfig,
    ) -> Result<String, CallError> {
        loop {
            let parent = self.cgroup_parent();
            if let Some(linux) = &mut config.linux {
                linux.cgroup_parent.clone_from(&parent);
            }
            let (client, config) = (self.client.clone(), config.clone());
            let answer = self
                .call(async move { client.run_sandbox(&config, "").await })
                .await;
            match answer {
                Err(CallError::Cri(CriError::Refused { ref message, .. }))
                    if message.contains("slice") && parent.starts_with('/') =>
                {
                    self.wants_slices.set(true);
                }
                answer => return answer,
            }
        }
    }

    pub(super) async fn stop_sandbox(&self, sandbox: &str) -> Result<(), CallError> {
        let (client, sandbox) = (self.client.clone(), sandbox.to_owned());
        self.call(async move { client.stop_sandbox(&sandbox).await })
            .await
    }

    pub(super) async fn remove_sandbox(&self, sandbox: &str) -> Result<(), CallError> {
        let (client, sandbox) = (self.client.clone(), sandbox.to_owned());
        self.call(async move { client.remove_sandbox(&sandbox).await })
            .await
    }

    /// Creates and starts a container, and returns its id.
    pub(super) async fn start_container(
        &self,
        sandbox: &str,
        config: ContainerConfig,
        pod: &PodSandboxConfig,
    ) -> Result<String, CallError> {
        let (client, sandbox, pod) = (self.client.clone(), sandbox.to_owned(), pod.clone());
        self.call(async move {
            let container = client.create_container(&sandbox, &config, &pod).await?;
            client.start_container(&container).await?;
            Ok(container)
        })
        .await
    }

    pub(super) async fn stop_container(
        &self,
        container: &str,
        grace: Duration,
    ) -> Result<(), CallError> {
        let (client, container) = (self.client.clone(), container.to_owned());
        self.call(async move {
            let mut wait = RETRY;
            loop {
                match client.stop_container(&container, grace).await {
                    Err(error) if is_passing(&error) && wait <= LAST_RETRY => {
                        tokio::time::sleep(wait).await;
                        wait *= 2;
                    }
                    answer => return answer,
                }
            }
        })
        .await
    }

    pub(super) async fn remove_container(&self, container: &str) -> Result<(), CallError> {
        let (client, container) = (self.client.clone(), container.to_owned());
        self.call(async move { client.remove_container(&container).await })
            .await
    }

    pub(super) async fn exec(
        &self,
        container: &str,
        command: &[&str],
        limit: Duration,
    ) -> Result<ExecOutput, CallError> {
        let (client, container) = (self.client.clone(), container.to_owned());
        let command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
        self.call(async move {
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            client.exec(&container, &command, limit).await
        })
        .await
    }

    /// Makes a call. It continues even if this future is dropped.
    async fn call<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, CriError>> + Send + 'static,
    ) -> Result<T, CallError> {
        if let Some(why) = &*self.lost.borrow() {
            return Err(CallError::Lost(why.clone()));
        }
        let (sender, answer) = oneshot::channel();
        let task = tokio::spawn(async move { drop(sender.send(call.await)) });
        {
            let mut under_way = self.under_way.borrow_mut();
            under_way.retain(|task| !task.is_finished());
            under_way.push(task);
        }
        let answered = answer
            .await
            .map_err(|_| CallError::Lost("end a call".to_owned()))?;
        if let Err(error) = &answered
            && !error.is_answer()
        {
            *self.lost.borrow_mut() = Some(error.to_string());
        }
        Ok(answered?)
    }
}

/// Finds a kubelet in the same mount namespace as the runtime at a socket; it uses this runtime
/// then. A kubelet removes pods that it did not create ([crictl], "Create a pod sandbox").
///
/// [crictl]: https://kubernetes.io/docs/tasks/debug/debug-cluster/crictl/
async fn kubelet_of(socket: &Socket) -> Option<u32> {
    let connection = UnixStream::connect(socket.path()).await.ok()?;
    let runtime = connection.peer_cred().ok()?.pid()?;
    let mounts = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let of_runtime = mounts(&runtime.to_string())?;
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().into_string().ok()?;
        let number = pid.parse().ok()?;
        let comm = fs::read_to_string(entry.path().join("comm")).ok()?;
        let is_named = comm.trim_end() == KUBELET && mounts(&pid)? == of_runtime;
        (is_named && !program::is_in_container(number)).then_some(number)
    })
}

/// Escapes and shortens a runtime's text, which may contain text of any user.
fn shown(text: &str) -> String {
    const MAX_LENGTH: usize = 512;
    let mut shown = String::new();
    let _ = escape(&text.as_bytes()[..text.len().min(MAX_LENGTH)], &mut shown);
    shown
}

/// The first wait before a call is repeated; each further one is twice as long, up to the last.
const RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// Whether a stop fails only because the container ends at this moment: containerd then loses the
/// connection to the shim's task while it asks it. A kubelet repeats the call at its next sync.
fn is_passing(error: &CriError) -> bool {
    matches!(error, CriError::Refused { message, .. } if message.contains("ttrpc: closed"))
}
