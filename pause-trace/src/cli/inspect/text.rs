//! `inspect` as text: one block per subject.

use std::{fmt::Write as _, io};

use anstyle::Style;

use crate::{
    cli::pods::{
        NodeSnapshot, age, badness, size,
        table::{Cell, Table},
    },
    event::{Ktime, Mode, NamespaceKind, SignalResult, Source, Text, signal_name},
    node::{
        network::Network,
        ports::Port,
        procfs::NS_PER_TICK,
        survey::process::{Link, Process},
    },
    pods::{Compared, ContainerView, NamespaceOwner, ObservedSignal, PodView},
    report::{Report as _, TextReport},
    text::{BAD, BOLD, DIM, DOUBTFUL, GOOD, Line, TERM, TextStyle, wrap},
    verdict::{Outcome, Verdict},
};

/// The processes of a container that are shown.
const MAX_PROCESSES: usize = 64;

/// The deepest indentation of a process below its ancestors.
const MAX_DEPTH: usize = 12;

/// The signals that are shown; the newest are kept.
const MAX_SIGNALS: usize = 32;

/// Renders the whole pod, with the verdicts that passed if `passes`. `watched`: for how long the
/// node has been watched, if that goes on.
pub(in crate::cli) fn shown(
    text_style: TextStyle,
    passes: bool,
    watched: Option<Ktime>,
    node: &NodeSnapshot,
    pod: &PodView,
) -> io::Result<String> {
    let mut text = Block {
        text_style,
        text: String::new(),
    };
    text.title(pod);
    text.containers(node, pod);
    text.ports(pod);
    text.namespaces(pod);
    text.processes(node, pod);
    text.networks(pod);
    text.signals(watched, node, pod);
    text.verdicts(passes, node, pod)?;
    if let Some(told) = &node.told {
        text.text
            .push_str(&told.text(&pod.id, node.now, text_style));
    }
    Ok(text.text)
}

struct Block {
    text_style: TextStyle,
    text: String,
}

impl Block {
    fn line(&mut self, write: impl FnOnce(&mut Line) -> &mut Line) {
        let mut line = Line::new(self.text_style);
        write(&mut line);
        self.text.push_str(&line.end());
    }

    fn head(&mut self, head: &str) {
        self.text.push('\n');
        self.line(|line| line.paint(BOLD, head));
    }

    /// Adds a sentence, wrapped to the width of the terminal.
    fn sentence(&mut self, style: Style, sentence: &str) {
        let width = self
            .text_style
            .width
            .map(|width| width.saturating_sub(2).max(20));
        for part in wrap(sentence, width) {
            self.line(|line| line.pad(2).paint(style, &part));
        }
    }

