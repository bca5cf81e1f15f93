//! The critical path: what a pod's start waited for.
//!
//! The path is built backwards from the last exec: from the end of a step to its beginning, and on
//! with the element that ran at that time or ended last before it. What ran in parallel with these
//! steps did not delay the start. Between the steps is time in which no process of the pod was
//! observed to run, for example while the kubelet or a daemon worked or an image was pulled.

use std::{cmp::Reverse, fmt};

use super::model::{Element, ElementKind, Evidence, Extent, Timeline};
use crate::event::{ContainerId, ContainerKind, Ktime};

/// What a step belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Share {
    Cni,
    /// The start of a shim or a monitor.
    Runtime,
    /// The creation of a container or the sandbox.
    Create(ContainerId),
    /// The run of an init container.
    Run(ContainerId),
    /// No process of the pod was observed to run.
    Waiting,
}

impl Share {
    /// Its name in JSON.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Cni => "cni",
            Self::Runtime => "runtime",
            Self::Create(_) => "create",
            Self::Run(_) => "run",
            Self::Waiting => "waiting",
        }
    }

    pub(crate) fn container(&self) -> Option<&ContainerId> {
        match self {
            Self::Create(id) | Self::Run(id) => Some(id),
            _ => None,
        }
    }
}

/// A step of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) share: Share,
    pub(crate) begin: Ktime,
    pub(crate) end: Ktime,
}

/// The path from the beginning to the exec of the last container, without gaps, earliest step
/// first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Critical {
    pub(crate) steps: Vec<Step>,
}

impl Critical {
    /// `None` if the pod is not up yet, or its start was not observed.
    pub(crate) fn of(timeline: &Timeline) -> Option<Self> {
        let (began, up) = (timeline.began?, timeline.up?);
        let worked: Vec<Step> = timeline
            .elements
            .iter()
            .filter_map(|element| step(timeline, element))
            .filter(|step| step.begin < step.end && step.end <= up)
            .collect();
        let mut steps = Vec::new();
        let mut now = up;
        while now > began {
            let before = worked.iter().filter(|step| step.begin < now);
            let last = before.max_by_key(|step| (step.end.min(now), Reverse(step.begin)));
            let end = last.map_or(began, |step| step.end.min(now));
            if end < now {
                steps.push(Step {
                    share: Share::Waiting,
                    begin: end,
                    end: now,
                });
            }
            let Some(last) = last else { break };
            steps.push(Step {
                end,
                ..last.clone()
            });
            now = last.begin;
        }
        steps.reverse();
        Some(Self { steps })
    }

    /// The duration of the whole path.
    pub(crate) fn total(&self) -> Ktime {
        self.steps.iter().map(|step| step.end - step.begin).sum()
    }

    /// The time of each share, the longest first.
    pub(crate) fn shares(&self) -> Vec<(&Share, Ktime)> {
        let mut shares: Vec<(&Share, Ktime)> = Vec::new();
        for step in &self.steps {
            let took = step.end - step.begin;
            match shares.iter_mut().find(|(share, _)| *share == &step.share) {
                Some((_, sum)) => *sum += took,
                None => shares.push((&step.share, took)),
            }
        }
        shares
            .sort_by(|(one, took), (other, took_other)| took_other.cmp(took).then(one.cmp(other)));
        shares
    }

    /// `up after 412 ms: CNI 61 %, create app 20 %, …`
    pub(crate) fn sentence(&self, timeline: &Timeline) -> String {
        let total = self.total().max(1);
        let part = |(share, took): (&Share, Ktime)| {
            format!(
                "{} {} %",
                Named(timeline, share),
                (took * 100 + total / 2) / total
            )
        };
        let parts: Vec<_> = self.shares().into_iter().map(part).collect();
        format!(
            "up after {}: {}",
            crate::verdict::Duration(self.total()),
            parts.join(", ")
        )
    }
}

/// The step that an element may be: an element that has ended and was only a part of the start.
fn step(timeline: &Timeline, element: &Element) -> Option<Step> {
    let Extent::Until(end) = element.extent else {
        return None;
    };
    let is_init = |id: &ContainerId| {
        timeline
            .containers
            .iter()
            .any(|lane| lane.id == *id && lane.kind == ContainerKind::Init)
    };
    let share = match (&element.what, &element.container) {
        (
            ElementKind::Plugin {
                delegated: false, ..
            },
            _,
        ) => Share::Cni,
        // A program that a shim executes, such as `runc start`, is part of the creation of a
        // container.
        (ElementKind::Program { .. }, None)
            if matches!(element.evidence, Evidence::AncestorOf(_)) =>
        {
            Share::Runtime
        }
        (ElementKind::Create, Some(id)) => Share::Create(id.clone()),
        (ElementKind::Run { .. }, Some(id)) if is_init(id) => Share::Run(id.clone()),
        _ => return None,
    };
    Some(Step {
        share,
        begin: element.time,
        end,
    })
}

/// A share as text.
struct Named<'a>(&'a Timeline, &'a Share);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Share::Cni => f.write_str("CNI"),
            Share::Runtime => f.write_str("shim"),
            Share::Create(id) => write!(f, "create {}", self.0.container_title(id)),
            Share::Run(id) => write!(f, "run {}", self.0.container_title(id)),
            Share::Waiting => f.write_str("waiting"),
        }
    }
}
