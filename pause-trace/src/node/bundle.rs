//! An OCI bundle: what a runtime was asked for, as the `config.json` says that it gave to runc or crun.
//!
//! Bundles belong to the node, but names in them belong to pods, and so does their size: annotations and environment come
//! from a pod's manifest. What is read is bounded, and what is kept is little.

pub(crate) mod find;
mod spec;

use std::{
    fs::{self, File},
    io::{self, BufReader, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use thiserror::Error;

pub(crate) use crate::runtimes::Manager;

use crate::event::{ContainerId, NamespaceKind, PodId, Text};

/// The longest `config.json` that is read. Kubernetes lets a pod have 256 KiB of annotations, and etcd 1.5 MiB of pod.
const LONGEST_CONFIG: u64 = 8 << 20;

/// Names longer than this are cut. Kubernetes' own end at 253 bytes; names of images with tag and digest reach further.
const LONGEST_NAME: usize = 512;

/// How many of a command's arguments are kept.
const MOST_ARGS: usize = 16;

/// Where a bundle is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// Whose it is: each runtime has its own annotations, and only the node decides where bundles are.
    pub(crate) manager: Manager,
    /// As the runtime calls it.
    pub(crate) directory: PathBuf,
    /// By which it can be opened from here: in the shim's mount namespace, which need not be ours.
    pub(crate) reach: PathBuf,
    /// Where conmon wrote the pid of the container's init.
    pub(crate) pid_file: Option<PathBuf>,
    /// The socket of the daemon that the shim belongs to: its CRI, if it has one.
    pub(crate) socket: Option<PathBuf>,
}

/// What a bundle says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    pub(crate) manager: Manager,
    pub(crate) directory: PathBuf,
    /// Whether it is a sandbox, where its annotations tell.
    pub(crate) kind: Option<Kind>,
    pub(crate) pod: PodNames,
    /// Its sandbox; its own id, for one.
    pub(crate) sandbox: Option<ContainerId>,
    pub(crate) name: Option<Text>,
    pub(crate) image: Option<Text>,
    pub(crate) hostname: Option<Text>,
    pub(crate) namespaces: Requested,
    /// The pod's modes as CRI gave them, which CRI-O writes into its sandboxes.
    pub(crate) asked: Option<Asked>,
    /// `/parent/ID`, or `SLICE:RUNTIME:ID` for systemd.
    pub(crate) cgroups_path: Option<Text>,
    /// The beginning of its command line.
    pub(crate) args: Vec<Text>,
    /// The signal that asks it to stop, where an annotation has it. containerd reads it from the image instead.
    pub(crate) stop_signal: Option<i32>,
    /// Whether ids are mapped: it has a user namespace of its own or of its pod.
    pub(crate) maps_users: bool,
    pub(crate) no_new_privileges: bool,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) readonly_root: bool,
    /// The pid of its init in the runtime's pid namespace, once it runs. It may have ended since.
    pub(crate) init: Option<u32>,
}

/// What a container is to its pod, as far as runtimes distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sandbox,
    Container,
}

/// Whose pod it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodNames {
    /// containerd has it since 1.6.11; the cgroup's path has it always.
    pub(crate) uid: Option<PodId>,
    pub(crate) namespace: Option<Text>,
    pub(crate) name: Option<Text>,
}

/// What was asked for of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Nothing: the container stays in the runtime's.
    #[default]
    Absent,
    /// A new one.
    New,
    /// To join the one that this path names. Which that is, a path does not tell: it may be the node's.
    Path(PathBuf),
}

/// What was asked for, per namespace.
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

/// CRI's `NamespaceOption` of a pod: numbers of `NamespaceMode`, and 0, which is `POD`, is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    pub(crate) network: i32,
    pub(crate) pid: i32,
    pub(crate) ipc: i32,
}

/// Why a bundle is not known. Each fits "failed to …".
#[derive(Debug, Error)]
pub(crate) enum BundleError {
    #[error(
        "find the bundle of container {container}: no shim or conmon above pid {pid} has it, and it is in none of the usual \
         directories; if the runtime keeps its state elsewhere, its shim must be alive for pause-trace to find it"
    )]
    NotFound { container: ContainerId, pid: u32 },
    #[error("open {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("read {path}: it is not a regular file")]
    NotRegular { path: PathBuf },
    #[error("read {path}: it has {size} bytes, and no bundle needs more than {LONGEST_CONFIG}")]
    TooLong { path: PathBuf, size: u64 },
    #[error("understand {path}: {source}")]
    Malformed {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// Reads a bundle.
///
/// # Errors
/// When its `config.json` is missing, not a regular file, too long, or no OCI configuration. Never waits: a FIFO is
/// refused like a device.
pub(crate) fn read(location: &Location) -> Result<Bundle, BundleError> {
    // Named in errors as the runtime names it, since the other leads nowhere once the shim has ended.
    let path = location.directory.join("config.json");
    let file = open(&location.reach.join("config.json"), &path, LONGEST_CONFIG)?;
    let file = BufReader::new(file.take(LONGEST_CONFIG));
    let spec: spec::Spec =
        serde_json::from_reader(file).map_err(|source| BundleError::Malformed { path, source })?;
    let mut bundle = spec.into_bundle(location);
    bundle.init = location
        .pid_file
        .iter()
        .cloned()
        .chain(["init.pid", "pidfile"].map(|name| location.reach.join(name)))
        .find_map(|path| pid(&path));
    Ok(bundle)
}

/// Opens a regular file of at most `longest` bytes; errors call it `path`.
fn open(reach: &Path, path: &Path, longest: u64) -> Result<File, BundleError> {
    let failed = |source| BundleError::Open {
        path: path.to_owned(),
        source,
    };
    let about = fs::symlink_metadata(reach).map_err(failed)?;
    let refuse = || BundleError::NotRegular {
        path: path.to_owned(),
    };
    // Before opening, which may do something to a device; and after, as it may be another file by then.
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

/// The pid in a pid file, if there is one by now.
fn pid(path: &Path) -> Option<u32> {
    let mut text = String::new();
    let file = open(path, path, 64).ok()?;
    file.take(64).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// What a configuration says, as if a runtime of `manager` had made it.
    pub(crate) fn bundle(manager: Manager, config: &str) -> Bundle {
        let location = Location {
            manager,
            directory: "/bundle".into(),
            reach: "/bundle".into(),
            pid_file: None,
            socket: None,
        };
        let spec: spec::Spec = serde_json::from_str(config).expect("it is a configuration");
        spec.into_bundle(&location)
    }
}
#[cfg(test)]
mod tests;