    /// `  addresses   10.4.0.7, fd00::7`
    fn listed(&mut self, name: &str, values: &[String]) {
        const COLUMN: usize = 14;
        let values = if values.is_empty() {
            "none".to_owned()
        } else {
            values.join(", ")
        };
        let width = self
            .text_style
            .width
            .map(|width| width.saturating_sub(COLUMN).max(20));
        for (index, part) in wrap(&values, width).iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            self.line(|line| line.pad(2).paint(DIM, name).pad(COLUMN).push(part));
        }
    }

    fn title(&mut self, pod: &PodView) {
        self.line(|line| {
            line.paint(TERM, &pod.title())
                .push(&format!("  uid {}", Text::new(&pod.id)))
        });
    }

    fn containers(&mut self, node: &NodeSnapshot, pod: &PodView) {
        self.head("Containers");
        let row = |container: &ContainerView| {
            let first = container.entrypoint();
            let asked = container.asked.as_ref();
            let started = first.map(|first| first.start_ticks * NS_PER_TICK);
            let memory = container.status.as_ref().map(|status| status.pss_bytes);
            let source = match asked.map(|asked| asked.source) {
                Some(Source::Cri) => "CRI",
                Some(_) => "bundle",
                None => "-",
            };
            vec![
                Cell::painted(TERM, container.title()),
                container.id.get(..12).unwrap_or(&container.id).into(),
                container.kind().map_or("?", kind).into(),
                first
                    .map_or("-".to_owned(), |first| first.pid.to_string())
                    .into(),
                started
                    .map_or("-".to_owned(), |started| {
                        age(node.now.saturating_sub(started))
                    })
                    .into(),
                match (container.memory, memory) {
                    (Some(charged), Some(pss)) => format!("{} (PSS {})", size(charged), size(pss)),
                    (Some(charged), None) => size(charged),
                    (None, Some(pss)) => format!("PSS {}", size(pss)),
                    (None, None) => "?".to_owned(),
                }
                .into(),
                asked
                    .filter(|asked| asked.stop_signal != 0)
                    .map_or("?".to_owned(), |asked| signal_name(asked.stop_signal))
                    .into(),
                source.into(),
            ]
        };
        let table = Table {
            heads: vec![
                "NAME", "ID", "KIND", "PID", "AGE", "MEMORY", "STOP", "SOURCE",
            ],
            rows: pod.containers.iter().map(row).collect(),
        };
        self.text.push_str(&table.in_pieces(self.text_style, 2));
        if !pod.containers.iter().any(ContainerView::is_sandbox) {
            self.sentence(
                DOUBTFUL,
                "there is no pause process: it has ended, or the runtime runs none",
            );
        }
        let members = pod.containers.iter().filter(|one| !one.is_sandbox());
        for sentence in members.filter_map(ContainerView::slow_stop) {
            self.sentence(DOUBTFUL, &sentence);
        }
        for container in pod.containers.iter().filter(|container| container.is_cut) {
            let title = container.title();
            self.sentence(
                DOUBTFUL,
                &format!("{title} has more cgroups or processes than were read"),
            );
        }
    }

    /// The ports of each container, if there are any.
    fn ports(&mut self, pod: &PodView) {
        let row = |container: &ContainerView, port: &Port| {
            vec![
                Cell::painted(TERM, container.title()),
                port.listening.to_string().into(),
                format!("{} (pid {})", port.comm, port.pid).into(),
            ]
        };
        let rows: Vec<_> = pod
            .containers
            .iter()
            .flat_map(|container| container.ports.iter().map(|port| row(container, port)))
            .collect();
        if rows.is_empty() {
            return;
        }
        self.head("Ports");
        let heads = vec!["CONTAINER", "PORT", "PROCESS"];
        self.text
            .push_str(&Table { heads, rows }.in_pieces(self.text_style, 2));
    }

    fn namespaces(&mut self, pod: &PodView) {
        self.head("Namespaces");
        let mut heads = vec!["OF"];
        heads.extend(NamespaceKind::ALL.map(NamespaceKind::name));
        let mut hosts = vec![Cell::painted(DIM, "the host")];
        hosts.extend(pod.host().map(|link| Cell::painted(DIM, number(link))));
        let mut rows = vec![hosts];
        for container in pod
            .containers
            .iter()
            .filter(|one| !one.namespaces.is_empty())
        {
            let mut row = vec![Cell::painted(TERM, container.title())];
            row.extend(
                container
                    .namespaces
                    .iter()
                    .map(|found| compared(found, pod)),
            );
            rows.push(row);
        }
        self.text
            .push_str(&Table { heads, rows }.in_pieces(self.text_style, 2));
        for container in &pod.containers {
            for sentence in misfits(container, pod) {
                self.sentence(BAD, &sentence);
            }
        }
    }

    fn processes(&mut self, node: &NodeSnapshot, pod: &PodView) {
        self.head("Processes");
        let mut rows = Vec::new();
        let mut left_out = Vec::new();
        for container in &pod.containers {
            let tree = container.tree();
            if tree.len() > MAX_PROCESSES {
                let more = tree.len() - MAX_PROCESSES;
                left_out.push(format!(
                    "{more} more in {}: --format json lists them",
                    container.title()
                ));
            }
            for (depth, process) in tree.into_iter().take(MAX_PROCESSES) {
                let started = process.start_ticks * NS_PER_TICK;
                rows.push(vec![
                    Cell::painted(TERM, container.title()),
                    process.pid.to_string().into(),
                    process.ns_pid.to_string().into(),
                    process.parent.to_string().into(),
                    state(process),
                    age(node.now.saturating_sub(started)).into(),
                    format!("{}{}", "  ".repeat(depth.min(MAX_DEPTH)), process.comm).into(),
                ]);
            }
        }
        let heads = vec![
            "CONTAINER",
            "PID",
            "NSPID",
            "PARENT",
            "STATE",
            "AGE",
            "NAME",
        ];
        self.text
            .push_str(&Table { heads, rows }.in_pieces(self.text_style, 2));
        for sentence in left_out {
            self.sentence(DIM, &sentence);
        }
    }

    fn networks(&mut self, pod: &PodView) {
        for (inode, network) in &pod.networks {
            let inside = pod
                .containers
                .iter()
                .filter(|container| container.inode(NamespaceKind::Net) == Some(*inode));
            let titles: Vec<String> = inside.map(ContainerView::title).collect();
            self.head(&format!("Network {inode} of {}", titles.join(", ")));
            self.network(network);
        }
        if pod.networks.is_empty() {
            self.head("Network");
            let is_hosts = pod
                .containers
                .iter()
                .flat_map(|container| &container.namespaces);
            let is_hosts = is_hosts.clone().any(|found| {
                found.kind == NamespaceKind::Net && found.whose == NamespaceOwner::Host
            });
            self.sentence(
                DIM,
                if is_hosts {
                    "the host's"
                } else {
                    "unknown: no process is left in it"
                },
            );
        }
    }

    fn network(&mut self, network: &Network) {
        let interfaces = network.interfaces.iter().map(|interface| {
            let up = match interface.is_up {
                Some(true) => " up",
                Some(false) => " down",
                None => "",
            };
            format!("{}{up}", interface.name)
        });
        self.listed("interfaces", &interfaces.collect::<Vec<_>>());
        let addresses = network.addresses.iter().map(ToString::to_string);
        self.listed("addresses", &addresses.collect::<Vec<_>>());
        // As ip-route(8) writes them.
        let routes = network.ways_out.iter().map(|route| {
            let via = route.gateway.map(|gateway| format!(" via {gateway}"));
            format!("default{} dev {}", via.unwrap_or_default(), route.interface)
        });
        self.listed("routes", &routes.collect::<Vec<_>>());
        let listening = network.listening.iter().map(ToString::to_string);
        self.listed("listening", &listening.collect::<Vec<_>>());
        if !network.is_ready() {
            let why = match network.is_loopback_up() {
                true => "it has no address except the loopback's",
                false => "loopback is down: 127.0.0.1 does not work",
            };
            self.sentence(DOUBTFUL, why);
        }
    }

    fn signals(&mut self, watched: Option<Ktime>, node: &NodeSnapshot, pod: &PodView) {
        self.head("Signals");
        let Some(judged) = &node.judged else {
            return self.sentence(DIM, "? unknown without the eBPF program");
        };
        let signals: Vec<_> = judged
            .signals
            .iter()
            .filter(|signal| signal.pod == pod.id)
            .collect();
        if signals.is_empty() {
            let none = match watched {
                Some(watched) => format!(
                    "none in the {} that the node has been watched",
                    age(watched)
                ),
                None => "none while the pod was watched; --for 30s watches longer".to_owned(),
            };
            return self.sentence(DIM, &none);
        }
        let latest = signals.len().saturating_sub(MAX_SIGNALS);
        let row = |signal: &&ObservedSignal| {
            let from = match signal.from {
                Some((pid, comm)) => format!("pid {pid} ({comm})"),
                None => "the kernel".to_owned(),
            };
            let target = signal.target;
            let result = match (signal.handled, signal.result) {
                (true, _) => "handled",
                (false, SignalResult::Ignored) => "ignored",
                (false, SignalResult::AlreadyPending) => "already pending",
                (false, SignalResult::OverflowFail) => "lost: the queue was full",
                (false, _) => "",
            };
            vec![
                node.clock.time_of_day(signal.time).into(),
                signal_name(signal.signal).into(),
                format!("pid {} ({})", target.id.pid, target.comm).into(),
                from.into(),
                signal.count.to_string().into(),
                result.into(),
            ]
        };
        let table = Table {
            heads: vec!["TIME", "SIGNAL", "TO", "FROM", "COUNT", "RESULT"],
            rows: signals[latest..].iter().map(row).collect(),
        };
        self.text.push_str(&table.in_pieces(self.text_style, 2));
        if latest > 0 {
            self.sentence(DIM, &format!("{latest} earlier: --format json lists them"));
        }
    }

    fn verdicts(&mut self, passes: bool, node: &NodeSnapshot, pod: &PodView) -> io::Result<()> {
        self.head("Verdicts");
        let Some(judged) = &node.judged else {
            self.sentence(DIM, "? unknown without the eBPF program");
            return Ok(());
        };
        let mut verdicts: Vec<&Verdict> = node.verdicts(&pod.id).collect();
        verdicts.sort_by_key(|verdict| (std::cmp::Reverse(badness(verdict)), verdict.rule.id));
        let passed = verdicts
            .iter()
            .filter(|verdict| verdict.outcome == Outcome::Pass)
            .count();
        let mut written = Vec::new();
        let mut report = TextReport::new(&mut written, self.text_style, passes);
        for verdict in &verdicts {
            report.verdict(verdict, &judged.names)?;
        }
        self.text.push_str(&String::from_utf8_lossy(&written));
        let _ = write!(self.text, "{}", if written.is_empty() { "" } else { "\n" });
        match passed {
            0 if verdicts.is_empty() => self.sentence(DIM, "none yet"),
            0 => {}
            _ => self.sentence(
                GOOD,
                &format!(
                    "{passed} passed{}",
                    if passes { "" } else { "; -v lists them" }
                ),
            ),
        }
        Ok(())
    }
}

