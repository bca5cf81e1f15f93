//! The content of the page, which it contains as JSON. Times are in ns since [`Page::began`], and
//! negative before that. All text is already escaped.

use std::collections::BTreeMap;

use serde::Serialize;

use super::listeners::Listens;
use crate::{
    report::wire::{self, Namespaces},
    rules::Counts,
    timeline::Start,
    verdict::{Outcome, Severity},
};

/// The content of the page.
#[derive(Serialize)]
pub struct Page {
    /// The version of pause-trace.
    pub version: String,
    /// As in `uname -r`.
    pub kernel: String,
    /// As in `uname -m`.
    pub arch: String,
    /// The UTC time of time 0 in RFC 3339, and the same in ms since 1970.
    pub(crate) began: String,
    pub(crate) began_ms: i64,
    pub(crate) ended: i64,
    pub(crate) verdicts: Counts,
    /// Kernel records that were dropped.
    pub(crate) lost: u64,
    /// Notes on the whole run, such as that the recording was cut.
    pub notes: Vec<String>,
    /// The rules of the findings, by id.
    pub(crate) rules: BTreeMap<&'static str, Rule>,
    pub(crate) pods: Vec<Pod>,
    /// Findings that are not on a pod.
    pub(crate) findings: Vec<Finding>,
    /// The number of pods above the limit.
    pub(crate) omitted: usize,
}

#[derive(Serialize)]
pub(crate) struct Rule {
    pub name: &'static str,
    pub summary: &'static str,
    pub doc: &'static str,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Pod {
    #[serde(flatten)]
    pub(crate) pod: wire::Pod,
    /// The scenario that it was created for, if any.
    pub(crate) scenario: Option<String>,
    pub(crate) since: i64,
    pub removed: Option<i64>,
    /// The node's namespaces from the view of the sandbox, by name.
    pub(crate) host: Namespaces,
    pub(crate) verdicts: Counts,
    pub(crate) containers: Vec<Container>,
    pub(crate) processes: Vec<Process>,
    pub(crate) signals: Vec<Signal>,
    pub(crate) listens: Vec<Listens>,
    /// The number of zombies from each time on.
    pub zombies: Vec<(i64, u32)>,
    pub(crate) spans: Vec<Span>,
    /// How it started; `None` if that was not observed.
    pub(crate) start: Option<Start>,
    pub(crate) findings: Vec<Finding>,
    /// How often each rule passed.
    pub(crate) passed: BTreeMap<&'static str, u64>,
    /// The number of processes and signals above the limit.
    pub(crate) omitted: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct Container {
    #[serde(flatten)]
    pub(crate) container: wire::Container,
    pub(crate) is_pause: bool,
    pub started: Option<i64>,
    pub ended: Option<i64>,
    pub(crate) status: Option<String>,
    /// The namespaces of its entrypoint, by name; empty before that has executed.
    pub namespaces: Namespaces,
}

#[derive(Debug, Serialize)]
pub(crate) struct Process {
    #[serde(flatten)]
    pub(crate) process: wire::Process,
    /// The index of the parent in the pod's processes.
    pub(crate) parent: Option<usize>,
    /// The file that it executed last; may be empty.
    pub file: String,
    pub role: &'static str,
    /// The container's id.
    pub container: String,
    pub(crate) forked: i64,
    pub ended: Option<i64>,
    pub(crate) status: Option<String>,
    pub(crate) reaped: Option<i64>,
    pub(crate) state: ProcessState,
}

/// What is known of a process at the end of the page's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProcessState {
    #[default]
    Runs,
    Zombie,
    Ended,
    /// No record shows its end, and its pod is removed.
    Unknown,
}

impl ProcessState {
    pub(super) fn of(process: &Process, removed: Option<i64>) -> Self {
        match (process.ended, process.reaped) {
            (_, Some(_)) => Self::Ended,
            (Some(_), None) => Self::Zombie,
            (None, None) if removed.is_some() => Self::Unknown,
            (None, None) => Self::Runs,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Signal {
    pub(crate) at: i64,
    pub signal: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub result: &'static str,
    pub(crate) handled: bool,
    #[serde(skip)]
    pub(crate) number: i32,
    #[serde(skip)]
    pub target: u32,
}

/// A bar of the timeline, or a mark if it begins and ends at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Span {
    pub(crate) lane: String,
    pub(crate) name: String,
    pub(crate) start_ns: i64,
    /// `None` if it had not ended.
    pub(crate) end_ns: Option<i64>,
    /// `pause`, `container`, `session`, `zombie`, `signal`, `listen`, `finding`.
    pub(crate) kind: &'static str,
}

#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) at: i64,
    pub(crate) rule: &'static str,
    /// `Fail` or `Inconclusive`.
    pub(crate) verdict: Outcome,
    pub(crate) severity: Severity,
    /// Whether the violation was planted by a scenario.
    pub(crate) planted: bool,
    pub(crate) subject: String,
    pub(crate) message: String,
    pub(crate) expected: BTreeMap<&'static str, String>,
    pub(crate) observed: BTreeMap<&'static str, String>,
    pub(crate) evidence: Vec<(i64, String)>,
}

impl Page {
    /// Keeps only the pods that are called so, as [`Names::matches`](crate::report::Names) has
    /// it, and their verdicts.
    pub fn keep(&mut self, wanted: &str) {
        let is_wanted = |pod: &Pod| {
            let (namespace, name) = (pod.pod.namespace.as_deref(), pod.pod.name.as_deref());
            let is_name = match wanted.split_once('/') {
                Some(both) => (namespace, name) == (Some(both.0), Some(both.1)),
                None => name == Some(wanted),
            };
            let mut containers = pod.containers.iter();
            let is_begun = pod.pod.uid.starts_with(wanted)
                || containers.any(|shown| shown.container.id.starts_with(wanted));
            !wanted.is_empty() && (is_name || is_begun)
        };
        self.pods.retain(is_wanted);
        self.verdicts = self.pods.iter().map(|pod| pod.verdicts).sum();
    }

    /// The number of pods.
    pub fn pods(&self) -> usize {
        self.pods.len() + self.omitted
    }

    /// The content as JSON that is safe in a `<script>`: it can neither end the script nor begin a
    /// comment.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)?
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029"))
    }
}
