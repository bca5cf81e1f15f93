//! Text for pods and containers that started, ended or were verified.

use anstyle::Style;

use crate::{
    event::{NamespaceKind, WaitStatus},
    news::{LISTED_NAMESPACES, NewsKind},
    text::{BAD, DIM, DOUBTFUL, GOOD, counted, endpoint, size},
    verdict::{Duration, ProcessRef},
};

/// The columns: mark, subject, text.
pub(super) const COLUMNS: [usize; 3] = [13, 15, 47];

/// The mark of a line, and its style.
pub(super) fn mark(what: &NewsKind) -> (Style, &'static str) {
    match what {
        NewsKind::Started { .. } => (GOOD, "+"),
        NewsKind::Listens { .. } => (DIM, "+"),
        NewsKind::Ended { status, .. } if *status == WaitStatus::exited(0) => (DIM, "-"),
        NewsKind::StartFailed { .. } => (BAD, "-"),
        NewsKind::Ended { .. } | NewsKind::OomKilled { .. } => (DOUBTFUL, "-"),
        NewsKind::Removed { .. } => (DIM, "-"),
        NewsKind::Verified { verdicts } => match (verdicts.fail, verdicts.inconclusive) {
            (0, 0) => (GOOD, "✓"),
            (0, _) => (DOUBTFUL, "?"),
            _ => (BAD, "✗"),
        },
    }
}

/// What happened, in one line and without names.
pub(in crate::report) fn words(what: &NewsKind) -> String {
    match what {
        NewsKind::Started {
            process,
            is_pause,
            found,
            namespaces,
            shared,
            host,
            restart,
        } => {
            let list = |kinds: &[NamespaceKind]| {
                let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
                names.join(" ")
            };
            let own: Vec<_> = LISTED_NAMESPACES
                .into_iter()
                .filter(|kind| !shared.contains(kind) && !host.contains(kind))
                .map(|kind| format!("{} {}", kind.name(), namespaces.get(kind)))
                .collect();
            let mut parts = vec![format!(
                "{}pid {}{}",
                if *is_pause { "pause " } else { "" },
                process.id.pid,
                if *found {
                    ", started before pause-trace"
                } else {
                    ""
                }
            )];
            parts.extend(restart.as_ref().map(ToString::to_string));
            if !shared.is_empty() {
                parts.push(format!("the pause's {}", list(shared)));
            }
            if !own.is_empty() {
                parts.push(own.join(" "));
            }
            // Almost every pod has the host's user namespace, so it is not listed.
            let host: Vec<_> = host
                .iter()
                .copied()
                .filter(|kind| *kind != NamespaceKind::User)
                .collect();
            if !host.is_empty() {
                parts.push(format!("the host's {}", list(&host)));
            }
            parts.join(" · ")
        }
        NewsKind::StartFailed {
            step, status, took, ..
        } => format!("start failed: {step}: {status} after {}", Duration(*took)),
        NewsKind::Ended {
            process,
            status,
            lived,
            oom_killed,
            memory_limit,
            ..
        } => {
            let limit = limited(*memory_limit);
            let oom = match oom_killed {
                Some(killed) if killed.id == process.id => format!(" · OOM-killed{limit}"),
                Some(killed) => format!(" · the OOM killer had killed {}{limit}", named(killed)),
                None => String::new(),
            };
            format!("{status} after {}{oom}", Duration(*lived))
        }
        NewsKind::OomKilled {
            process,
            count,
            memory_limit,
        } => {
            let limit = limited(*memory_limit);
            let which = match *count {
                0 | 1 => String::new(),
                count => format!(", and {} before it", counted(count - 1, "other")),
            };
            format!("the OOM killer killed {}{which}{limit}", named(process))
        }
        NewsKind::Listens {
            address,
            port,
            after,
            ..
        } => {
            let after = after.map_or(String::new(), |after| format!(" after {}", Duration(after)));
            format!("listens on {}{after}", endpoint(*address, *port))
        }
        NewsKind::Removed {
            lived,
            lost_sandbox,
        } => {
            let what = if *lost_sandbox {
                "sandbox removed"
            } else {
                "removed"
            };
            format!("{what} after {}", Duration(*lived))
        }
        NewsKind::Verified { verdicts } => format!(
            "verified: {} passed, {} failed, {} inconclusive",
            verdicts.pass, verdicts.fail, verdicts.inconclusive
        ),
    }
}

/// `, limit 64 MiB`
fn limited(bytes: Option<u64>) -> String {
    bytes.map_or(String::new(), |bytes| format!(", limit {}", size(bytes)))
}

fn named(process: &ProcessRef) -> String {
    format!("{} (pid {})", process.comm, process.id.pid)
}
