//! Pods and containers as a runtime or the reference pod declares them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CgroupId, ContainerId, NamespaceKind, PodId, Text};

/// Why a container has its namespaces: CRI's `NamespaceMode`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Shared with the pod's sandbox.
    Pod,
    /// The container's own.
    Container,
    /// The node's.
    Node,
    /// Another container's.
    Target(ContainerId),
    /// Nobody could say.
    Unknown,
}

/// What was asked for, per namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modes {
    /// Of the network namespace.
    pub net: Mode,
    /// Of the IPC namespace.
    pub ipc: Mode,
    /// Of the UTS namespace.
    pub uts: Mode,
    /// Of the pid namespace.
    pub pid: Mode,
    /// `Node`: the host's. `Pod`: the pod has a user namespace of its own.
    pub user: Mode,
}

impl Modes {
    /// A plain pod's: everything but pids and users is the pod's.
    pub fn plain() -> Self {
        Self {
            net: Mode::Pod,
            ipc: Mode::Pod,
            uts: Mode::Pod,
            pid: Mode::Container,
            user: Mode::Node,
        }
    }

    /// Of a container that nobody has described.
    pub fn unknown() -> Self {
        Self {
            net: Mode::Unknown,
            ipc: Mode::Unknown,
            uts: Mode::Unknown,
            pid: Mode::Unknown,
            user: Mode::Unknown,
        }
    }

    /// The mode of one namespace.
    pub fn get(&self, kind: NamespaceKind) -> &Mode {
        match kind {
            NamespaceKind::Net => &self.net,
            NamespaceKind::Ipc => &self.ipc,
            NamespaceKind::Uts => &self.uts,
            NamespaceKind::Pid => &self.pid,
            NamespaceKind::User => &self.user,
            NamespaceKind::Mnt => &Mode::Container,
            NamespaceKind::Cgroup => &Mode::Node,
        }
    }
}

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContainerKind {
    /// Holds the pod's namespaces; its process is the pause.
    Sandbox,
    /// An init container.
    Init,
    /// A container of the pod's own.
    App,
    /// A container that was added to debug the pod.
    Ephemeral,
}

/// Who says so, of a fact that is not the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The reference pod, of itself.
    Reference,
    /// The container runtime's CRI.
    Cri,
    /// An OCI bundle.
    Bundle,
    /// `/proc`.
    Proc,
}

/// A pod as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFact {
    /// The pod.
    pub pod: PodId,
    /// The Kubernetes namespace that it is in.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
    /// The sandbox' own modes. `pid` is `Pod` for a shared pid namespace.
    pub modes: Modes,
    /// Who says so.
    pub source: Source,
}

/// A container as it was asked for; for `Sandbox`, the pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFact {
    /// The container.
    pub container: ContainerId,
    /// The pod that it belongs to.
    pub pod: PodId,
    /// Its name in the pod.
    pub name: Text,
    /// What it is to its pod.
    pub what: ContainerKind,
    /// The sandbox that it was made for, where that is known; its own id, for a sandbox.
    pub sandbox: Option<ContainerId>,
    /// Its cgroup, once known.
    pub cgroup: CgroupId,
    /// Why it has its namespaces.
    pub modes: Modes,
    /// The signal that asks it to stop.
    pub stop_signal: i32,
    /// The file its entrypoint is to execute, where that is known.
    pub file: Option<Text>,
    /// Who says so.
    pub source: Source,
}
