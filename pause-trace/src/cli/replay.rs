//! `replay`: the verdicts of a recording.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
};

use anyhow::{Context as _, Result};

use super::{
    Console, End, Exit, Global, Usage, conform,
    output::Output,
    pod_reporter::{PodReporter, Wanted},
    scenario_reporter::ScenarioReporter,
    select::Selection,
};
use crate::{
    conformance,
    event::{Ktime, Text},
    pipeline::Pipeline,
    playing::Script,
    record::{self, Begin, Ending, Entry, Mark, Next, Opening, Over, Run},
    reference::{faults, scenarios},
    report::Summary,
    rules,
    scenario::{Played, SortedVerdicts},
    sink::Failed,
    verdict::Verdict,
};

/// Judge a recording again: the same events, the same verdicts, on any machine
///
/// It needs neither root nor eBPF. If the recording was cut (a crash, a full disk), the part that is there is judged, the
/// report says that the end is missing, and the exit code is 3 if nothing failed.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The recording; if FILE.1 holds the part before it, that is replayed first
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) wanted: Wanted,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) output: Output,
}

const EXAMPLES: &str = "\
Examples:
  pause-trace replay node.ptrec                              as it was told when it was recorded
  pause-trace replay node.ptrec --pod default/web            one pod
  pause-trace replay node.ptrec --format sarif --output node.sarif
  pause-trace replay node.ptrec --select PT3 -v              other rules than then, with each verdict";

impl Args {
    pub(crate) fn run(&self, global: &Global) -> Result<Exit> {
        self.selection.validate()?;
        let shown = self.file.display();
        let mut recording =
            record::open(&self.file).map_err(|error| Usage(format!("{shown}: {error}")))?;
        let mut console = Console::open(&self.output, global, recording.opening.clock(), false)?;
        if recording.is_headless() {
            console.note(&format!(
                "{shown} is the last of a recording: what came before was dropped"
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
            Ending::Closed if was_broken_off => {
                Some("the run that was recorded was broken off".to_owned())
            }
            Ending::Closed => None,
            cut => Some(format!(
                "the recording is {cut}; what came then is not known"
            )),
        };
        if let Some(doubt) = doubt {
            console.note(&format!("{shown}: {doubt}"))?;
            end = End::Closed;
        }
        if replay.is_partial {
            end = End::Closed;
        }
        Ok(console.finish(replay.summary.as_ref(), end)?)
    }
}

/// A recording under way.
struct Replay<'a> {
    args: &'a Args,
    part: Option<Part<'a>>,
    /// Of the parts that are over.
    summary: Option<Summary>,
    has_begun: bool,
    /// Something of it could not be judged.
    is_partial: bool,
}

/// A part of the run that was recorded.
struct Part<'a> {
    begin: Begin,
    pipeline: Pipeline,
    telling: Telling<'a>,
    /// When the last event was.
    last: Ktime,
}

enum Telling<'a> {
    Pods(PodReporter<'a>),
    Scenarios {
        reporter: ScenarioReporter,
        sorted: SortedVerdicts,
        /// What was judged and not told of yet, by the scenario's name.
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
            is_partial: false,
        }
    }

    /// Does what the run did when this was recorded; [`End::Closed`] where nobody reads the report any more.
    fn take(&mut self, entry: Entry, opening: &Opening, console: &mut Console) -> Result<End> {
        let told = match entry {
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
                    part.pipeline.take_in(&event);
                    part.last = event.time;
                }
                Ok(())
            }
            Entry::Mark(mark) => self.mark(mark, console),
            Entry::Opening(_) | Entry::Settled | Entry::Continued | Entry::Closed => Ok(()),
        };
        match told {
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
        let told = match self.has_begun {
            false => console.hello(&opening.hello(&begin)),
            true => Ok(()),
        };
        self.has_begun = true;
        let scenarios = |reporter| Telling::Scenarios {
            reporter,
            sorted: SortedVerdicts::default(),
            waiting: HashMap::new(),
        };
        let telling = match begin.run {
            Run::Node => Telling::Pods(PodReporter::new(&self.args.wanted)),
            Run::Reference { inject } => scenarios(ScenarioReporter::new(inject, 0)),
            Run::Conformance => {
                scenarios(ScenarioReporter::new(false, 0).among_others(conform::is_of_evidence))
            }
        };
        let selection = &self.args.selection;
        self.part = Some(Part {
            pipeline: Pipeline::new(begin.limits, |rule| selection.takes(rule)),
            last: begin.started,
            begin,
            telling,
        });
        told
    }

    fn mark(&mut self, mark: Mark, console: &mut Console) -> Result<(), Failed> {
        let Some(Part {
            begin,
            pipeline,
            telling,
            ..
        }) = &mut self.part
        else {
            return Ok(());
        };
        match (mark, telling) {
            (Mark::Followed, _) => pipeline.follow(),
            (Mark::Told, Telling::Pods(reporter)) => return reporter.tell(pipeline, console),
            (
                Mark::Over(over),
                Telling::Scenarios {
                    sorted, waiting, ..
                },
            ) => {
                let selection = &self.args.selection;
                let selected = |id: &str| rules::find(id).is_some_and(|rule| selection.takes(rule));
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
                        console.note(&format!("this version knows no scenario {name}"))?;
                    }
                }
            }
            (
                Mark::ScenarioTold { scenario, time },
                Telling::Scenarios {
                    reporter,
                    sorted,
                    waiting,
                },
            ) => {
                let played = waiting.get_mut(&scenario).and_then(VecDeque::pop_front);
                if let Some(played) = played {
                    return reporter.tell(&played, time, (pipeline, sorted), console);
                }
            }
            // A mark of another kind of run: nothing was told.
            _ => {}
        }
        Ok(())
    }

    /// Tells the rest of a part; of one that has no end in the recording, what was known by its last event.
    fn end_part(&mut self, end: Option<record::End>, console: &mut Console) -> Result<End> {
        let Some(part) = self.part.take() else {
            return Ok(End::Finished);
        };
        let times = (part.begin.started, end.map_or(part.last, |end| end.time));
        let how = match end {
            Some(end) if end.interrupted => End::Interrupted,
            _ => End::Finished,
        };
        let (told, summary) = match part.telling {
            Telling::Pods(reporter) => reporter.end(&part.pipeline, console, times, how)?,
            Telling::Scenarios {
                reporter, sorted, ..
            } => reporter.end((&part.pipeline, &sorted), console, times, how)?,
        };
        self.summary = Some(match self.summary.take() {
            Some(before) => before.and(summary),
            None => summary,
        });
        Ok(match told {
            End::Closed => End::Closed,
            // The run was interrupted, and not its replay.
            End::Finished | End::Interrupted => End::Finished,
        })
    }
}

/// Judges a scenario as it was when it was over; `None` where its name is not known.
fn judge<F: 'static>(
    mut known: impl Iterator<Item = &'static Script<F>>,
    over: &Over,
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
