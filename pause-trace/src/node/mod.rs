//! Information about the node that does not come from kernel events: cgroups, `/proc`, bundles,
//! CRI.

pub(crate) mod bundle;
pub(crate) mod cgroup;
pub(crate) mod cri;
mod file;
pub(crate) mod holders;
pub(crate) mod identity;
pub(crate) mod intent;
pub(crate) mod network;
pub(crate) mod procfs;
pub(crate) mod survey;
