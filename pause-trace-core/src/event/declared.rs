//! Pods and containers as a runtime or the reference pod declares them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CgroupId, ContainerId, NamespaceKind, PodId, Text};

/// The requested mode of a namespace: CRI's `NamespaceMode`.
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
    /// The mode could not be determined.
    Unknown,
}

/// The requested mode of each namespace.
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
    /// Of the user namespace. `Node`: the host's. `Pod`: the pod has a user namespace of its own.
    pub user: Mode,
}

impl Modes {
    /// The modes of a pod with defaults: the network, IPC and UTS namespaces are the pod's.
    pub fn plain() -> Self {
        Self {
            net: Mode::Pod,
            ipc: Mode::Pod,
            uts: Mode::Pod,
            pid: Mode::Container,
            user: Mode::Node,
        }
    }

    /// The modes of a container that no source describes.
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

/// The kind of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContainerKind {
    /// Holds the pod's namespaces; its process is the pause.
    Sandbox,
    /// An init container.
    Init,
    /// An ordinary container.
    App,
    /// An ephemeral container, added to debug the pod.
    Ephemeral,
}

/// The source of a fact that does not come from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The reference pod, about itself.
    Reference,
    /// The container runtime's CRI.
    Cri,
    /// An OCI bundle.
    Bundle,
    /// `/proc`.
    Proc,
}

/// A pod as it was declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFact {
    /// The pod.
    pub pod: PodId,
    /// The Kubernetes namespace that it is in.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
    /// The modes of the sandbox. `pid` is `Pod` if the containers share a pid namespace.
    pub modes: Modes,
    /// The source of the declaration.
    pub source: Source,
}

/// A container as it was declared. A `Sandbox` is the container of the pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFact {
    /// The container.
    pub container: ContainerId,
    /// The pod that it belongs to.
    pub pod: PodId,
    /// Its name in the pod.
    pub name: Text,
    /// Its kind.
    pub what: ContainerKind,
    /// The sandbox that it was created for, if that is known. For a sandbox, its own id.
    pub sandbox: Option<ContainerId>,
    /// Its cgroup; 0 until it is known.
    pub cgroup: CgroupId,
    /// The requested modes of its namespaces.
    pub modes: Modes,
    /// The signal that asks it to stop; 0 if that is not known.
    pub stop_signal: i32,
    /// The file that its entrypoint is to execute, if that is known.
    pub file: Option<Text>,
    /// The source of the declaration.
    pub source: Source,
}
