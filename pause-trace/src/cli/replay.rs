//! `replay`: judges a recording again.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
};

use anyhow::{Context as _, Result};

use super::{
    Console, End, Exit, Global, Usage, conform,
    output::Output,
    pod_reporter::{PodFilter, PodReporter},
    scenario_reporter::ScenarioReporter,
    select::Selection,
};
use crate::{
    conformance,
    event::{Ktime, Text},
    pipeline::Pipeline,
    playing::Script,
    record::{self, Begin, Ending, Entry, Mark, Next, Opening, Run, ScenarioEnd},
    reference::{faults, scenarios},
    report::Summary,
    rules,
    scenario::{Played, SortedVerdicts},
    sink::Failed,
    sys,
    verdict::Verdict,
};

/// Judge a recording again: the same events give the same verdicts, on any machine
///
/// It needs neither root nor eBPF. If the recording is incomplete (a crash, a full disk), it judges
/// the part that exists and says that the end is missing, and the exit code is 3 if nothing failed.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The recording; if FILE.1 contains the part before it, that part is replayed first
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) wanted: PodFilter,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) output: Output,
}

const EXAMPLES: &str = "\
Examples:
  pause-trace replay node.ptrec                              the report of the recorded run
  pause-trace replay node.ptrec --pod default/web            one pod
  pause-trace replay node.ptrec --format sarif --output node.sarif
  pause-trace replay node.ptrec --select PT3 -v              other rules than the run, with each verdict";

impl Args {
    pub(crate) fn run(&self, global: &Global) -> Result<Exit> {
        self.selection.validate()?;
        let shown = self.file.display();
        sys::require_memory(record::MEMORY_MIB)?;
        let mut recording =
            record::open(&self.file).map_err(|error| Usage(format!("{shown}: {error}")))?;
        let before = record::previous(&self.file);
        let mut files = vec![("the recording", &*self.file)];
        if recording.opening.segment > 0 {
            files.push(("the recording", &*before));
        }
        self.output.refuse_same(files)?;
        let mut console = Console::open(&self.output, global, recording.opening.clock(), false)?;
        if recording.is_headless() {
            console.note(&format!(
                "{shown} is the last part of a recording: the parts before it were dropped"
            ))?;
        }
        let mut replay = Replay::new(self);
        let ending = loop {
            let next = recording
                .next_entry()
                .with_context(|| format!("failed to read {shown}"))?;
            let entry = match next {
                Next::Entry(entry) => entry,
                Next::End(ending) => break ending,
            };
            if replay.take(entry, &recording.opening, &mut console)? == End::Closed {
                return Ok(console.finish(replay.summary.as_ref(), End::Closed)?);
            }
        };
        let was_broken_off = replay.part.is_some();
        let mut end = replay.end_part(None, &mut console)?;
        let doubt = match ending {
            Ending::Closed if was_broken_off => Some("the recorded run was aborted".to_owned()),
            other => other.doubt(),
        };
        if let Some(doubt) = doubt {
            console.note(&format!("{shown}: {doubt}"))?;
            end = End::Closed;
        }
        if replay.is_partial {
            end = End::Closed;
        }
        // The run of scenarios names no pods: --pod and --require-pods ask for the node's.
        if !replay.had_pods
            && let Some(missing) = self.wanted.missing(0)
        {
            console.note(&missing)?;
            end = End::Closed;
        }
        Ok(console.finish(replay.summary.as_ref(), end)?)
    }
}

/// A recording that is being replayed.
struct Replay<'a> {
    args: &'a Args,
    part: Option<Part<'a>>,
    /// The summary of the parts that have ended.
    summary: Option<Summary>,
    has_begun: bool,
    /// A part of the recording is about the node's pods.
    had_pods: bool,
    /// A part of the recording could not be judged.
    is_partial: bool,
}

/// A part of the recorded run.
struct Part<'a> {
    begin: Begin,
    pipeline: Pipeline,
    reporter: Reporter<'a>,
    /// The time of the last event.
    last: Ktime,
}

enum Reporter<'a> {
    Pods(PodReporter<'a>),
    Scenarios {
        reporter: ScenarioReporter,
        sorted: SortedVerdicts,
        /// Scenarios that were judged and not reported yet, by name.
        waiting: HashMap<String, VecDeque<Played>>,
    },
}

type Judged<'a> = (&'a Pipeline, &'a SortedVerdicts);

impl<'a> Replay<'a> {
    fn new(args: &'a Args) -> Self {
        Self {
            args,
            part: None,
            summary: None,
            has_begun: false,
            had_pods: false,
            is_partial: false,
        }
    }

    /// Repeats what the run did when it recorded this entry. Returns [`End::Closed`] if the reader
    /// of the report has left.
    fn take(&mut self, entry: Entry, opening: &Opening, console: &mut Console) -> Result<End> {
        let result = match entry {
            Entry::Begin(begin) => {
                let ended = self.end_part(None, console)?;
                if ended == End::Closed {
                    return Ok(ended);
                }
                self.begin(begin, opening, console)
            }
            Entry::End(end) => return self.end_part(Some(end), console),
            Entry::Event(event) => {
                if let Some(part) = &mut self.part {
                    part.pipeline.process_event(&event);
                    part.last = event.time;
                }
                Ok(())
            }
            Entry::Mark(mark) => self.mark(mark, console),
            Entry::Opening(_) | Entry::Settled | Entry::Continued | Entry::Closed => Ok(()),
        };
        match result {
            Ok(()) => Ok(End::Finished),
            Err(failed) => Ok(End::from_failed(failed)?),
        }
    }

