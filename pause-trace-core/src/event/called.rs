//! What the programs of a runtime are asked to do, before there is a cgroup or a namespace that
//! says for which pod.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{PodId, ProcessId, Text};

/// A process of a runtime executes a program, which is asked to do this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    /// The process.
    pub process: ProcessId,
    /// What it is asked to do.
    pub request: Request,
}

/// What a program is asked to do. It is all that is kept of its environment and its arguments,
/// which may contain secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A CNI plugin, by the variables that the specification of CNI defines. Whatever the plugin
    /// starts inherits them.
    Cni(CniRequest),
    /// An OCI runtime or a shim, by its arguments.
    Oci(OciRequest),
}

/// The request of a CNI plugin. What it does not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniRequest {
    /// What it is to do.
    pub command: CniCommand,
    /// The id of the sandbox.
    pub sandbox: Text,
    /// The path of the network namespace.
    pub netns: Text,
    /// The name of the interface in it.
    pub interface: Text,
    /// The Kubernetes namespace of the pod.
    pub namespace: Text,
    /// The name of the pod.
    pub name: Text,
    /// The uid of the pod.
    pub uid: Text,
}

/// What a CNI plugin is to do. Its other commands, such as VERSION, concern no pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CniCommand {
    /// Add an interface.
    #[default]
    Add,
    /// Remove it.
    Del,
    /// Check that it is as it was added.
    Check,
}

/// The request of an OCI runtime or a shim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciRequest {
    /// What it is to do.
    pub command: OciCommand,
    /// The id of the container, or of the sandbox if it is a shim; empty if it is not known.
    pub container: Text,
    /// The namespace of containerd that the container is in, if it is a shim.
    pub namespace: Text,
}

/// What an OCI runtime or a shim is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OciCommand {
    /// Create a container.
    #[default]
    Create,
    /// Start what was created. Of a shim: start the one that stays.
    Start,
    /// Create and start a container, and stay with it.
    Run,
    /// Execute a program in a container.
    Exec,
    /// Send a signal.
    Kill,
    /// Remove a container.
    Delete,
    /// Say in which state a container is.
    State,
    /// Of a shim: stay with the pod.
    Serve,
}

impl CniRequest {
    /// Most bytes that are kept of a value. The longest is the name of a pod, with at most 253
    /// bytes, or the path of the network namespace.
    pub const MAX_VALUE: usize = 256;

    /// The pod that it is for, if it names one.
    pub(crate) fn pod(&self) -> Option<PodId> {
        let uid = std::str::from_utf8(&self.uid.0).ok()?;
        (!uid.is_empty() && !self.name.0.is_empty()).then(|| uid.into())
    }
}

impl CniCommand {
    /// All commands.
    pub const ALL: [Self; 3] = [Self::Add, Self::Del, Self::Check];

    /// Its name in the specification of CNI.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
        }
    }
}

impl OciCommand {
    /// All commands.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Start,
        Self::Run,
        Self::Exec,
        Self::Kill,
        Self::Delete,
        Self::State,
        Self::Serve,
    ];

    /// The argument that asks for it; empty if none does.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Run => "run",
            Self::Exec => "exec",
            Self::Kill => "kill",
            Self::Delete => "delete",
            Self::State => "state",
            Self::Serve => "",
        }
    }
}

impl Request {
    /// The command as a word; empty if there is none.
    pub fn command(&self) -> &'static str {
        match self {
            Self::Cni(request) => request.command.name(),
            Self::Oci(request) => request.command.name(),
        }
    }

    /// Whether a pod or a container does not start if it fails. A `run` ends with the status of the
    /// container.
    pub fn is_start(&self) -> bool {
        match self {
            Self::Cni(request) => request.command == CniCommand::Add,
            Self::Oci(request) => {
                matches!(request.command, OciCommand::Create | OciCommand::Start)
            }
        }
    }
}

/// A program as the last part of its path, with what it was asked to do: `portmap ADD`, `runc
/// create`.
pub(crate) struct Asked<'a>(pub(crate) &'a Text, pub(crate) &'a Request);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.base_name())?;
        match self.1.command() {
            "" => Ok(()),
            command => write!(f, " {command}"),
        }
    }
}
