//! What a pod was asked to share, from its bundles alone: the modes of CRI where CRI cannot be asked.
//!
//! A runtime turns modes into entries of `linux.namespaces`, and the way back is not always open. A path says nothing of
//! what it leads to: a container of a pod in the node's network names `/proc/PAUSE/ns/net` like any other. And a pod that
//! shares its pids has the same sandbox as one that does not. So a container is read together with its sandbox; what that
//! leaves open is said to be open.

use std::{fmt, path::Path};

use crate::{
    event::{ContainerId, Mode, NamespaceKind},
    node::bundle::{Bundle, Entry, Kind, Manager},
};

/// A mode for each namespace that has one, as far as known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) net: Result<Mode, Unknown>,
    pub(crate) ipc: Result<Mode, Unknown>,
    pub(crate) uts: Result<Mode, Unknown>,
    pub(crate) pid: Result<Mode, Unknown>,
    pub(crate) user: Result<Mode, Unknown>,
}

/// Why a mode cannot be told. Fits "failed to …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tell the {} mode: {why}", .kind.name())]
pub(crate) struct Unknown {
    pub(crate) kind: NamespaceKind,
    pub(crate) why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The process whose namespace was to be joined is gone.
    Nobody { pid: u32 },
    /// A process of another pod has the pid: it was used again.
    Reused { pid: u32, container: ContainerId },
    /// The path is not one of its sandbox', and whose it is a path does not tell.
    Elsewhere,
    /// The bundle of its sandbox is not there.
    NoSandbox,
    /// No container of the pod has said yet whether it joins the sandbox' pid namespace.
    NoContainer,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody { pid } => write!(f, "it was to join pid {pid}, which has ended"),
            Self::Reused { pid, container } => write!(
                f,
                "it was to join pid {pid}, which by now is container {container}'s of another pod"
            ),
            Self::Elsewhere => write!(f, "its bundle names a path that is not its sandbox'"),
            Self::NoSandbox => write!(f, "there is no bundle of its sandbox"),
            Self::NoContainer => write!(
                f,
                "a sandbox' bundle does not say whether its pod shares pids, and no container of it is known"
            ),
        }
    }
}

/// Whose process a pid is, if the process is older than the container that is asked about; else it is `Nobody`'s, for
/// the pid was another's when the bundle was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Container {
        id: ContainerId,
        /// The sandbox of its pod, if it has one.
        sandbox: Option<ContainerId>,
    },
    /// A process of the node, outside all containers.
    Node,
    Nobody,
}

/// The sandbox' own modes. Its pid mode is the pod's: whether its containers are to share its pid namespace.
pub(crate) fn of_sandbox(sandbox: &Bundle) -> Intent {
    let of = |kind| match sandbox.namespaces.get(kind) {
        Entry::Absent => Ok(Mode::Node),
        Entry::New => Ok(Mode::Pod),
        Entry::Path(path) if is_dockers_host_network(sandbox, path) => Ok(Mode::Node),
        // Pinned for the pod: `/var/run/netns/cni-…`, CRI-O's `/var/run/ipcns/…`, containerd 2's `pinned-namespaces`.
        Entry::Path(path) if joined_pid(path, kind).is_none() => Ok(Mode::Pod),
        Entry::Path(_) => Err(unknown(kind, Why::Elsewhere)),
    };
    let pid = match (of(NamespaceKind::Pid), sandbox.asked) {
        // NamespaceMode of CRI: POD, CONTAINER, NODE.
        (Ok(Mode::Pod), Some(asked)) => match asked.pid {
            0 => Ok(Mode::Pod),
            2 => Ok(Mode::Node),
            _ => Ok(Mode::Container),
        },
        (Ok(Mode::Pod), None) => Err(unknown(NamespaceKind::Pid, Why::NoContainer)),
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

/// A container's modes. `sandbox` is the container that holds its pod's namespaces, with its bundle: CRI's sandbox,
/// Podman's infra container, or for Docker the one that [`joined`] names.
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
            let (_, sandbox) = sandbox.ok_or_else(|| unknown(kind, Why::NoSandbox))?;
            Ok(match sandbox.namespaces.get(kind) {
                Entry::Absent => Mode::Node,
                Entry::Path(path) if is_dockers_host_network(sandbox, path) => Mode::Node,
                Entry::New | Entry::Path(_) => Mode::Pod,
            })
        };
        // Through CRI a container joins nobody but its sandbox, except for pids: whatever path its bundle has, and whoever
        // has that pid by now.
        if container.kind == Some(Kind::Container) && kind != NamespaceKind::Pid {
            return pods();
        }
        let Some(pid) = joined_pid(path, kind) else {
            return match sandbox.map(|(_, sandbox)| sandbox.namespaces.get(kind)) {
                Some(Entry::Path(its)) if same(its, path) => pods(),
                _ if is_dockers_host_network(container, path) => Ok(Mode::Node),
                _ => Err(unknown(kind, Why::Elsewhere)),
            };
        };
        if sandbox.is_some_and(|(_, sandbox)| sandbox.init == Some(pid)) {
            return pods();
        }
        let own = sandbox.map(|(id, _)| id).or(container.sandbox.as_ref());
        match holder(pid) {
            Holder::Node => Ok(Mode::Node),
            Holder::Nobody => Err(unknown(kind, Why::Nobody { pid })),
            Holder::Container { id, .. } if Some(&id) == own => pods(),
            Holder::Container { id, sandbox } => {
                let is_pods = container.sandbox.is_none() || sandbox == container.sandbox;
                let container = id.clone();
                let reused = || unknown(kind, Why::Reused { pid, container });
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

/// The container whose namespaces this one joins, where no sandbox is named: what Docker and Podman make of
/// `--network`, `--ipc` and `--pid container:ID`. It holds them as a sandbox does.
pub(crate) fn joined(container: &Bundle, holder: impl Fn(u32) -> Holder) -> Option<ContainerId> {
    [NamespaceKind::Net, NamespaceKind::Ipc, NamespaceKind::Pid]
        .into_iter()
        .filter_map(|kind| match container.namespaces.get(kind) {
            Entry::Path(path) => joined_pid(path, kind),
            _ => None,
        })
        .find_map(|pid| match holder(pid) {
            Holder::Container { id, .. } => Some(id),
            Holder::Node | Holder::Nobody => None,
        })
}

fn unknown(kind: NamespaceKind, why: Why) -> Unknown {
    Unknown { kind, why }
}

/// The process in `/proc/PID/ns/KIND`.
fn joined_pid(path: &Path, kind: NamespaceKind) -> Option<u32> {
    let path = path.to_str()?.strip_prefix("/proc/")?;
    let (pid, name) = path.split_once("/ns/")?;
    (name == kind.name()).then(|| pid.parse().ok())?
}

/// Docker pins the node's own network namespace under this name and lets containers of `--network host` join it by path.
fn is_dockers_host_network(bundle: &Bundle, path: &Path) -> bool {
    bundle.manager == Manager::Docker && path.ends_with("netns/default")
}

/// Whether two paths are the same but for `/var/run`, which is `/run`.
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
