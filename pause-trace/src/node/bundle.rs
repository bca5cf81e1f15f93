//! Reads OCI bundles: the `config.json` that a runtime passed to runc or crun says what was
//! requested.
//!
//! Runtimes write bundles, but pods decide the names in them and their size: annotations and
//! environment come from a pod's manifest. Reads are therefore bounded, and few fields are kept.

mod docker;
pub(crate) mod find;
#[cfg(test)]
mod fuzz;
mod podman;
mod spec;

use std::{
    fs::{self, File},
    io::{self, BufReader, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK, SIGTERM};
use thiserror::Error;

pub(crate) use crate::runtimes::Manager;

use crate::event::{ContainerId, Ktime, NamespaceKind, PodId, Text};

/// The longest `config.json` that is read. Kubernetes limits annotations to 256 KiB, and etcd
/// limits a pod object to 1.5 MiB.
const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// Names are truncated to this length. Kubernetes' own names have at most 253 bytes; names of
/// images with tag and digest are longer.
const MAX_NAME_BYTES: usize = 512;

/// Arguments of a command that are kept.
const MAX_ARGS: usize = 16;

/// Where a bundle is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// The manager that wrote the bundle, which decides the annotations to read. It is known from
    /// the location, which only the node decides.
    pub(crate) manager: Manager,
    /// The path that the runtime uses.
    pub(crate) directory: PathBuf,
    /// The path through which this process can open it: the shim's mount namespace may differ from
    /// ours.
    pub(crate) reach: PathBuf,
    /// The file with the pid of the container's init, which conmon writes.
    pub(crate) pid_file: Option<PathBuf>,
    /// The socket of the shim's daemon, which serves CRI if that is enabled.
    pub(crate) socket: Option<PathBuf>,
}

/// The contents of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    pub(crate) manager: Manager,
    pub(crate) directory: PathBuf,
    /// Sandbox or container; `None` if its annotations do not say.
    pub(crate) kind: Option<Kind>,
    pub(crate) pod: PodNames,
    /// The id of its sandbox; a sandbox has its own id here.
    pub(crate) sandbox: Option<ContainerId>,
    pub(crate) name: Option<Text>,
    pub(crate) image: Option<Text>,
    pub(crate) hostname: Option<Text>,
    pub(crate) namespaces: Requested,
    /// The pod's modes from the CRI request, which CRI-O writes into the bundles of its sandboxes.
    pub(crate) cri_modes: Option<CriModes>,
    /// `/parent/ID`, or `SLICE:RUNTIME:ID` with the systemd driver.
    pub(crate) cgroups_path: Option<Text>,
    /// Its first arguments.
    pub(crate) args: Vec<Text>,
    /// The stop signal, if an annotation or Docker's configuration has it. containerd reads it from
    /// the image instead.
    pub(crate) stop_signal: Option<i32>,
    /// How long Docker or Podman waits in a stop before it kills the container, in ns; `None` if
    /// its own files do not say.
    pub(crate) stop_timeout: Option<Ktime>,
    /// What Docker keeps of its containers beside their bundles.
    pub(crate) docker: Docker,
    /// Whether ids are mapped, which means that it is not in the node's user namespace.
    pub(crate) maps_users: bool,
    pub(crate) no_new_privileges: bool,
    pub(crate) oom_score_adj: Option<i32>,
    /// The most memory that it may use, in bytes.
    pub(crate) memory_limit: Option<u64>,
    pub(crate) readonly_root: bool,
    /// The pid of its init in the runtime's pid namespace, once the container has started. The init
    /// may have ended since.
    pub(crate) init: Option<u32>,
}

/// Docker's own configuration of a container, which its bundle lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Docker {
    /// Its name, without the slash that Docker writes before it.
    pub(crate) name: Option<Text>,
    /// The id of the container whose network namespace it joins (`--network container:…`), if that
    /// container still exists.
    pub(crate) network_of: Option<Text>,
}

/// The role of a container in its pod, as its runtime records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sandbox,
    Container,
}

/// The names of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodNames {
    /// containerd writes it since 1.6.11; the path of the cgroup always contains it.
    pub(crate) uid: Option<PodId>,
    pub(crate) namespace: Option<Text>,
    pub(crate) name: Option<Text>,
}

/// The request for one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Entry {
    /// No entry: the container stays in the runtime's namespace.
    #[default]
    Absent,
    /// A new namespace.
    New,
    /// Join the namespace at this path. The path alone does not identify the namespace, which may
    /// be the node's.
    Path(PathBuf),
}

/// The requests for all namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requested {
    mnt: Entry,
    uts: Entry,
    ipc: Entry,
    net: Entry,
    pid: Entry,
    user: Entry,
    cgroup: Entry,
}

impl Requested {
    pub(crate) fn get(&self, kind: NamespaceKind) -> &Entry {
        match kind {
            NamespaceKind::Mnt => &self.mnt,
            NamespaceKind::Uts => &self.uts,
            NamespaceKind::Ipc => &self.ipc,
            NamespaceKind::Net => &self.net,
            NamespaceKind::Pid => &self.pid,
            NamespaceKind::User => &self.user,
            NamespaceKind::Cgroup => &self.cgroup,
        }
    }

