//! Verdicts and findings.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use super::{Container, Pod, Process, When};
use crate::{
    errno::Errno,
    event::signal_name,
    report::{Clock, Names},
    verdict::{Evidence, Excepted, KILLED_AFTER, Outcome, Severity, Value, Values, Verdict},
};

/// The fields that findings and verdicts have in common.
#[derive(Serialize, JsonSchema)]
struct About<'a> {
    /// The number of the verdict in this report. A finding and the verdict line that follows it
    /// have the same number: they are one fact. `inspect` has no such number.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(flatten)]
    when: When,
    /// The id of the rule.
    #[schemars(extend("pattern" = "^PT[0-9]{3}$"))]
    rule: &'a str,
    /// The name of the rule.
    name: &'a str,
    /// The severity of a violation.
    severity: Severity,
    /// The outcome. Of several verdicts with the same rule, pod and container, the last one is
    /// final; a verdict only gets worse.
    verdict: Outcome,
    /// Missing for a verdict on the evidence itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Pod>,
    /// Missing for a verdict on the pod as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
    /// The id of the thread that did it, if it is not the first thread of the process: what it did
    /// is true of this thread, and not of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<u32>,
    /// The configured exception that accepts this violation. It does not change the exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<&'a Excepted>,
}

impl<'a> About<'a> {
    fn new(verdict: &'a Verdict, names: &Names, clock: Clock) -> Self {
        let Verdict {
            rule,
            outcome,
            time,
            subject,
            ..
        } = verdict;
        Self {
            id: None,
            when: When::new(clock, *time),
            rule: rule.id,
            name: rule.name,
            severity: verdict.severity(),
            verdict: *outcome,
            pod: subject.pod.as_ref().map(|pod| names.pod(pod)),
            container: subject
                .container
                .as_ref()
                .map(|container| names.container(container)),
            process: subject.process.map(Process::from),
            thread: subject.thread,
            exception: verdict.excepted(),
        }
    }
}

/// A verdict without its evidence.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Decided<'a> {
    #[serde(flatten)]
    about: About<'a>,
    /// The verdict in a sentence.
    message: &'a str,
}

impl<'a> Decided<'a> {
    pub(crate) fn new(verdict: &'a Verdict, names: &Names, clock: Clock) -> Self {
        Self {
            about: About::new(verdict, names, clock),
            message: &verdict.details.message,
        }
    }

    /// With its number in the report.
    pub(crate) fn numbered(mut self, id: u64) -> Self {
        self.about.id = Some(id);
        self
    }
}

/// A verdict with its evidence.
#[derive(Serialize, JsonSchema)]
pub struct Finding<'a> {
    #[serde(flatten)]
    about: About<'a>,
    /// The values that the rule demands.
    expected: Named<'a>,
    /// The observed values.
    observed: Named<'a>,
    /// The verdict in a sentence.
    message: &'a str,
    /// The events that led to it, in order.
    evidence: Vec<EvidenceStep<'a>>,
}

impl<'a> Finding<'a> {
    /// A verdict, with the names of its pod and container.
    pub fn new(verdict: &'a Verdict, names: &Names, clock: Clock) -> Self {
        let details = &verdict.details;
        let step = |step: &'a Evidence| EvidenceStep {
            when: When::new(clock, step.time),
            what: &step.what,
        };
        Self {
            about: About::new(verdict, names, clock),
            expected: Named(&details.expected),
            observed: Named(&details.observed),
            message: &details.message,
            evidence: details.evidence.iter().map(step).collect(),
        }
    }

    /// With its number in the report.
    pub(crate) fn numbered(mut self, id: u64) -> Self {
        self.about.id = Some(id);
        self
    }
}

/// A part of the evidence.
#[derive(Serialize, JsonSchema)]
struct EvidenceStep<'a> {
    #[serde(flatten)]
    when: When,
    /// What happened, in a sentence.
    what: &'a str,
}

/// Named values as an object, in order. Keys are in snake case and end in the unit.
pub(crate) struct Named<'a>(pub(crate) &'a Values);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| match value {
            Value::Namespace(inode) => (key(name, ""), Json::from(*inode)),
            Value::Number(number) => (key(name, ""), Json::from(*number)),
            Value::Bytes(bytes) => (key(name, "_bytes"), Json::from(*bytes)),
            Value::Duration(ns) => (key(name, "_ns"), Json::from(*ns)),
            Value::Signal(signal) => (key(name, ""), Json::from(signal_name(*signal))),
            Value::Errno(errno) => (key(name, ""), Json::from(format!("{:?}", Errno(*errno)))),
            Value::Status(status) => (key(name, ""), Json::from(status.to_string())),
            Value::Process(process) => (key(name, ""), Json::from(process.pid)),
            Value::Text(text) => (key(name, ""), Json::from(text.as_str())),
        }))
    }
}

impl JsonSchema for Named<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Values".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Values by name; the rule chooses the names. Inode numbers, pids and counts are numbers, as are durations \
                            (`_ns`) and sizes (`_bytes`). Signals and errnos are their names (`SIGTERM`, `EPERM`).",
            "type": "object",
            "propertyNames": { "pattern": "^[a-z][a-z0-9]*(_[a-z0-9]+)*$" },
            "patternProperties": { "_(ns|bytes)$": { "type": "integer", "minimum": 0 } },
            "additionalProperties": { "type": ["integer", "string"] },
        })
    }
}

/// `fork to exec, at most` as a key: `fork_to_exec_at_most_ns`.
fn key(name: &str, unit: &str) -> String {
    // Programs that read the JSON know it by its former name.
    let name = match name {
        KILLED_AFTER => "grace",
        name => name,
    };
    let words = name.split(|character: char| !character.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    let mut key = words
        .map(str::to_ascii_lowercase)
        .collect::<Vec<_>>()
        .join("_");
    if !key.ends_with(unit) {
        key.push_str(unit);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::WaitStatus, verdict::Details};

    #[test]
    fn evidence_keys_are_snake_case_and_end_in_the_unit() {
        let details = Details::default()
            .observed("latency", Value::Duration(5))
            .observed("cpu_ns", Value::Duration(6))
            .observed("pss", Value::Bytes(7))
            .observed("fork to exec, at most", Value::Duration(8))
            .observed("overdue zombies", Value::Number(9))
            .observed("signal", Value::Signal(15))
            .observed("errno", Value::Errno(1))
            .observed("status", Value::Status(WaitStatus::exited(3)));
        let object = serde_json::to_value(Named(&details.observed)).expect("an object");
        let expected = serde_json::json!({
            "latency_ns": 5, "cpu_ns": 6, "pss_bytes": 7, "fork_to_exec_at_most_ns": 8, "overdue_zombies": 9,
            "signal": "SIGTERM", "errno": "EPERM", "status": "exit code 3"
        });
        assert_eq!(object, expected);
    }
}
