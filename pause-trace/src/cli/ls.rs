//! `ls`: the node's pauses, one line each.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
};

use super::{
    Exit, Global,
    output::StateFormat,
    pods::{
        Judge, NodeSnapshot, SnapshotArgs, age, badness, json, size,
        table::{Cell, Table},
    },
    print,
};
use crate::{
    event::{Mode, NamespaceKind},
    news::LISTED_NAMESPACES,
    node::procfs::NS_PER_TICK,
    pods::{ContainerView, NamespaceOwner, PodView, SandboxView},
    session,
    text::{BAD, DIM, DOUBTFUL, GOOD, TERM, TextStyle},
    verdict::{Outcome, Severity, Verdict},
};

/// List the node's pauses: pod, sandbox, pid, age, namespaces, members, zombies, memory, worst
/// verdict
///
/// It reports the state and does not judge it: the exit code is 0 whatever the verdicts are. It
/// needs root.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    snapshot: SnapshotArgs,
}

const AFTER_HELP: &str = "\
Columns:
  NAMESPACES  those shared with the pause, the host's, and those that differ from the request
  MEMBERS     processes in the pod's containers, without the pause
  PAUSE       memory of the pause alone (PSS); MEMORY is the memory charged to the pod's cgroups
  STOP        containers whose stop will take the whole grace period: their first process ignores or
              blocks their stop signal, or is pid 1 without a handler for it; inspect says which
  VERDICT     the worst verdict of all rules; ? if the eBPF program is not loaded

On a narrow terminal some columns are left out.

Exit codes: 0 the pods were listed · 2 wrong usage · 4 cannot run; the message says what to do";

/// The columns that are left out on a narrow terminal, the least important first.
const SPARE: [&str; 8] = [
    "NET",
    "CONTAINERS",
    "PAUSE",
    "MEMORY",
    "SANDBOX",
    "STOP",
    "AGE",
    "MEMBERS",
];

impl Args {
    pub(crate) fn run(&self, global: &Global) -> anyhow::Result<Exit> {
        session::block_on(async {
            let Some(node) = self.snapshot.take(Judge::History, global).await? else {
                return Ok(Exit::Interrupted);
            };
            if node.snapshot.pods.is_empty() {
                let _ = writeln!(io::stderr(), "no pods run on this node");
            }
            match self.snapshot.format.chosen {
                StateFormat::Json => print(&json::list(&node)?),
                StateFormat::Text if node.snapshot.pods.is_empty() => Ok(Exit::Pass),
                StateFormat::Text => print(&text(global.text_style(), &node)),
            }
        })
    }
}

fn text(text_style: TextStyle, node: &NodeSnapshot) -> String {
    let mut table = Table {
        heads: vec![
            "POD",
            "SANDBOX",
            "PID",
            "AGE",
            "NAMESPACES",
            "NET",
            "CONTAINERS",
            "MEMBERS",
            "ZOMBIES",
            "PAUSE",
            "MEMORY",
            "STOP",
            "VERDICT",
        ],
        rows: Vec::new(),
    };
    for pod in &node.snapshot.pods {
        let sandboxes = pod.sandboxes();
        table
            .rows
            .extend(sandboxes.iter().map(|sandbox| row(node, pod, sandbox)));
    }
    table.fitted(text_style, &SPARE)
}

fn row(node: &NodeSnapshot, pod: &PodView, sandbox: &SandboxView<'_>) -> Vec<Cell> {
    let pause = sandbox.sandbox;
    let process = pause.and_then(ContainerView::entrypoint);
    let or_none = |text: Option<String>| text.map_or(Cell::painted(DIM, "-"), Cell::from);
    let id = |sandbox: &ContainerView| sandbox.id.get(..12).unwrap_or(&sandbox.id).to_owned();
    let started = process.map(|process| process.start_ticks * NS_PER_TICK);
    let net = pause.and_then(|pause| pause.inode(NamespaceKind::Net));
    let pss = pause.and_then(|pause| Some(pause.status.as_ref()?.pss_bytes));
    let zombies = sandbox.zombies();
    vec![
        Cell::painted(TERM, pod.title()),
        or_none(pause.map(id)),
        or_none(process.map(|process| process.pid.to_string())),
        or_none(started.map(|started| age(node.now.saturating_sub(started)))),
        namespaces(sandbox),
        or_none(net.map(|net| net.to_string())),
        sandbox.members.len().to_string().into(),
        sandbox.members().to_string().into(),
        match zombies {
            0 => "0".into(),
            _ => Cell::painted(DOUBTFUL, zombies.to_string()),
        },
        or_none(pss.map(size)),
        or_none(sandbox.memory().map(size)),
        stop(sandbox),
        match node.judged {
            Some(_) => verdict(node.verdicts(&pod.id)),
            None => Cell::painted(DIM, "?"),
        },
    ]
}

