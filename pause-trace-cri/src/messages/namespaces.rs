//! The requested namespaces of a pod and its containers.

use prost::{Enumeration, Message};

/// The owner of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum NamespaceMode {
    /// The pod's, shared by its containers.
    Pod = 0,
    /// The container's own.
    Container = 1,
    /// The node's.
    Node = 2,
    /// The namespace of the container [`NamespaceOption::target_id`].
    Target = 3,
}

/// The mode of each namespace.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct NamespaceOption {
    /// A [`NamespaceMode`], which also applies to the uts namespace.
    #[prost(enumeration = "NamespaceMode", tag = "1")]
    pub network: i32,
    /// A [`NamespaceMode`].
    #[prost(enumeration = "NamespaceMode", tag = "2")]
    pub pid: i32,
    /// A [`NamespaceMode`].
    #[prost(enumeration = "NamespaceMode", tag = "3")]
    pub ipc: i32,
    /// The target container, if a mode is `Target`.
    #[prost(string, tag = "4")]
    pub target_id: String,
    /// Absent in kubelets and runtimes without support for user namespaces.
    #[prost(message, optional, tag = "5")]
    pub userns_options: Option<UserNamespace>,
}

/// The user namespace of a pod.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct UserNamespace {
    /// A [`NamespaceMode`]: `Pod` or `Node`.
    #[prost(enumeration = "NamespaceMode", tag = "1")]
    pub mode: i32,
    /// The mapping of user ids.
    #[prost(message, repeated, tag = "2")]
    pub uids: Vec<IdMapping>,
    /// The mapping of group ids.
    #[prost(message, repeated, tag = "3")]
    pub gids: Vec<IdMapping>,
}

/// A range of ids.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct IdMapping {
    /// The first id on the host.
    #[prost(uint32, tag = "1")]
    pub host_id: u32,
    /// The first id in the container.
    #[prost(uint32, tag = "2")]
    pub container_id: u32,
    /// The number of ids.
    #[prost(uint32, tag = "3")]
    pub length: u32,
}
