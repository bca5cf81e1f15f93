//! `report`: the findings and the state of the pods as an HTML page.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context as _, Result};
use nix::unistd::{AccessFlags, access, mkdtemp};

use super::{
    Console, End, Exit, Global, Usage,
    exit::Tally,
    history::{Ask, say, source},
    output::Output,
    pod_reporter::PodFilter,
    recording::Record,
    same,
    select::Selection,
    summary,
    watch::{self, Node, Pods, Runtime},
};
use crate::{
    conformance,
    event::Ktime,
    history::History,
    pipeline::Pipeline,
    playing::Script,
    record::{self, Begin, Ending, Entry, Mark, Next, Recording, Run, ScenarioEnd},
    reference::{faults, scenarios},
    report::{
        Summary,
        html::{self, Page, PageBuilder},
    },
    scenario::SortedVerdicts,
    sys,
    timeline::Journal,
    verdict::{Severity, Verdict},
};

/// Write an HTML page about the node's pods, for a ticket: one file that any browser opens without
/// network
///
/// The page shows verdicts with their evidence and the rule's explanation, namespaces side by side
/// with the pause's and the host's, how the pod started and what its start waited for, a timeline,
/// processes, signals and zombies. With a recording,
/// the command does not need root. Without one, it first watches the running pods like `watch`, for
/// the time given with --for.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A recording made by `pause-trace record`
    #[arg(value_name = "RECORDING", conflicts_with_all = ["once", "duration", "cri"])]
    pub(crate) recording: Option<PathBuf>,
    /// The page to write; an existing file is overwritten
    #[arg(long, value_name = "FILE")]
    pub(crate) html: PathBuf,
    #[command(flatten)]
    pub(crate) pods: Pods,
    #[command(flatten)]
    pub(crate) runtime: Runtime,
    #[command(flatten)]
    ask: Ask,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// The lowest severity that makes the exit code 1
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = Severity::Error)]
    pub(crate) fail_on: Severity,
}

const EXAMPLES: &str = "\
Examples:
  pause-trace report node.ptrec --html node.html
  pause-trace report --html node.html                the pods that run now
  pause-trace report --html node.html --for 10m --pod default/web";

impl Args {
    pub(crate) fn run(&self, global: &Global) -> Result<Exit> {
        self.selection.validate()?;
        let Some(recording) = &self.recording else {
            self.require_writable()?;
            if let Some((source, recording)) = self.history(global)? {
                return self.report(recording, &source, false);
            }
            let directory = TempDir::new()?;
            let path = directory.0.join("live.ptrec");
            if self.record(&path, global)? == Exit::Interrupted {
                return Ok(Exit::Interrupted);
            }
            return self.report_file(&path, true);
        };
        let files = [("the recording", &**recording), ("--html", &*self.html)];
        same::refuse(files)?;
        self.report_file(recording, false)
    }

    /// The history of a `watch` that runs, unless the user asks for a time or a runtime.
    fn history(&self, global: &Global) -> Result<Option<(String, Recording)>> {
        let Pods { once, duration, .. } = &self.pods;
        if *once || duration.is_some() || self.runtime.path().is_some() {
            return Ok(None);
        }
        let Some(history) = self.ask.ask(global) else {
            return Ok(None);
        };
        let source = source(&history);
        match history.into_recording() {
            Ok(recording) => {
                say(&source);
                Ok(Some(("the history".to_owned(), recording)))
            }
            Err(error) => {
                say(&format!("the history cannot be read: {error}"));
                Ok(None)
            }
        }
    }

    /// Watches the node's pods and records them. The page is then made from this recording.
    fn record(&self, path: &Path, global: &Global) -> Result<Exit> {
        let output = Output::text(self.fail_on);
        let clock = summary::clock()?;
        let console = Console::open(&output, global, clock, false)?;
        let record = Record {
            record: Some(path.to_owned()),
        };
        let recording = record.start(clock, None)?.required();
        let pods = Pods {
            once: self.pods.duration.is_none(),
            ..self.pods.clone()
        };
        let node = Node {
            pods: &pods,
            runtime: &self.runtime,
            follows_reference: false,
            recording: &recording,
            metrics: None,
            history: None,
            confine: global.confine(Some(&self.html)),
        };
        let exit = watch::watch_alone(&node, &self.selection, global, (console, None))?;
        Ok(recording.close(exit))
    }

