//! The timeline in Chrome's trace event format ("Trace Event Format", the JSON object form), which
//! Perfetto and chrome://tracing open. A container is a group, and each of its processes is a
//! track.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::{
    critical::Critical,
    model::{Element, ElementKind, Extent, Timeline},
    words,
};
use crate::event::{ContainerId, Ktime};

/// The groups that every pod has: critical path, network, runtime and unassigned programs.
const PATH: u32 = 1;
const NETWORK: u32 = 2;
const RUNTIME: u32 = 3;
const UNASSIGNED: u32 = 4;
/// The group of the first container.
const CONTAINERS: u32 = 10;

/// The trace as a document.
pub fn trace(timeline: &Timeline) -> Json {
    let zero = timeline
        .began
        .or(timeline.elements.first().map(|first| first.time))
        .unwrap_or(0);
    let mut trace = Trace {
        timeline,
        zero,
        events: Vec::new(),
        tracks: BTreeMap::new(),
    };
    for element in &timeline.elements {
        trace.element(trace.group(element), element);
    }
    for element in &timeline.unassigned {
        trace.element(UNASSIGNED, element);
    }
    trace.path();
    // By time, and an enclosing slice before the enclosed one.
    trace
        .events
        .sort_by_key(|(time, end, _)| (*time, std::cmp::Reverse(*end)));
    let mut events = trace.names();
    events.extend(trace.events.into_iter().map(|(_, _, event)| event));
    json!({
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": { "pod": timeline.title(), "program": concat!("pause-trace ", env!("CARGO_PKG_VERSION")) },
    })
}

struct Trace<'a> {
    timeline: &'a Timeline,
    /// The zero of the trace's times.
    zero: Ktime,
    /// The events with their begin and end, by which they are sorted.
    events: Vec<(Ktime, Ktime, Json)>,
    /// The name of each track, by group and track.
    tracks: BTreeMap<(u32, u32), String>,
}

impl Trace<'_> {
    fn group(&self, element: &Element) -> u32 {
        match (&element.container, &element.what) {
            (Some(id), _) => self.group_of(id),
            (
                None,
                ElementKind::Plugin { .. }
                | ElementKind::Made { .. }
                | ElementKind::NetworkReady { .. },
            ) => NETWORK,
            (None, _) => RUNTIME,
        }
    }

    fn group_of(&self, id: &ContainerId) -> u32 {
        let index = self
            .timeline
            .containers
            .iter()
            .position(|lane| lane.id == *id);
        index
            .and_then(|index| u32::try_from(index).ok())
            .map_or(RUNTIME, |index| CONTAINERS + index)
    }

    fn element(&mut self, group: u32, element: &Element) {
        // Elements of the container as a whole have a separate track, beside those of its
        // processes.
        let track = match (&element.what, element.process) {
            (
                ElementKind::Create | ElementKind::CgroupMade { .. } | ElementKind::CgroupRemoved,
                _,
            )
            | (_, None) => 0,
            (_, Some(process)) => process.id.pid,
        };
        let name = match (track, element.process) {
            (0, _) | (_, None) => "all".to_owned(),
            (_, Some(process)) => format!("{} ({})", process.comm, process.id.pid),
        };
        self.tracks.insert((group, track), name);
        let end = element.end().unwrap_or(self.timeline.now).max(element.time);
        let mut event = json!({
            "name": words::phrase(self.timeline, element),
            "cat": element.what.name(),
            "ts": self.us(element.time),
            "pid": group,
            "tid": track,
            "args": { "evidence": words::evidence(&element.evidence), "ktime_ns": element.time },
        });
        match element.extent {
            Extent::Moment => (event["ph"], event["s"]) = ("i".into(), "t".into()),
            Extent::Until(_) | Extent::Open => {
                (event["ph"], event["dur"]) = ("X".into(), us(end.saturating_sub(element.time)));
            }
        }
        self.events.push((element.time, end, event));
    }

    fn path(&mut self) {
        let Some(critical) = Critical::of(self.timeline) else {
            return;
        };
        for step in &critical.steps {
            self.tracks.insert((PATH, 0), "critical path".to_owned());
            let container = step
                .share
                .container()
                .map(|id| self.timeline.container_title(id));
            let name = container.map_or(step.share.name().to_owned(), |title| {
                format!("{} {title}", step.share.name())
            });
            let event = json!({
                "name": name,
                "cat": "critical_path",
                "ph": "X",
                "ts": self.us(step.begin),
                "dur": us(step.took()),
                "pid": PATH,
                "tid": 0,
            });
            self.events.push((step.begin, step.end, event));
        }
    }

    /// The names of groups and tracks, and their order.
    fn names(&self) -> Vec<Json> {
        let group_name = |group: u32| match group {
            PATH => self.timeline.title(),
            NETWORK => "network".to_owned(),
            RUNTIME => "runtime".to_owned(),
            UNASSIGNED => "unassigned".to_owned(),
            _ => {
                let lane = self.timeline.containers.get((group - CONTAINERS) as usize);
                lane.map_or(String::new(), |lane| {
                    self.timeline.container_title(&lane.id)
                })
            }
        };
        let groups: BTreeSet<u32> = self.tracks.keys().map(|(group, _)| *group).collect();
        let metadata = |name: &str, pid: u32, tid: u32, args: Json| json!({ "name": name, "ph": "M", "ts": 0, "pid": pid, "tid": tid, "args": args });
        let of_groups = groups.into_iter().flat_map(|group| {
            [
                metadata(
                    "process_name",
                    group,
                    0,
                    json!({ "name": group_name(group) }),
                ),
                metadata(
                    "process_sort_index",
                    group,
                    0,
                    json!({ "sort_index": group }),
                ),
            ]
        });
        let of_tracks = self.tracks.iter().map(|((group, track), name)| {
            metadata("thread_name", *group, *track, json!({ "name": name }))
        });
        of_groups.chain(of_tracks).collect()
    }

    fn us(&self, time: Ktime) -> Json {
        us(time.saturating_sub(self.zero))
    }
}

/// Microseconds with a fraction.
fn us(ns: Ktime) -> Json {
    json!(ns as f64 / 1e3)
}
