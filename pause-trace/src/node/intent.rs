//! Derives the requested namespace modes of CRI from bundles, for when CRI is not available.
//!
//! A runtime translates modes into entries of `linux.namespaces`, and the translation cannot always
//! be reversed. A path does not identify its namespace: a container of a pod in the node's network
//! also has `/proc/PAUSE/ns/net`. A pod with a shared pid namespace has the same sandbox bundle as
//! one without. A container's bundle is therefore read together with its sandbox's, and a mode that
//! remains ambiguous is reported as unknown.

use std::{fmt, path::Path};

use crate::{
    event::{ContainerId, Mode, NamespaceKind},
    node::bundle::{Bundle, Entry, Kind, Manager},
};

/// The mode of each namespace that has one, or why it is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) net: Result<Mode, Unknown>,
    pub(crate) ipc: Result<Mode, Unknown>,
    pub(crate) uts: Result<Mode, Unknown>,
    pub(crate) pid: Result<Mode, Unknown>,
    pub(crate) user: Result<Mode, Unknown>,
}

/// Why a mode is unknown. The text completes "failed to …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("determine the {} mode: {why}", .kind.name())]
pub(crate) struct Unknown {
    pub(crate) kind: NamespaceKind,
    pub(crate) why: UnknownReason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UnknownReason {
    /// The process whose namespace the container was to join has ended.
    Ended { pid: u32 },
    /// The pid has been reused by a process of another pod.
    Reused { pid: u32, container: ContainerId },
    /// The path is not one of its sandbox's, and a path does not identify its namespace.
    UnknownPath,
    /// The bundle of its sandbox was not found.
    NoSandbox,
    /// No container of the pod is known yet that shows whether containers join the sandbox's pid
    /// namespace.
    NoContainer,
}

impl fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { pid } => write!(f, "it was to join pid {pid}, which has ended"),
            Self::Reused { pid, container } => write!(
                f,
                "it was to join pid {pid}, which now belongs to container {container} of another pod"
            ),
            Self::UnknownPath => write!(
                f,
                "its bundle names a path that its sandbox's bundle does not have"
            ),
            Self::NoSandbox => write!(f, "the bundle of its sandbox was not found"),
            Self::NoContainer => write!(
                f,
                "a sandbox's bundle does not say whether its pod shares the pid namespace, and no container of the pod is known"
            ),
        }
    }
}

/// The owner of a pid, for a process that is older than the container in question. If the process
/// is younger, the pid belonged to another process when the bundle was written, and the owner is
/// `Gone`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Container {
        id: ContainerId,
        /// The sandbox of its pod, if it is in a pod.
        sandbox: Option<ContainerId>,
    },
    /// A process outside all containers.
    Node,
    Gone,
}

/// The modes of a sandbox. Its pid mode is the pod's: it says whether the containers share the
/// sandbox's pid namespace.
pub(crate) fn of_sandbox(sandbox: &Bundle) -> Intent {
    let of = |kind| match sandbox.namespaces.get(kind) {
        Entry::Absent => Ok(Mode::Node),
        Entry::New => Ok(Mode::Pod),
        Entry::Path(path) if is_dockers_host_network(sandbox, path) => Ok(Mode::Node),
        // A namespace pinned for the pod: `/var/run/netns/cni-…`, CRI-O's `/var/run/ipcns/…`,
        // containerd 2's `pinned-namespaces`.
        Entry::Path(path) if joined_pid(path, kind).is_none() => Ok(Mode::Pod),
        Entry::Path(_) => Err(unknown(kind, UnknownReason::UnknownPath)),
    };
    let pid = match (of(NamespaceKind::Pid), sandbox.cri_modes) {
        // NamespaceMode of CRI: POD, CONTAINER, NODE.
        (Ok(Mode::Pod), Some(cri_modes)) => match cri_modes.pid {
            0 => Ok(Mode::Pod),
            2 => Ok(Mode::Node),
            _ => Ok(Mode::Container),
        },
        (Ok(Mode::Pod), None) => Err(unknown(NamespaceKind::Pid, UnknownReason::NoContainer)),
        (known, _) => known,
    };
    Intent {
        net: of(NamespaceKind::Net),
        ipc: of(NamespaceKind::Ipc),
        uts: of(NamespaceKind::Uts),
        pid,
        user: of(NamespaceKind::User),
    }
}

