//! What the owner of a node decides about findings: other severities, and exceptions with a reason
//! and an expiry. Rules know nothing of it; it is applied when a verdict is reported, so a
//! recording can be judged again with another policy.

mod baseline;
#[cfg(test)]
mod tests;

use std::{cmp::Ordering, sync::Arc};

use glob::{MatchOptions, Pattern};

pub use baseline::{Baseline, Unreadable};

use crate::{
    event::Ktime,
    report::{Clock, Names},
    rules,
    verdict::{Decision, Excepted, Outcome, Rule, Severity, Subject, Verdict},
};

/// `*` matches any text, also with slashes.
const GLOB: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: false,
    require_literal_leading_dot: false,
};

/// Findings that are known and accepted.
#[derive(Clone, Debug)]
pub struct Exception {
    /// Patterns of rules, as [`matches_rule`] takes them. Empty for every rule.
    pub rules: Vec<String>,
    /// The pod's Kubernetes namespace.
    pub namespace: Option<Pattern>,
    /// The pod's name.
    pub pod: Option<Pattern>,
    /// The container's name.
    pub container: Option<Pattern>,
    /// Why the findings are accepted, and until when.
    pub excepted: Arc<Excepted>,
    /// The end of the last day on which it holds, in ns since 1970.
    pub until: i64,
}

/// How an exception stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has accepted findings.
    Used(u64),
    /// It has accepted nothing.
    Unused,
    /// It has expired, and would have accepted this many findings.
    Expired(u64),
}

/// Severities and exceptions, and how often each exception was used.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Patterns of rules, and the severity of their violations. The longest match counts.
    severities: Vec<(String, Severity)>,
    exceptions: Vec<(Exception, u64)>,
    /// The findings that are not new.
    baseline: Option<Baseline>,
}

impl Policy {
    /// A policy that has not been used yet.
    pub fn new(severities: Vec<(String, Severity)>, exceptions: Vec<Exception>) -> Self {
        let exceptions = exceptions.into_iter().map(|exception| (exception, 0));
        Self {
            severities,
            exceptions: exceptions.collect(),
            baseline: None,
        }
    }

    /// The same with a baseline.
    #[must_use]
    pub fn with_baseline(self, baseline: Baseline) -> Self {
        Self {
            baseline: Some(baseline),
            ..self
        }
    }

    /// The baseline, if there is one.
    pub fn baseline(&self) -> Option<&Baseline> {
        self.baseline.as_ref()
    }

    /// The severity of a rule's violations.
    pub fn severity(&self, rule: &Rule) -> Severity {
        self.configured(rule).unwrap_or(rule.severity)
    }

    fn configured(&self, rule: &Rule) -> Option<Severity> {
        let matching = self.severities.iter().filter_map(|(pattern, severity)| {
            let matched = matches_rule(pattern, rule)?;
            Some((matched, *severity))
        });
        let (_, severity) = matching.max_by_key(|(matched, _)| *matched)?;
        Some(severity)
    }

    /// Decides about a verdict: returns it as it is to be reported, if that differs. A pass and an
    /// inconclusive verdict have nothing to accept.
    pub fn decide(&mut self, verdict: &Verdict, names: &Names, clock: Clock) -> Option<Verdict> {
        if verdict.outcome == Outcome::Fail {
            let time = clock.unix_ns(verdict.time);
            let matching = self
                .exceptions
                .iter_mut()
                .filter(|(exception, _)| exception.is_about(verdict.rule, &verdict.subject, names));
            for (exception, count) in matching {
                *count += 1;
                if time < exception.until {
                    break;
                }
            }
        }
        let decided = self.decided(verdict, names, clock);
        if let Some(baseline) = &mut self.baseline {
            baseline.occurs(decided.as_ref().unwrap_or(verdict), names);
        }
        decided
    }

    /// The same, without counting what is used.
    pub fn decided(&self, verdict: &Verdict, names: &Names, clock: Clock) -> Option<Verdict> {
        if verdict.outcome == Outcome::Pass {
            return None;
        }
        let severity = self.configured(verdict.rule);
        let mut decided = severity.map(|_| Verdict {
            decision: Decision {
                severity,
                excepted: None,
            },
            ..verdict.clone()
        });
        if verdict.outcome == Outcome::Fail {
            let known = decided.as_ref().unwrap_or(verdict);
            let excepted = self.excepted(known, names, clock).or_else(|| {
                let baseline = self.baseline.as_ref()?;
                baseline.knows(known, names)
            });
            if excepted.is_some() {
                let verdict = decided.get_or_insert_with(|| verdict.clone());
                verdict.decision.excepted = excepted;
            }
        }
        decided
    }

