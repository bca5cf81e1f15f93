//! What the program writes as JSON: the types of every line, and the schema that is made from them.
//!
//! Each line is an object with `schema` ([`SCHEMA`]) and `type`. Within a schema, fields may be added, and no field is
//! renamed or removed. Times are RFC 3339 UTC with nine digits, beside `ktime_ns`, ns of `CLOCK_BOOTTIME`. What a pod chose
//! is escaped (`\u{1b}`, `\xff`, `\\`) before it becomes a JSON string. A field of which nothing is known is left out.
//!
//! `docs/schema.json` is [`schema`] as a file; a test compares the two.

mod node;
mod pods;
mod stream;
mod timeline;
mod verdict;

use std::{borrow::Cow, collections::BTreeMap, io};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde::Serialize;

pub use node::{Check, Rule, State};
pub use pods::{
    ComparedNamespace, Head, Inspect, InspectedContainer, Interface, ListedPod, Listening, Misfit,
    Network, Pause, Route, RunningProcess, Sender, Signal, VerdictCounts,
};
pub(crate) use stream::{Hello, Loss, PodEvent, Scenario, Summary};
pub(crate) use timeline::{Element, ElementDetails, Step, Timeline};
pub use verdict::Finding;
pub(crate) use verdict::{Decided, Named};

use super::Clock;
use crate::{
    event::{Ktime, NamespaceKind},
    verdict::ProcessRef,
};

/// The version of the format. It is raised when a field is renamed, removed or changes its meaning.
pub const SCHEMA: u32 = 2;

/// A line of JSON that pause-trace writes.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "pause-trace JSON lines")]
pub struct Line<'a> {
    /// The version of this schema.
    #[schemars(extend("const" = SCHEMA))]
    schema: u32,
    #[serde(flatten)]
    body: Body<'a>,
}

/// A line without its version, by type.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[expect(
    private_interfaces,
    reason = "only the core makes the lines of a run and of a timeline"
)]
pub enum Body<'a> {
    /// `run`, `watch`, `check` and `replay`: the first line.
    Hello(Hello<'a>),
    /// `run`, `watch`, `check` and `replay`: a promise was broken.
    Finding(Finding<'a>),
    /// `run`, `watch`, `check` and `replay`: a rule decided; a line of this type follows each finding, too.
    Verdict(Decided<'a>),
    /// `run`, `watch` and `replay`: a pod or container came or went.
    Pod(PodEvent),
    /// `run`, `check` and `replay`: a scenario is over.
    Scenario(Scenario<'a>),
    /// `run`, `watch`, `check` and `replay`: events were dropped.
    Loss(Loss),
    /// `run`, `watch`, `check` and `replay`: the last line.
    Summary(Summary<'a>),
    /// `ls`: a pause. It has `ebpf`, which the line about a pod that came or went has not.
    #[serde(rename = "pod")]
    Listed(Box<ListedPod>),
    /// `inspect`: the only line.
    Inspect(Box<Inspect<'a>>),
    /// `timeline`: something the pod or its runtime did.
    Element(Box<Element>),
    /// `timeline`: something that cannot be attributed to this pod or to another one.
    Unassigned(Box<Element>),
    /// `timeline`: the last line.
    Timeline(Timeline),
    /// `doctor`: something that was looked for.
    Check(Check),
    /// `rules`: a rule.
    Rule(Rule),
}

impl<'a> Line<'a> {
    /// A line of the current schema.
    pub fn new(body: Body<'a>) -> Self {
        Self {
            schema: SCHEMA,
            body,
        }
    }

    /// Writes it, and the end of the line.
    pub(crate) fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }

    /// The line as text, with its end.
    pub fn text(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

/// The JSON Schema of all lines, as `docs/schema.json` has it.
pub fn schema() -> serde_json::Result<String> {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<Line<'_>>();
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

/// A moment.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct When {
    /// RFC 3339, UTC.
    #[schemars(extend("format" = "date-time"))]
    time: String,
    /// The same moment in ns of `CLOCK_BOOTTIME`.
    ktime_ns: Ktime,
}

impl When {
    /// The moment at which the kernel's clock shows `time`.
    pub fn new(clock: Clock, time: Ktime) -> Self {
        Self {
            time: clock.utc(time),
            ktime_ns: time,
        }
    }
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Pod {
    /// Its Kubernetes namespace, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its uid; for a pod without one, what identifies it instead. Escaped.
    pub uid: String,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Container {
    /// Its name, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its id, escaped.
    pub id: String,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Process {
    /// In the pid namespace of the node.
    pub pid: u32,
    /// When it was started, in ns of `CLOCK_BOOTTIME`. A pid and this name one process.
    pub start_ns: Ktime,
    /// In its own pid namespace.
    pub ns_pid: u32,
    /// Its name, 15 bytes at most, escaped.
    pub comm: String,
}

impl From<ProcessRef> for Process {
    fn from(process: ProcessRef) -> Self {
        let ProcessRef { id, ns_pid, comm } = process;
        Self {
            pid: id.pid,
            start_ns: id.start,
            ns_pid,
            comm: comm.to_string(),
        }
    }
}

/// Inode numbers by name of the namespace: `net`, `ipc` …
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Namespaces(BTreeMap<&'static str, u32>);

impl Namespaces {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(NamespaceKind, u32)> for Namespaces {
    fn from_iter<I: IntoIterator<Item = (NamespaceKind, u32)>>(found: I) -> Self {
        let found = found.into_iter();
        Self(found.map(|(kind, inode)| (kind.name(), inode)).collect())
    }
}

impl JsonSchema for Namespaces {
    fn schema_name() -> Cow<'static, str> {
        "Namespaces".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Inode numbers by name of the namespace.",
            "type": "object",
            "propertyNames": generator.subschema_for::<NamespaceKind>(),
            "additionalProperties": generator.subschema_for::<u32>(),
        })
    }
}
