//! The directories of the Debian packages that `xtask` unpacks and the tests use.

use std::path::{Path, PathBuf};

use crate::cache_dir;

/// containerd 1.6, with its shim and `ctr`.
pub const CONTAINERD_1: &str = "containerd-1.6";
/// containerd 2, with its shim and `ctr`.
pub const CONTAINERD_2: &str = "containerd-2";
/// runc and the CNI plugins, which every runtime here uses.
pub const OCI: &str = "oci";
/// dockerd and its client.
pub const DOCKER: &str = "docker-20.10";
/// podman and conmon.
pub const PODMAN: &str = "podman-4.3";
/// A static busybox, for images with a shell.
pub const BUSYBOX: &str = "busybox";
/// A kubelet, built from source.
pub const KUBELET: &str = "kubelet-1.20.2";
/// kubectl, which renders kustomizations.
pub const KUBECTL: &str = "kubectl-1.36";
/// systemd, which checks a unit.
pub const SYSTEMD: &str = "systemd-252";
/// An emulator of aarch64 for single programs.
pub const QEMU_USER: &str = "qemu-user";
/// A bare Debian, which is a root directory.
pub const BARE: &str = "bare";
/// Helm as a library of Python.
pub const HELM: &str = "helm-python-sdk-0.2.2";
/// The definition of CRI v1: `api.proto`.
pub const CRI_V1: &str = "cri-api-v1";
/// The definition of CRI v1alpha2, which Kubernetes removed in 1.26. containerd 1.7 still has a
/// copy.
pub const CRI_V1ALPHA2: &str = "cri-api-v1alpha2";

/// catatonit, the pause of Podman.
pub const CATATONIT: &str = "catatonit";
/// A headless browser.
pub const CHROMIUM: &str = "chromium";

/// zsh, whose completions a test tries.
pub const ZSH: &str = "zsh";
/// fish, whose completions a test tries.
pub const FISH: &str = "fish";

/// Prometheus 2 and promtool.
pub const PROMETHEUS_2: &str = "prometheus-2";
/// Prometheus 3 and promtool.
pub const PROMETHEUS_3: &str = "prometheus-3";
/// Tracers that the benchmark compares, with their own C library and loader.
pub const TRACERS: &str = "tracers";

/// The directory of a bundle. It contains what its packages install below `/`.
pub fn directory(name: &str) -> PathBuf {
    cache_dir().join("debian").join(name)
}

/// The `LD_LIBRARY_PATH` for the programs of a bundle, which makes them use its libraries.
pub fn libraries(directory: &Path) -> String {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    // The last directory has a library that another library loads by an absolute path.
    let of = |lib: &str| directory.join(lib.replace('@', &triplet));
    ["usr/lib/@", "lib/@", "usr/lib/@/pulseaudio"]
        .map(|lib| of(lib).display().to_string())
        .join(":")
}
