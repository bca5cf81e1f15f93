//! `timeline`: a pod's start, as it happens.

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

use super::{
    Exit, Global, Usage, file,
    output::{Format, Shown},
    print, summary,
    watch::{Runtime, parse_duration},
};
use crate::{
    event::{Ktime, PodId, ProcessId, Text},
    pods::Follower,
    probe,
    record::{self, Ending, Entry, Next},
    report::Clock,
    session::{self, Ended, Interrupt, Session, Setup, Stop},
    terminal,
    text::{DOUBTFUL, Line, Look},
    timeline::{self, Element, Journal, Timeline},
};

/// Nobody says how many containers a pod will have: it counts as up when none has come for this long.
const SETTLED: Duration = Duration::from_secs(2);
/// How often it is read out of the journal at most.
const PERIOD: Duration = Duration::from_millis(100);
/// How many pods are named that run already.
const MOST_NAMED: usize = 8;

/// Show how a pod starts, as a waterfall: CNI, sandbox, joins, cgroups, exec, and what the start waited for
///
/// Waits for POD to start, and shows its start when the pod is up: when no further container has started for two seconds.
/// Elements that cannot be attributed to a pod are shown as unassigned. It needs root and the node's own pid namespace, and
/// changes nothing on the node.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The pod to wait for: NAMESPACE/NAME or NAME, or the beginning of its uid or of a container's id
    #[arg(value_name = "POD")]
    pod: String,
    /// Also show each element when it ends
    #[arg(long)]
    follow: bool,
    /// What ends the timeline
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    until: Until,
    /// Wait no longer than this: 30s, 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    format: Format<Shown>,
    /// Also write it for Perfetto and chrome://tracing
    #[arg(long, value_name = "FILE")]
    perfetto: Option<PathBuf>,
    /// Replace that file if it exists
    #[arg(long, requires = "perfetto")]
    force: bool,
    #[command(flatten)]
    runtime: Runtime,
    /// Read a recording instead of waiting: needs neither root nor eBPF
    #[arg(long, value_name = "FILE", conflicts_with_all = ["follow", "duration", "cri", "until"])]
    recording: Option<PathBuf>,
}

/// When a timeline is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Until {
    /// All its containers have started.
    #[default]
    Up,
    /// The pod is removed.
    Removed,
}

const AFTER_HELP: &str = "\
Examples:
  pause-trace timeline default/web                            start the pod then, and read
  pause-trace timeline web --until removed --format json      its whole life, an object a line
  pause-trace timeline web --perfetto web.json                open web.json in Perfetto
  pause-trace timeline web --recording node.ptrec             a start that was recorded

Exit codes: 0 it was shown whole · 2 wrong usage · 3 --for was over before · 4 cannot watch; the message says what to do ·
130 Ctrl-C; what was seen is shown";

impl Args {
    pub(crate) fn run(&self, global: &Global) -> Result<Exit> {
        if self.pod.is_empty() {
            return Err(Usage(
                "a pod has a name: NAMESPACE/NAME, or the beginning of its uid".to_owned(),
            )
            .into());
        }
        if let Some(path) = &self.perfetto {
            refuse_early(path, self.force)?;
        }
        match &self.recording {
            Some(path) => self.read_recording(path, global),
            None => session::block_on(self.watch(global)),
        }
    }

    /// The timeline of a pod in a recording, to its end.
    fn read_recording(&self, path: &Path, global: &Global) -> Result<Exit> {
        let shown = path.display();
        let mut recording =
            record::open(path).map_err(|error| Usage(format!("{shown}: {error}")))?;
        if recording.is_headless() {
            note(
                global,
                &format!("{shown} is the last of a recording: what came before was dropped"),
            );
        }
        let clock = recording.opening.clock();
        let mut journal = Journal::default();
        let ending = loop {
            let next = recording
                .next_entry()
                .with_context(|| format!("failed to read {shown}"))?;
            match next {
                Next::Entry(Entry::Event(event)) => journal.take(&event),
                Next::Entry(_) => {}
                Next::End(ending) => break ending,
            }
        };
        let timeline = self.meant(&journal)?;
        let mut telling = Telling {
            args: self,
            look: global.look(),
            clock,
            told: HashSet::new(),
            pod: Some(timeline.pod.clone()),
        };
        let exit = telling.finish(&timeline)?;
        self.write_trace(&timeline)?;
        if ending == Ending::Closed {
            return Ok(exit);
        }
        note(
            global,
            &format!("{shown}: the recording is {ending}; what came then is not known"),
        );
        Ok(Exit::Inconclusive)
    }

