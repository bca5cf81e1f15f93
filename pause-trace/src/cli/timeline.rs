//! `timeline`: shows how a pod starts.

mod writer;

use std::{
    cell::RefCell,
    collections::HashSet,
    future, io,
    io::Write as _,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use self::writer::Writer;
use super::{
    Exit, Global, Missing, Usage, file,
    history::{Ask, source},
    output::{Format, StateFormat},
    same, summary,
    watch::{Runtime, parse_duration},
};
use crate::{
    event::{Ktime, PodId, Text},
    pipeline::Pipeline,
    pods::Follower,
    probe,
    record::{self, Ending, Entry, Next, Recording},
    report::Clock,
    session::{self, Ended, Interrupt, Session, Setup, Stop},
    state::Limits,
    sys, terminal,
    text::{DOUBTFUL, Line, counted},
    timeline::{self, Journal, Timeline},
    verdict::Age,
};

/// Nothing states how many containers a pod will have. It counts as up when no container has
/// started for this long.
const SETTLED: Duration = Duration::from_secs(2);
/// What is said of a timeline that ended for that reason.
const MAY_GO_ON: &str =
    "no further container started for 2 s; an init container may still be running";
/// The shortest time between two readings of the journal.
const PERIOD: Duration = Duration::from_millis(100);
/// The pods that are listed in a message.
const MAX_NAMED: usize = 8;

/// Show how a pod starts, as a waterfall: CNI, sandbox, joins, cgroups, exec, and what the start
/// waited for
///
/// Waits for POD to start, and shows its start when the pod is up: when no further container has
/// started for two seconds. If a `watch` runs and has seen POD, its history answers at once, also
/// about a pod that is already removed. Elements that cannot be attributed to a pod are shown as
/// unassigned. It needs root and the initial pid namespace, and changes nothing on the node.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The pod to wait for, or one that a `watch` has seen: NAMESPACE/NAME or NAME, its uid or a
    /// container's id. A prefix means the first pod to start whose name begins so; in a recording
    /// it must be unique
    #[arg(value_name = "POD")]
    pod: String,
    /// Also show each element when it ends
    #[arg(long)]
    follow: bool,
    /// What ends the timeline
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    until: Until,
    /// Wait no longer than this: 30s, 5m; a number alone is in seconds
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    format: Format<StateFormat>,
    /// Also write the timeline to FILE, for Perfetto and chrome://tracing
    #[arg(long, value_name = "FILE")]
    perfetto: Option<PathBuf>,
    /// Replace that file if it exists
    #[arg(long, requires = "perfetto")]
    force: bool,
    #[command(flatten)]
    runtime: Runtime,
    /// Read a recording instead of waiting; this needs neither root nor eBPF
    ///
    /// The timeline then has all that was recorded about the pod, so --until, --for, --follow and
    /// --cri are refused.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["follow", "duration", "cri", "until"])]
    recording: Option<PathBuf>,
    #[command(flatten)]
    ask: Ask,
}

/// When a timeline ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Until {
    /// All containers of the pod have started.
    #[default]
    Up,
    /// A process of the pod has listened on a TCP port.
    Listening,
    /// The pod is removed.
    Removed,
}

const AFTER_HELP: &str = "\
Examples:
  pause-trace timeline default/web                            then start the pod
  pause-trace timeline web --until listening                  until a process of it listens on a TCP port
  pause-trace timeline web --until removed --format json      its whole life, one object per line
  pause-trace timeline web --perfetto web.json                open web.json in Perfetto
  pause-trace timeline web --recording node.ptrec             a recorded start

Exit codes: 0 the timeline is complete · 2 wrong usage · 3 no such pod, or --for ended first · 4 cannot run; the message says what to do · 130 Ctrl-C; the part so far is shown";

impl Args {
    pub(crate) fn run(&self, global: &Global) -> Result<Exit> {
        if self.pod.is_empty() {
            return Err(Usage(
                "POD is empty; expected NAMESPACE/NAME or the pod's uid, or a prefix of one"
                    .to_owned(),
            )
            .into());
        }
        if let Some(path) = &self.perfetto {
            refuse_early(path, self.force)?;
            let recording = self.recording.as_deref();
            let recording = recording.map(|recording| ("--recording", recording));
            same::refuse(recording.into_iter().chain([("--perfetto", &**path)]))?;
        }
        match &self.recording {
            Some(path) => self.read_recording(path, global),
            None => match self.read_history(global)? {
                Some(exit) => Ok(exit),
                None => session::block_on(self.watch(global)),
            },
        }
    }

