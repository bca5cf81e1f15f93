//! Pods and containers as a runtime or the reference pod declares them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CgroupId, ContainerId, Ktime, NamespaceKind, PodId, Text};

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

/// How long the runtime waits between a container's stop signal and SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grace {
    /// The period in ns.
    pub period: Ktime,
    /// Who asked for it.
    pub source: GraceSource,
}

/// Who asked for a grace period, and so whether a stop may have another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GraceSource {
    /// The stop itself, or the deletion of the pod: it is this one.
    Stop,
    /// The specification of the pod. A deletion can ask for another one, and nothing on the node
    /// says so: the kubelet annotates a container when it creates it.
    Spec,
    /// The configuration of an engine. A stop can ask for another one.
    Engine,
}

impl Grace {
    /// The annotations of a kubelet with a grace period (pkg/kubelet/kuberuntime/labels.go). A
    /// period that the deletion of the pod asked for takes precedence.
    const ANNOTATIONS: [(&'static str, GraceSource); 2] = [
        ("io.kubernetes.pod.deletionGracePeriod", GraceSource::Stop),
        (
            "io.kubernetes.pod.terminationGracePeriod",
            GraceSource::Spec,
        ),
    ];

    /// The grace period in the annotations of a container.
    pub fn of_annotations<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let mut known = Self::ANNOTATIONS.into_iter();
        let (text, source) = known.find_map(|(key, source)| Some((get(key)?, source)))?;
        Some(Self {
            period: Self::parse(text)?,
            source,
        })
    }

    /// A grace period in seconds, as a kubelet or an engine writes it down, in ns. Kubernetes
    /// allows no negative one, and a longer one than the clock can count is no period.
    pub fn parse(text: &str) -> Option<Ktime> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let seconds: u64 = text.parse().ok().filter(|_| is_number)?;
        seconds.checked_mul(1_000_000_000)
    }

    /// Why a stop may have another grace period; `None` if it is certain.
    pub fn doubt(self) -> Option<&'static str> {
        match self.source {
            GraceSource::Stop => None,
            GraceSource::Spec => Some("unless the deletion of the pod asked for another one"),
            GraceSource::Engine => Some("unless the stop asked for another one"),
        }
    }
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
