//! Real container runtimes for tests, each on a *node* of its own.
//!
//! ```no_run
//! use pause_trace_tests::lab::{Containerd, Version};
//!
//! let lab = Containerd::start(Version::V1);
//! let pod = lab.pod("web").run();
//! let app = pod.container("app").command(["sleep", "1000"]).start();
//! assert_ne!(app.pid(), pod.pause_pid());
//! ```
//!
//! A node ([`Node`]) is a mount and a network namespace, a cgroup and a directory. What a runtime writes to `/run`,
//! `/var/lib` and `/var/log` is below that directory, its bridges and addresses are in that network, its processes and
//! pods are in that cgroup: the machine has nothing of it, two nodes can be used at once, and to end one is to kill what
//! is in its cgroup. The pid namespace is the machine's, because a kernel program sees pids of that one.
//!
//! The programs are those that `cargo xtask runtimes` has unpacked.

mod cgroup;
mod container;
mod containerd;
mod daemon;
mod engine;
pub mod image;
mod kubelet;
mod node;
mod pod;
mod traces;

use std::path::PathBuf;

pub use container::{Container, ContainerSpec};
pub(crate) use containerd::installed;
pub use containerd::{Containerd, Version};
pub use engine::{Engine, EngineContainer, EnginePod, Sharing};
pub use kubelet::{Kubelet, StaticPod};
pub use node::Node;
pub use pod::{Pod, PodSpec};
pub use traces::traces;
pub(crate) use xtask_support::places;

/// A pause that others wrote.
///
/// # Panics
/// When `cargo xtask runtimes` has not got it.
#[must_use]
pub fn catatonit() -> PathBuf {
    installed(places::CATATONIT).join("usr/bin/catatonit")
}
