//! Reports: one trait, and one file for each format.
//!
//! A report receives everything in the order in which it was decided. Formats that are read during
//! the run (text, brief, json) are written at once. The others (junit, sarif, npd) are collected
//! and written in [`Report::finish`].

mod brief;
mod clock;
pub mod html;
mod json;
mod junit;
mod names;
mod npd;
mod past;
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
pub use past::{Happened, Past};
pub use text::TextReport;

use crate::{
    event::{Kind, Ktime},
    news::News,
    rules::Counts,
    text::{TextStyle, counted},
    verdict::{Outcome, Severity, Verdict},
};

/// The format of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Format {
    /// For people: one line per scenario or verdict, and violations with their evidence.
    #[default]
    Text,
    /// A line for each finding, and nothing else.
    Brief,
    /// One JSON object per line, flushed at once.
    Json,
    /// JUnit XML, written at the end.
    Junit,
    /// SARIF 2.1.0, written at the end.
    Sarif,
    /// One short line at the end, for node-problem-detector.
    Npd,
}

/// Receives what is decided. An error means that the report could not be written. Nothing is
/// retried.
pub trait Report: Send {
    /// The start of a run. It comes before anything else.
    fn hello(&mut self, hello: &Hello) -> io::Result<()>;
    /// A verdict, as the ledger gives it. A worse one on the same subject may follow.
    fn verdict(&mut self, verdict: &Verdict, names: &Names) -> io::Result<()>;
    /// A pod or container started, ended or was verified. Formats that contain only verdicts leave
    /// it out.
    fn news(&mut self, _news: &News, _names: &Names) -> io::Result<()> {
        Ok(())
    }
    /// A scenario ended. Its verdicts were reported before.
    fn scenario(&mut self, scenario: &ScenarioResult) -> io::Result<()>;
    /// Kernel events were dropped.
    fn loss(&mut self, loss: &Loss) -> io::Result<()>;
    /// The result of the run. It comes once, last.
    fn summary(&mut self, summary: &Summary) -> io::Result<()>;
    /// A batch of events has been reported. Formats that are read during the run flush their
    /// output.
    fn flush(&mut self) -> io::Result<()>;
    /// The end. It is also called if the run was interrupted and there is no summary.
    fn finish(&mut self) -> io::Result<()>;
}

/// The program, the kernel and the hooks of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// When the run began.
    pub time: Ktime,
    /// The version of pause-trace.
    pub version: Cow<'static, str>,
    /// As in `uname -r`.
    pub kernel: String,
    /// As in `uname -m`.
    pub arch: String,
    /// The hooks that events come from.
    pub hooks: Vec<Hook>,
}

/// A hook in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hook {
    /// `sched_process_fork`, `setns` …
    pub hook: String,
    /// `tp_btf`, `fentry`, `kprobe`, `tracepoint` or `missing`.
    pub how: Cow<'static, str>,
}

/// The result of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioResult {
    /// When it ended.
    pub time: Ktime,
    /// Its family: `namespaces`, `lifecycle`, `signals` …
    pub family: &'static str,
    /// Its name, in kebab case.
    pub name: &'static str,
    /// What it shows, in a sentence.
    pub title: &'static str,
    /// Its outcome.
    pub outcome: Outcome,
    /// The values that prove it: an inode, a latency, an errno. Escaped; may be empty.
    pub proof: String,
    /// Why it failed or is inconclusive. Escaped; empty for a pass.
    pub reason: String,
    /// The ids of the rules that found a violation. For an injected fault, a violation is expected.
    pub found: Vec<&'static str>,
    /// In ns.
    pub duration: u64,
}

/// Kernel events that were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When the loss was noticed.
    pub time: Ktime,
    /// The kind of the events.
    pub kind: Kind,
    /// The number of lost events.
    pub count: u64,
}

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// When the run ended.
    pub time: Ktime,
    /// The final verdicts of each rule, in the order of rule ids.
    pub rules: Vec<(&'static str, Counts)>,
    /// All final verdicts.
    pub verdicts: Counts,
    /// Findings that the configuration accepts, as they were reported.
    pub excepted: u64,
    /// The scenarios; all zero if none were played.
    pub scenarios: Counts,
    /// The node's pods that were reported; `None` if the node was not observed.
    pub pods: Option<u64>,
    /// Kernel events that arrived, by kind. Kinds without events may be missing.
    pub events: Vec<(Kind, u64)>,
    /// Kernel events that were dropped, by kind.
    pub lost: Vec<(Kind, u64)>,
    /// In ns.
    pub duration: u64,
    /// Whether Ctrl-C ended the run.
    pub interrupted: bool,
}

impl Summary {
    /// The sum of two runs, one after the other.
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
            excepted: self.excepted.saturating_add(later.excepted),
            scenarios: both(self.scenarios, later.scenarios),
            pods: match (self.pods, later.pods) {
                (Some(one), Some(other)) => Some(one.saturating_add(other)),
                (one, other) => one.or(other),
            },
            events: sum(self.events, later.events, u64::saturating_add),
            lost: sum(self.lost, later.lost, u64::saturating_add),
            duration: self.duration.saturating_add(later.duration),
            interrupted: self.interrupted || later.interrupted,
        }
    }
}

/// The settings of a report.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Converts kernel time to UTC.
    pub clock: Clock,
    /// What the reader's terminal can show.
    pub text_style: TextStyle,
    /// Whether the text report shows each verdict that passed.
    pub passes: bool,
    /// The lowest severity of a violation that fails the run.
    pub fail_on: Severity,
}

/// A report in `format`, written to `out`.
pub fn new(format: Format, out: Box<dyn Write + Send>, settings: Settings) -> Box<dyn Report> {
    match format {
        Format::Text => Box::new(
            TextReport::new(out, settings.text_style, settings.passes).with_clock(settings.clock),
        ),
        Format::Brief => Box::new(brief::BriefReport::new(out)),
        Format::Json => Box::new(json::JsonReport::new(out, settings.clock)),
        Format::Junit => Box::new(junit::JunitReport::new(out, settings.fail_on)),
        Format::Sarif => Box::new(sarif::SarifReport::new(out, settings.clock)),
        Format::Npd => Box::new(npd::NpdReport::new(out, settings.fail_on)),
    }
}

/// The line that says that the reader of a report was too slow for so many lines of it.
pub fn dropped(format: Format, clock: Clock, time: Ktime, lines: u64) -> String {
    match format {
        Format::Json => json::dropped(clock, time, lines),
        _ => format!(
            "{} of this report were dropped: its reader was too slow\n",
            counted(lines, "line")
        ),
    }
}

fn total(of: &[(Kind, u64)]) -> u64 {
    of.iter()
        .map(|(_, count)| *count)
        .fold(0, u64::saturating_add)
}

/// `2 exec events were lost`
fn lost(loss: &Loss) -> String {
    let were = if loss.count == 1 { "was" } else { "were" };
    let events = counted(loss.count, &format!("{} event", loss.kind.name()));
    format!("{events} {were} lost")
}
