//! A finding in the list of the newest ones.

use crate::{
    event::{Ktime, PodId},
    report::Names,
    verdict::{Severity, Verdict},
};

/// A violation as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) time: Ktime,
    pub(super) pod: Option<PodId>,
    pub(super) severity: Severity,
    pub(super) rule: String,
    /// The subject and the message, escaped.
    pub(super) text: String,
}

impl Finding {
    pub(super) fn new(verdict: &Verdict, names: &Names) -> Self {
        Self {
            time: verdict.time,
            pod: verdict.subject.pod.clone(),
            severity: verdict.severity(),
            rule: format!("{} {}", verdict.rule.id, verdict.rule.name),
            text: format!(
                "{}: {}",
                names.subject(&verdict.subject),
                verdict.details.message
            ),
        }
    }
}
