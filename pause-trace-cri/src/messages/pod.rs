//! Pods, which CRI calls sandboxes.

use std::collections::BTreeMap;

use prost::{Enumeration, Message};

use super::{ContainerResources, Int64Value, NamespaceOption};

/// Identifies the pod of a sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodSandboxMetadata {
    /// The pod's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The pod's uid.
    #[prost(string, tag = "2")]
    pub uid: String,
    /// The pod's Kubernetes namespace.
    #[prost(string, tag = "3")]
    pub namespace: String,
    /// How many sandboxes the pod had before this one.
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
}

/// The configuration of a sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodSandboxConfig {
    /// Identifies the pod.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<PodSandboxMetadata>,
    /// The host name. Must be empty if the network namespace is the node's, because runc refuses it
    /// there, and must not be empty otherwise.
    #[prost(string, tag = "2")]
    pub hostname: String,
    /// The directory of the containers' logs.
    #[prost(string, tag = "3")]
    pub log_directory: String,
    /// The content of `/etc/resolv.conf`; absent for the node's.
    #[prost(message, optional, tag = "4")]
    pub dns_config: Option<DnsConfig>,
    /// The pod's labels.
    #[prost(btree_map = "string, string", tag = "6")]
    pub labels: BTreeMap<String, String>,
    /// The pod's annotations.
    #[prost(btree_map = "string, string", tag = "7")]
    pub annotations: BTreeMap<String, String>,
    /// Configuration specific to Linux.
    #[prost(message, optional, tag = "8")]
    pub linux: Option<LinuxPodSandboxConfig>,
}

/// The resolver configuration of a pod.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DnsConfig {
    /// Addresses of name servers.
    #[prost(string, repeated, tag = "1")]
    pub servers: Vec<String>,
    /// Search domains.
    #[prost(string, repeated, tag = "2")]
    pub searches: Vec<String>,
    /// Options as in resolv.conf(5).
    #[prost(string, repeated, tag = "3")]
    pub options: Vec<String>,
}

/// The Linux configuration of a sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxPodSandboxConfig {
    /// The parent of the pod's cgroups.
    #[prost(string, tag = "1")]
    pub cgroup_parent: String,
    /// Its privileges and namespaces.
    #[prost(message, optional, tag = "2")]
    pub security_context: Option<LinuxSandboxSecurityContext>,
    /// Kernel parameters to set in the sandbox's namespaces.
    #[prost(btree_map = "string, string", tag = "3")]
    pub sysctls: BTreeMap<String, String>,
    /// Resource limits of all its containers together.
    #[prost(message, optional, tag = "5")]
    pub resources: Option<ContainerResources>,
}

/// Privileges and namespaces of a sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxSandboxSecurityContext {
    /// Its namespaces.
    #[prost(message, optional, tag = "1")]
    pub namespace_options: Option<NamespaceOption>,
    /// The user id of the pause.
    #[prost(message, optional, tag = "3")]
    pub run_as_user: Option<Int64Value>,
    /// Whether its root file system is read-only.
    #[prost(bool, tag = "4")]
    pub readonly_rootfs: bool,
    /// Whether the sandbox can have privileged containers.
    #[prost(bool, tag = "6")]
    pub privileged: bool,
}

/// The state of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum PodSandboxState {
    /// The sandbox holds its namespaces.
    Ready = 0,
    /// The sandbox has stopped, or failed to start.
    NotReady = 1,
}

/// An item of the list of sandboxes.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodSandbox {
    /// The sandbox's id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Identifies the pod.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    /// A [`PodSandboxState`].
    #[prost(enumeration = "PodSandboxState", tag = "3")]
    pub state: i32,
    /// Time of creation in ns since 1970.
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    /// The pod's labels.
    #[prost(btree_map = "string, string", tag = "5")]
    pub labels: BTreeMap<String, String>,
    /// The pod's annotations.
    #[prost(btree_map = "string, string", tag = "6")]
    pub annotations: BTreeMap<String, String>,
    /// The handler of the runtime class; empty for the default.
    #[prost(string, tag = "7")]
    pub runtime_handler: String,
}

/// The status of a sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodSandboxStatus {
    /// The sandbox's id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Identifies the pod.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    /// A [`PodSandboxState`].
    #[prost(enumeration = "PodSandboxState", tag = "3")]
    pub state: i32,
    /// Time of creation in ns since 1970.
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    /// Absent or empty if the network namespace is the node's.
    #[prost(message, optional, tag = "5")]
    pub network: Option<PodSandboxNetworkStatus>,
    /// Status specific to Linux.
    #[prost(message, optional, tag = "6")]
    pub linux: Option<LinuxPodSandboxStatus>,
    /// The pod's labels.
    #[prost(btree_map = "string, string", tag = "7")]
    pub labels: BTreeMap<String, String>,
    /// The pod's annotations.
    #[prost(btree_map = "string, string", tag = "8")]
    pub annotations: BTreeMap<String, String>,
    /// The handler of the runtime class; empty for the default.
    #[prost(string, tag = "9")]
    pub runtime_handler: String,
}

/// The IP addresses of a pod.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodSandboxNetworkStatus {
    /// The first address.
    #[prost(string, tag = "1")]
    pub ip: String,
    /// The other addresses.
    #[prost(message, repeated, tag = "2")]
    pub additional_ips: Vec<PodIp>,
}

/// An IP address.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodIp {
    /// IPv4 or IPv6, as text.
    #[prost(string, tag = "1")]
    pub ip: String,
}

/// The Linux status of a sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxPodSandboxStatus {
    /// Its namespaces.
    #[prost(message, optional, tag = "1")]
    pub namespaces: Option<Namespaces>,
}

/// The namespaces of a sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Namespaces {
    /// The requested modes.
    #[prost(message, optional, tag = "2")]
    pub options: Option<NamespaceOption>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct ListPodSandboxRequest {}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) items: Vec<PodSandbox>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PodSandboxStatusRequest {
    #[prost(string, tag = "1")]
    pub(crate) pod_sandbox_id: String,
    #[prost(bool, tag = "2")]
    pub(crate) verbose: bool,
}

/// The runtime's answer about a sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodSandboxStatusResponse {
    /// The sandbox.
    #[prost(message, optional, tag = "1")]
    pub status: Option<PodSandboxStatus>,
    /// In a verbose answer, the runtime's own details as JSON; [`PodSandboxStatusResponse::info`]
    /// reads them.
    #[prost(btree_map = "string, string", tag = "2")]
    pub info: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) config: Option<PodSandboxConfig>,
    #[prost(string, tag = "2")]
    pub(crate) runtime_handler: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RunPodSandboxResponse {
    #[prost(string, tag = "1")]
    pub(crate) pod_sandbox_id: String,
}

/// The request of `StopPodSandbox` and `RemovePodSandbox`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PodSandboxRequest {
    #[prost(string, tag = "1")]
    pub(crate) pod_sandbox_id: String,
}