/// The namespaces of a container that differ from the requested ones, a sentence for each.
pub(in crate::cli) fn misfits(container: &ContainerView, pod: &PodView) -> Vec<String> {
    let namespaces = container.namespaces.iter();
    let wrong = namespaces.filter(|found| found.fits == Some(false));
    wrong
        .map(|found| {
            format!(
                "{} should have {}, but has {}",
                container.title(),
                requested(found, container.is_sandbox()),
                got(found, pod)
            )
        })
        .collect()
}

fn kind(kind: crate::event::ContainerKind) -> &'static str {
    use crate::event::ContainerKind;
    match kind {
        ContainerKind::Sandbox => "sandbox",
        ContainerKind::Init => "init",
        ContainerKind::App => "app",
        ContainerKind::Ephemeral => "ephemeral",
    }
}

fn number(link: Link) -> String {
    match link {
        Link::Inode(inode) => inode.to_string(),
        Link::Gone => "gone".to_owned(),
        Link::Unknown => "?".to_owned(),
    }
}

/// `same`, `host`, `own 4026532179`, `app's 4026532179`.
fn compared(found: &Compared, pod: &PodView) -> Cell {
    let style = match (found.fits, &found.whose) {
        (Some(false), _) => BAD,
        (_, NamespaceOwner::Pause | NamespaceOwner::Host) => DIM,
        _ => Style::new(),
    };
    let text = match &found.whose {
        NamespaceOwner::Pause => "same".to_owned(),
        NamespaceOwner::Host => "host".to_owned(),
        NamespaceOwner::Own => format!("own {}", number(found.link)),
        NamespaceOwner::Other(owner) => format!("{} {}", whose(owner, pod), number(found.link)),
        NamespaceOwner::Unknown => number(found.link),
    };
    Cell::painted(style, text)
}

