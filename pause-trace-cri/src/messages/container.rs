//! Containers.

use std::collections::BTreeMap;

use prost::{Enumeration, Message};

use super::{ImageSpec, Int64Value, NamespaceOption, PodSandboxConfig};

/// Identifies a container within its pod.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerMetadata {
    /// The name in the pod's specification.
    #[prost(string, tag = "1")]
    pub name: String,
    /// How many times the container was created before.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
}

/// The configuration of a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerConfig {
    /// Identifies the container within its pod.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ContainerMetadata>,
    /// Its image, which must be present already.
    #[prost(message, optional, tag = "2")]
    pub image: Option<ImageSpec>,
    /// Replaces the image's entrypoint.
    #[prost(string, repeated, tag = "3")]
    pub command: Vec<String>,
    /// Replaces the image's command.
    #[prost(string, repeated, tag = "4")]
    pub args: Vec<String>,
    /// The working directory; empty for the image's.
    #[prost(string, tag = "5")]
    pub working_dir: String,
    /// Environment variables in addition to the image's.
    #[prost(message, repeated, tag = "6")]
    pub envs: Vec<KeyValue>,
    /// Directories and files of the host.
    #[prost(message, repeated, tag = "7")]
    pub mounts: Vec<Mount>,
    /// The container's labels.
    #[prost(btree_map = "string, string", tag = "9")]
    pub labels: BTreeMap<String, String>,
    /// The container's annotations.
    #[prost(btree_map = "string, string", tag = "10")]
    pub annotations: BTreeMap<String, String>,
    /// Path of the log below the sandbox's log directory; empty for no log.
    #[prost(string, tag = "11")]
    pub log_path: String,
    /// Whether its standard input stays open.
    #[prost(bool, tag = "12")]
    pub stdin: bool,
    /// Whether it has a terminal.
    #[prost(bool, tag = "14")]
    pub tty: bool,
    /// Configuration specific to Linux.
    #[prost(message, optional, tag = "15")]
    pub linux: Option<LinuxContainerConfig>,
    /// The stop signal, which replaces the image's, as [`signal_to_cri`](super::signal_to_cri)
    /// numbers it. Since Kubernetes 1.33.
    #[prost(int32, tag = "18")]
    pub stop_signal: i32,
}

/// An environment variable.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value. Older versions of the interface require UTF-8; the encoding is the same.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// A directory or file of the host that is mounted in a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Mount {
    /// The path in the container.
    #[prost(string, tag = "1")]
    pub container_path: String,
    /// The path on the host.
    #[prost(string, tag = "2")]
    pub host_path: String,
    /// Whether it is mounted read-only.
    #[prost(bool, tag = "3")]
    pub readonly: bool,
}

/// The Linux configuration of a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxContainerConfig {
    /// Its resource limits.
    #[prost(message, optional, tag = "1")]
    pub resources: Option<ContainerResources>,
    /// Its privileges and namespaces.
    #[prost(message, optional, tag = "2")]
    pub security_context: Option<LinuxContainerSecurityContext>,
}

/// Resource limits; 0 means no limit.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerResources {
    /// The CPU period in µs.
    #[prost(int64, tag = "1")]
    pub cpu_period: i64,
    /// The CPU time in µs per period.
    #[prost(int64, tag = "2")]
    pub cpu_quota: i64,
    /// The CPU weight relative to other containers.
    #[prost(int64, tag = "3")]
    pub cpu_shares: i64,
    /// The memory limit in bytes.
    #[prost(int64, tag = "4")]
    pub memory_limit_in_bytes: i64,
    /// The OOM score adjustment, from -1000 (never killed) to 1000 (killed first).
    #[prost(int64, tag = "5")]
    pub oom_score_adj: i64,
}

/// Privileges and namespaces of a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxContainerSecurityContext {
    /// Capabilities to add to or drop from the runtime's default.
    #[prost(message, optional, tag = "1")]
    pub capabilities: Option<Capability>,
    /// Whether the container is privileged.
    #[prost(bool, tag = "2")]
    pub privileged: bool,
    /// Its namespaces.
    #[prost(message, optional, tag = "3")]
    pub namespace_options: Option<NamespaceOption>,
    /// The user id, which replaces the image's user.
    #[prost(message, optional, tag = "5")]
    pub run_as_user: Option<Int64Value>,
    /// The group id, valid only together with a user id.
    #[prost(message, optional, tag = "12")]
    pub run_as_group: Option<Int64Value>,
    /// Whether its root file system is read-only.
    #[prost(bool, tag = "7")]
    pub readonly_rootfs: bool,
    /// Whether `no_new_privs` is set.
    #[prost(bool, tag = "11")]
    pub no_new_privs: bool,
}

