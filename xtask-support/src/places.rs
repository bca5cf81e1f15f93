//! Where the programs of Debian's packages are that `xtask` unpacks. `xtask`, which gets them, and the tests, which start
//! them, share this file; its parent module says where the cache is.

use std::path::{Path, PathBuf};

use crate::cache_dir;

/// containerd 1.6, with its shim and `ctr`.
pub const CONTAINERD_1: &str = "containerd-1.6";
/// containerd 2, with its shim and `ctr`.
pub const CONTAINERD_2: &str = "containerd-2";
/// runc and the CNI plugins, which every runtime here uses.
pub const OCI: &str = "oci";
/// dockerd and its command.
pub const DOCKER: &str = "docker-20.10";
/// podman and conmon.
pub const PODMAN: &str = "podman-4.3";
/// A static busybox, for images with a shell.
pub const BUSYBOX: &str = "busybox";
/// A kubelet, built from source.
pub const KUBELET: &str = "kubelet-1.20.2";
/// The definition of CRI v1: `api.proto`.
pub const CRI_V1: &str = "cri-api-v1";
/// The definition of CRI v1alpha2, which Kubernetes removed in 1.26. containerd 1.7 still has a copy.
pub const CRI_V1ALPHA2: &str = "cri-api-v1alpha2";

/// A pause that others wrote.
pub const CATATONIT: &str = "catatonit";
/// A browser without a window.
pub const CHROMIUM: &str = "chromium";

/// The directory of a bundle. What its packages would put below `/` is below it.
pub fn directory(name: &str) -> PathBuf {
    cache_dir().join("debian").join(name)
}

/// Where the programs below a bundle's directory find the libraries that came with it: `LD_LIBRARY_PATH`.
pub fn libraries(directory: &Path) -> String {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    // The last one holds a library that another one looks for by an absolute path.
    let of = |lib: &str| directory.join(lib.replace('@', &triplet));
    ["usr/lib/@", "lib/@", "usr/lib/@/pulseaudio"]
        .map(|lib| of(lib).display().to_string())
        .join(":")
}