/// `app's`; for a container of another pod, the prefix of its id.
fn whose(owner: &crate::event::ContainerId, pod: &PodView) -> String {
    let known = pod
        .containers
        .iter()
        .find(|container| container.id == *owner);
    match known {
        Some(container) => format!("{}'s", container.title()),
        None => format!("{}'s", owner.get(..12).unwrap_or(owner)),
    }
}

/// The requested namespace: `the pause's net namespace`.
fn requested(found: &Compared, is_sandbox: bool) -> String {
    let kind = found.kind.name();
    match &found.asked {
        Mode::Pod if is_sandbox => format!("a {kind} namespace for the pod"),
        Mode::Pod => format!("the pause's {kind} namespace"),
        Mode::Container => format!("a {kind} namespace of its own"),
        Mode::Node => format!("the host's {kind} namespace"),
        Mode::Target(id) => format!("the {kind} namespace of container {}", Text::new(id)),
        Mode::Unknown => format!("some {kind} namespace"),
    }
}

fn got(found: &Compared, pod: &PodView) -> String {
    match &found.whose {
        NamespaceOwner::Pause => "the pause's".to_owned(),
        NamespaceOwner::Host => "the host's".to_owned(),
        NamespaceOwner::Own => "its own".to_owned(),
        NamespaceOwner::Other(owner) => whose(owner, pod),
        NamespaceOwner::Unknown => "an unknown one".to_owned(),
    }
}

/// The state letter of proc_pid_stat(5) as a word.
fn state(process: &Process) -> Cell {
    match process.state {
        b'R' => "running".into(),
        b'S' => "sleeping".into(),
        b'D' => Cell::painted(DOUBTFUL, "uninterruptible"),
        b'Z' => Cell::painted(DOUBTFUL, "zombie"),
        b'T' => Cell::painted(DOUBTFUL, "stopped"),
        b't' => Cell::painted(DOUBTFUL, "traced"),
        b'I' => "idle".into(),
        b'X' => "dead".into(),
        other => char::from(other).to_string().into(),
    }
}

#[cfg(test)]
mod tests;
