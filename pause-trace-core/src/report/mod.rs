//! What is told to whom: one trait, one file a format.
//!
//! Reports hear of everything in the order in which it was decided. Those that are read while the run goes on (text, json)
//! write at once; those that are one document (junit, sarif) keep what they hear and write it in [`Report::finish`].

mod clock;
pub mod html;
mod json;
mod junit;
mod names;
mod sarif;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
pub mod wire;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Write},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use clock::Clock;
pub use names::Names;
pub use text::TextReport;

use crate::{
    event::{Kind, Ktime},
    news::News,
    rules::Counts,
    text::Look,
    verdict::{Outcome, Verdict},
};

/// Who is told: a person, a program, a CI server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Format {
    /// For people: one line per scenario or verdict, violations with their evidence.
    #[default]
    Text,
    /// One JSON object per line, flushed at once.
    Json,
    /// JUnit XML, written at the end.
    Junit,
    /// SARIF 2.1.0, written at the end.
    Sarif,
}

/// Hears of what is decided. An error means that the report could not be written; nothing is retried.
pub trait Report: Send {
    /// Before anything else.
    fn hello(&mut self, hello: &Hello) -> io::Result<()>;
    /// A verdict, as the ledger gives it: a worse one about the same subject may follow.
    fn verdict(&mut self, verdict: &Verdict, names: &Names) -> io::Result<()>;
    /// Something happened to a pod. Reports that are a document about verdicts leave it out.
    fn news(&mut self, _news: &News, _names: &Names) -> io::Result<()> {
        Ok(())
    }
    /// A scenario of the reference check is over. Its verdicts were told before.
    fn scenario(&mut self, scenario: &ScenarioResult) -> io::Result<()>;
    /// Events were dropped.
    fn loss(&mut self, loss: &Loss) -> io::Result<()>;
    /// How it all came out, once, last.
    fn summary(&mut self, summary: &Summary) -> io::Result<()>;
    /// A batch of events has been told: what is read as it comes goes out.
    fn flush(&mut self) -> io::Result<()>;
    /// Nothing follows; called also when the run was cut short and there is no summary.
    fn finish(&mut self) -> io::Result<()>;
}

/// Who speaks, and what it hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// When the run began.
    pub time: Ktime,
    /// Of pause-trace.
    pub version: Cow<'static, str>,
    /// As in `uname -r`.
    pub kernel: String,
    /// As in `uname -m`.
    pub arch: String,
    /// Where events come from.
    pub hooks: Vec<Hook>,
}

/// A place in the kernel where events come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hook {
    /// `sched_process_fork`, `setns` …
    pub hook: String,
    /// `tp_btf`, `fentry`, `kprobe`, `tracepoint` or `missing`.
    pub how: Cow<'static, str>,
}

/// A scenario of the reference check, played to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioResult {
    /// When it was over.
    pub time: Ktime,
    /// `namespaces`, `lifecycle`, `signals` …
    pub family: &'static str,
    /// Kebab-case.
    pub name: &'static str,
    /// What it shows, as a sentence.
    pub title: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// The numbers that prove it: an inode, a latency, an errno. Escaped; may be empty.
    pub proof: String,
    /// Why it failed or is inconclusive. Escaped; empty for a pass.
    pub reason: String,
    /// Rules that found a violation, by id: as they had to, where a fault was injected.
    pub found: Vec<&'static str>,
    /// In ns.
    pub duration: u64,
}

/// Events that found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When the loss was noticed.
    pub time: Ktime,
    /// The kind of the events.
    pub kind: Kind,
    /// How many were lost.
    pub count: u64,
}

/// How a run came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// When the run ended.
    pub time: Ktime,
    /// What stands, by rule id, in that order.
    pub rules: Vec<(&'static str, Counts)>,
    /// All verdicts that stand.
    pub verdicts: Counts,
    /// All zero where none were played.
    pub scenarios: Counts,
    /// Kernel events that arrived, by kind; kinds of which none came may be left out.
    pub events: Vec<(Kind, u64)>,
    /// Kernel events that were dropped.
    pub lost: Vec<(Kind, u64)>,
    /// In ns.
    pub duration: u64,
    /// Ended by Ctrl-C.
    pub interrupted: bool,
}

impl Summary {
    /// One run after the other, as one.
    pub fn and(self, later: Self) -> Self {
        fn sum<K: Ord + Copy, V: Copy>(
            one: Vec<(K, V)>,
            other: Vec<(K, V)>,
            add: impl Fn(V, V) -> V,
        ) -> Vec<(K, V)> {
            let mut sum = BTreeMap::new();
            for (key, value) in one.into_iter().chain(other) {
                sum.entry(key)
                    .and_modify(|known| *known = add(*known, value))
                    .or_insert(value);
            }
            sum.into_iter().collect()
        }
        let both = |one: Counts, other: Counts| [one, other].into_iter().sum();
        Self {
            time: later.time,
            rules: sum(self.rules, later.rules, both),
            verdicts: both(self.verdicts, later.verdicts),
            scenarios: both(self.scenarios, later.scenarios),
            events: sum(self.events, later.events, |a, b| a + b),
            lost: sum(self.lost, later.lost, |a, b| a + b),
            duration: self.duration + later.duration,
            interrupted: self.interrupted || later.interrupted,
        }
    }
}

/// How a report is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Ties kernel time to UTC.
    pub clock: Clock,
    /// What whoever reads it can show.
    pub look: Look,
    /// Whether the text report shows verdicts that passed, one by one.
    pub passes: bool,
}

/// A report in `format`, written to `out`.
pub fn new(format: Format, out: Box<dyn Write + Send>, settings: Settings) -> Box<dyn Report> {
    match format {
        Format::Text => Box::new(
            TextReport::new(out, settings.look, settings.passes).with_clock(settings.clock),
        ),
        Format::Json => Box::new(json::JsonReport::new(out, settings.clock)),
        Format::Junit => Box::new(junit::JunitReport::new(out)),
        Format::Sarif => Box::new(sarif::SarifReport::new(out, settings.clock)),
    }
}

/// A kind of event, as reports name it.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Fork => "fork",
        Kind::Exec => "exec",
        Kind::Exit => "exit",
        Kind::Free => "free",
        Kind::Namespace => "namespace",
        Kind::SignalGenerate => "signal_generate",
        Kind::SignalDeliver => "signal_deliver",
        Kind::CgroupMkdir => "cgroup_mkdir",
        Kind::CgroupRmdir => "cgroup_rmdir",
        Kind::CgroupAttach => "cgroup_attach",
        Kind::OomVictim => "oom_victim",
        Kind::Watch => "watch",
        Kind::Found => "found",
    }
}

fn total(of: &[(Kind, u64)]) -> u64 {
    of.iter().map(|(_, count)| count).sum()
}