    /// Shows the start of a pod that runs, or the life of one that was removed, if the history of a
    /// `watch` has it.
    fn read_history(&self, global: &Global) -> Result<Option<Exit>> {
        if self.follow {
            return Ok(None); // it waits for what has not happened yet
        }
        let Some(history) = self.ask.ask(global) else {
            return Ok(None);
        };
        let source = source(&history);
        let recording = history.into_recording();
        let (journal, clock) = match recording.map_err(anyhow::Error::from).and_then(read) {
            Ok((journal, clock, Ending::Closed)) => (journal, clock),
            Ok((_, _, ending)) => {
                note(global, &format!("the history is {ending}"));
                return Ok(None);
            }
            Err(error) => {
                note(global, &format!("the history cannot be read: {error:#}"));
                return Ok(None);
            }
        };
        let journal = journal.borrow();
        let called = journal.called(&self.pod);
        let timelines = called.pods.iter();
        let timelines = timelines.filter_map(|pod| Timeline::of(&journal, pod));
        let (there, gone): (Vec<_>, Vec<_>) =
            timelines.partition(|timeline| timeline.removed.is_none());
        // The beginning of a name means the next pod whose name begins so.
        let timeline = match &there[..] {
            [] if called.is_whole => match self.newest(gone, &source, global) {
                Some(timeline) => timeline,
                None => return Ok(None),
            },
            // Its removal is yet to come.
            [only] if self.until != Until::Removed => only.clone(),
            _ => return Ok(None),
        };
        if timeline.removed.is_some() {
            return self.show(&timeline, clock, global).map(Some);
        }
        if timeline.began.is_none() {
            note(
                global,
                &format!("{source}, and not to the start of this pod"),
            );
            return Ok(None);
        }
        if self.until == Until::Listening && timeline.first_listen.is_none() {
            return Ok(None);
        }
        note(global, &source);
        let exit = self.show(&timeline, clock, global)?;
        if timeline.up.is_none() {
            note(global, "none of its containers has executed yet");
        }
        Ok(Some(exit))
    }