    fn report_file(&self, path: &Path, is_reported: bool) -> Result<Exit> {
        let shown = path.display().to_string();
        sys::require_memory(record::MEMORY_MIB)?;
        let recording = record::open(path).map_err(|error| Usage(format!("{shown}: {error}")))?;
        self.report(recording, &shown, is_reported)
    }

    /// `is_reported`: whether the run that made the recording has said what is missing.
    fn report(&self, recording: Recording, shown: &str, is_reported: bool) -> Result<Exit> {
        let wanted = &self.pods.wanted;
        let Read {
            mut page,
            tally,
            mut end,
        } = read(recording, &self.selection, wanted)
            .with_context(|| format!("failed to read {shown}"))?;
        for note in &page.notes {
            eprintln!("pause-trace: {shown}: {note}");
        }
        if let Some(wanted) = &wanted.pod {
            page.keep(wanted);
        }
        if let Some(missing) = wanted.missing(page.pods()) {
            if !is_reported {
                eprintln!("pause-trace: {shown}: {missing}");
            }
            end = End::Closed;
        }
        self.write(&page)?;
        Ok(tally.decide(self.fail_on, end))
    }

    /// Refuses a target before the node is observed for it.
    fn require_writable(&self) -> Result<()> {
        let directory = self
            .html
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let (target, flags) = match self.html.exists() {
            true => (&*self.html, AccessFlags::W_OK),
            false => (directory, AccessFlags::W_OK | AccessFlags::X_OK),
        };
        access(target, flags).map_err(|error| {
            let shown = self.html.display();
            Usage(format!("failed to create {shown}: {error}")).into()
        })
    }

    fn write(&self, page: &Page) -> Result<()> {
        let shown = self.html.display();
        let content = html::render(page).context("failed to create the page")?;
        let mut file = fs::File::create(&self.html)
            .map_err(|error| Usage(format!("failed to create {shown}: {error}")))?;
        std::io::Write::write_all(&mut file, content.as_bytes())
            .with_context(|| format!("failed to write {shown}"))
    }
}

/// The page about everything that the history of a `watch` has, as that `watch` serves it.
pub(super) fn of_history(history: History) -> Result<String> {
    let recording = history.into_recording()?;
    let read = read(recording, &Selection::default(), &PodFilter::everything())?;
    html::render(&read.page).context("failed to create the page")
}

/// A recording that was read to its end.
struct Read {
    page: Page,
    tally: Tally,
    end: End,
}

/// Judges a recording for the page. `wanted`: which verdicts count for the exit code.
fn read(mut recording: Recording, selection: &Selection, wanted: &PodFilter) -> Result<Read> {
    let mut reading = Reading {
        selection,
        wanted,
        gathered: PageBuilder::new(recording.opening.clock()),
        part: None,
        summary: None,
        tally: Tally::default(),
    };
    let ending = loop {
        match recording.next_entry()? {
            Next::Entry(entry) => reading.take(entry),
            Next::End(ending) => break ending,
        }
    };
    let was_broken_off = reading.part.is_some();
    reading.end_part(None);
    let summary = reading.summary.take().unwrap_or_default();
    let mut page = reading.gathered.into_page(&summary);
    let opening = &recording.opening;
    page.version = format!("pause-trace {}", opening.version);
    (page.kernel, page.arch) = (opening.kernel.clone(), opening.arch.clone());
    if recording.is_headless() {
        page.notes
            .push("the earlier part of the recording was dropped".to_owned());
    }
    let end = match ending {
        Ending::Closed if !was_broken_off => End::Finished,
        Ending::Closed => {
            page.notes.push("the recorded run was aborted".to_owned());
            End::Closed
        }
        other => {
            page.notes.extend(other.doubt());
            End::Closed
        }
    };
    let tally = reading.tally;
    Ok(Read { page, tally, end })
}

/// A private temporary directory, removed on drop.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Result<Self> {
        let template = env::temp_dir().join("pause-trace-XXXXXX");
        let made = mkdtemp(&template)
            .with_context(|| format!("failed to create {}", template.display()))?;
        Ok(Self(made))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A failure is ignored: the system clears its temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A recording that is being read.
