//! The bars and marks of a pod's timeline.

use super::{
    model::{Pod, Span},
    words::called,
};

/// The bars and marks of a pod's timeline.
pub(super) fn spans(pod: &Pod) -> Vec<Span> {
    let lane = |id: &str| {
        let mut containers = pod.containers.iter().map(|shown| &shown.container);
        let container = containers.find(|container| container.id == id);
        let name = container.and_then(|container| container.name.clone());
        name.unwrap_or_else(|| id.to_owned())
    };
    let mut spans = Vec::new();
    for container in &pod.containers {
        if let Some(start) = container.started {
            let name = lane(&container.container.id);
            spans.push(Span {
                lane: name.clone(),
                name: match &container.status {
                    Some(status) => format!("{name}: {status}"),
                    None => name,
                },
                start_ns: start,
                end_ns: container.ended,
                kind: if container.is_pause {
                    "pause"
                } else {
                    "container"
                },
            });
        }
    }
    for process in &pod.processes {
        if process.role == "session" {
            spans.push(Span {
                lane: format!("{} · exec", lane(&process.container)),
                name: called(&process.process),
                start_ns: process.forked,
                end_ns: process.ended,
                kind: "session",
            });
        }
        if let Some(ended) = process.ended
            && process
                .reaped
                .is_none_or(|reaped| reaped.saturating_sub(ended) > 1_000_000)
        {
            spans.push(Span {
                lane: format!("{} · zombies", lane(&process.container)),
                name: called(&process.process),
                start_ns: ended,
                end_ns: process.reaped,
                kind: "zombie",
            });
        }
    }
    spans.extend(pod.listens.iter().map(|one| one.span(lane(&one.container))));
    spans.extend(pod.signals.iter().map(|signal| Span {
        lane: "signals".to_owned(),
        name: format!("{} to {}: {}", signal.signal, signal.to, signal.result),
        start_ns: signal.at,
        end_ns: Some(signal.at),
        kind: "signal",
    }));
    spans.extend(pod.findings.iter().map(|finding| Span {
        lane: "findings".to_owned(),
        name: format!("{} {}", finding.rule, finding.message),
        start_ns: finding.at,
        end_ns: Some(finding.at),
        kind: "finding",
    }));
    spans
}
