//! The lines of `doctor` and `rules`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::verdict::Severity;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Everything works.
    Ok,
    /// It works in another way or at a cost. The verdicts are as reliable.
    Degraded,
    /// It is missing. Verdicts that depend on it are inconclusive.
    Missing,
}

/// A check of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// What was checked: `sched_process_fork`, `BTF`, `cgroup v2` …
    pub name: String,
    /// The result.
    pub state: State,
    /// What was found: `tp_btf`, a version, an errno. Escaped.
    pub detail: String,
    /// The consequence for verdicts; empty if everything works.
    pub consequence: String,
    /// How to fix it; empty if there is nothing to fix.
    pub fix: String,
    /// Whether the program cannot run without it.
    pub required: bool,
    /// Measured numbers, by name: offsets in bytes, instructions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<String, u64>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Rule {
    #[schemars(extend("pattern" = "^PT[0-9]{3}$"))]
    id: &'static str,
    name: &'static str,
    severity: Severity,
    /// What a violation is, in a phrase.
    summary: &'static str,
    /// What it checks, why it matters and how to fix a violation, in Markdown.
    doc: &'static str,
}

impl From<&crate::rules::Rule> for Rule {
    fn from(rule: &crate::rules::Rule) -> Self {
        Self {
            id: rule.id,
            name: rule.name,
            severity: rule.severity,
            summary: rule.summary,
            doc: rule.doc,
        }
    }
}