    /// The first exception that accepts a finding. An expired one accepts nothing.
    fn excepted(&self, verdict: &Verdict, names: &Names, clock: Clock) -> Option<Arc<Excepted>> {
        let time = clock.unix_ns(verdict.time);
        let mut exceptions = self.exceptions.iter().map(|(exception, _)| exception);
        let found = exceptions.find(|exception| {
            time < exception.until && exception.is_about(verdict.rule, &verdict.subject, names)
        });
        found.map(|exception| exception.excepted.clone())
    }

    /// How each exception stands at a time, in the order of the configuration.
    pub fn standing(
        &self,
        now: Ktime,
        clock: Clock,
    ) -> impl Iterator<Item = (&Exception, Standing)> {
        let now = clock.unix_ns(now);
        self.exceptions.iter().map(move |(exception, count)| {
            let standing = match (exception.until.cmp(&now), count) {
                (Ordering::Less | Ordering::Equal, count) => Standing::Expired(*count),
                (Ordering::Greater, 0) => Standing::Unused,
                (Ordering::Greater, count) => Standing::Used(*count),
            };
            (exception, standing)
        })
    }

    /// Takes over how often the exceptions of an earlier version were used, if they still exist,
    /// and its baseline.
    pub fn continue_from(&mut self, former: &Self) {
        self.baseline.clone_from(&former.baseline);
        for (exception, count) in &mut self.exceptions {
            let same = former
                .exceptions
                .iter()
                .find(|(other, _)| other == exception);
            *count = same.map_or(0, |(_, count)| *count);
        }
    }
}

impl PartialEq for Exception {
    fn eq(&self, other: &Self) -> bool {
        let fields = |it: &Self| {
            let Self {
                namespace,
                pod,
                container,
                ..
            } = it;
            (namespace.clone(), pod.clone(), container.clone(), it.until)
        };
        self.rules == other.rules
            && fields(self) == fields(other)
            && self.excepted == other.excepted
    }
}

impl Exception {
    /// Whether a finding of this rule about this subject is meant. A pattern of something that the
    /// subject does not have matches nothing.
    fn is_about(&self, rule: &Rule, subject: &Subject, names: &Names) -> bool {
        let is_rule = self.rules.is_empty()
            || self
                .rules
                .iter()
                .any(|pattern| matches_rule(pattern, rule).is_some());
        if !is_rule {
            return false;
        }
        let matches = |pattern: &Option<Pattern>, name: Option<&str>| match (pattern, name) {
            (None, _) => true,
            (Some(pattern), Some(name)) => pattern.matches_with(name, GLOB),
            (Some(_), None) => false,
        };
        let (namespace, pod) = subject
            .pod
            .as_ref()
            .map_or((None, None), |pod| names.of_pod(pod));
        let container = subject
            .container
            .as_ref()
            .and_then(|id| names.of_container(id));
        matches(&self.namespace, namespace)
            && matches(&self.pod, pod)
            && matches(&self.container, container)
    }

    /// Whether it accepts every finding, or every finding about a pod or a container.
    pub fn is_about_all(&self) -> bool {
        let is_any = |pattern: &Option<Pattern>| {
            let text = pattern.as_ref().map_or("*", Pattern::as_str);
            !text.is_empty() && text.chars().all(|character| character == '*')
        };
        let has_all_rules = self.rules.is_empty()
            || rules::all().all(|rule| {
                let mut patterns = self.rules.iter();
                patterns.any(|pattern| matches_rule(pattern, rule).is_some())
            });
        has_all_rules
            && [&self.namespace, &self.pod, &self.container]
                .into_iter()
                .all(is_any)
    }

    /// What it is about, as one would write it: `PT302 kube-system/web-*/app`.
    pub fn target(&self) -> String {
        let rules = match self.rules.is_empty() {
            true => "every rule".to_owned(),
            false => self.rules.join(", "),
        };
        let any = |pattern: &Option<Pattern>| {
            pattern
                .as_ref()
                .map_or("*".to_owned(), |pattern| pattern.as_str().to_owned())
        };
        let place = [&self.namespace, &self.pod, &self.container]
            .map(any)
            .join("/");
        format!("{rules} {place}")
    }
}

/// How closely a pattern matches a rule: the number of matching letters of the id. A name counts as
/// the whole id.
pub fn matches_rule(pattern: &str, rule: &Rule) -> Option<usize> {
    let begins = rule
        .id
        .get(..pattern.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(pattern));
    if pattern == rule.name {
        Some(rule.id.len())
    } else {
        (begins && !pattern.is_empty()).then_some(pattern.len())
    }
}

/// Whether a pattern matches any rule.
pub fn is_rule(pattern: &str) -> bool {
    rules::all().any(|rule| matches_rule(pattern, rule).is_some())
}
