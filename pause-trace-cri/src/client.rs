//! One function per call.
//!
//! The calls belong to the services `RuntimeService` and `ImageService`, which `api.proto`
//! documents. Each has a timeout ([`Timeouts`]) and fails with a [`CriError`]. If no answer
//! arrives, the runtime may still have carried out the call.

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

/// How much detail is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The fields that CRI defines.
    Plain,
    /// Also the details that the runtime adds, such as the pid: see [`Info`](crate::Info).
    Verbose,
}

/// A client of one runtime. A clone shares its connection.
///
/// All calls of a client need the same tokio runtime, with time and I/O enabled.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Creates a client for the runtime at a socket. It connects at the first call, and again after
    /// the runtime was restarted.
    pub fn connect(socket: Socket) -> Self {
        Self {
            channel: Channel::new(socket),
        }
    }

    /// Finds the first of the sockets (see [`Socket::discover`]) at which a runtime answers, and
    /// returns a client with the runtime's version. `None` if there are no sockets.
    ///
    /// # Errors
    /// The error of the first socket, if no runtime answers at any of them.
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

    /// The same client with other timeouts.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.channel.timeouts = timeouts;
        self
    }

    /// The socket it connects to.
    pub fn socket(&self) -> &Socket {
        &self.channel.socket
    }

    /// The runtime's name and version, and the version of the interface that the client uses.
    pub async fn version(&self) -> Result<(Api, Version), CriError> {
        self.channel.version().await
    }

    /// Whether the runtime and its network are ready.
    pub async fn status(&self) -> Result<RuntimeStatus, CriError> {
        Ok(self.query_status().await?.status.unwrap_or_default())
    }

    /// The runtime's handlers and their features. Empty before the version of the interface in
    /// Kubernetes 1.30.
    pub async fn handlers(&self) -> Result<Vec<RuntimeHandler>, CriError> {
        Ok(self.query_status().await?.runtime_handlers)
    }

    async fn query_status(&self) -> Result<StatusResponse, CriError> {
        self.query("Status", StatusRequest { verbose: false }).await
    }

    /// All sandboxes, including those that have ended.
    pub async fn sandboxes(&self) -> Result<Vec<PodSandbox>, CriError> {
        let answer: ListPodSandboxResponse = self
            .query("ListPodSandbox", ListPodSandboxRequest {})
            .await?;
        Ok(answer.items)
    }

    /// One sandbox. If there is none with that id, the error is [`CriError::is_not_found`].
    pub async fn sandbox_status(
        &self,
        sandbox: &str,
        detail: Detail,
    ) -> Result<PodSandboxStatusResponse, CriError> {
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: sandbox.into(),
            verbose: detail == Detail::Verbose,
        };
        self.query("PodSandboxStatus", request).await
    }

    /// All containers, or those of one sandbox, including those that have exited.
    pub async fn containers(&self, sandbox: Option<&str>) -> Result<Vec<Container>, CriError> {
        let filter = sandbox.map(|sandbox| ContainerFilter {
            pod_sandbox_id: sandbox.into(),
        });
        let answer: ListContainersResponse = self
            .query("ListContainers", ListContainersRequest { filter })
            .await?;
        Ok(answer.containers)
    }

    /// One container. If there is none with that id, the error is [`CriError::is_not_found`].
    pub async fn container_status(
        &self,
        container: &str,
        detail: Detail,
    ) -> Result<ContainerStatusResponse, CriError> {
        let request = ContainerStatusRequest {
            container_id: container.into(),
            verbose: detail == Detail::Verbose,
        };
        self.query("ContainerStatus", request).await
    }

    /// Creates a sandbox with its namespaces and network, and returns its id. `handler` is the
    /// handler of the runtime class; empty for the default.
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

    /// Stops a sandbox and its containers. Stopping it twice is not an error.
    pub async fn stop_sandbox(&self, sandbox: &str) -> Result<(), CriError> {
        let request = PodSandboxRequest {
            pod_sandbox_id: sandbox.into(),
        };
        let Done {} = self
            .change("StopPodSandbox", request, Duration::ZERO)
            .await?;
        Ok(())
    }

    /// Removes a sandbox and its containers. Removing it twice is not an error.
    pub async fn remove_sandbox(&self, sandbox: &str) -> Result<(), CriError> {
        let request = PodSandboxRequest {
            pod_sandbox_id: sandbox.into(),
        };
        let Done {} = self
            .change("RemovePodSandbox", request, Duration::ZERO)
            .await?;
        Ok(())
    }

    /// Creates a container in a sandbox that was created from `sandbox_config`, and returns its id.
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

    /// Starts a container that was created.
    pub async fn start_container(&self, container: &str) -> Result<(), CriError> {
        let request = ContainerRequest {
            container_id: container.into(),
        };
        let Done {} = self
            .change("StartContainer", request, Duration::ZERO)
            .await?;
        Ok(())
    }

    /// Stops a container, and kills it after the grace period, which is rounded up to whole
    /// seconds. Stopping it twice is not an error.
    pub async fn stop_container(&self, container: &str, grace: Duration) -> Result<(), CriError> {
        let request = StopContainerRequest {
            container_id: container.into(),
            timeout: seconds(grace),
        };
        let Done {} = self.change("StopContainer", request, grace).await?;
        Ok(())
    }

    /// Removes a container, and kills it if it runs. Removing it twice is not an error.
    pub async fn remove_container(&self, container: &str) -> Result<(), CriError> {
        let request = ContainerRequest {
            container_id: container.into(),
        };
        let Done {} = self
            .change("RemoveContainer", request, Duration::ZERO)
            .await?;
        Ok(())
    }

    /// Runs a command in a container and waits until it exits. The runtime kills it after `limit`,
    /// which is rounded up to whole seconds; zero means no limit.
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

    /// All images of the runtime.
    pub async fn images(&self) -> Result<Vec<Image>, CriError> {
        let call = query_call("ImageService", "ListImages");
        let answer: ListImagesResponse = self
            .channel
            .call(call, ListImagesRequest {}, self.channel.timeouts.query)
            .await?;
        Ok(answer.images)
    }

    /// An image by name, digest or id. If the runtime does not have it, the answer has no image.
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
        let call = query_call("ImageService", "ImageStatus");
        self.channel
            .call(call, request, self.channel.timeouts.query)
            .await
    }

    async fn query<Q, A>(&self, name: &'static str, request: Q) -> Result<A, CriError>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let call = query_call("RuntimeService", name);
        self.channel
            .call(call, request, self.channel.timeouts.query)
            .await
    }

    /// `extra` is the time that the request itself allows the runtime, such as a grace period.
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
            is_repeatable: false,
        };
        let limit = self.channel.timeouts.change.saturating_add(extra);
        self.channel.call(call, request, limit).await
    }
}

fn query_call(service: &'static str, name: &'static str) -> Call {
    Call {
        service,
        name,
        is_repeatable: true,
    }
}

fn seconds(duration: Duration) -> i64 {
    let partial = i64::from(duration.subsec_nanos() > 0);
    i64::try_from(duration.as_secs())
        .unwrap_or(i64::MAX)
        .saturating_add(partial)
}
