//! Which namespaces a pod and its containers are to have.

use prost::{Enumeration, Message};

/// Whose a namespace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum NamespaceMode {
    /// The pod's, shared by its containers.
    Pod = 0,
    /// The container's own.
    Container = 1,
    /// The node's.
    Node = 2,
    /// That of the container [`NamespaceOption::target_id`].
    Target = 3,
}

/// The mode of each namespace.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct NamespaceOption {
    /// A [`NamespaceMode`]. The uts namespace follows it.
    #[prost(enumeration = "NamespaceMode", tag = "1")]
    pub network: i32,
    /// A [`NamespaceMode`].
    #[prost(enumeration = "NamespaceMode", tag = "2")]
    pub pid: i32,
    /// A [`NamespaceMode`].
    #[prost(enumeration = "NamespaceMode", tag = "3")]
    pub ipc: i32,
    /// The container that is meant where a mode is `Target`.
    #[prost(string, tag = "4")]
    pub target_id: String,
    /// Absent from kubelets and runtimes that know nothing of user namespaces.
    #[prost(message, optional, tag = "5")]
    pub userns_options: Option<UserNamespace>,
}

/// The user namespace of a pod.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct UserNamespace {
    /// A [`NamespaceMode`]: `Pod` or `Node`.
    #[prost(enumeration = "NamespaceMode", tag = "1")]
    pub mode: i32,
    /// How user ids are mapped.
    #[prost(message, repeated, tag = "2")]
    pub uids: Vec<IdMapping>,
    /// How group ids are mapped.
    #[prost(message, repeated, tag = "3")]
    pub gids: Vec<IdMapping>,
}

/// A range of ids.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct IdMapping {
    /// The first one outside.
    #[prost(uint32, tag = "1")]
    pub host_id: u32,
    /// The first one inside.
    #[prost(uint32, tag = "2")]
    pub container_id: u32,
    /// How many.
    #[prost(uint32, tag = "3")]
    pub length: u32,
}