    fn begin(
        &mut self,
        begin: Begin,
        opening: &Opening,
        console: &mut Console,
    ) -> Result<(), Failed> {
        let result = match self.has_begun {
            false => console.hello(&opening.hello(&begin)),
            true => Ok(()),
        };
        self.has_begun = true;
        self.had_pods |= begin.run == Run::Node;
        let scenarios = |reporter| Reporter::Scenarios {
            reporter,
            sorted: SortedVerdicts::default(),
            waiting: HashMap::new(),
        };
        let reporter = match begin.run {
            Run::Node => Reporter::Pods(PodReporter::new(&self.args.wanted)),
            Run::Reference { inject } => scenarios(ScenarioReporter::new(inject, 0)),
            Run::Conformance => {
                scenarios(ScenarioReporter::new(false, 0).among_others(conform::is_of_evidence))
            }
        };
        let selection = &self.args.selection;
        self.part = Some(Part {
            pipeline: Pipeline::new(begin.limits, |rule| selection.selects(rule)),
            last: begin.started,
            begin,
            reporter,
        });
        result
    }

    fn mark(&mut self, mark: Mark, console: &mut Console) -> Result<(), Failed> {
        let Some(Part {
            begin,
            pipeline,
            reporter,
            ..
        }) = &mut self.part
        else {
            return Ok(());
        };
        match (mark, reporter) {
            (Mark::Followed, _) => pipeline.follow(),
            (Mark::Reported, Reporter::Pods(reporter)) => {
                return reporter.report(pipeline, console);
            }
            (
                Mark::ScenarioEnded(over),
                Reporter::Scenarios {
                    sorted, waiting, ..
                },
            ) => {
                let selection = &self.args.selection;
                let selected =
                    |id: &str| rules::find(id).is_some_and(|rule| selection.selects(rule));
                let judged = (&*pipeline, &*sorted);
                let played = match begin.run {
                    Run::Conformance => {
                        drop(pipeline.news());
                        let known = conformance::scenarios::all();
                        let counts = conformance::scenario::counts;
                        judge(known, &over, judged, counts, selected)
                    }
                    _ => {
                        let known = scenarios::all().chain(faults::all());
                        judge(known, &over, judged, |_| true, selected)
                    }
                };
                match played {
                    Some(played) => {
                        waiting.entry(over.scenario).or_default().push_back(played);
                    }
                    None => {
                        self.is_partial = true;
                        let name = Text::new(&over.scenario);
                        console.note(&format!(
                            "this version of pause-trace has no scenario {name}"
                        ))?;
                    }
                }
            }
            (
                Mark::ScenarioReported { scenario, time },
                Reporter::Scenarios {
                    reporter,
                    sorted,
                    waiting,
                },
            ) => {
                let played = waiting.get_mut(&scenario).and_then(VecDeque::pop_front);
                if let Some(played) = played {
                    return reporter.report(&played, time, (pipeline, sorted), console);
                }
            }
            // A mark that belongs to another kind of run: there is nothing to report.
            _ => {}
        }
        Ok(())
    }

    /// Reports the rest of a part. If the recording lacks the end of the part, the part ends with
    /// its last event.
    fn end_part(&mut self, end: Option<record::End>, console: &mut Console) -> Result<End> {
        let Some(part) = self.part.take() else {
            return Ok(End::Finished);
        };
        let times = (part.begin.started, end.map_or(part.last, |end| end.time));
        let how = match end {
            Some(end) if end.interrupted => End::Interrupted,
            _ => End::Finished,
        };
        let (ended, summary) = match part.reporter {
            // The run was interrupted, not the replay: it says which pods it did not find.
            Reporter::Pods(reporter) => {
                let end = End::Finished;
                let (ended, summary) = reporter.end(&part.pipeline, console, times, end)?;
                let interrupted = how == End::Interrupted;
                (
                    ended,
                    Summary {
                        interrupted,
                        ..summary
                    },
                )
            }
            Reporter::Scenarios {
                reporter, sorted, ..
            } => reporter.end((&part.pipeline, &sorted), console, times, how)?,
        };
        self.summary = Some(match self.summary.take() {
            Some(before) => before.and(summary),
            None => summary,
        });
        Ok(match ended {
            End::Closed => End::Closed,
            End::Finished | End::Interrupted => End::Finished,
        })
    }
}

/// Judges a scenario as the run did when it ended; `None` if no scenario has this name.
fn judge<F: 'static>(
    mut known: impl Iterator<Item = &'static Script<F>>,
    over: &ScenarioEnd,
    judged: Judged<'_>,
    counts: impl Fn(&Verdict) -> bool,
    selected: impl Fn(&str) -> bool,
) -> Option<Played> {
    let script = known.find(|script| script.scenario.name == over.scenario)?;
    Some(Played::judge(
        &script.scenario,
        over,
        judged,
        counts,
        selected,
    ))
}