struct Reading<'a> {
    selection: &'a Selection,
    wanted: &'a PodFilter,
    gathered: PageBuilder,
    part: Option<Part>,
    summary: Option<Summary>,
    tally: Tally,
}

struct Part {
    begin: Begin,
    pipeline: Pipeline,
    journal: Rc<RefCell<Journal>>,
    sorted: SortedVerdicts,
    last: Ktime,
}

impl Reading<'_> {
    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Begin(begin) => {
                self.end_part(None);
                self.gathered.begin(begin.started);
                let selection = self.selection;
                let pipeline = Pipeline::new(begin.limits, |rule| selection.selects(rule));
                let journal = Rc::new(RefCell::new(Journal::default()));
                journal.borrow_mut().begin(&begin.hooks);
                pipeline.observe(Box::new(Rc::clone(&journal)));
                self.part = Some(Part {
                    pipeline,
                    journal,
                    sorted: SortedVerdicts::default(),
                    last: begin.started,
                    begin,
                });
            }
            Entry::End(end) => self.end_part(Some(end)),
            Entry::Event(event) => {
                if let Some(part) = &mut self.part {
                    let gathered = &mut self.gathered;
                    gathered.save_starts(&part.journal.borrow());
                    part.pipeline.process_event(&event);
                    part.last = event.time;
                    part.pipeline.read(|core| gathered.see(&event, &core.state));
                }
            }
            Entry::Mark(Mark::ScenarioEnded(over)) => self.over(&over),
            Entry::Mark(Mark::Reported) => self.reported(),
            Entry::Mark(_) | Entry::Opening(_) => {}
            Entry::Settled | Entry::Continued | Entry::Closed => {}
        }
    }

    /// Adds the verdicts that the run reported at this point, with the names that were known then.
    fn reported(&mut self) {
        let Some(part) = self.part.take() else {
            return;
        };
        if part.begin.run == Run::Node {
            let verdicts = part.pipeline.verdicts();
            self.judged(&part, &verdicts, |_| false);
        }
        self.part = Some(part);
    }

    /// Ends a scenario. The findings that it expects are not violations.
    fn over(&mut self, over: &ScenarioEnd) {
        let Some(part) = self.part.take() else {
            return;
        };
        let verdicts = part.sorted.take(&part.pipeline, &over.pods);
        self.gathered.scenario(&over.scenario, &over.pods);
        let is_expected = |verdict: &Verdict| match part.begin.run {
            Run::Reference { inject: true } => false,
            Run::Conformance => expects(conformance::scenarios::all(), over, verdict),
            _ => expects(scenarios::all().chain(faults::all()), over, verdict),
        };
        self.judged(&part, &verdicts, is_expected);
        self.part = Some(part);
    }

    fn judged(
        &mut self,
        part: &Part,
        verdicts: &[Verdict],
        is_expected: impl Fn(&Verdict) -> bool,
    ) {
        let wanted = self.wanted;
        let reported = verdicts
            .iter()
            .filter(|it| it.severity() >= wanted.min_severity);
        part.pipeline.read(|core| {
            for verdict in reported {
                let expected = is_expected(verdict);
                if !expected && wanted.is_about(verdict, &core.names) {
                    self.tally.verdict(verdict);
                }
                self.gathered.verdict(verdict, &core.names, expected);
            }
        });
    }

    fn end_part(&mut self, end: Option<record::End>) {
        let Some(part) = self.part.take() else {
            return;
        };
        let mut rest = part.sorted.take_rest(&part.pipeline);
        rest.sort_by(|one, other| {
            let key = |verdict: &Verdict| (verdict.time, verdict.rule.id);
            key(one).cmp(&key(other))
        });
        self.judged(&part, &rest, |_| false);
        self.gathered.end_part(&part.journal.borrow());
        let times = (part.begin.started, end.map_or(part.last, |end| end.time));
        let summary = summary::summary(&part.pipeline, times, &BTreeMap::new());
        self.summary = Some(match self.summary.take() {
            Some(before) => before.and(summary),
            None => summary,
        });
    }
}

fn expects<F: 'static>(
    mut known: impl Iterator<Item = &'static Script<F>>,
    over: &ScenarioEnd,
    verdict: &Verdict,
) -> bool {
    known
        .find(|script| script.scenario.name == over.scenario)
        .is_some_and(|script| script.scenario.expects(verdict))
}
