//! The critical path: what a pod's start waited for.
//!
//! The path is built backwards from the last exec: from the end of a step to its beginning, and on
//! with the element that ran at that time or ended last before it. What ran in parallel with these
//! steps did not delay the start. Between the steps is time in which no process of the pod was
//! observed to run, for example while the kubelet or a daemon worked or an image was pulled.

use std::{cmp::Reverse, fmt};

use foldhash::{HashSet, HashSetExt as _};

use super::model::{Element, ElementKind, Evidence, Extent, Lane, Timeline};
use crate::{
    event::{ContainerId, ContainerKind, Ktime, WaitStatus},
    verdict::Duration,
};

/// What a step belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Share {
    Cni,
    /// The start of a shim or a monitor.
    Runtime,
    /// The creation of a container or the sandbox.
    Create(ContainerId),
    /// The run of an init container. See [`inits`].
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

impl Step {
    /// The events of a damaged recording have any times.
    pub(crate) fn took(&self) -> Ktime {
        self.end.saturating_sub(self.begin)
    }
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
        let inits = inits(timeline);
        let worked: Vec<Step> = timeline
            .elements
            .iter()
            .filter_map(|element| step(&inits, element))
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
        self.steps
            .iter()
            .map(Step::took)
            .fold(0, Ktime::saturating_add)
    }

    /// The time of each share, the longest first.
    pub(crate) fn shares(&self) -> Vec<(&Share, Ktime)> {
        let mut shares: Vec<(&Share, Ktime)> = Vec::new();
        for step in &self.steps {
            let took = step.took();
            match shares.iter_mut().find(|(share, _)| *share == &step.share) {
                Some((_, sum)) => *sum = sum.saturating_add(took),
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
                (u128::from(took) * 100 + u128::from(total) / 2) / u128::from(total)
            )
        };
        let parts: Vec<_> = self.shares().into_iter().map(part).collect();
        let mut sentence = format!("up after {}: {}", Duration(self.total()), parts.join(", "));
        if let Some(after) = timeline.listened_after() {
            sentence.push_str(&format!("; first listen after {}", Duration(after)));
            if let Some((container, took)) = timeline.until_listening() {
                let title = timeline.container_title(container);
                sentence.push_str(&format!(": {title} ran for {} until then", Duration(took)));
            }
        }
        sentence
    }
}

impl Timeline {
    /// How long after the beginning of the start a process of the pod first listened.
    pub(crate) fn listened_after(&self) -> Option<Ktime> {
        Some(self.first_listen?.saturating_sub(self.began?))
    }

    /// The container that listened first, and how long its entrypoint had run by then: what the
    /// start waits for after the exec is the container's own work.
    pub(crate) fn until_listening(&self) -> Option<(&ContainerId, Ktime)> {
        let is_listen = |element: &&Element| matches!(element.what, ElementKind::Listens { .. });
        let first = self.elements.iter().find(is_listen)?;
        let container = first.container.as_ref()?;
        let is_run = |element: &&Element| {
            matches!(element.what, ElementKind::Run { .. })
                && element.container.as_ref() == Some(container)
        };
        let run = self.elements.iter().find(is_run)?;
        Some((container, first.time.saturating_sub(run.time)))
    }
}

/// The containers for whose end the start waited. No runtime says which containers are init
/// containers. But the kubelet creates no other container until an init container has exited with
/// 0, so a container counts as one whose first run ended so before the next container was created.
fn inits(timeline: &Timeline) -> HashSet<&ContainerId> {
    let mut names = HashSet::new();
    let is_counted = |lane: &&Lane| matches!(lane.kind, ContainerKind::Init | ContainerKind::App);
    // Of each container, the first run.
    let first: Vec<&Lane> = timeline
        .containers
        .iter()
        .filter(is_counted)
        .filter(|lane| names.insert(&lane.name))
        .collect();
    let of = |lane: &Lane| {
        let elements = timeline.elements.iter();
        let id = lane.id.clone();
        elements.filter(move |element| element.container.as_ref() == Some(&id))
    };
    let created = |lane: &Lane| {
        let create = of(lane).find(|element| element.what == ElementKind::Create)?;
        Some(create.time)
    };
    let succeeded = |lane: &Lane| {
        let run = of(lane).find(|element| matches!(element.what, ElementKind::Run { .. }))?;
        let mut exits = of(lane).filter(|element| element.process == run.process);
        let has_succeeded = exits.any(|element| {
            let success = WaitStatus::exited(0);
            matches!(element.what, ElementKind::Exited { status } if status == success)
        });
        run.end().filter(|_| has_succeeded)
    };
    let is_init = |(at, lane): &(usize, &&Lane)| {
        let mut later = first[at + 1..].iter().filter_map(|lane| created(lane));
        let next = later.next().map(|first| later.fold(first, Ktime::min));
        lane.kind == ContainerKind::Init
            || succeeded(lane)
                .zip(next)
                .is_some_and(|(end, next)| end <= next)
    };
    let inits = first.iter().enumerate().filter(is_init);
    inits.map(|(_, lane)| &lane.id).collect()
}

/// The step that an element may be: an element that has ended and was only a part of the start.
fn step(inits: &HashSet<&ContainerId>, element: &Element) -> Option<Step> {
    let Extent::Until(end) = element.extent else {
        return None;
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
        (ElementKind::Run { .. }, Some(id)) if inits.contains(id) => Share::Run(id.clone()),
        _ => return None,
    };
    Some(Step {
        share,
        begin: element.time,
        end,
    })
}

/// A share as text.
pub(super) struct Named<'a>(pub(super) &'a Timeline, pub(super) &'a Share);

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