/// The modes of a container. `sandbox` is the container that holds the pod's namespaces, with its
/// bundle: CRI's sandbox, Podman's infra container, or Docker's container from [`joined`].
pub(crate) fn of_container(
    container: &Bundle,
    sandbox: Option<(&ContainerId, &Bundle)>,
    holder: impl Fn(u32) -> Holder,
) -> Intent {
    let of = |kind| {
        let path = match container.namespaces.get(kind) {
            Entry::Absent => return Ok(Mode::Node),
            Entry::New => return Ok(Mode::Container),
            Entry::Path(path) => path,
        };
        let pods = || {
            let (_, sandbox) = sandbox.ok_or_else(|| unknown(kind, UnknownReason::NoSandbox))?;
            Ok(match sandbox.namespaces.get(kind) {
                Entry::Absent => Mode::Node,
                Entry::Path(path) if is_dockers_host_network(sandbox, path) => Mode::Node,
                Entry::New | Entry::Path(_) => Mode::Pod,
            })
        };
        // Through CRI a container joins only its sandbox, except for the pid namespace, whatever
        // path its bundle has and whichever process has that pid now.
        if container.kind == Some(Kind::Container) && kind != NamespaceKind::Pid {
            return pods();
        }
        let Some(pid) = joined_pid(path, kind) else {
            return match sandbox.map(|(_, sandbox)| sandbox.namespaces.get(kind)) {
                Some(Entry::Path(its)) if same(its, path) => pods(),
                _ if is_dockers_host_network(container, path) => Ok(Mode::Node),
                _ => Err(unknown(kind, UnknownReason::UnknownPath)),
            };
        };
        if sandbox.is_some_and(|(_, sandbox)| sandbox.init == Some(pid)) {
            return pods();
        }
        let own = sandbox.map(|(id, _)| id).or(container.sandbox.as_ref());
        match holder(pid) {
            Holder::Node => Ok(Mode::Node),
            Holder::Gone => Err(unknown(kind, UnknownReason::Ended { pid })),
            Holder::Container { id, .. } if Some(&id) == own => pods(),
            Holder::Container { id, sandbox } => {
                let is_pods = container.sandbox.is_none() || sandbox == container.sandbox;
                let container = id.clone();
                let reused = || unknown(kind, UnknownReason::Reused { pid, container });
                is_pods.then_some(Mode::Target(id)).ok_or_else(reused)
            }
        }
    };
    Intent {
        net: of(NamespaceKind::Net),
        ipc: of(NamespaceKind::Ipc),
        uts: of(NamespaceKind::Uts),
        pid: of(NamespaceKind::Pid),
        user: of(NamespaceKind::User),
    }
}

/// The container whose namespaces this one joins, for a bundle that names no sandbox: Docker and
/// Podman write this for `--network`, `--ipc` and `--pid container:ID`. That container has the role
/// of a sandbox.
pub(crate) fn joined(container: &Bundle, holder: impl Fn(u32) -> Holder) -> Option<ContainerId> {
    [NamespaceKind::Net, NamespaceKind::Ipc, NamespaceKind::Pid]
        .into_iter()
        .filter_map(|kind| match container.namespaces.get(kind) {
            Entry::Path(path) => joined_pid(path, kind),
            _ => None,
        })
        .find_map(|pid| match holder(pid) {
            Holder::Container { id, .. } => Some(id),
            Holder::Node | Holder::Gone => None,
        })
}

/// The pid of the process whose namespaces a container joined, if that process is gone: the other
/// container has ended, or was started again. For bundles as in [`joined`].
pub(crate) fn joined_gone(container: &Bundle, is_gone: impl Fn(u32) -> bool) -> Option<u32> {
    let of_other = |kind| match container.namespaces.get(kind) {
        Entry::Path(path) => joined_pid(path, kind),
        _ => None,
    };
    let is_unnamed = container.kind.is_none() && container.sandbox.is_none();
    let mut pids = [NamespaceKind::Net, NamespaceKind::Ipc, NamespaceKind::Pid]
        .into_iter()
        .filter_map(of_other);
    pids.next().filter(|pid| is_unnamed && is_gone(*pid))
}

fn unknown(kind: NamespaceKind, why: UnknownReason) -> Unknown {
    Unknown { kind, why }
}

/// The pid in `/proc/PID/ns/KIND`.
fn joined_pid(path: &Path, kind: NamespaceKind) -> Option<u32> {
    let path = path.to_str()?.strip_prefix("/proc/")?;
    let (pid, name) = path.split_once("/ns/")?;
    (name == kind.name()).then(|| pid.parse().ok())?
}

/// Docker pins the node's network namespace under this name, and containers with `--network host`
/// join it by path.
fn is_dockers_host_network(bundle: &Bundle, path: &Path) -> bool {
    bundle.manager == Manager::Docker && path.ends_with("netns/default")
}

/// Whether two paths are equal, with `/var/run` and `/run` as the same directory.
fn same(one: &Path, other: &Path) -> bool {
    let below_run = |path: &Path| {
        let below = path
            .strip_prefix("/var/run")
            .or_else(|_| path.strip_prefix("/run"));
        below.map(Path::to_owned).ok()
    };
    one == other || below_run(one).is_some_and(|below| below_run(other) == Some(below))
}

#[cfg(test)]
mod tests;
