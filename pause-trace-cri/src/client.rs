//! One function a call.
//!
//! Calls are of the services `RuntimeService` and `ImageService`; what each promises is written in `api.proto`. Every
//! one has a time-out ([`Timeouts`]) and fails with a [`CriError`]; one whose answer did not come may have been done.

use std::time::Duration;

use crate::{
    channel::{Api, Call, Channel, Timeouts},
    error::CriError,
    messages::{
        Container, ContainerConfig, ContainerFilter, ContainerRequest, ContainerStatusRequest,
        ContainerStatusResponse, CreateContainerRequest, CreateContainerResponse, Done, ExecOutput,
        ExecSyncRequest, Image, ImageSpec, ImageStatusRequest, ImageStatusResponse,
        ListContainersRequest, ListContainersResponse, ListImagesRequest, ListImagesResponse,
        ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxConfig,
        PodSandboxRequest, PodSandboxStatusRequest, PodSandboxStatusResponse, RunPodSandboxRequest,
        RunPodSandboxResponse, RuntimeHandler, RuntimeStatus, StatusRequest, StatusResponse,
        StopContainerRequest, Version,
    },
    socket::Socket,
};

/// How much is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What CRI defines.
    Plain,
    /// And what the runtime adds of its own, such as the pid: see [`Info`](crate::Info).
    Verbose,
}

