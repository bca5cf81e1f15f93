//! The line of `why`.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Pod, When};
use crate::why;

/// Why a pod is slow, stuck or dead.
#[derive(Serialize, JsonSchema)]
pub struct Why {
    /// When it was asked.
    #[serde(flatten)]
    pub when: When,
    /// The pod.
    pub pod: Pod,
    /// The phase of its life.
    #[schemars(extend("enum" = ["starting", "running", "restarting", "stopping", "completed", "ended", "empty"]))]
    pub phase: &'static str,
    /// Whether one of the reasons is a problem.
    pub is_problem: bool,
    /// Whether it is not known if something is wrong: only the pause runs, and no runtime says why.
    pub is_undecided: bool,
    /// The reasons, the most likely one first.
    pub reasons: Vec<Reason>,
    /// What could not be found out, in sentences.
    pub unknown: Vec<String>,
    /// What happened to it before, from the history of a `watch` that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
}

/// What a running `watch` has observed of a pod.
#[derive(Clone, Serialize, JsonSchema)]
pub struct History {
    /// The beginning of the history.
    pub since: When,
    /// The newest things that happened, oldest first.
    pub happened: Vec<Happened>,
}

/// Something that happened.
#[derive(Clone, Serialize, JsonSchema)]
pub struct Happened {
    /// When.
    #[serde(flatten)]
    pub when: When,
    /// The name of the container, or the beginning of its id, escaped. Missing for the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// What happened, in a sentence. Names in it are escaped.
    pub sentence: String,
}

/// A reason.
#[derive(Serialize, JsonSchema)]
pub struct Reason {
    /// The kind of reason, such as `pause_ended` or `oom_killed`.
    pub cause: &'static str,
    /// Whether something is wrong. Otherwise it is a notice: it may be intended.
    pub is_problem: bool,
    /// The name of the container, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The reason in a sentence. Names in it are escaped.
    pub sentence: String,
    /// What shows it, in lines.
    pub evidence: Vec<String>,
    /// What to do or to look at next.
    pub next: String,
}

impl Reason {
    /// A reason as JSON.
    pub fn new(reason: &why::Reason) -> Self {
        Self {
            cause: reason.cause.name(),
            is_problem: reason.cause.is_problem(),
            container: reason.container.clone(),
            sentence: reason.sentence.clone(),
            evidence: reason.evidence.clone(),
            next: reason.next.clone(),
        }
    }
}
