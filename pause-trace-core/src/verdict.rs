//! Verdicts: what a rule decided, and on which evidence.

use std::{fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Comm, ContainerId, Kind, Ktime, PodId, ProcessId, WaitStatus, signal_name};

/// The outcome of a rule. What cannot be decided is `Inconclusive`, never a guess.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The promise is kept.
    Pass,
    /// The evidence is not sufficient to decide.
    Inconclusive,
    /// The promise is broken.
    Fail,
}

/// The severity of a violation.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Bad practice: the promise is kept, but not under all conditions.
    Warning,
    /// A broken promise.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// The description of a rule.
pub struct Rule {
    /// Stable, never reused.
    pub id: &'static str,
    /// Kebab-case.
    pub name: &'static str,
    /// The worst severity of a violation.
    pub severity: Severity,
    /// One line: what is violated.
    pub summary: &'static str,
    /// What it checks, why it matters, how to fix it, an example, and the source of the promise;
    /// Markdown.
    pub doc: &'static str,
    /// The kinds of records without which it cannot be decided.
    pub needs: &'static [Kind],
}

impl Rule {
    /// Whether a pass may be wrong without records of this kind. A process that was not watched may
    /// have done anything.
    pub(crate) fn needs_kind(&self, kind: Kind) -> bool {
        self.needs.contains(&kind) || (kind == Kind::Watch && !self.needs.is_empty())
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// A process that a finding names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessRef {
    /// Its pid and start time.
    pub id: ProcessId,
    /// Its pid in its own pid namespace.
    pub ns_pid: u32,
    /// Its name.
    pub comm: Comm,
}

/// The subject of a verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The pod; `None` for a verdict on the evidence itself.
    pub pod: Option<PodId>,
    /// The container; `None` for a verdict on the pod as a whole.
    pub container: Option<ContainerId>,
    /// The process; `None` for a verdict on none.
    pub process: Option<ProcessRef>,
    /// The thread that did it, unless it is the process' first one. Such a verdict is not about the
    /// process as a whole.
    pub(crate) thread: Option<u32>,
}

/// An expected or observed value, with its unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A namespace's inode number.
    Namespace(u32),
    /// A number without a unit.
    Number(u64),
    /// A size in bytes.
    Bytes(u64),
    /// A time span in ns.
    Duration(u64),
    /// A signal's number.
    Signal(i32),
    /// The error of a system call.
    Errno(i32),
    /// What wait(2) reports.
    Status(WaitStatus),
    /// A process.
    Process(ProcessId),
    /// Already escaped.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(inode) => write!(f, "{inode}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Bytes(0) => f.write_str("0 B"),
            Self::Bytes(bytes) if *bytes < 10 * 1024 && bytes % 1024 != 0 => write!(f, "{bytes} B"),
            Self::Bytes(bytes) => write!(f, "{} KiB", bytes / 1024),
            Self::Duration(ns) => write!(f, "{}", Duration(*ns)),
            Self::Signal(signal) => f.write_str(&signal_name(*signal)),
            Self::Errno(errno) => write!(f, "{}", crate::errno::Errno(*errno)),
            Self::Status(status) => write!(f, "{status}"),
            Self::Process(process) => write!(f, "pid {}", process.pid),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A time span in ns, shown in a suitable unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duration(pub u64);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0;
        match ns {
            0..1_000 => write!(f, "{ns} ns"),
            1_000..1_000_000 => write!(f, "{} µs", ns / 1_000),
            1_000_000..10_000_000 => write!(f, "{:.1} ms", ns as f64 / 1e6),
            10_000_000..1_000_000_000 => write!(f, "{} ms", ns / 1_000_000),
            _ => write!(f, "{:.2} s", ns as f64 / 1e9),
        }
    }
}

/// How long ago something was, or how old it is, in ns: in its two largest units, as in `3d4h`,
/// `5m12s` and `42s`. What was measured is a [`Duration`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(pub u64);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000_000;
        match seconds {
            0..60 => write!(f, "{seconds}s"),
            60..3_600 => write!(f, "{}m{}s", seconds / 60, seconds % 60),
            3_600..86_400 => write!(f, "{}h{}m", seconds / 3_600, seconds / 60 % 60),
            _ => write!(f, "{}d{}h", seconds / 86_400, seconds / 3_600 % 24),
        }
    }
}

/// The name of the time between a stop signal and SIGKILL. Its key in JSON is `grace`.
pub(crate) const KILLED_AFTER: &str = "killed after";

/// Named values, in the order in which they are shown.
pub(crate) type Values = Vec<(&'static str, Value)>;

/// An event that led to the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// When it happened.
    pub time: Ktime,
    /// Already escaped.
    pub(crate) what: String,
}

/// The details of a verdict, which its rule provides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// A sentence that states the violation or the proof. Already escaped.
    pub message: String,
    pub(crate) expected: Values,
    /// The observed values.
    pub observed: Values,
    /// The events that led to the verdict, oldest first.
    pub evidence: Vec<Evidence>,
    /// The severity, if this case is milder than its rule's severity.
    pub(crate) severity: Option<Severity>,
}

impl Details {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }

    pub(crate) fn expected(mut self, name: &'static str, value: Value) -> Self {
        self.expected.push((name, value));
        self
    }

    pub(crate) fn observed(mut self, name: &'static str, value: Value) -> Self {
        self.observed.push((name, value));
        self
    }

    pub(crate) fn evidence(mut self, time: Ktime, what: impl Into<String>) -> Self {
        self.evidence.push(Evidence {
            time,
            what: what.into(),
        });
        self
    }

    /// Gives this case a lower severity than its rule has.
    pub(crate) fn milder(mut self, severity: Severity) -> Self {
        self.severity = Some(severity);
        self
    }
}

/// A finding that the owner of the node accepts, for the time being, or that a baseline has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Excepted {
    /// Why: in the words of the owner, or which baseline.
    pub reason: String,
    /// The last day, in UTC, on which it is accepted: `2027-01-31`. Missing for a baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

impl fmt::Display for Excepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.expires {
            Some(expires) => write!(f, "accepted until {expires}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// What the owner of the node decided about a verdict.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The severity that the rule has on this node.
    pub severity: Option<Severity>,
    /// The exception that accepts the finding.
    pub excepted: Option<Arc<Excepted>>,
}

/// The outcome of one rule for one subject.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The rule.
    pub rule: &'static Rule,
    /// Its outcome.
    pub outcome: Outcome,
    /// When it was decided.
    pub time: Ktime,
    /// Its subject.
    pub subject: Subject,
    /// The details, which the rule provides.
    pub details: Details,
    /// What the owner of the node decided about it.
    pub decision: Decision,
}

impl Verdict {
    /// Its severity: the rule's, unless this case is milder.
    pub fn severity(&self) -> Severity {
        let of_rule = self.decision.severity.unwrap_or(self.rule.severity);
        let milder = self.details.severity;
        milder.map_or(of_rule, |milder| milder.min(of_rule))
    }

    /// Why and until when a violation is accepted; `None` if it is not.
    pub fn excepted(&self) -> Option<&Excepted> {
        self.decision.excepted.as_deref()
    }
}
