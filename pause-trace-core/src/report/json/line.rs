//! The lines themselves: what is written where, and in which order.

use std::{borrow::Cow, collections::BTreeMap};

use crate::errno::Errno;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::{
    event::{Kind, Ktime, NamespaceKind, signal_name},
    news::{Happened, News, TOLD},
    report::{
        Clock, Hook, Names, kind_name,
        names::{ContainerName, PodName},
        outcome_name,
    },
    rules::Counts,
    verdict::{Evidence, ProcessRef, Severity, Value, Values, Verdict},
};

const SCHEMA: u32 = 1;

#[derive(Serialize)]
pub(super) struct Line<'a> {
    schema: u32,
    #[serde(flatten)]
    body: Body<'a>,
}

impl<'a> Line<'a> {
    pub(super) fn new(body: Body<'a>) -> Self {
        Self {
            schema: SCHEMA,
            body,
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Body<'a> {
    Hello {
        #[serde(flatten)]
        when: When,
        version: &'a str,
        kernel: &'a str,
        arch: &'a str,
        hooks: &'a [Hook],
    },
    Finding(Finding<'a>),
    Verdict {
        #[serde(flatten)]
        about: About<'a>,
        message: &'a str,
    },
    Pod(Told),
    Scenario {
        #[serde(flatten)]
        when: When,
        family: &'a str,
        name: &'a str,
        title: &'a str,
        verdict: &'static str,
        proof: &'a str,
        reason: &'a str,
        found: &'a [&'static str],
        duration_ns: u64,
    },
    Loss {
        #[serde(flatten)]
        when: When,
        kind: &'static str,
        lost: u64,
    },
    Summary {
        #[serde(flatten)]
        when: When,
        scenarios: Tally,
        verdicts: Tally,
        #[serde(serialize_with = "by_rule")]
        rules: &'a [(&'static str, Counts)],
        #[serde(serialize_with = "by_kind")]
        events: &'a [(Kind, u64)],
        #[serde(serialize_with = "by_kind")]
        lost: &'a [(Kind, u64)],
        duration_ns: u64,
        interrupted: bool,
    },
}

#[derive(Default, Serialize)]
pub(super) struct When {
    time: String,
    ktime_ns: Ktime,
}

impl When {
    pub(super) fn new(clock: Clock, time: Ktime) -> Self {
        Self {
            time: clock.utc(time),
            ktime_ns: time,
        }
    }
}

/// Something that happened to a pod.
#[derive(Default, Serialize)]
pub(super) struct Told {
    #[serde(flatten)]
    when: When,
    event: &'static str,
    pod: Option<PodName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<ContainerName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<bool>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    namespaces: BTreeMap<&'static str, u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lived_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdicts: Option<Tally>,
}

impl Told {
    pub(super) fn new(news: &News, names: &Names, clock: Clock) -> Self {
        let told = Self {
            when: When::new(clock, news.time),
            event: news.what.name(),
            pod: Some(names.pod(&news.pod)),
            container: news.container.as_ref().map(|id| names.container(id)),
            ..Self::default()
        };
        let named = |kinds: &[NamespaceKind]| Some(kinds.iter().map(|kind| kind.name()).collect());
        match &news.what {
            Happened::Started {
                process,
                is_pause,
                found,
                namespaces,
                shared,
                host,
            } => Self {
                process: Some((*process).into()),
                pause: Some(*is_pause),
                found: Some(*found),
                namespaces: TOLD
                    .into_iter()
                    .map(|kind| (kind.name(), namespaces.get(kind)))
                    .collect(),
                shared: named(shared),
                host: named(host),
                ..told
            },
            Happened::Ended {
                process,
                is_pause,
                status,
                lived,
            } => Self {
                process: Some((*process).into()),
                pause: Some(*is_pause),
                status: Some(status.to_string()),
                lived_ns: Some(*lived),
                ..told
            },
            Happened::Removed { lived } => Self {
                lived_ns: Some(*lived),
                ..told
            },
            Happened::Verified { verdicts } => Self {
                verdicts: Some((*verdicts).into()),
                ..told
            },
        }
    }
}

/// What a finding and a verdict have in common.
#[derive(Serialize)]
pub(super) struct About<'a> {
    #[serde(flatten)]
    when: When,
    rule: &'a str,
    name: &'a str,
    severity: Severity,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<PodName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<ContainerName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
}

impl<'a> About<'a> {
    pub(super) fn new(verdict: &'a Verdict, names: &Names, clock: Clock) -> Self {
        let Verdict {
            rule,
            outcome,
            time,
            subject,
            ..
        } = verdict;
        Self {
            when: When::new(clock, *time),
            rule: rule.id,
            name: rule.name,
            severity: verdict.severity(),
            verdict: outcome_name(*outcome),
            pod: subject.pod.as_ref().map(|pod| names.pod(pod)),
            container: subject
                .container
                .as_ref()
                .map(|container| names.container(container)),
            process: subject.process.map(Process::from),
        }
    }
}

/// A verdict with all that led to it.
#[derive(Serialize)]
pub struct Finding<'a> {
    #[serde(flatten)]
    about: About<'a>,
    expected: Named<'a>,
    observed: Named<'a>,
    message: &'a str,
    evidence: Vec<Led<'a>>,
}

impl<'a> Finding<'a> {
    /// A verdict, with the names of its pod and container.
    pub fn new(verdict: &'a Verdict, names: &Names, clock: Clock) -> Self {
        let details = &verdict.details;
        let led = |step: &'a Evidence| Led {
            when: When::new(clock, step.time),
            what: &step.what,
        };
        Self {
            about: About::new(verdict, names, clock),
            expected: Named(&details.expected),
            observed: Named(&details.observed),
            message: &details.message,
            evidence: details.evidence.iter().map(led).collect(),
        }
    }
}

#[derive(Serialize)]
struct Process {
    pid: u32,
    start_ns: Ktime,
    ns_pid: u32,
    comm: String,
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

/// A step of the evidence.
#[derive(Serialize)]
struct Led<'a> {
    #[serde(flatten)]
    when: When,
    what: &'a str,
}

#[derive(Serialize)]
pub(super) struct Tally {
    pass: u64,
    fail: u64,
    inconclusive: u64,
}

impl From<Counts> for Tally {
    fn from(counts: Counts) -> Self {
        let Counts {
            pass,
            fail,
            inconclusive,
        } = counts;
        Self {
            pass,
            fail,
            inconclusive,
        }
    }
}

/// Named values as an object, in their order, whose keys say the unit.
pub(in crate::report) struct Named<'a>(pub(in crate::report) &'a Values);

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

fn key<'a>(name: &'a str, unit: &str) -> Cow<'a, str> {
    if name.ends_with(unit) {
        name.into()
    } else {
        format!("{name}{unit}").into()
    }
}

fn by_rule<S: Serializer>(
    rules: &[(&'static str, Counts)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(rules.iter().map(|(id, counts)| (id, Tally::from(*counts))))
}

fn by_kind<S: Serializer>(kinds: &[(Kind, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(kinds.iter().map(|(kind, count)| (kind_name(*kind), count)))
}