    fn get_mut(&mut self, kind: NamespaceKind) -> &mut Entry {
        match kind {
            NamespaceKind::Mnt => &mut self.mnt,
            NamespaceKind::Uts => &mut self.uts,
            NamespaceKind::Ipc => &mut self.ipc,
            NamespaceKind::Net => &mut self.net,
            NamespaceKind::Pid => &mut self.pid,
            NamespaceKind::User => &mut self.user,
            NamespaceKind::Cgroup => &mut self.cgroup,
        }
    }
}

impl Bundle {
    /// The signal that asks the container to stop; `None` if what was read does not say.
    pub(crate) fn stop_signal(&self) -> Option<i32> {
        self.stop_signal.or(match self.manager {
            // dockerd has a signal for each container, in files that could not be read.
            Manager::Docker => None,
            // Without a signal of its image, every other runtime sends SIGTERM.
            Manager::Containerd | Manager::Conmon => Some(SIGTERM),
        })
    }
}

/// CRI's `NamespaceOption` of a pod, as numbers of `NamespaceMode`. A missing field means 0, which
/// is `POD`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub(crate) struct CriModes {
    pub(crate) network: i32,
    pub(crate) pid: i32,
    pub(crate) ipc: i32,
}

/// A process, or, with pid 0, that no process of the container was seen.
fn named(pid: u32) -> String {
    match pid {
        0 => "any of its processes, all of which have ended,".to_owned(),
        _ => format!("pid {pid}"),
    }
}

/// Why a bundle could not be read. Each text completes "failed to …".
#[derive(Debug, Error)]
pub(crate) enum BundleError {
    #[error(
        "find the bundle of container {container}: neither a shim or conmon above {} nor one of the default \
         directories leads to it; if the runtime keeps its state elsewhere, its shim must be running for pause-trace to find it",
        named(*pid)
    )]
    NotFound { container: ContainerId, pid: u32 },
    #[error("open {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("read {path}: it is not a regular file")]
    NotRegular { path: PathBuf },
    #[error("read {path}: it has {size} bytes, more than the limit of {MAX_CONFIG_BYTES}")]
    TooLong { path: PathBuf, size: u64 },
    #[error("parse {path}: {source}")]
    Malformed {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// Reads a bundle.
///
/// # Errors
/// Fails when its `config.json` is missing, not a regular file, too long, or not an OCI
/// configuration. Never blocks: FIFOs and devices are refused.
pub(crate) fn read(location: &Location) -> Result<Bundle, BundleError> {
    // Errors name the runtime's path, because the other one is invalid once the shim has ended.
    let path = location.directory.join("config.json");
    let file = open(&location.reach.join("config.json"), &path, MAX_CONFIG_BYTES)?;
    let file = BufReader::new(file.take(MAX_CONFIG_BYTES));
    let spec: spec::Spec =
        serde_json::from_reader(file).map_err(|source| BundleError::Malformed { path, source })?;
    let places = docker::places(&spec, location);
    let mut bundle = spec.into_bundle(location);
    docker::complete(&mut bundle, &places);
    podman::complete(&mut bundle, location);
    bundle.init = location
        .pid_file
        .iter()
        .cloned()
        .chain(["init.pid", "pidfile"].map(|name| location.reach.join(name)))
        .find_map(|path| pid(&path));
    Ok(bundle)
}

/// Opens a regular file of at most `longest` bytes at `reach`. Errors name it `path`.
fn open(reach: &Path, path: &Path, longest: u64) -> Result<File, BundleError> {
    let failed = |source| BundleError::Open {
        path: path.to_owned(),
        source,
    };
    let about = fs::symlink_metadata(reach).map_err(failed)?;
    let refuse = || BundleError::NotRegular {
        path: path.to_owned(),
    };
    // Checked before opening, because opening a device may have an effect, and again after, because
    // the file may have been replaced.
    if !about.is_file() {
        return Err(refuse());
    }
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(reach)
        .map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(refuse());
    }
    if about.len() > longest {
        return Err(BundleError::TooLong {
            path: path.to_owned(),
            size: about.len(),
        });
    }
    Ok(file)
}

/// The pid in a pid file, if it has been written.
fn pid(path: &Path) -> Option<u32> {
    let mut text = String::new();
    let file = open(path, path, 64).ok()?;
    file.take(64).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Parses a configuration as if a runtime of `manager` had written it.
    pub(crate) fn bundle(manager: Manager, config: &str) -> Bundle {
        let location = Location {
            manager,
            directory: "/bundle".into(),
            reach: "/bundle".into(),
            pid_file: None,
            socket: None,
        };
        let spec: spec::Spec = serde_json::from_str(config).expect("a valid configuration");
        spec.into_bundle(&location)
    }
}
#[cfg(test)]
mod tests;
