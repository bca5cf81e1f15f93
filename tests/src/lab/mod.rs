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
//! A node ([`Node`]) is a mount and a network namespace, a cgroup and a directory. What a runtime
//! writes to `/run`, `/var/lib` and `/var/log` is below that directory, its bridges and addresses
//! are in that network namespace, and its processes and pods are in that cgroup. The machine is not
//! changed, nodes can run at the same time, and a node ends when the processes in its cgroup are
//! killed. The pid namespace is the machine's, because the kernel program reports pids of that
//! namespace.
//!
//! `cargo xtask runtimes` unpacks the programs.

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
pub use node::{Node, sweep};
pub use pod::{Pod, PodSpec};
pub use traces::traces;
pub(crate) use xtask_support::places;

/// catatonit, the pause of Podman.
///
/// # Panics
/// When `cargo xtask runtimes` has not unpacked it.
#[must_use]
pub fn catatonit() -> PathBuf {
    installed(places::CATATONIT).join("usr/bin/catatonit")
}
