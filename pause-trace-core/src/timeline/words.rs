//! Elements as text: a phrase for each, escaped.

use crate::errno::Errno;

use super::model::{CreatedBy, Element, ElementKind, Evidence, Owner, Timeline};
use crate::{
    event::{NamespaceKind, OciCommand, SignalResult, Text, signal_name},
    text::{counted, endpoint},
    verdict::{Duration, ProcessRef},
};

/// What is said of a pod that ran before pause-trace did.
pub(super) const NOT_OBSERVED: &str =
    "the pod started before pause-trace: its start was not observed";
/// What is said of a pod that has not started completely.
pub(super) const NOT_UP: &str =
    "the pod is not up: no container is known, or a known container has not executed";

/// What is known of the ports on which processes listen, and what is not.
pub(super) fn listening(timeline: &Timeline) -> &'static str {
    match timeline.first_listen {
        _ if !timeline.sees_listeners => {
            "The timeline does not show when a process first listens: no hook reported it."
        }
        None if timeline.began.is_some() => {
            "No process has listened on a TCP port. UDP has no listen, so it is not visible."
        }
        None => {
            "TCP ports on which processes listened before pause-trace started are not visible, \
             and no UDP ports."
        }
        Some(_) => "UDP has no listen, so its ports are not visible.",
    }
}

/// Why the timeline may be incomplete, a sentence for each reason.
pub(super) fn doubts(timeline: &Timeline) -> Vec<String> {
    let lost = timeline.lost.iter().map(|(kind, count)| {
        let records = counted(*count, &format!("{} record", kind.name()));
        format!("lost {records}: the timeline may be incomplete")
    });
    let cut = timeline
        .is_cut
        .then(|| "more processes ran than are kept: the timeline may be incomplete".to_owned());
    lost.chain(cut).collect()
}

/// `app · joins the pod's net 4026532247`
pub(super) fn phrase(timeline: &Timeline, element: &Element) -> String {
    let mut what = what(element);
    if let Some(thread) = element.thread {
        what.push_str(&format!(", in thread {thread}"));
    }
    // An entrypoint and a session have an element of their own for their end.
    let is_told = matches!(
        element.what,
        ElementKind::Run { .. } | ElementKind::Session { .. } | ElementKind::Hook { .. }
    );
    let failure = element.failure().filter(|_| !is_told);
    if let Some(status) = failure {
        what.push_str(&format!(", {status}"));
    }
    match &element.container {
        Some(id) => format!("{} · {what}", timeline.container_title(id)),
        None => what,
    }
}

fn what(element: &Element) -> String {
    let by = |before: &str| {
        element
            .process
            .map_or(String::new(), |process| format!("{before}{}", who(process)))
    };
    match &element.what {
        ElementKind::Plugin {
            file,
            delegated,
            asked,
        } => {
            let indent = if *delegated { "  " } else { "" };
            let asked = asked
                .as_ref()
                .map_or_else(String::new, |(command, interface)| {
                    let asked = format!(" {} {interface}", command.name());
                    asked.trim_end().to_owned()
                });
            format!("CNI {indent}{}{asked}", base_name(file))
        }
        // runc executes a copy of itself that no container can write to. The name of that file has
        // no meaning.
        ElementKind::Program { file, .. } if file.names_itself() => {
            element.process.map_or(String::new(), |process| {
                format!("{} (re-executed)", process.comm)
            })
        }
        ElementKind::Program { file, asked } => match asked.map_or("", OciCommand::name) {
            "" => base_name(file),
            command => format!("{} {command}", base_name(file)),
        },
        ElementKind::Create => "create".to_owned(),
        ElementKind::Run { file, restart } => match restart {
            Some(restart) => format!("runs {file}, {restart}"),
            None => format!("runs {file}"),
        },
        ElementKind::Session { file } => format!("session {file}"),
        ElementKind::Hook { file } => format!("OCI hook {file}"),
        ElementKind::Made { namespaces, how } => {
            let made = namespaces
                .iter()
                .map(|(kind, inode)| format!("{} {inode}", kind.name()));
            let made = made.collect::<Vec<_>>().join(" ");
            match how {
                CreatedBy::Unshare => format!("creates {made}{}", by(": ")),
                CreatedBy::Clone => format!("is forked into {made}{}", by(": ")),
            }
        }
        ElementKind::Joined { kind, inode, owner } => {
            let kind = kind.name();
            match owner {
                Owner::Pod => format!("joins the pod's {kind} {inode}"),
                Owner::Host => format!("joins the host's {kind} {inode}"),
                Owner::Other => {
                    format!("joins {kind} {inode}, neither the pod's nor the host's")
                }
            }
        }
        ElementKind::Refused { kinds, errno } => {
            let kinds: Vec<_> = kinds
                .iter()
                .map(|kind: &NamespaceKind| kind.name())
                .collect();
            let kinds = if kinds.is_empty() {
                "a namespace".to_owned()
            } else {
                kinds.join(" ")
            };
            format!("is refused {kinds}: {:?}", Errno(*errno))
        }
        ElementKind::CgroupMade { .. } => "cgroup created".to_owned(),
        ElementKind::CgroupEntered => format!("cgroup entered{}", by(" by ")),
        ElementKind::CgroupRemoved => "cgroup removed".to_owned(),
        ElementKind::NetworkReady { address } => format!("network ready, {address}"),
        ElementKind::Listens {
            address,
            port,
            is_first,
        } => {
            let what = match is_first {
                true => "first listen on",
                false => "listens on",
            };
            format!("{what} {}{}", endpoint(*address, *port), by(": "))
        }
        ElementKind::Signal {
            signal,
            from,
            result,
        } => {
            let from = from.map_or("the kernel".to_owned(), who);
            let result = match result {
                SignalResult::Ignored => ", ignored",
                SignalResult::AlreadyPending => ", pending already",
                SignalResult::OverflowFail => ", lost",
                SignalResult::Delivered | SignalResult::LoseInfo | SignalResult::Unknown => "",
            };
            format!("{} from {from}{}{result}", signal_name(*signal), by(" to "))
        }
        ElementKind::Exited { status } => format!("{status}{}", by(": ")),
        ElementKind::Reaped { after } => format!("reaped after {}{}", Duration(*after), by(": ")),
        ElementKind::Removed => "removed".to_owned(),
    }
}

/// Why an element is attributed to the pod.
pub(super) fn evidence(evidence: &Evidence) -> Option<String> {
    Some(match evidence {
        Evidence::Namespace(inode) => format!("net {inode} is the pod's"),
        Evidence::Asked(id) => {
            format!("it was asked to work for {id}, which is the pod's")
        }
        Evidence::Cgroup(cgroup) => format!("in the container's cgroup {cgroup}"),
        Evidence::DescendsFrom(pid) => format!("descends from pid {pid}, which is the pod's"),
        Evidence::AncestorOf(pid) => {
            format!("pid {pid}, the container's entrypoint, descends from it")
        }
        Evidence::Named => "the event names this pod".to_owned(),
        Evidence::None => return None,
    })
}

fn who(process: ProcessRef) -> String {
    format!("{} ({})", process.comm, process.id.pid)
}

/// The last part of a path.
fn base_name(file: &Text) -> String {
    file.base_name().to_string()
}
