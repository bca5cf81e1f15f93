//! What is sent and received, by the field numbers of Kubernetes' published `api.proto`
//! (staging/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto), as far as we use it.
//!
//! Fields that are not here are skipped when they are received. `runtime.v1alpha2` has the same numbers, and lacks what
//! came after it. `tests/agreement.rs` holds every message against the definition of both versions. Enumerations are kept
//! as the numbers they came as, because a newer runtime may know more of them than we do:
//! `NamespaceMode::try_from(number)` says whether we know one.

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

/// A number that may be left out.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Int64Value {
    /// The number.
    #[prost(int64, tag = "1")]
    pub value: i64,
}

/// An answer that says nothing but that it was done.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Done {}

#[cfg(test)]
mod tests;