    /// The pod that was removed last, of those that the name means, after a note about it.
    fn newest(&self, mut gone: Vec<Timeline>, source: &str, global: &Global) -> Option<Timeline> {
        gone.sort_by_key(|timeline| std::cmp::Reverse(timeline.removed));
        let mut gone = gone.into_iter();
        let newest = gone.next()?;
        let ago = newest
            .removed
            .map(|removed| Age(probe::now().saturating_sub(removed)))?;
        let start = match newest.began {
            Some(_) => "",
            None => "; its start was not observed",
        };
        note(
            global,
            &format!(
                "{source}; \"{}\" was removed {ago} ago{start}; --no-history waits for the next one",
                self.pod.escape_debug()
            ),
        );
        let others: Vec<_> = gone
            .map(|other| Text::new(&other.pod).to_string())
            .collect();
        if !others.is_empty() {
            let more = match others.len().saturating_sub(MAX_NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let shown = &others[..others.len().min(MAX_NAMED)];
            note(
                global,
                &format!(
                    "{} of this name before it: uid {}{more}",
                    counted(others.len() as u64, "pod"),
                    shown.join(", ")
                ),
            );
        }
        Some(newest)
    }

    /// Writes a timeline to which nothing is added any more.
    fn show(&self, timeline: &Timeline, clock: Clock, global: &Global) -> Result<Exit> {
        let mut writer = Writer {
            args: self,
            text_style: global.text_style(),
            clock,
            written: HashSet::new(),
            pod: Some(timeline.pod.clone()),
        };
        let exit = writer.finish(timeline)?;
        self.write_trace(timeline)?;
        Ok(exit)
    }

    /// Shows the timeline of a pod in a recording.
    fn read_recording(&self, path: &Path, global: &Global) -> Result<Exit> {
        let shown = path.display();
        sys::require_memory(record::MEMORY_MIB)?;
        let recording = record::open(path).map_err(|error| Usage(format!("{shown}: {error}")))?;
        if recording.is_headless() {
            note(
                global,
                &format!(
                    "{shown} is the last part of a recording: the parts before it were dropped"
                ),
            );
        }
        let (journal, clock, ending) =
            read(recording).with_context(|| format!("failed to read {shown}"))?;
        let timeline = self.meant(&journal.borrow())?;
        let exit = self.show(&timeline, clock, global)?;
        let Some(doubt) = ending.doubt() else {
            return Ok(exit);
        };
        note(global, &format!("{shown}: {doubt}"));
        Ok(Exit::Inconclusive)
    }

    /// Finds the only pod that has the wanted name.
    fn meant(&self, journal: &Journal) -> Result<Timeline> {
        let called = journal.called(&self.pod).pods;
        if let [pod] = &called[..]
            && let Some(timeline) = Timeline::of(journal, pod)
        {
            return Ok(timeline);
        }
        let names = |pods: Vec<(&PodId, &Text, &Text)>| {
            let mut names: Vec<_> = pods
                .into_iter()
                .map(|(uid, namespace, name)| {
                    format!("{namespace}/{name} (uid {})", Text::new(uid))
                })
                .collect();
            names.sort_unstable();
            names.truncate(MAX_NAMED);
            names.join(", ")
        };
        let wanted = self.pod.escape_debug();
        let all: Vec<_> = journal.pods().collect();
        Err(match (called.len(), all.len()) {
            (_, 0) => Missing(format!(
                "there is no pod \"{wanted}\": the recording contains no pods"
            ))
            .into(),
            (0, count) => Missing(format!(
                "there is no pod \"{wanted}\" in the recording, which contains {count}: {}",
                names(all)
            ))
            .into(),
            (count, _) => {
                let meant = all
                    .into_iter()
                    .filter(|(uid, ..)| called.contains(uid))
                    .collect();
                Usage(format!(
                    "\"{wanted}\" matches {}: {}",
                    counted(count as u64, "pod"),
                    names(meant)
                ))
                .into()
            }
        })
    }

    fn write_trace(&self, timeline: &Timeline) -> Result<()> {
        if let Some(path) = &self.perfetto {
            let trace = timeline::trace(timeline).to_string();
            file::write(path, trace.as_bytes(), 0o644, self.force)?;
        }
        Ok(())
    }

    async fn watch(&self, global: &Global) -> Result<Exit> {
        let mut interrupt = Interrupt::catch()?;
        self.runtime.reach().await?;
        let journal = Rc::new(RefCell::new(Journal::default()));
        let setup = Setup {
            // A timeline shows what happened and needs no rules.
            selected: &|_| false,
            observers: vec![Box::new(Rc::clone(&journal))],
            ..Setup::of_node(global.probe(), global.limits())
        };
        let Some(session) = interrupt.or(Session::start(setup)).await else {
            return Ok(Exit::Interrupted);
        };
        let session = session?;
        let mut writer = Writer {
            args: self,
            text_style: global.text_style(),
            clock: summary::clock()?,
            written: HashSet::new(),
            pod: None,
        };
        let ended = self
            .follow(&session, &journal, &mut writer, &mut interrupt, global)
            .await?;
        let Some(timeline) = writer.read(&journal.borrow()) else {
            if ended == Ended::TimeIsUp {
                note(
                    global,
                    &format!(
                        "no pod \"{}\" started in this time",
                        self.pod.escape_debug()
                    ),
                );
                return Ok(Exit::Inconclusive);
            }
            return Ok(Exit::Interrupted);
        };
        let exit = writer.finish(&timeline)?;
        self.write_trace(&timeline)?;
        if ended == Ended::Done(()) && self.until == Until::Up {
            note(global, MAY_GO_ON);
        }
        Ok(match ended {
            Ended::Done(()) => exit,
            Ended::TimeIsUp => Exit::Inconclusive,
            Ended::Interrupted | Ended::Terminated => Exit::Interrupted,
        })
    }

    /// Follows the node's pods until the timeline ends.
    async fn follow(
        &self,
        session: &Session,
        journal: &RefCell<Journal>,
        writer: &mut Writer<'_>,
        interrupt: &mut Interrupt,
        global: &Global,
    ) -> Result<Ended<()>> {
        let Session { live, layout } = session;
        let mut follower = Follower::start(live, layout, self.runtime.cri.clone())
            .context("failed to follow the node's pods")?;
        let confine = global.confine(self.perfetto.as_deref());
        session.confine(confine, self.runtime.path());
        let settled = follower.settled();
        let noted = async {
            settled.await;
            note(global, &self.waiting(&journal.borrow()));
            future::pending::<()>().await;
        };
        let showing = async {
            tokio::pin!(noted);
            loop {
                let changed = live.changed();
                writer.find(&journal.borrow())?;
                let timeline = writer.read(&journal.borrow());
                if let Some(timeline) = &timeline
                    && self.follow
                {
                    writer.news(timeline)?;
                }
                let over_at = timeline.and_then(|timeline| self.over_at(&timeline));
                let over = async {
                    match over_at {
                        Some(at) => {
                            let left = at.saturating_sub(probe::now());
                            tokio::time::sleep(Duration::from_nanos(left)).await;
                        }
                        None => future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = &mut noted => {}
                    () = over => return Ok(()),
                    () = async { changed.await; tokio::time::sleep(PERIOD).await } => {}
                }
            }
        };
        let stop = Stop {
            interrupt: Some(interrupt),
            duration: self.duration,
        };
        session::drive(live, Some(&mut follower), stop, showing).await
    }

    /// When the timeline ends, if nothing else happens before.
    fn over_at(&self, timeline: &Timeline) -> Option<Ktime> {
        if self.until == Until::Listening {
            timeline.first_listen?;
        }
        let last = match self.until {
            Until::Up => timeline.up,
            Until::Listening => timeline.first_listen.max(timeline.up),
            Until::Removed => timeline.removed,
        };
        Some(last? + SETTLED.as_nanos() as Ktime)
    }

    /// A message that names the awaited pod and the pods that run already.
    fn waiting(&self, journal: &Journal) -> String {
        let wanted = self.pod.escape_debug();
        let mut running: Vec<String> = journal
            .pods()
            .map(|(_, namespace, name)| format!("{namespace}/{name}"))
            .collect();
        running.sort_unstable();
        if !journal.called(&self.pod).pods.is_empty() {
            return format!(
                "\"{wanted}\" runs already, so its start was not observed; waiting for it to start again"
            );
        }
        let there_are = match running.len() {
            0 => "no pod runs yet".to_owned(),
            count => {
                let named = running
                    .iter()
                    .take(MAX_NAMED)
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ");
                let more = count.saturating_sub(MAX_NAMED);
                format!(
                    "running: {named}{}",
                    if more > 0 {
                        format!(" and {more} more")
                    } else {
                        String::new()
                    }
                )
            }
        };
        format!("waiting for a pod \"{wanted}\" to start; {there_are}")
    }
}

/// Reads a whole recording.
fn read(mut recording: Recording) -> Result<(Rc<RefCell<Journal>>, Clock, Ending)> {
    let clock = recording.opening.clock();
    let journal = Rc::new(RefCell::new(Journal::default()));
    let pipeline = Pipeline::new(Limits::NODE, |_| false);
    pipeline.observe(Box::new(Rc::clone(&journal)));
    loop {
        match recording.next_entry()? {
            Next::Entry(Entry::Event(event)) => pipeline.process_event(&event),
            Next::Entry(Entry::Begin(begin)) => journal.borrow_mut().begin(&begin.hooks),
            Next::Entry(_) => {}
            Next::End(ending) => return Ok((journal, clock, ending)),
        }
    }
}

/// Refuses a file that cannot be created, before the wait begins.
fn refuse_early(path: &Path, force: bool) -> Result<(), Usage> {
    if path.symlink_metadata().is_ok() && !force {
        return Err(Usage(format!(
            "{} exists; --force replaces it",
            path.display()
        )));
    }
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if directory.is_dir() {
        Ok(())
    } else {
        Err(Usage(format!(
            "failed to create {}: there is no directory {}",
            path.display(),
            directory.display()
        )))
    }
}

/// Writes a sentence to stderr. A failure to write is ignored.
fn note(global: &Global, text: &str) {
    let mut line = Line::new(terminal::text_style(&io::stderr(), global.color));
    line.paint(DOUBTFUL, "pause-trace:").push(" ").push(text);
    let _ = io::stderr().write_all(line.end().as_bytes());
}
