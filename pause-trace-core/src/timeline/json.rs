//! The timeline as JSON lines: one for each element, and one for the whole at the end.
//! docs/events.md describes them.

use std::io;

use super::{
    critical::Critical,
    model::{CreatedBy, Element, ElementKind, Extent, Owner, Timeline},
    words,
};
use crate::{
    errno::Errno,
    event::{ContainerId, OciCommand, Text, signal_name},
    report::{
        Clock,
        wire::{self, Body, Container, ElementDetails, Line, Pod, Process, Step, When},
    },
};

/// The elements that `wanted` selects, the unassigned ones, and the timeline as a whole.
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
        text += &line(Body::Unassigned(Box::new(wire::Element {
            pod: None,
            ..described(timeline, element, clock)
        })))?;
    }
    text += &line(Body::Timeline(sum(timeline, clock)))?;
    Ok(text)
}

/// One element.
pub fn element_line(timeline: &Timeline, element: &Element, clock: Clock) -> io::Result<String> {
    line(Body::Element(Box::new(described(timeline, element, clock))))
}

fn line(body: Body<'_>) -> io::Result<String> {
    Ok(Line::new(body).text()?)
}

fn described(timeline: &Timeline, element: &Element, clock: Clock) -> wire::Element {
    let details = details(&element.what);
    wire::Element {
        when: When::new(clock, element.time),
        what: element.what.name(),
        duration_ns: element.duration(),
        open: element.extent == Extent::Open,
        pod: Some(pod(timeline)),
        container: element.container.as_ref().map(|id| container(timeline, id)),
        process: element.process.map(Process::from),
        thread: element.thread,
        details: ElementDetails {
            status: element
                .status
                .map(|status| status.to_string())
                .or(details.status.clone()),
            ..details
        },
        message: words::phrase(timeline, element),
        evidence: words::evidence(&element.evidence),
    }
}

fn pod(timeline: &Timeline) -> Pod {
    Pod {
        namespace: Some(timeline.namespace.to_string()),
        name: Some(timeline.name.to_string()),
        uid: Text::new(&timeline.pod).to_string(),
    }
}

fn container(timeline: &Timeline, id: &ContainerId) -> Container {
    Container::of_run(id, Some(timeline.container_title(id)))
}

/// The fields that only some elements have.
fn details(what: &ElementKind) -> ElementDetails {
    let none = ElementDetails::default();
    match what {
        ElementKind::Plugin {
            file,
            delegated,
            asked,
        } => ElementDetails {
            file: Some(file.to_string()),
            delegated: Some(*delegated),
            command: asked.as_ref().map(|(command, _)| command.name()),
            interface: asked.as_ref().map(|(_, interface)| interface.to_string()),
            ..none
        },
        ElementKind::Program { file, asked } => ElementDetails {
            file: Some(file.to_string()),
            command: asked.map(OciCommand::name).filter(|name| !name.is_empty()),
            ..none
        },
        ElementKind::Run { file, restart } => ElementDetails {
            file: Some(file.to_string()),
            restart: restart.map(|restart| restart.count),
            after_last_end_ns: restart.and_then(|restart| restart.after),
            ..none
        },
        ElementKind::Session { file } | ElementKind::Hook { file } => ElementDetails {
            file: Some(file.to_string()),
            ..none
        },
        ElementKind::Made { namespaces, how } => ElementDetails {
            namespaces: namespaces.iter().copied().collect(),
            how: Some(match how {
                CreatedBy::Unshare => "unshare",
                CreatedBy::Clone => "clone",
            }),
            ..none
        },
        ElementKind::Joined { kind, inode, owner } => ElementDetails {
            namespaces: [(*kind, *inode)].into_iter().collect(),
            whose: Some(match owner {
                Owner::Pod => "pod",
                Owner::Host => "host",
                Owner::Other => "other",
            }),
            ..none
        },
        ElementKind::Refused { kinds, errno } => ElementDetails {
            refused: kinds.clone(),
            errno: Some(format!("{:?}", Errno(*errno))),
            ..none
        },
        ElementKind::CgroupMade { path } => ElementDetails {
            path: Some(path.to_string()),
            ..none
        },
        ElementKind::NetworkReady { address } => ElementDetails {
            address: Some(address.to_string()),
            ..none
        },
        ElementKind::Listens {
            address,
            port,
            is_first,
        } => ElementDetails {
            address: Some(address.to_string()),
            port: *port,
            first: Some(*is_first),
            ..none
        },
        ElementKind::Signal { signal, from, .. } => ElementDetails {
            signal: Some(signal_name(*signal)),
            from: from.map(Process::from),
            ..none
        },
        ElementKind::Exited { status } => ElementDetails {
            status: Some(status.to_string()),
            ..none
        },
        ElementKind::Reaped { after } => ElementDetails {
            waited_ns: Some(*after),
            ..none
        },
        ElementKind::Create
        | ElementKind::CgroupEntered
        | ElementKind::CgroupRemoved
        | ElementKind::Removed => none,
    }
}

/// The timeline as a whole.
fn sum(timeline: &Timeline, clock: Clock) -> wire::Timeline {
    let critical = Critical::of(timeline);
    let steps = critical
        .iter()
        .flat_map(|critical| &critical.steps)
        .map(|step| Step {
            what: step.share.name(),
            container: step.share.container().map(|id| container(timeline, id)),
            ktime_ns: step.begin,
            duration_ns: step.took(),
        });
    wire::Timeline {
        time: timeline.began.map(|began| clock.utc(began)),
        ktime_ns: timeline.began,
        pod: pod(timeline),
        up_ns: critical.as_ref().map(Critical::total),
        path: steps.collect(),
        message: critical
            .as_ref()
            .map(|critical| critical.sentence(timeline)),
        elements: timeline.elements.len(),
        unassigned: timeline.unassigned.len() + timeline.more_unassigned,
        first_listen_ns: timeline.listened_after(),
        not_visible: match timeline.sees_listeners {
            true => &["udp"],
            false => &["first_listen", "udp"],
        },
        lost: timeline
            .lost
            .iter()
            .map(|(kind, count)| (kind.name(), *count))
            .collect(),
        cut: timeline.is_cut,
    }
}
