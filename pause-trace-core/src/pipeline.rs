//! Turns events into verdicts and news. The events come from the kernel or from a recording.
//!
//! The output depends only on the events and their order. A recording therefore needs nothing else.
//! It is written here, because every event passes here before it is judged.

mod losses;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use self::losses::LossFeed;
use crate::{
    event::{Event, Fact, Kind, Ktime},
    news::{News, NewsFeed},
    observer::Observer,
    record::{Begin, End, Entry, Mark, Recorder},
    report::{Loss, Names},
    rules::{Ledger, Rule},
    state::{Change, Limits, State},
    verdict::Verdict,
};

/// The pipeline takes in events, and holds the state, verdicts and news that follow from them.
pub struct Pipeline {
    core: RefCell<Core>,
    /// Outside the core, so that an observer and its owner, which reads the core, can share data.
    observers: RefCell<Vec<Box<dyn Observer>>>,
    recorders: Vec<Rc<dyn Recorder>>,
}

/// The current state and verdicts.
pub struct Core {
    /// Processes, containers and pods.
    pub state: State,
    /// The verdicts.
    pub ledger: Ledger,
    /// The names of pods and containers.
    pub names: Names,
    /// The counts of the kernel's records, received and lost.
    pub records: Records,
    /// The losses that were not fetched yet.
    losses: LossFeed,
    /// What happens to the node's pods; `None` until they are followed.
    news: Option<NewsFeed>,
    /// The missing hooks, as facts.
    missing: Vec<Fact>,
    /// The latest time of an event.
    last: Ktime,
    /// The beginning of the recording, if there is one.
    begin: Option<Begin>,
}

/// Counts of the kernel's records.
#[derive(Debug, Default)]
pub struct Records {
    /// The received records.
    pub by_kind: BTreeMap<Kind, u64>,
    /// The records that were lost because a ring was full.
    pub lost: BTreeMap<Kind, Losses>,
    /// The number of records that say what runs, and that pods were not admitted to write.
    pub suppressed: u64,
}

impl Records {
    /// The number of lost records of all kinds.
    pub fn lost_in_all(&self) -> u64 {
        self.lost
            .values()
            .map(|lost| lost.count)
            .fold(0, u64::saturating_add)
    }

    /// The number of records that say what runs, all but those of signals, and that were lost or
    /// suppressed.
    pub fn unseen_lifecycle(&self) -> u64 {
        let is_signal = |kind| {
            matches!(
                kind,
                Kind::SignalGenerate | Kind::SignalDeliver | Kind::OomVictim | Kind::Listen
            )
        };
        let lifecycle = self.lost.iter().filter(|(kind, _)| !is_signal(**kind));
        lifecycle
            .map(|(_, lost)| lost.count)
            .fold(self.suppressed, u64::saturating_add)
    }
}

impl Observer for Records {
    fn event(&mut self, event: &Event, _: &State) {
        if let Some(kind) = event.fact.record() {
            *self.by_kind.entry(kind).or_default() += 1;
        }
        match &event.fact {
            Fact::Lost { kind, count } => {
                let lost = self.lost.entry(*kind).or_default();
                lost.count = lost.count.saturating_add(*count);
                lost.last = event.time;
            }
            Fact::RecordsSuppressed { kind, count, .. } if *kind != Kind::Listen => {
                self.suppressed = self.suppressed.saturating_add(*count);
            }
            _ => {}
        }
    }
}

/// Which losses are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossFilter {
    /// Those to which nothing more is added.
    Complete,
    /// All, at the end of a run.
    All,
}

/// The lost records of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// How many.
    pub count: u64,
    /// When the last loss was noticed.
    pub last: Ktime,
}

impl Pipeline {
    /// Creates an empty pipeline that runs the rules that `selected` accepts.
    pub fn new(limits: Limits, selected: impl Fn(&Rule) -> bool) -> Self {
        Self {
            core: RefCell::new(Core {
                state: State::new(limits),
                ledger: Ledger::new(selected),
                names: Names::default(),
                records: Records::default(),
                losses: LossFeed::default(),
                news: None,
                missing: Vec::new(),
                last: 0,
                begin: None,
            }),
            observers: RefCell::default(),
            recorders: Vec::new(),
        }
    }

    /// Records the events with each of these.
    pub fn recorded(self, recorders: impl IntoIterator<Item = Rc<dyn Recorder>>) -> Self {
        Self {
            recorders: recorders.into_iter().collect(),
            ..self
        }
    }