/// A client of one runtime. A clone shares its connection.
///
/// Needs a tokio runtime with time and I/O, the same one for all its calls.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// A client of the runtime at a socket. Nothing is done before the first call, and a runtime that was restarted is
    /// connected to again.
    pub fn connect(socket: Socket) -> Self {
        Self {
            channel: Channel::new(socket),
        }
    }

    /// A client of the first runtime that answers at one of the sockets (see [`Socket::discover`]), and what it calls
    /// itself. `None` where there is no socket to ask at.
    ///
    /// # Errors
    /// When no runtime answers at any: that of the first one.
    pub async fn find(
        sockets: impl IntoIterator<Item = Socket>,
    ) -> Result<Option<(Self, Version)>, CriError> {
        let mut failed = None;
        for socket in sockets {
            let client = Self::connect(socket);
            match client.version().await {
                Ok((_, version)) => return Ok(Some((client, version))),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// The same client with other time-outs.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.channel.timeouts = timeouts;
        self
    }

    /// The socket it connects to.
    pub fn socket(&self) -> &Socket {
        &self.channel.socket
    }

    /// Which runtime this is, and the version of the interface that is spoken with it.
    pub async fn version(&self) -> Result<(Api, Version), CriError> {
        self.channel.version().await
    }

    /// Whether the runtime and its network are ready.
    pub async fn status(&self) -> Result<RuntimeStatus, CriError> {
        Ok(self.ask_status().await?.status.unwrap_or_default())
    }

    /// What the runtime's handlers can do. None are told of before Kubernetes 1.30's version of the interface.
    pub async fn handlers(&self) -> Result<Vec<RuntimeHandler>, CriError> {
        Ok(self.ask_status().await?.runtime_handlers)
    }

    async fn ask_status(&self) -> Result<StatusResponse, CriError> {
        self.ask("Status", StatusRequest { verbose: false }).await
    }

    /// All sandboxes, also those that have ended.
    pub async fn sandboxes(&self) -> Result<Vec<PodSandbox>, CriError> {
        let answer: ListPodSandboxResponse =
            self.ask("ListPodSandbox", ListPodSandboxRequest {}).await?;
        Ok(answer.items)
    }

    /// One sandbox; [`CriError::is_not_found`] where there is none of that id.
    pub async fn sandbox_status(
        &self,
        sandbox: &str,
        detail: Detail,
    ) -> Result<PodSandboxStatusResponse, CriError> {
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: sandbox.into(),
            verbose: detail == Detail::Verbose,
        };
        self.ask("PodSandboxStatus", request).await
    }

    /// All containers, also those that have ended; with a sandbox' id, those of that sandbox.
    pub async fn containers(&self, sandbox: Option<&str>) -> Result<Vec<Container>, CriError> {
        let filter = sandbox.map(|sandbox| ContainerFilter {
            pod_sandbox_id: sandbox.into(),
        });
        let answer: ListContainersResponse = self
            .ask("ListContainers", ListContainersRequest { filter })
            .await?;
        Ok(answer.containers)
    }

    /// One container; [`CriError::is_not_found`] where there is none of that id.
    pub async fn container_status(
        &self,
        container: &str,
        detail: Detail,
    ) -> Result<ContainerStatusResponse, CriError> {
        let request = ContainerStatusRequest {
            container_id: container.into(),
            verbose: detail == Detail::Verbose,
        };
        self.ask("ContainerStatus", request).await
    }

    /// Makes a sandbox with its namespaces and network, and gives its id. `handler` is the runtime class'; empty for
    /// the default.
    pub async fn run_sandbox(
        &self,
        config: &PodSandboxConfig,
        handler: &str,
    ) -> Result<String, CriError> {
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: handler.into(),
        };
        let answer: RunPodSandboxResponse = self
            .change("RunPodSandbox", request, Duration::ZERO)
            .await?;
        Ok(answer.pod_sandbox_id)
    }

    /// Ends a sandbox and what runs in it. Doing it twice is no error.
    pub async fn stop_sandbox(&self, sandbox: &str) -> Result<(), CriError> {
        let request = PodSandboxRequest {
            pod_sandbox_id: sandbox.into(),
        };
        let Done {} = self
            .change("StopPodSandbox", request, Duration::ZERO)
            .await?;
        Ok(())
    }

    /// Removes a sandbox and its containers. Doing it twice is no error.
    pub async fn remove_sandbox(&self, sandbox: &str) -> Result<(), CriError> {
        let request = PodSandboxRequest {
            pod_sandbox_id: sandbox.into(),
        };
        let Done {} = self
            .change("RemovePodSandbox", request, Duration::ZERO)
            .await?;
        Ok(())
    }

    /// Makes a container in a sandbox that was made of `sandbox_config`, and gives its id.
    pub async fn create_container(
        &self,
        sandbox: &str,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<String, CriError> {
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.into(),
            config: Some(config.clone()),
            sandbox_config: Some(sandbox_config.clone()),
        };
        let answer: CreateContainerResponse = self
            .change("CreateContainer", request, Duration::ZERO)
            .await?;
        Ok(answer.container_id)
    }

    /// Starts a container that was made.
    pub async fn start_container(&self, container: &str) -> Result<(), CriError> {
        let request = ContainerRequest {
            container_id: container.into(),
        };
        let Done {} = self
            .change("StartContainer", request, Duration::ZERO)
            .await?;
        Ok(())
    }

    /// Asks a container to stop, and kills it after the grace period, of which whole seconds count: a part of one is
    /// rounded up. Doing it twice is no error.
    pub async fn stop_container(&self, container: &str, grace: Duration) -> Result<(), CriError> {
        let request = StopContainerRequest {
            container_id: container.into(),
            timeout: seconds(grace),
        };
        let Done {} = self.change("StopContainer", request, grace).await?;
        Ok(())
    }

    /// Removes a container, killing it if it runs. Doing it twice is no error.
    pub async fn remove_container(&self, container: &str) -> Result<(), CriError> {
        let request = ContainerRequest {
            container_id: container.into(),
        };
        let Done {} = self
            .change("RemoveContainer", request, Duration::ZERO)
            .await?;
        Ok(())
    }

    /// Runs a command in a container and waits for its end, which the runtime brings about after `limit` (whole
    /// seconds, rounded up; zero: never).
    pub async fn exec(
        &self,
        container: &str,
        command: &[&str],
        limit: Duration,
    ) -> Result<ExecOutput, CriError> {
        let request = ExecSyncRequest {
            container_id: container.into(),
            cmd: command.iter().map(|&word| word.into()).collect(),
            timeout: seconds(limit),
        };
        self.change("ExecSync", request, limit).await
    }

    /// The images that the runtime has.
    pub async fn images(&self) -> Result<Vec<Image>, CriError> {
        let call = query("ImageService", "ListImages");
        let answer: ListImagesResponse = self
            .channel
            .call(call, ListImagesRequest {}, self.channel.timeouts.query)
            .await?;
        Ok(answer.images)
    }

    /// An image by name, digest or id; one that is not there is an answer without an image.
    pub async fn image_status(
        &self,
        image: &str,
        detail: Detail,
    ) -> Result<ImageStatusResponse, CriError> {
        let request = ImageStatusRequest {
            image: Some(ImageSpec {
                image: image.into(),
            }),
            verbose: detail == Detail::Verbose,
        };
        let call = query("ImageService", "ImageStatus");
        self.channel
            .call(call, request, self.channel.timeouts.query)
            .await
    }

    async fn ask<Q, A>(&self, name: &'static str, request: Q) -> Result<A, CriError>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let call = query("RuntimeService", name);
        self.channel
            .call(call, request, self.channel.timeouts.query)
            .await
    }

    /// `extra` is how long the runtime may take by its own rules.
    async fn change<Q, A>(
        &self,
        name: &'static str,
        request: Q,
        extra: Duration,
    ) -> Result<A, CriError>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let call = Call {
            service: "RuntimeService",
            name,
            harmless: false,
        };
        let limit = self.channel.timeouts.change.saturating_add(extra);
        self.channel.call(call, request, limit).await
    }
}

fn query(service: &'static str, name: &'static str) -> Call {
    Call {
        service,
        name,
        harmless: true,
    }
}

fn seconds(duration: Duration) -> i64 {
    let partial = i64::from(duration.subsec_nanos() > 0);
    i64::try_from(duration.as_secs())
        .unwrap_or(i64::MAX)
        .saturating_add(partial)
}
