//! The lines of `timeline`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Container, Namespaces, Pod, Process, When};
use crate::event::{Ktime, NamespaceKind};

/// Something that happened while a pod came up.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Element {
    #[serde(flatten)]
    pub(crate) when: When,
    /// What kind of element it is; docs/events.md lists them.
    pub(crate) what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) duration_ns: Option<Ktime>,
    /// It has not ended; left out where it has.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) open: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Pod>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<Process>,
    #[serde(flatten)]
    pub(crate) details: ElementDetails,
    /// The element in a phrase.
    pub(crate) message: String,
    /// Why it is attributed to this pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evidence: Option<String>,
}

/// What only some elements have.
#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct ElementDetails {
    /// What was executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// Another plugin started this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delegated: Option<bool>,
    /// Those that were made or joined.
    #[serde(skip_serializing_if = "Namespaces::is_empty")]
    pub(crate) namespaces: Namespaces,
    /// How namespaces were made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["unshare", "clone"]))]
    pub(crate) how: Option<&'static str>,
    /// Whose the namespace is that was joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["pod", "host", "other"]))]
    pub(crate) whose: Option<&'static str>,
    /// The namespaces that setns or unshare was refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) refused: Vec<NamespaceKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) errno: Option<String>,
    /// Of a cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signal: Option<String>,
    /// Who sent the signal; none: the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Process>,
    /// What wait(2) reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<String>,
    /// For how long it was a zombie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waited_ns: Option<Ktime>,
}

/// The timeline as a whole.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Timeline {
    /// When it began; RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub(crate) time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ktime_ns: Option<Ktime>,
    pub(crate) pod: Pod,
    /// From its beginning to the exec of its last container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) up_ns: Option<Ktime>,
    /// What the start waited for, step after step.
    pub(crate) path: Vec<Step>,
    /// The path in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// How many elements it has.
    pub(crate) elements: usize,
    /// How many elements may be another pod's.
    pub(crate) unassigned: usize,
    /// What no hook sees.
    pub(crate) not_visible: [&'static str; 1],
    /// Kernel events that were dropped, by kind.
    pub(crate) lost: BTreeMap<&'static str, u64>,
    /// Elements past the limit were left out.
    pub(crate) cut: bool,
}

/// A step of the path.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Step {
    #[schemars(extend("enum" = ["cni", "runtime", "create", "run", "waiting"]))]
    pub(crate) what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<Container>,
    pub(crate) ktime_ns: Ktime,
    pub(crate) duration_ns: Ktime,
}