/// `net ipc uts`, `ipc · host net uts`, `net ipc uts · app: net own`.
fn namespaces(sandbox: &SandboxView<'_>) -> Cell {
    let Some(pause) = sandbox.sandbox.filter(|pause| !pause.namespaces.is_empty()) else {
        return Cell::painted(DOUBTFUL, "no pause");
    };
    let whose = |container: &ContainerView, kind| {
        let mut compared = container.namespaces.iter();
        compared
            .find(|found| found.kind == kind)
            .map(|found| found.whose.clone())
    };
    let is_shared = |kind: &NamespaceKind| {
        let asked = pause.asked.as_ref().map(|asked| asked.modes.get(*kind));
        let mut members = sandbox
            .members
            .iter()
            .filter_map(|member| whose(member, *kind))
            .peekable();
        whose(pause, *kind) == Some(NamespaceOwner::Own)
            && match members.peek() {
                Some(_) => members.all(|whose| whose == NamespaceOwner::Pause),
                None => asked == Some(&Mode::Pod),
            }
    };
    let list = |kinds: Vec<NamespaceKind>| {
        let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
        names.join(" ")
    };
    // Most pods use the host's user namespace, so it is not listed.
    let is_hosts = |kind: &NamespaceKind| {
        *kind != NamespaceKind::User && whose(pause, *kind) == Some(NamespaceOwner::Host)
    };
    let shared = list(LISTED_NAMESPACES.into_iter().filter(is_shared).collect());
    let host = list(LISTED_NAMESPACES.into_iter().filter(is_hosts).collect());
    let all = sandbox.members.iter().copied().chain([pause]);
    let misfits: Vec<String> = all
        .flat_map(|container| {
            let wrong = container
                .namespaces
                .iter()
                .filter(|found| found.fits == Some(false));
            wrong.map(|found| {
                format!(
                    "{}: {} {}",
                    container.title(),
                    found.kind.name(),
                    found.whose.name()
                )
            })
        })
        .collect();
    let mut parts = vec![shared];
    if !host.is_empty() {
        parts.push(format!("host {host}"));
    }
    let style = if misfits.is_empty() {
        anstyle::Style::new()
    } else {
        BAD
    };
    parts.extend(misfits);
    parts.retain(|part| !part.is_empty());
    Cell::painted(style, parts.join(" · "))
}

/// `slow: app`, `slow: app +2`: the containers whose stop will take the whole grace period.
fn stop(sandbox: &SandboxView<'_>) -> Cell {
    let mut slow = sandbox.slow_stops();
    let Some(first) = slow.next() else {
        return Cell::painted(DIM, "-");
    };
    let more = match slow.count() {
        0 => String::new(),
        more => format!(" +{more}"),
    };
    Cell::painted(DOUBTFUL, format!("slow: {}{more}", first.title()))
}

/// `✗ PT101 error +2`, `? PT402 inconclusive`, `✓ pass`.
fn verdict<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Cell {
    let verdicts: Vec<_> = verdicts.collect();
    let Some(worst) = verdicts.iter().rev().max_by_key(|verdict| badness(verdict)) else {
        return Cell::painted(DIM, "-");
    };
    let alike: BTreeSet<&str> = verdicts
        .iter()
        .filter(|verdict| verdict.outcome == worst.outcome)
        .map(|verdict| verdict.rule.id)
        .collect();
    let more = match alike.len() - 1 {
        0 => String::new(),
        more => format!(" +{more}"),
    };
    let rule = worst.rule.id;
    match worst.outcome {
        Outcome::Pass => Cell::painted(GOOD, "✓ pass"),
        Outcome::Inconclusive => Cell::painted(DOUBTFUL, format!("? {rule} inconclusive{more}")),
        Outcome::Fail => {
            let style = match worst.severity() {
                Severity::Error => BAD,
                Severity::Warning | Severity::Info => DOUBTFUL,
            };
            Cell::painted(style, format!("✗ {rule} {}{more}", worst.severity()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::pods::json::testing;

    #[test]
    fn each_pause_is_one_line_and_hostile_names_are_escaped() {
        assert_eq!(
            text(TextStyle::PLAIN, &testing::node(None)),
            "\
POD                   SANDBOX       PID   AGE    NAMESPACES               NET   CONTAINERS  MEMBERS  ZOMBIES  PAUSE   MEMORY   STOP       VERDICT
default/db            b0b0b0b0b0b0  2000  3m20s  ipc · host net uts       1     1           1        0        -       -        -          ?
default/db-\\u{1b}[2J  -             -     -      no pause                 -     1           1        0        -       -        -          ?
default/web           a0a0a0a0a0a0  1000  5m0s   ipc uts · side: net own  1001  2           3        1        12 KiB  3.0 MiB  slow: app  ?
"
        );
    }
}