/// Capabilities by name, without `CAP_`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Capability {
    /// Capabilities to add.
    #[prost(string, repeated, tag = "1")]
    pub add_capabilities: Vec<String>,
    /// Capabilities to drop.
    #[prost(string, repeated, tag = "2")]
    pub drop_capabilities: Vec<String>,
}

/// The state of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum ContainerState {
    /// Created but not started.
    Created = 0,
    /// Running.
    Running = 1,
    /// Exited.
    Exited = 2,
    /// The runtime does not know.
    Unknown = 3,
}

/// An item of the list of containers.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Container {
    /// The container's id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its sandbox's id.
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    /// Identifies the container within its pod.
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<ContainerMetadata>,
    /// The requested image.
    #[prost(message, optional, tag = "4")]
    pub image: Option<ImageSpec>,
    /// The runtime's own name of the image.
    #[prost(string, tag = "5")]
    pub image_ref: String,
    /// A [`ContainerState`].
    #[prost(enumeration = "ContainerState", tag = "6")]
    pub state: i32,
    /// Time of creation in ns since 1970.
    #[prost(int64, tag = "7")]
    pub created_at: i64,
    /// The container's labels.
    #[prost(btree_map = "string, string", tag = "8")]
    pub labels: BTreeMap<String, String>,
    /// The container's annotations.
    #[prost(btree_map = "string, string", tag = "9")]
    pub annotations: BTreeMap<String, String>,
}

/// The status of a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerStatus {
    /// The container's id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Identifies the container within its pod.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<ContainerMetadata>,
    /// A [`ContainerState`].
    #[prost(enumeration = "ContainerState", tag = "3")]
    pub state: i32,
    /// Time of creation in ns since 1970. This and the next two are 0 if it has not happened yet.
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    /// Time of the start.
    #[prost(int64, tag = "5")]
    pub started_at: i64,
    /// Time of the exit.
    #[prost(int64, tag = "6")]
    pub finished_at: i64,
    /// The exit code; meaningful only after the exit.
    #[prost(int32, tag = "7")]
    pub exit_code: i32,
    /// The requested image.
    #[prost(message, optional, tag = "8")]
    pub image: Option<ImageSpec>,
    /// The runtime's own name of the image.
    #[prost(string, tag = "9")]
    pub image_ref: String,
    /// The reason for the exit in one word, such as `OOMKilled`.
    #[prost(string, tag = "10")]
    pub reason: String,
    /// The reason as a human-readable text.
    #[prost(string, tag = "11")]
    pub message: String,
    /// The container's labels.
    #[prost(btree_map = "string, string", tag = "12")]
    pub labels: BTreeMap<String, String>,
    /// The container's annotations.
    #[prost(btree_map = "string, string", tag = "13")]
    pub annotations: BTreeMap<String, String>,
    /// The stop signal, which [`signal_from_cri`](super::signal_from_cri) converts. Since
    /// Kubernetes 1.33.
    #[prost(int32, tag = "19")]
    pub stop_signal: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ContainerFilter {
    #[prost(string, tag = "3")]
    pub(crate) pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ListContainersRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) filter: Option<ContainerFilter>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) containers: Vec<Container>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ContainerStatusRequest {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(bool, tag = "2")]
    pub(crate) verbose: bool,
}

/// The runtime's answer about a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerStatusResponse {
    /// The container.
    #[prost(message, optional, tag = "1")]
    pub status: Option<ContainerStatus>,
    /// In a verbose answer, the runtime's own details as JSON; [`ContainerStatusResponse::info`]
    /// reads them.
    #[prost(btree_map = "string, string", tag = "2")]
    pub info: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pub(crate) pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    pub(crate) sandbox_config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct CreateContainerResponse {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
}

/// The request of `StartContainer` and `RemoveContainer`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ContainerRequest {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct StopContainerRequest {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    /// The grace period in seconds.
    #[prost(int64, tag = "2")]
    pub(crate) timeout: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ExecSyncRequest {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) cmd: Vec<String>,
    /// The time limit in seconds; 0 means no limit.
    #[prost(int64, tag = "3")]
    pub(crate) timeout: i64,
}

/// The output and exit code of a command in a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExecOutput {
    /// Its standard output.
    #[prost(bytes = "vec", tag = "1")]
    pub stdout: Vec<u8>,
    /// Its standard error.
    #[prost(bytes = "vec", tag = "2")]
    pub stderr: Vec<u8>,
    /// Its exit code.
    #[prost(int32, tag = "3")]
    pub exit_code: i32,
}
