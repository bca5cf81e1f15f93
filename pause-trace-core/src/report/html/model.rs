//! What the page shows, as the JSON that it carries. Times are ns since [`Page::began`]; what began before has a negative
//! one. All text is escaped already.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    report::wire::Namespaces,
    rules::Counts,
    verdict::{Outcome, Severity},
};

/// All that the page shows.
#[derive(Serialize)]
pub struct Page {
    /// Of pause-trace.
    pub version: String,
    /// As in `uname -r`.
    pub kernel: String,
    /// As in `uname -m`.
    pub arch: String,
    /// Time of day of time 0, RFC 3339, and the same as ms since 1970.
    pub(crate) began: String,
    pub(crate) began_ms: i64,
    pub(crate) ended: i64,
    /// By name of the namespace.
    pub(crate) host: Namespaces,
    pub(crate) verdicts: Counts,
    /// Kernel records that were dropped.
    pub(crate) lost: u64,
    /// What is to be known of the whole, such as that the recording was cut.
    pub notes: Vec<String>,
    /// Those that findings name, by id.
    pub(crate) rules: BTreeMap<&'static str, Rule>,
    pub(crate) pods: Vec<Pod>,
    /// On no pod.
    pub(crate) findings: Vec<Finding>,
    /// Pods past the limit.
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
    pub(crate) uid: String,
    pub namespace: String,
    pub name: String,
    /// The scenario that it was made for, where it was.
    pub(crate) scenario: Option<String>,
    pub(crate) since: i64,
    pub removed: Option<i64>,
    pub(crate) verdicts: Counts,
    pub(crate) containers: Vec<Container>,
    pub(crate) processes: Vec<Process>,
    pub(crate) signals: Vec<Signal>,
    /// How many zombies there were, from when on.
    pub zombies: Vec<(i64, u32)>,
    pub(crate) spans: Vec<Span>,
    pub(crate) findings: Vec<Finding>,
    /// How many times each rule passed.
    pub(crate) passed: BTreeMap<&'static str, u64>,
    /// Processes and signals past the limit.
    pub(crate) omitted: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) is_pause: bool,
    pub started: Option<i64>,
    pub ended: Option<i64>,
    pub(crate) status: Option<String>,
    /// Of its entrypoint, by name; empty before that has executed.
    pub namespaces: Namespaces,
}

#[derive(Debug, Serialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub ns_pid: u32,
    /// Its place among the processes of the pod.
    pub(crate) parent: Option<usize>,
    pub comm: String,
    /// What it executed last; empty if nothing.
    pub file: String,
    pub role: &'static str,
    /// The container's id.
    pub container: String,
    pub(crate) forked: i64,
    pub ended: Option<i64>,
    pub(crate) status: Option<String>,
    pub(crate) reaped: Option<i64>,
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

/// A bar of the timeline; a mark, where it begins and ends at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Span {
    pub(crate) lane: String,
    pub(crate) name: String,
    pub(crate) start_ns: i64,
    /// `None` for what had not ended.
    pub(crate) end_ns: Option<i64>,
    /// `pause`, `container`, `session`, `zombie`, `signal`, `finding`.
    pub(crate) kind: &'static str,
}

#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) at: i64,
    pub(crate) rule: &'static str,
    /// A violation, or in doubt.
    pub(crate) verdict: Outcome,
    pub(crate) severity: Severity,
    /// It was planted to be found.
    pub(crate) planted: bool,
    pub(crate) subject: String,
    pub(crate) message: String,
    pub(crate) expected: BTreeMap<&'static str, String>,
    pub(crate) observed: BTreeMap<&'static str, String>,
    pub(crate) evidence: Vec<(i64, String)>,
}

impl Page {
    /// Leaves only pods that are called so: `NAMESPACE/NAME`, or the beginning of a uid.
    pub fn keep(&mut self, wanted: &str) {
        self.pods.retain(|pod| match wanted.split_once('/') {
            Some((namespace, name)) => pod.namespace == namespace && pod.name == name,
            None => pod.uid.starts_with(wanted),
        });
    }

    /// As JSON that may stand in a `<script>`: nothing in it can end that, or begin a comment.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)?
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029"))
    }
}
