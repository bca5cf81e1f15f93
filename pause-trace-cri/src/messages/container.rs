//! Containers.

use std::collections::BTreeMap;

use prost::{Enumeration, Message};

use super::{ImageSpec, Int64Value, NamespaceOption, PodSandboxConfig};

/// Which container of its pod it is.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerMetadata {
    /// As in the pod's specification.
    #[prost(string, tag = "1")]
    pub name: String,
    /// How often it was made before.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
}

/// What a container is to be.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerConfig {
    /// Which one it is.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ContainerMetadata>,
    /// Its image, which must be there already.
    #[prost(message, optional, tag = "2")]
    pub image: Option<ImageSpec>,
    /// Instead of the image's entry point.
    #[prost(string, repeated, tag = "3")]
    pub command: Vec<String>,
    /// Instead of the image's command.
    #[prost(string, repeated, tag = "4")]
    pub args: Vec<String>,
    /// Empty for the image's.
    #[prost(string, tag = "5")]
    pub working_dir: String,
    /// Beside the image's.
    #[prost(message, repeated, tag = "6")]
    pub envs: Vec<KeyValue>,
    /// What of the host it sees.
    #[prost(message, repeated, tag = "7")]
    pub mounts: Vec<Mount>,
    /// The container's labels.
    #[prost(btree_map = "string, string", tag = "9")]
    pub labels: BTreeMap<String, String>,
    /// The container's annotations.
    #[prost(btree_map = "string, string", tag = "10")]
    pub annotations: BTreeMap<String, String>,
    /// Below the sandbox' log directory; empty for no log.
    #[prost(string, tag = "11")]
    pub log_path: String,
    /// Whether its standard input stays open.
    #[prost(bool, tag = "12")]
    pub stdin: bool,
    /// Whether it has a terminal.
    #[prost(bool, tag = "14")]
    pub tty: bool,
    /// What only Linux has.
    #[prost(message, optional, tag = "15")]
    pub linux: Option<LinuxContainerConfig>,
    /// What asks it to stop, instead of what the image says, as [`signal_to_cri`](super::signal_to_cri) has it. Since
    /// Kubernetes 1.33.
    #[prost(int32, tag = "18")]
    pub stop_signal: i32,
}

/// An environment variable.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value. Older versions of the interface want UTF-8; the bytes on the wire are the same.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// A directory or file of the host, seen by a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Mount {
    /// Inside.
    #[prost(string, tag = "1")]
    pub container_path: String,
    /// Outside.
    #[prost(string, tag = "2")]
    pub host_path: String,
    /// Whether it cannot be written to.
    #[prost(bool, tag = "3")]
    pub readonly: bool,
}

/// A container on Linux.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxContainerConfig {
    /// What it may use.
    #[prost(message, optional, tag = "1")]
    pub resources: Option<ContainerResources>,
    /// Its privileges and namespaces.
    #[prost(message, optional, tag = "2")]
    pub security_context: Option<LinuxContainerSecurityContext>,
}

/// What may be used; 0 is "not limited".
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerResources {
    /// µs.
    #[prost(int64, tag = "1")]
    pub cpu_period: i64,
    /// µs in each period.
    #[prost(int64, tag = "2")]
    pub cpu_quota: i64,
    /// Against other containers.
    #[prost(int64, tag = "3")]
    pub cpu_shares: i64,
    /// Bytes.
    #[prost(int64, tag = "4")]
    pub memory_limit_in_bytes: i64,
    /// -1000 (never) to 1000 (first).
    #[prost(int64, tag = "5")]
    pub oom_score_adj: i64,
}

