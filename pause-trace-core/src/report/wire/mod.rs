//! The JSON that the program writes: the types of all lines, and the schema that is generated from
//! them.
//!
//! Each line is an object with `schema` ([`SCHEMA`]) and `type`. Within a version of the schema,
//! fields may be added, and no field is renamed or removed. Times are RFC 3339 in UTC with nine
//! digits, next to `ktime_ns`, ns of `CLOCK_BOOTTIME`. Text that a pod chooses is escaped
//! (`\u{1b}`, `\xff`, `\\`) before it becomes a JSON string. A field with an unknown value is left
//! out.
//!
//! `docs/schema.json` contains the result of [`schema`]. A test compares the two.

mod node;
mod pods;
mod stream;
mod timeline;
mod verdict;
mod why;

use std::{borrow::Cow, collections::BTreeMap, io};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde::Serialize;

pub use node::{Check, Rule, State};
pub use pods::{
    ComparedNamespace, Head, Inspect, InspectedContainer, Interface, ListedPod, Listening, Misfit,
    Network, Pause, Port, Route, RunningProcess, Sender, Signal, VerdictCounts,
};
pub(crate) use stream::{Hello, Loss, PodEvent, Scenario, Summary};
pub(crate) use timeline::{Element, ElementDetails, Step, Timeline};
pub use verdict::Finding;
pub(crate) use verdict::{Decided, Named};
pub use why::{Happened, History, Reason, RemovedPod, RemovedRun, Why};

use super::Clock;
use crate::{
    event::{ContainerId, Ktime, NamespaceKind, Text, run_container, run_number},
    verdict::ProcessRef,
};

/// The version of the schema. It is raised when a field is renamed, removed or changes its meaning.
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

/// The content of a line, by type.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[expect(
    private_interfaces,
    reason = "only the core creates the lines of a run and of a timeline"
)]
pub enum Body<'a> {
    /// `run`, `watch`, `check` and `replay`: the first line.
    Hello(Hello<'a>),
    /// `run`, `watch`, `check` and `replay`: a promise was broken.
    Finding(Finding<'a>),
    /// `run`, `watch`, `check` and `replay`: the verdict of a rule. Each finding is followed by its
    /// verdict, which has the same `id`.
    Verdict(Decided<'a>),
    /// `run`, `watch` and `replay`: a pod or container started or ended, or a pod was verified.
    Pod(Box<PodEvent>),
    /// `run`, `check` and `replay`: a scenario ended.
    Scenario(Scenario<'a>),
    /// `run`, `watch`, `check` and `replay`: kernel events were dropped; one line for each kind and
    /// second.
    Loss(Loss),
    /// `run`, `watch`, `check` and `replay`: the last line.
    Summary(Summary<'a>),
    /// `ls`: a pod and its pause. It has the field `ebpf`, which the other lines of type `pod` do
    /// not have.
    #[serde(rename = "pod")]
    Listed(Box<ListedPod>),
    /// `inspect`: the only line.
    Inspect(Box<Inspect<'a>>),
    /// `timeline`: something that happened to the pod or that its runtime did for it.
    Element(Box<Element>),
    /// `timeline`: a program of a runtime that cannot be attributed to a pod.
    Unassigned(Box<Element>),
    /// `timeline`: the last line.
    Timeline(Timeline),
    /// `why`: the only line.
    Why(Box<Why>),
    /// `doctor`: the result of a check.
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

    /// Writes the line, with a newline.
    pub(crate) fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }

    /// The line as text, with a newline.
    pub fn text(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

/// The JSON Schema of all lines, the content of `docs/schema.json`.
pub fn schema() -> serde_json::Result<String> {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<Line<'_>>();
    let mut schema = schema.to_value();
    join_lines(&mut schema);
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

/// Makes each paragraph of the descriptions one line: doc comments are wrapped.
fn join_lines(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                match value {
                    serde_json::Value::String(text) if key == "description" => {
                        let paragraphs = text.split("\n\n");
                        let paragraphs = paragraphs.map(|paragraph| paragraph.replace('\n', " "));
                        *text = paragraphs.collect::<Vec<_>>().join("\n\n");
                    }
                    value => join_lines(value),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(join_lines),
        _ => {}
    }
}

/// A time.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct When {
    /// RFC 3339, UTC.
    #[schemars(extend("format" = "date-time"))]
    time: String,
    /// The same time in ns of `CLOCK_BOOTTIME`.
    ktime_ns: Ktime,
}

impl When {
    /// The time that the kernel's clock shows as `time`.
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
    /// Its uid, or what identifies a pod without one. Escaped.
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
    /// Which run of the container it is, if it was started again under the same id: 2, 3 …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<u32>,
}

impl Container {
    /// A run of a container. `name` is escaped.
    pub fn of_run(run: &ContainerId, name: Option<String>) -> Self {
        let number = run_number(run);
        Self {
            name,
            id: Text::new(run_container(run)).to_string(),
            run: (number > 1).then_some(number),
        }
    }
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Process {
    /// Its pid in the node's pid namespace.
    pub pid: u32,
    /// When it started, in ns of `CLOCK_BOOTTIME`. Together with the pid it identifies the process.
    pub start_ns: Ktime,
    /// Its pid in its own pid namespace.
    pub ns_pid: u32,
    /// Its name of at most 15 bytes, escaped.
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

/// Inode numbers by the name of the namespace: `net`, `ipc` …
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
            "description": "Inode numbers by the name of the namespace.",
            "type": "object",
            "propertyNames": generator.subschema_for::<NamespaceKind>(),
            "additionalProperties": generator.subschema_for::<u32>(),
        })
    }
}
