//! The history of a running `watch`: the options of who keeps it and of who asks for it, and what
//! a replay of it says of pods.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::HashMap,
    io::{self, Write as _},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

use anyhow::{Result, bail};

use super::{
    Global, Missing,
    pods::{age, report_gaps},
    recording::parse_size,
    report, summary,
};
use crate::{
    event::{Ktime, NamespaceKind, PodId, Text, run_container},
    history::{self, History, Keeping, NotAnswered, SOCKET, Server, Store},
    pipeline::Pipeline,
    pods::{ContainerView, Judged, PodView, standing},
    probe,
    record::{Ending, Entry, Mark, Next, Recorder},
    report::{Clock, Past, wire},
    text::{BOLD, DIM, Line, TERM, TextStyle, wrap},
    verdict::Verdict,
    why::{Life, Lives},
};

/// The largest history.
const MAX_SIZE: u64 = 1 << 30;

/// Of a history that is larger, only the newer half is replayed to show a pod: a replay of both
/// would take seconds.
const MAX_REPLAYED: usize = 4 << 20;

/// The things that are shown of what happened to a pod.
const MAX_SHOWN: usize = 24;

/// The options of who keeps a history.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Keep {
    /// Keep the newest events in memory, compressed to at most about this size, for `why`,
    /// `timeline`, `record --last` and others; 0 keeps none
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = parse_limit)]
    history: u64,
    /// The socket on which root is answered from them
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    history_socket: PathBuf,
}

impl Keep {
    /// An empty history, if the user wants one.
    pub(super) fn begin(&self) -> Result<Option<Kept<'_>>> {
        if self.history == 0 {
            return Ok(None);
        }
        let store = Store::new(summary::opening(summary::clock()?), self.history)?;
        Ok(Some(Kept {
            keep: self,
            store: Arc::new(store),
        }))
    }
}

/// A history that is kept.
pub(super) struct Kept<'a> {
    keep: &'a Keep,
    store: Arc<Store>,
}

impl Kept<'_> {
    pub(super) fn recorder(&self) -> Rc<dyn Recorder> {
        Rc::new(Keeping(Arc::clone(&self.store)))
    }

    /// Makes the page about everything that is kept. It takes a while, so it is not for the thread
    /// that judges.
    pub(super) fn page(&self) -> impl Fn() -> Result<String, String> + Send + Sync + 'static {
        let store = Arc::clone(&self.store);
        move || {
            let history = History::of_store(&store, probe::now())?.at_most(MAX_REPLAYED);
            report::of_history(history).map_err(|error| format!("{error:#}"))
        }
    }

    /// Answers from now on. A failure ends the history, and not the watch.
    pub(super) fn serve(&self) -> Option<Server> {
        let path = &self.keep.history_socket;
        match Server::start(path, Arc::clone(&self.store)) {
            Ok(server) => Some(server),
            Err(error) => {
                self.store.give_up("no history is kept");
                eprintln!(
                    "pause-trace: no history is kept, because {} cannot be bound: {error}; \
                     --history-socket names another path",
                    path.display()
                );
                None
            }
        }
    }
}

fn parse_limit(text: &str) -> Result<u64, String> {
    match text {
        "0" => Ok(0),
        _ => match parse_size(text)? {
            size @ ..=MAX_SIZE => Ok(size),
            _ => Err("the largest size is 1G".to_owned()),
        },
    }
}

/// The options of who asks.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Ask {
    /// Do not ask a `watch` that runs what happened before
    #[arg(long)]
    no_history: bool,
    /// The socket on which that `watch` answers
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    history_socket: PathBuf,
}

impl Ask {
    /// The history of the `watch` that runs, if there is one. What is wrong with it is said.
    pub(super) fn ask(&self, global: &Global) -> Option<History> {
        if self.no_history {
            return None;
        }
        let path = self.history_socket.display();
        let why = match history::ask(&self.history_socket) {
            Ok(history) => return Some(history),
            Err(NotAnswered::Nobody) if *self.history_socket == *SOCKET => return None,
            Err(error) => error,
        };
        report_gaps(&[format!("no history from {path}: {why}")], global);
        None
    }