/// Privileges and namespaces of a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxContainerSecurityContext {
    /// Added to, or taken from, the runtime's default.
    #[prost(message, optional, tag = "1")]
    pub capabilities: Option<Capability>,
    /// Whether it may do everything.
    #[prost(bool, tag = "2")]
    pub privileged: bool,
    /// Its namespaces.
    #[prost(message, optional, tag = "3")]
    pub namespace_options: Option<NamespaceOption>,
    /// Who it is, instead of whom the image says.
    #[prost(message, optional, tag = "5")]
    pub run_as_user: Option<Int64Value>,
    /// Only together with a user.
    #[prost(message, optional, tag = "12")]
    pub run_as_group: Option<Int64Value>,
    /// Whether it cannot write to its root.
    #[prost(bool, tag = "7")]
    pub readonly_rootfs: bool,
    /// Whether exec gives no privileges.
    #[prost(bool, tag = "11")]
    pub no_new_privs: bool,
}

/// Capabilities by name, without `CAP_`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Capability {
    /// Given.
    #[prost(string, repeated, tag = "1")]
    pub add_capabilities: Vec<String>,
    /// Taken.
    #[prost(string, repeated, tag = "2")]
    pub drop_capabilities: Vec<String>,
}

/// How far a container has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum ContainerState {
    /// Made, not started.
    Created = 0,
    /// Started.
    Running = 1,
    /// Ended.
    Exited = 2,
    /// The runtime does not know.
    Unknown = 3,
}

/// One line of the list of containers.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Container {
    /// The container's id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its sandbox' id.
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    /// Which one it is.
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<ContainerMetadata>,
    /// Its image, as it was asked for.
    #[prost(message, optional, tag = "4")]
    pub image: Option<ImageSpec>,
    /// Its image, as the runtime names it.
    #[prost(string, tag = "5")]
    pub image_ref: String,
    /// A [`ContainerState`].
    #[prost(enumeration = "ContainerState", tag = "6")]
    pub state: i32,
    /// ns since 1970.
    #[prost(int64, tag = "7")]
    pub created_at: i64,
    /// The container's labels.
    #[prost(btree_map = "string, string", tag = "8")]
    pub labels: BTreeMap<String, String>,
    /// The container's annotations.
    #[prost(btree_map = "string, string", tag = "9")]
    pub annotations: BTreeMap<String, String>,
}

/// A container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerStatus {
    /// The container's id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Which one it is.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<ContainerMetadata>,
    /// A [`ContainerState`].
    #[prost(enumeration = "ContainerState", tag = "3")]
    pub state: i32,
    /// ns since 1970, like the next two; 0 is "not yet".
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    /// When it was started.
    #[prost(int64, tag = "5")]
    pub started_at: i64,
    /// When it ended.
    #[prost(int64, tag = "6")]
    pub finished_at: i64,
    /// Means something once it has ended.
    #[prost(int32, tag = "7")]
    pub exit_code: i32,
    /// Its image, as it was asked for.
    #[prost(message, optional, tag = "8")]
    pub image: Option<ImageSpec>,
    /// Its image, as the runtime names it.
    #[prost(string, tag = "9")]
    pub image_ref: String,
    /// Why it ended, in one word, such as `OOMKilled`.
    #[prost(string, tag = "10")]
    pub reason: String,
    /// Why, for people.
    #[prost(string, tag = "11")]
    pub message: String,
    /// The container's labels.
    #[prost(btree_map = "string, string", tag = "12")]
    pub labels: BTreeMap<String, String>,
    /// The container's annotations.
    #[prost(btree_map = "string, string", tag = "13")]
    pub annotations: BTreeMap<String, String>,
    /// What asks it to stop; [`signal_from_cri`](super::signal_from_cri) reads it. Since Kubernetes 1.33.
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

/// What the runtime knows of a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerStatusResponse {
    /// The container.
    #[prost(message, optional, tag = "1")]
    pub status: Option<ContainerStatus>,
    /// The runtime's own details, JSON, of a verbose answer; [`ContainerStatusResponse::info`] reads them.
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

/// Of `StartContainer` and `RemoveContainer`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ContainerRequest {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct StopContainerRequest {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    /// Seconds.
    #[prost(int64, tag = "2")]
    pub(crate) timeout: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ExecSyncRequest {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) cmd: Vec<String>,
    /// Seconds; 0 is for ever.
    #[prost(int64, tag = "3")]
    pub(crate) timeout: i64,
}

/// What a command in a container wrote, and how it ended.
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