    /// The only pod that is called so.
    fn meant(&self, journal: &Journal) -> Result<Timeline, Usage> {
        let called = journal.called(&self.pod);
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
            names.truncate(MOST_NAMED);
            names.join(", ")
        };
        let wanted = self.pod.escape_debug();
        let all: Vec<_> = journal.pods().collect();
        Err(Usage(match (called.len(), all.len()) {
            (_, 0) => format!("there is no pod \"{wanted}\": none is in the recording"),
            (0, count) => format!(
                "there is no pod \"{wanted}\" in the recording, which has {count}: {}",
                names(all)
            ),
            (count, _) => {
                let meant = all
                    .into_iter()
                    .filter(|(uid, ..)| called.contains(uid))
                    .collect();
                format!("\"{wanted}\" may be any of {count} pods: {}", names(meant))
            }
        }))
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
        let journal = Rc::new(RefCell::new(Journal::default()));
        let setup = Setup {
            // A timeline shows what happened and judges nothing.
            selected: &|_| false,
            observers: vec![Box::new(Rc::clone(&journal))],
            ..Setup::of_node(global.probe())
        };
        let Some(session) = interrupt.or(Session::start(setup)).await else {
            return Ok(Exit::Interrupted);
        };
        let session = session?;
        let mut telling = Telling {
            args: self,
            look: global.look(),
            clock: summary::clock()?,
            told: HashSet::new(),
            pod: None,
        };
        let ended = self
            .follow(&session, &journal, &mut telling, &mut interrupt, global)
            .await?;
        let Some(timeline) = telling.read(&journal.borrow()) else {
            if ended == Ended::TimeIsUp {
                note(
                    global,
                    &format!("no pod \"{}\" started meanwhile", self.pod.escape_debug()),
                );
                return Ok(Exit::Inconclusive);
            }
            return Ok(Exit::Interrupted);
        };
        let exit = telling.finish(&timeline)?;
        self.write_trace(&timeline)?;
        Ok(match ended {
            Ended::Done(()) => exit,
            Ended::TimeIsUp => Exit::Inconclusive,
            Ended::Interrupted => Exit::Interrupted,
        })
    }

    /// Follows the node's pods until the timeline is over.
    async fn follow(
        &self,
        Session { live, layout }: &Session,
        journal: &RefCell<Journal>,
        telling: &mut Telling<'_>,
        interrupt: &mut Interrupt,
        global: &Global,
    ) -> Result<Ended<()>> {
        let mut follower = Follower::start(live, layout, self.runtime.cri.clone())
            .context("failed to look at the node's pods")?;
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
                telling.find(&journal.borrow())?;
                let timeline = telling.read(&journal.borrow());
                if let Some(timeline) = &timeline
                    && self.follow
                {
                    telling.news(timeline)?;
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

    /// When nothing more is waited for, as things are.
    fn over_at(&self, timeline: &Timeline) -> Option<Ktime> {
        let last = match self.until {
            Until::Up => timeline.up,
            Until::Removed => timeline.removed,
        };
        Some(last? + SETTLED.as_nanos() as Ktime)
    }

    /// What is waited for, and what there is instead.
    fn waiting(&self, journal: &Journal) -> String {
        let wanted = self.pod.escape_debug();
        let mut running: Vec<String> = journal
            .pods()
            .map(|(_, namespace, name)| format!("{namespace}/{name}"))
            .collect();
        running.sort_unstable();
        if !journal.called(&self.pod).is_empty() {
            return format!(
                "\"{wanted}\" runs already, and its start cannot be seen any more; waiting for it to start anew"
            );
        }
        let there_are = match running.len() {
            0 => "none runs yet".to_owned(),
            count => {
                let named = running
                    .iter()
                    .take(MOST_NAMED)
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ");
                let more = count.saturating_sub(MOST_NAMED);
                format!(
                    "there run {named}{}",
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

/// Refuses a file that could not be written, before anything is waited for.
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

/// A sentence on stderr. That nobody can read it is no fault.
fn note(global: &Global, text: &str) {
    let mut line = Line::new(terminal::look(&io::stderr(), global.color));
    line.paint(DOUBTFUL, "pause-trace:").push(" ").push(text);
    let _ = io::stderr().write_all(line.end().as_bytes());
}

/// An element that was told.
type Told = (Ktime, &'static str, ProcessId);

/// What of the timeline has gone out.
struct Telling<'a> {
    args: &'a Args,
    look: Look,
    clock: Clock,
    told: HashSet<Told>,
    /// The pod that is meant, once it starts.
    pod: Option<PodId>,
}

impl Telling<'_> {
    /// Looks for the pod among those whose start was seen.
    fn find(&mut self, journal: &Journal) -> Result<(), Usage> {
        if self.pod.is_some() {
            return Ok(());
        }
        let mut meant = journal.called(&self.args.pod);
        meant.retain(|pod| {
            Timeline::of(journal, pod).is_some_and(|timeline| timeline.began.is_some())
        });
        if let [pod] = &meant[..] {
            self.pod = Some(pod.clone());
        } else if !meant.is_empty() {
            let uids: Vec<_> = meant
                .iter()
                .take(MOST_NAMED)
                .map(|pod| Text::new(pod).to_string())
                .collect();
            return Err(Usage(format!(
                "\"{}\" may be any of {} pods that start: uid {}",
                self.args.pod.escape_debug(),
                meant.len(),
                uids.join(", ")
            )));
        }
        Ok(())
    }

    fn read(&self, journal: &Journal) -> Option<Timeline> {
        Timeline::of(journal, self.pod.as_ref()?)
    }

    /// Tells what is over and was not told.
    fn news(&mut self, timeline: &Timeline) -> Result<()> {
        let mut text = String::new();
        for element in timeline
            .elements
            .iter()
            .filter(|element| element.end().is_some())
        {
            if self.told.insert(identity(element)) {
                text += &match self.args.format.chosen {
                    Shown::Text => timeline::line(self.look, timeline, element),
                    Shown::Json => timeline::element_line(timeline, element, self.clock)?,
                };
            }
        }
        if !text.is_empty() {
            print(&text)?;
        }
        Ok(())
    }

    /// Tells the rest.
    fn finish(&mut self, timeline: &Timeline) -> Result<Exit> {
        match self.args.format.chosen {
            Shown::Text if self.told.is_empty() => print(&timeline::shown(self.look, timeline)),
            Shown::Text => print(&format!("\n{}", timeline::shown(self.look, timeline))),
            Shown::Json => {
                let is_untold = |element: &Element| !self.told.contains(&identity(element));
                print(&timeline::lines(timeline, self.clock, is_untold)?)
            }
        }
    }
}

fn identity(element: &Element) -> Told {
    (
        element.time,
        element.what.name(),
        element
            .process
            .map_or_else(ProcessId::default, |process| process.id),
    )
}