    /// The socket that is asked.
    pub(super) fn socket(&self) -> &std::path::Path {
        &self.history_socket
    }

    /// What a replay of the history says.
    pub(super) fn told(&self, global: &Global) -> Option<Told> {
        let history = self.ask(global)?.at_most(MAX_REPLAYED);
        let source = source(&history);
        match Told::replay(history) {
            Ok(told) => {
                report_gaps(&[source], global);
                Some(told)
            }
            Err(error) => {
                report_gaps(&[format!("the history cannot be read: {error}")], global);
                None
            }
        }
    }
}

/// `from the history of watch (pid 12), which reaches back 12m3s`, and what was left out of it.
pub(super) fn source(history: &History) -> String {
    format!(
        "from the history of watch (pid {}), which reaches back {}{}",
        history.pid,
        age(probe::now().saturating_sub(history.since())),
        history.left_out()
    )
}

/// What a history says of pods.
pub(super) struct Told {
    since: Ktime,
    past: Past,
    judged: Judged,
    lives: Lives,
}

impl Told {
    fn replay(history: History) -> Result<Self> {
        let since = history.since();
        let mut recording = history.into_recording()?;
        let past = Rc::new(RefCell::new(Past::default()));
        let lives = Rc::new(RefCell::new(Lives::default()));
        let mut part: Option<(Pipeline, Vec<Verdict>)> = None;
        let ending = loop {
            let entry = match recording.next_entry()? {
                Next::Entry(entry) => entry,
                Next::End(ending) => break ending,
            };
            match (entry, &mut part) {
                (Entry::Begin(begin), _) => {
                    let pipeline = Pipeline::new(begin.limits, |_| true);
                    pipeline.observe(Box::new(Rc::clone(&past)));
                    pipeline.observe(Box::new(Rc::clone(&lives)));
                    part = Some((pipeline, Vec::new()));
                }
                (Entry::Event(event), Some((pipeline, _))) => pipeline.process_event(&event),
                (Entry::Mark(Mark::Followed), Some((pipeline, _))) => pipeline.follow(),
                (Entry::Mark(Mark::Reported) | Entry::End(_), Some((pipeline, verdicts))) => {
                    take(pipeline, verdicts, &mut past.borrow_mut());
                }
                _ => {}
            }
        };
        let (Some((pipeline, verdicts)), Ending::Closed) = (part, ending) else {
            bail!("it is cut or damaged");
        };
        let judged = pipeline.read(|core| {
            let mut lives = lives.borrow_mut();
            lives.finish(&core.state);
            for verdict in &verdicts {
                lives.verdict(verdict);
            }
            Judged::of(core, standing(verdicts), false)
        });
        drop(pipeline);
        let past = Rc::into_inner(past).map(RefCell::into_inner);
        let lives = Rc::into_inner(lives).map(RefCell::into_inner);
        Ok(Self {
            since,
            past: past.unwrap_or_default(),
            judged,
            lives: lives.unwrap_or_default(),
        })
    }

    /// The verdicts so far.
    pub(super) fn take_judged(&mut self) -> Judged {
        std::mem::take(&mut self.judged)
    }

    /// When the history begins.
    pub(super) fn since(&self) -> Ktime {
        self.since
    }

    /// The life of a pod.
    pub(super) fn life(&self, pod: &PodId) -> Option<&Life> {
        self.lives.of(pod)
    }

    /// The namespaces that a pod had and that no other pod had later, by inode number.
    pub(super) fn namespaces_of(&self, pod: &PodId) -> HashMap<u32, NamespaceKind> {
        self.lives.namespaces_of(pod)
    }

    /// Whether the history has the namespaces of a pod, also if they are gone.
    pub(super) fn knows_namespaces_of(&self, pod: &PodId) -> bool {
        self.lives.knows_namespaces_of(pod)
    }

