//! A small client of the Kubernetes Container Runtime Interface (CRI) over a unix socket.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use pause_trace_cri::{Client, Detail, Socket};
//!
//! let client = Client::connect("/run/containerd/containerd.sock".parse::<Socket>()?);
//! for container in client.containers(None).await? {
//!     let status = client.container_status(&container.id, Detail::Verbose).await?;
//!     let pid = status.info()?.and_then(|info| info.pid);
//!     println!("{} is process {pid:?}", container.id);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `client.rs` | [`Client`]: one function per call |
//! | `channel.rs` | how calls are made: the version of the interface, timeouts, errors |
//! | `error.rs` | [`CriError`] |
//! | `socket.rs` | [`Socket`]: where runtimes listen |
//! | `messages/` | requests and responses, with the fields that this workspace uses |
//! | `info.rs` | [`Info`]: the JSON of a verbose answer |
//!
//! Every answer of a runtime can contain text that a pod chose: names, annotations, error messages.
//! Messages contain it unchanged; only [`CriError`] escapes it, when it is displayed.

#![forbid(unsafe_code)]

mod channel;
mod client;
mod error;
mod info;
pub mod messages;
mod socket;

pub use channel::{Api, Timeouts};
pub use client::{Client, Detail};
pub use error::CriError;
pub use info::{BadInfo, Info};
pub use socket::{BadSocket, Socket};
/// The code of an error that the runtime answered with ([`CriError::Refused`]).
pub use tonic::Code;
