//! Version, status and handlers of the runtime.

use prost::Message;

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct VersionRequest {
    #[prost(string, tag = "1")]
    pub(crate) version: String,
}

/// The name and versions of a runtime.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Version {
    /// The version of the kubelet's runtime API; always `0.1.0`.
    #[prost(string, tag = "1")]
    pub version: String,
    /// The name: `containerd`, `cri-o`, `docker`.
    #[prost(string, tag = "2")]
    pub runtime_name: String,
    /// The runtime's own version.
    #[prost(string, tag = "3")]
    pub runtime_version: String,
    /// The version of CRI: `v1` or `v1alpha2`.
    #[prost(string, tag = "4")]
    pub runtime_api_version: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct StatusRequest {
    #[prost(bool, tag = "1")]
    pub(crate) verbose: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<RuntimeStatus>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) runtime_handlers: Vec<RuntimeHandler>,
}

/// A handler, which runs the containers of a runtime class.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RuntimeHandler {
    /// Its name; empty for the default.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Absent if the runtime does not know them.
    #[prost(message, optional, tag = "2")]
    pub features: Option<RuntimeHandlerFeatures>,
}

/// The optional features of a handler.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RuntimeHandlerFeatures {
    /// Support for pods with their own user namespace.
    #[prost(bool, tag = "2")]
    pub user_namespaces: bool,
}

/// Whether the runtime is ready.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RuntimeStatus {
    /// At least `RuntimeReady` and `NetworkReady`.
    #[prost(message, repeated, tag = "1")]
    pub conditions: Vec<RuntimeCondition>,
}

/// A condition of the runtime.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RuntimeCondition {
    /// Its name.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// Whether the condition is met.
    #[prost(bool, tag = "2")]
    pub status: bool,
    /// The reason in one word.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// The reason as a human-readable text.
    #[prost(string, tag = "4")]
    pub message: String,
}
