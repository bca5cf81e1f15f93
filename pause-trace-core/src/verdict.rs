//! What a rule says of what it saw.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    event::{Comm, ContainerId, Ktime, PodId, ProcessId, WaitStatus, signal_name},
    rules::Rule,
};

/// A rule's answer. There is no fourth: what can't be decided is `Inconclusive`, never a guess.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The promise is kept.
    Pass,
    /// The evidence does not decide it.
    Inconclusive,
    /// The promise is broken.
    Fail,
}

/// How bad a violation is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Bad practice: the promise holds, but not under every condition.
    Warning,
    /// A promise broken.
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

/// A process as a finding names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessRef {
    /// Its pid and start time.
    pub id: ProcessId,
    /// In its own pid namespace.
    pub ns_pid: u32,
    /// Its name.
    pub comm: Comm,
}

/// Whom a verdict is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The pod; `None` for what concerns the evidence itself.
    pub pod: Option<PodId>,
    /// The container; `None` for the pod as a whole.
    pub container: Option<ContainerId>,
    pub(crate) process: Option<ProcessRef>,
}

/// One side of a comparison, with its unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A namespace's inode number.
    Namespace(u32),
    /// A number without a unit.
    Number(u64),
    /// A size in bytes.
    Bytes(u64),
    /// In ns.
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
            Self::Bytes(bytes) if *bytes < 10 * 1024 => write!(f, "{bytes} B"),
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

/// A time span in ns, shown in the unit that suits it.
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

/// Named values, in the order they are to be read.
pub(crate) type Values = Vec<(&'static str, Value)>;

/// Something that led to the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// When it happened.
    pub time: Ktime,
    /// Already escaped.
    pub(crate) what: String,
}

/// The part of a verdict that only its rule knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// A sentence that names the violation or the proof; already escaped.
    pub message: String,
    pub(crate) expected: Values,
    /// What was seen.
    pub observed: Values,
    /// What led to the verdict, oldest first.
    pub evidence: Vec<Evidence>,
    /// Where this case is milder than its rule's severity, which is the worst that the rule finds.
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

    /// Calls this case milder than its rule does in general.
    pub(crate) fn milder(mut self, severity: Severity) -> Self {
        self.severity = Some(severity);
        self
    }
}

/// One rule's answer about one subject.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The rule that was asked.
    pub rule: &'static Rule,
    /// Its answer.
    pub outcome: Outcome,
    /// When it was decided.
    pub time: Ktime,
    /// Whom it is about.
    pub subject: Subject,
    /// The part that only the rule knows.
    pub details: Details,
}

impl Verdict {
    /// How bad it is: its rule's severity, unless this case is milder.
    pub fn severity(&self) -> Severity {
        self.details
            .severity
            .map_or(self.rule.severity, |milder| milder.min(self.rule.severity))
    }
}