    /// Writes the parameters of the run to the recording. Called before the first event.
    pub fn begin(&self, begin: impl FnOnce(Limits) -> Begin) {
        if self.recorders.is_empty() {
            return;
        }
        let mut core = self.core.borrow_mut();
        let begin = begin(core.state.limits);
        self.record(&Entry::Begin(begin.clone()));
        core.begin = Some(begin);
    }

    /// Adds an observer. It is called after those that were added before.
    pub fn observe(&self, observer: Box<dyn Observer>) {
        self.observers.borrow_mut().push(observer);
    }

    /// Starts to produce news of the pods.
    pub fn follow(&self) {
        self.core.borrow_mut().news.get_or_insert_default();
        self.mark(|| Mark::Followed);
    }

    /// Marks in the recording that the program reported or judged something at this point between
    /// the events.
    pub fn mark(&self, mark: impl FnOnce() -> Mark) {
        if !self.recorders.is_empty() {
            self.record(&Entry::Mark(mark()));
        }
    }

    /// Records an event, judges it by the rules, and passes it to the observers.
    pub fn process_event(&self, event: &Event) {
        let mut core = self.core.borrow_mut();
        for recorder in &self.recorders {
            recorder.event(event, &core.state);
        }
        core.process_event(event, &mut self.observers.borrow_mut());
    }

    fn record(&self, entry: &Entry<&Event>) {
        for recorder in &self.recorders {
            recorder.write(entry);
        }
    }

    /// Called after a batch of events: if a recording has reached its maximum size, its next
    /// segment begins with a snapshot of the state.
    pub fn settle(&self, now: Ktime) {
        for recorder in self.recorders.iter().filter(|recorder| recorder.is_due()) {
            let core = self.core.borrow();
            if let Some(begin) = core.begin.as_ref().filter(|_| core.news.is_some()) {
                recorder.rotate(begin, &core.snapshot(now));
            }
        }
    }

    /// Judges what waits for a deadline that this watch does not see any more. Called after the
    /// last event.
    pub fn end_watch(&self) {
        let (time, fact) = (self.read(|core| core.last), Fact::WatchEnded);
        self.process_event(&Event { time, fact });
    }

    /// Ends the recording. Called after the last event.
    pub fn end(&self, end: End) {
        self.record(&Entry::End(end));
    }

    /// Why the recording failed; returned once.
    pub fn take_recording_failure(&self) -> Option<String> {
        let mut recorders = self.recorders.iter();
        recorders.find_map(|recorder| recorder.take_error())
    }

    /// Calls `read` with the current state.
    pub fn read<T>(&self, read: impl FnOnce(&Core) -> T) -> T {
        read(&self.core.borrow())
    }

    /// The time at which the next deadline passes, or the next loss is complete.
    pub fn next_deadline(&self) -> Option<Ktime> {
        let core = self.core.borrow();
        let both = [core.state.next_deadline(), core.losses.due()];
        both.into_iter().flatten().min()
    }

    /// The news of the node's pods since the last call.
    pub fn news(&self) -> Vec<News> {
        let mut core = self.core.borrow_mut();
        core.news.as_mut().map(NewsFeed::take).unwrap_or_default()
    }

    /// The losses since the last call, oldest first, at most one for each kind. While more of a
    /// kind follow, their sums are further and further apart.
    pub fn losses(&self, which: LossFilter) -> Vec<Loss> {
        self.core.borrow_mut().losses.take(which)
    }

    /// The verdicts since the last call, oldest first.
    pub fn verdicts(&self) -> Vec<Verdict> {
        self.core.borrow_mut().ledger.take()
    }
}

impl Core {
    fn process_event(&mut self, event: &Event, observers: &mut [Box<dyn Observer>]) {
        let Self {
            state,
            ledger,
            names,
            records,
            losses,
            news,
            missing,
            last,
            ..
        } = self;
        *last = (*last).max(event.time);
        if let Fact::HookMissing { .. } = event.fact {
            missing.push(event.fact.clone());
        }
        names.event(event, state);
        records.event(event, state);
        losses.event(event, state);
        for observer in &mut *observers {
            observer.event(event, state);
        }
        ledger.judge(state, event, |change: &Change, state, ledger| {
            if let Some(news) = news {
                news.change(event.time, change, state, ledger);
            }
            for observer in &mut *observers {
                observer.change(event.time, change, state, ledger);
            }
        });
    }

    /// The current state as facts of this time.
    fn snapshot(&self, now: Ktime) -> Vec<Event> {
        let missing = self.missing.iter().cloned();
        let missing = missing.map(|fact| Event { time: now, fact });
        missing.chain(self.state.snapshot(now)).collect()
    }
}

#[cfg(test)]
mod fuzz;
