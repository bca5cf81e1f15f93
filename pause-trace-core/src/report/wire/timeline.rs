//! The lines of `timeline`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Container, Namespaces, Pod, Process, When};
use crate::event::{Ktime, NamespaceKind};

/// Something that happened to a pod or that its runtime did for it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Element {
    #[serde(flatten)]
    pub(crate) when: When,
    /// What kind of element it is; docs/events.md lists them.
    pub(crate) what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) duration_ns: Option<Ktime>,
    /// Whether it has not ended. Missing if it has.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) open: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Pod>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<Process>,
    /// The id of the thread that did it, if it is not the first thread of the process: what it did
    /// is true of this thread, and not of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thread: Option<u32>,
    #[serde(flatten)]
    pub(crate) details: ElementDetails,
    /// The element as a phrase.
    pub(crate) message: String,
    /// Why it is attributed to this pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evidence: Option<String>,
}

/// Fields that only some elements have.
#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct ElementDetails {
    /// The executed file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// Whether another plugin started this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delegated: Option<bool>,
    /// What a CNI plugin, an OCI runtime or a shim was asked to do: `ADD`, `create`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<&'static str>,
    /// The interface that a CNI plugin was asked to work on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interface: Option<String>,
    /// How many containers with this name started in the pod before, if there were some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restart: Option<u32>,
    /// The time since the last of them ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after_last_end_ns: Option<Ktime>,
    /// The namespaces that were created or joined.
    #[serde(skip_serializing_if = "Namespaces::is_empty")]
    pub(crate) namespaces: Namespaces,
    /// How the namespaces were created.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["unshare", "clone"]))]
    pub(crate) how: Option<&'static str>,
    /// The owner of the namespace that was joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["pod", "host", "other"]))]
    pub(crate) whose: Option<&'static str>,
    /// The namespaces that setns was refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) refused: Vec<NamespaceKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) errno: Option<String>,
    /// The path of the cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    /// The TCP port on which the process listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    /// Whether it is the first one on which the container listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signal: Option<String>,
    /// The sender of the signal. Missing if the kernel sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Process>,
    /// What wait(2) reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<String>,
    /// How long it was a zombie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waited_ns: Option<Ktime>,
}

/// The timeline as a whole.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Timeline {
    /// When the start began; RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub(crate) time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ktime_ns: Option<Ktime>,
    pub(crate) pod: Pod,
    /// The time from the beginning of the start to the first exec of the last container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) up_ns: Option<Ktime>,
    /// The critical path: what the start waited for, step by step.
    pub(crate) path: Vec<Step>,
    /// The critical path in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// The number of elements.
    pub(crate) elements: usize,
    /// The number of programs that cannot be attributed to a pod.
    pub(crate) unassigned: usize,
    /// The time from the beginning of the start to when a process of the pod first listened on a
    /// TCP port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_listen_ns: Option<Ktime>,
    /// What no hook reports: `udp`, whose sockets do not listen, and `first_listen` if the kernel
    /// does not report it.
    pub(crate) not_visible: &'static [&'static str],
    /// Kernel events that were dropped, by kind.
    pub(crate) lost: BTreeMap<&'static str, u64>,
    /// Whether processes were forgotten because there were too many.
    pub(crate) cut: bool,
}

/// A step of the critical path.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Step {
    #[schemars(extend("enum" = ["cni", "runtime", "create", "run", "waiting"]))]
    pub(crate) what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<Container>,
    pub(crate) ktime_ns: Ktime,
    pub(crate) duration_ns: Ktime,
}
