//! What the runtime says of itself.

use prost::Message;

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct VersionRequest {
    #[prost(string, tag = "1")]
    pub(crate) version: String,
}

/// What a runtime calls itself.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Version {
    /// Of the kubelet's runtime API; always `0.1.0`.
    #[prost(string, tag = "1")]
    pub version: String,
    /// `containerd`, `cri-o`, `docker`.
    #[prost(string, tag = "2")]
    pub runtime_name: String,
    /// The runtime's own version.
    #[prost(string, tag = "3")]
    pub runtime_version: String,
    /// `v1` or `v1alpha2`.
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

/// What runs containers of a runtime class.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RuntimeHandler {
    /// Empty for the default.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Absent where the runtime does not know.
    #[prost(message, optional, tag = "2")]
    pub features: Option<RuntimeHandlerFeatures>,
}

/// What a handler can do, beside what all can.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RuntimeHandlerFeatures {
    /// Pods with user namespaces of their own.
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

/// One thing that is so or is not.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RuntimeCondition {
    /// Its name.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// Whether it is so.
    #[prost(bool, tag = "2")]
    pub status: bool,
    /// Why, in one word.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// Why, for people.
    #[prost(string, tag = "4")]
    pub message: String,
}
