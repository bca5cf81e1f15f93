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
pub(crate) mod outsider;
pub(crate) mod ports;
pub(crate) mod procfs;
pub(crate) mod program;
pub(crate) mod remains;
mod stop_signal;
pub(crate) mod survey;
pub(crate) mod work;

use std::{io, path::Path};

use nix::{
    fcntl::{AT_FDCWD, AtFlags},
    unistd::{AccessFlags, faccessat},
};

/// Whether this process may access a path. Unlike access(2), which ignores the capabilities of any
/// user but root, it judges as the access itself would be judged.
pub(crate) fn may(path: &Path, mode: AccessFlags) -> io::Result<()> {
    Ok(faccessat(AT_FDCWD, path, mode, AtFlags::AT_EACCESS)?)
}
