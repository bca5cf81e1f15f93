//! The lines of `doctor` and `rules`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::verdict::Severity;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All is well.
    Ok,
    /// It works by another way, or at a price; what it proves, it proves as well.
    Degraded,
    /// What rests on it stays unproven.
    Missing,
}

/// Something that `doctor` looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// `sched_process_fork`, `BTF`, `cgroup v2` …
    pub name: String,
    /// How it came out.
    pub state: State,
    /// What was found: `tp_btf`, a version, an errno. Escaped.
    pub detail: String,
    /// What it means for the verdicts; empty where all is well.
    pub consequence: String,
    /// What to do about it; empty where there is nothing to do.
    pub fix: String,
    /// Without it the program cannot run at all.
    pub required: bool,
    /// What was measured, by name: offsets in bytes, instructions.
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