    /// The pods that the history has and the node does not, the newest first.
    pub(super) fn gone(&self, there: &[PodView]) -> Vec<PodView> {
        let lives = self.lives.all();
        let mut gone: Vec<_> = lives
            .filter(|(id, _)| !there.iter().any(|pod| pod.id == **id))
            .collect();
        gone.sort_by_key(|(id, life)| (Reverse(life.began), *id));
        gone.into_iter()
            .map(|(id, life)| gone_pod(id, life))
            .collect()
    }

    /// A message about a pod that neither the node nor the history has.
    pub(super) fn missing(&self, message: &str, now: Ktime) -> Missing {
        let more = match self.lives.is_cut() {
            true => ", or it is among the pods that were left out",
            false => "",
        };
        Missing(format!(
            "{message}; the history of watch, which reaches back {}, does not have it either{more}",
            age(now.saturating_sub(self.since))
        ))
    }

    /// What happened to a pod, as JSON.
    pub(super) fn json(&self, pod: &PodId, clock: Clock) -> wire::History {
        let happened = self.past.newest(pod, MAX_SHOWN).into_iter();
        wire::History {
            since: wire::When::new(clock, self.since),
            happened: happened
                .map(|one| wire::Happened {
                    when: wire::When::new(clock, one.time),
                    container: one.container,
                    sentence: one.what,
                })
                .collect(),
        }
    }

    /// What happened to a pod, as text; empty if nothing did.
    pub(super) fn text(&self, pod: &PodId, now: Ktime, text_style: TextStyle) -> String {
        const AGO: usize = 2;
        const CONTAINER: usize = 14;
        const WHAT: usize = 28;
        let happened = self.past.newest(pod, MAX_SHOWN);
        if happened.is_empty() {
            return String::new();
        }
        let mut text = "\n".to_owned();
        let mut head = Line::new(text_style);
        head.paint(BOLD, "What happened before");
        text.push_str(&head.end());
        let width = text_style
            .width
            .map(|width| width.saturating_sub(WHAT).max(20));
        for one in happened {
            for (index, part) in wrap(&one.what, width).iter().enumerate() {
                let mut line = Line::new(text_style);
                if index == 0 {
                    let ago = format!("{} ago", age(now.saturating_sub(one.time)));
                    let container = one.container.as_deref().unwrap_or("-");
                    line.pad(AGO).paint(DIM, &ago);
                    line.pad(CONTAINER).paint(TERM, container).push(" ");
                }
                line.pad(WHAT).push(part);
                text.push_str(&line.end());
            }
        }
        text
    }
}

/// A pod of which the history alone is left, for the search for its name.
fn gone_pod(id: &PodId, life: &Life) -> PodView {
    let text = |text: &Option<Text>| text.clone().filter(|text| !text.0.is_empty());
    let mut pod = PodView::unseen(id, "", "");
    pod.namespace = text(&life.namespace);
    pod.name = text(&life.name);
    for run in &life.runs {
        // A second run of a container has its id.
        let id = run_container(&run.id);
        if !pod.containers.iter().any(|known| *known.id == *id) {
            let sandbox = if run.is_sandbox { id } else { "" };
            pod.containers.push(ContainerView::ended(id, "", sandbox));
        }
    }
    pod
}

/// Takes what was decided since the last time.
fn take(pipeline: &Pipeline, verdicts: &mut Vec<Verdict>, past: &mut Past) {
    let (news, new) = (pipeline.news(), pipeline.verdicts());
    pipeline.read(|core| {
        for news in &news {
            past.news(news, &core.names);
        }
        for verdict in &new {
            past.verdict(verdict, &core.names);
        }
    });
    verdicts.extend(new);
}

/// Writes a sentence to stderr. A failure to write is ignored.
pub(super) fn say(sentence: &str) {
    let _ = writeln!(io::stderr(), "pause-trace: {sentence}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_can_be_off_and_has_a_largest_size() {
        assert_eq!(parse_limit("0"), Ok(0));
        assert_eq!(parse_limit("16M"), Ok(16 << 20));
        assert_eq!(parse_limit("1G"), Ok(1 << 30));
        for text in ["00", "1K", "2G", "", "-1"] {
            assert!(parse_limit(text).is_err(), "{text}");
        }
    }
}
