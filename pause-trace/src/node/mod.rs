//! What the node says, apart from the kernel's events.

pub(crate) mod cgroup;
pub(crate) mod holders;
pub(crate) mod procfs;
