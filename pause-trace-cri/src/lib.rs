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
//! | file | what |
//! |---|---|
//! | `client.rs` | [`Client`]: one function a call |
//! | `channel.rs` | the way of every call: the version of the interface, time-outs, what failed |
//! | `error.rs` | [`CriError`] |
//! | `socket.rs` | [`Socket`]: where runtimes listen |
//! | `messages/` | what is sent and received, as far as we use it |
//! | `info.rs` | [`Info`]: the JSON of a verbose answer |
//!
//! Everything that a runtime answers may hold text that a pod chose: names, annotations, error messages. Messages carry
//! it as it came; only [`CriError`] escapes it when it is shown.

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
/// The code of a refusal ([`CriError::Refused`]).
pub use tonic::Code;
