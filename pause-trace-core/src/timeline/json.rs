//! The timeline as JSON lines: one a element, and at the end one that sums up. Described in docs/events.md.

use std::{collections::BTreeMap, io};

use crate::errno::Errno;
use serde::Serialize;

use super::{
    critical::Critical,
    model::{Element, Extent, Making, Timeline, What, Whose},
    words,
};
use crate::{
    event::{ContainerId, Ktime, Text, signal_name},
    report::{Clock, kind_name},
    verdict::ProcessRef,
};

const SCHEMA: u32 = 1;

/// What no hook sees, and is not told therefore.
const NOT_VISIBLE: [&str; 1] = ["first_listen"];

/// The elements that `wanted` takes, what is nobody's, and the sum.
pub fn lines(
    timeline: &Timeline,
    clock: Clock,
    wanted: impl Fn(&Element) -> bool,
) -> io::Result<String> {
    let mut text = String::new();
    for element in timeline.elements.iter().filter(|element| wanted(element)) {
        text += &element_line(timeline, element, clock)?;
    }
    for element in &timeline.unassigned {
        text += &line(&Line::new(timeline, element, "unassigned", clock))?;
    }
    text += &line(&Sum::new(timeline, clock))?;
    Ok(text)
}

/// One element.
pub fn element_line(timeline: &Timeline, element: &Element, clock: Clock) -> io::Result<String> {
    line(&Line::new(timeline, element, "element", clock))
}

fn line(body: &impl Serialize) -> io::Result<String> {
    let mut text = serde_json::to_string(body)?;
    text.push('\n');
    Ok(text)
}

#[derive(Serialize)]
struct Line {
    schema: u32,
    r#type: &'static str,
    time: String,
    ktime_ns: Ktime,
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ns: Option<Ktime>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    open: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Pod>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
    #[serde(flatten)]
    details: Details,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<String>,
}

impl Line {
    fn new(timeline: &Timeline, element: &Element, kind: &'static str, clock: Clock) -> Self {
        Self {
            schema: SCHEMA,
            r#type: kind,
            time: clock.utc(element.time),
            ktime_ns: element.time,
            what: element.what.name(),
            duration_ns: element.took(),
            open: element.extent == Extent::Open,
            pod: (kind == "element").then(|| Pod::of(timeline)),
            container: element
                .container
                .as_ref()
                .map(|id| Container::new(timeline, id)),
            process: element.process.map(Process::from),
            details: Details::of(&element.what),
            message: words::phrase(timeline, element),
            evidence: words::evidence(&element.evidence),
        }
    }
}

#[derive(Serialize)]
struct Pod {
    namespace: String,
    name: String,
    uid: String,
}

impl Pod {
    fn of(timeline: &Timeline) -> Self {
        Self {
            namespace: timeline.namespace.to_string(),
            name: timeline.name.to_string(),
            uid: Text::new(&timeline.pod).to_string(),
        }
    }
}

#[derive(Serialize)]
struct Container {
    name: String,
    id: String,
}

impl Container {
    fn new(timeline: &Timeline, id: &ContainerId) -> Self {
        Self {
            name: timeline.container_title(id),
            id: Text::new(id).to_string(),
        }
    }
}

#[derive(Serialize)]
struct Process {
    pid: u32,
    start_ns: Ktime,
    comm: String,
}

impl From<ProcessRef> for Process {
    fn from(process: ProcessRef) -> Self {
        Self {
            pid: process.id.pid,
            start_ns: process.id.start,
            comm: process.comm.to_string(),
        }
    }
}

/// What only some elements have.
#[derive(Default, Serialize)]
struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delegated: Option<bool>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    namespaces: BTreeMap<&'static str, u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    how: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    whose: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Process>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waited_ns: Option<Ktime>,
}

impl Details {
    fn of(what: &What) -> Self {
        let none = Self::default();
        match what {
            What::Plugin { file, delegated } => Self {
                file: Some(file.to_string()),
                delegated: Some(*delegated),
                ..none
            },
            What::Program { file } | What::Run { file } | What::Session { file } => Self {
                file: Some(file.to_string()),
                ..none
            },
            What::Made { namespaces, how } => Self {
                namespaces: namespaces
                    .iter()
                    .map(|(kind, inode)| (kind.name(), *inode))
                    .collect(),
                how: Some(match how {
                    Making::Unshare => "unshare",
                    Making::Clone => "clone",
                }),
                ..none
            },
            What::Joined { kind, inode, whose } => Self {
                namespaces: [(kind.name(), *inode)].into(),
                whose: Some(match whose {
                    Whose::Pod => "pod",
                    Whose::Host => "host",
                    Whose::Other => "other",
                }),
                ..none
            },
            What::Refused { kinds, errno } => Self {
                refused: kinds.iter().map(|kind| kind.name()).collect(),
                errno: Some(format!("{:?}", Errno(*errno))),
                ..none
            },
            What::CgroupMade { path } => Self {
                path: Some(path.to_string()),
                ..none
            },
            What::NetworkReady { address } => Self {
                address: Some(address.to_string()),
                ..none
            },
            What::Signal { signal, from, .. } => Self {
                signal: Some(signal_name(*signal)),
                from: from.map(Process::from),
                ..none
            },
            What::Exited { status } => Self {
                status: Some(status.to_string()),
                ..none
            },
            What::Reaped { after } => Self {
                waited_ns: Some(*after),
                ..none
            },
            What::Create | What::CgroupEntered | What::CgroupRemoved | What::Removed => none,
        }
    }
}

/// What it all comes to.
#[derive(Serialize)]
struct Sum {
    schema: u32,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ktime_ns: Option<Ktime>,
    pod: Pod,
    #[serde(skip_serializing_if = "Option::is_none")]
    up_ns: Option<Ktime>,
    path: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    elements: usize,
    unassigned: usize,
    not_visible: [&'static str; 1],
    lost: BTreeMap<&'static str, u64>,
    cut: bool,
}

#[derive(Serialize)]
struct Step {
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Container>,
    ktime_ns: Ktime,
    duration_ns: Ktime,
}

impl Sum {
    fn new(timeline: &Timeline, clock: Clock) -> Self {
        let critical = Critical::of(timeline);
        let steps = critical
            .iter()
            .flat_map(|critical| &critical.steps)
            .map(|step| Step {
                what: step.share.name(),
                container: step
                    .share
                    .container()
                    .map(|id| Container::new(timeline, id)),
                ktime_ns: step.begin,
                duration_ns: step.end - step.begin,
            });
        Self {
            schema: SCHEMA,
            r#type: "timeline",
            time: timeline.began.map(|began| clock.utc(began)),
            ktime_ns: timeline.began,
            pod: Pod::of(timeline),
            up_ns: critical.as_ref().map(Critical::total),
            path: steps.collect(),
            message: critical
                .as_ref()
                .map(|critical| critical.sentence(timeline)),
            elements: timeline.elements.len(),
            unassigned: timeline.unassigned.len() + timeline.more_unassigned,
            not_visible: NOT_VISIBLE,
            lost: timeline
                .lost
                .iter()
                .map(|(kind, count)| (kind_name(*kind), *count))
                .collect(),
            cut: timeline.is_cut,
        }
    }
}
