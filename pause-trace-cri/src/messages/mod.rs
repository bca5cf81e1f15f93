//! The requests and responses, with the field numbers of Kubernetes' published `api.proto`
//! (staging/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto), and only the fields that this
//! workspace uses.
//!
//! Fields that are not declared here are skipped when a message is received. `runtime.v1alpha2` has
//! the same numbers but lacks newer fields. `tests/agreement.rs` compares every message with the
//! definition of both versions. Enumerations are kept as numbers, because a newer runtime may have
//! more values: `NamespaceMode::try_from(number)` fails for an unknown one.

mod container;
mod image;
mod namespaces;
mod pod;
mod runtime;
mod signal;

pub use container::*;
pub use image::*;
pub use namespaces::*;
pub use pod::*;
pub use runtime::*;
pub use signal::*;

use prost::Message;

/// An optional number.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Int64Value {
    /// The number.
    #[prost(int64, tag = "1")]
    pub value: i64,
}

/// An empty answer, which only reports success.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Done {}

#[cfg(test)]
mod tests;
