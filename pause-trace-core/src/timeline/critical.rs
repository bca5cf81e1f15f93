//! What a pod's start waited for: the chain of what ended last, from the last exec back to the beginning.
//!
//! From the end of one step back to its beginning, then on with what ran then, or had ended last. What ran beside these steps
//! cost nothing. Time between them, in which nothing of the pod's was seen to run, is nobody's: the kubelet's, a daemon's own,
//! an image's that is pulled.

use std::{cmp::Reverse, fmt};

use super::model::{Element, Evidence, Extent, Timeline, What};
use crate::event::{ContainerId, ContainerKind, Ktime};

/// Whose a step is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Share {
    Cni,
    /// A shim or a monitor started.
    Runtime,
    /// A container was created, or the sandbox.
    Create(ContainerId),
    /// An init container ran.
    Run(ContainerId),
    /// Nothing of the pod's was seen to run.
    Waiting,
}

impl Share {
    /// As machines call it.
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

/// A part of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) share: Share,
    pub(crate) begin: Ktime,
    pub(crate) end: Ktime,
}

/// The way from the beginning to the last container's exec, without gaps, earliest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Critical {
    pub(crate) steps: Vec<Step>,
}

impl Critical {
    /// `None` while the pod is not up, or where its start was not seen.
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

    /// How long all of it took.
    pub(crate) fn total(&self) -> Ktime {
        self.steps.iter().map(|step| step.end - step.begin).sum()
    }

    /// By share, the longest first.
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

/// What may be a step: what is over, and did nothing but its part of the start.
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
            What::Plugin {
                delegated: false, ..
            },
            _,
        ) => Share::Cni,
        // What a shim executes itself, as `runc start`, is a part of some creation.
        (What::Program { .. }, None) if matches!(element.evidence, Evidence::AncestorOf(_)) => {
            Share::Runtime
        }
        (What::Create, Some(id)) => Share::Create(id.clone()),
        (What::Run { .. }, Some(id)) if is_init(id) => Share::Run(id.clone()),
        _ => return None,
    };
    Some(Step {
        share,
        begin: element.time,
        end,
    })
}

/// A share in words.
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
