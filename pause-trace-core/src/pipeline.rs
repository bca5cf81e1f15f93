//! From events to verdicts and news, wherever the events come from: the kernel, now, or a recording.
//!
//! What comes out is a matter of the events and their order alone. That is why a recording needs nothing else, and why it
//! is made here: whatever is about to be judged has been written down before.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use crate::{
    event::{Event, Fact, Kind, Ktime},
    news::{News, NewsFeed},
    observer::Observer,
    record::{Begin, End, Entry, Mark, Recorder},
    report::Names,
    rules::{Ledger, Rule},
    state::{Change, Limits, State},
    verdict::Verdict,
};

/// The pipeline: events go in, and what followed from them is read from it.
pub struct Pipeline {
    core: RefCell<Core>,
    /// Apart from the core: an observer may hold what its owner looks at the core with.
    observers: RefCell<Vec<Box<dyn Observer>>>,
    recorder: Option<Rc<dyn Recorder>>,
}

/// What is known, and what was decided.
pub struct Core {
    /// Processes, containers and pods.
    pub state: State,
    /// The verdicts.
    pub ledger: Ledger,
    /// The names of pods and containers.
    pub names: Names,
    /// How many of the kernel's records came in, and how many did not.
    pub records: Records,
    /// What happens to the node's pods, once they are followed.
    news: Option<NewsFeed>,
    /// Hooks that the kernel lacks.
    missing: Vec<Fact>,
    /// How the recording began, where one is made.
    begin: Option<Begin>,
}

/// The kernel's records, counted.
#[derive(Debug, Default)]
pub struct Records {
    /// Those that came in.
    pub by_kind: BTreeMap<Kind, u64>,
    /// Those that found no room.
    pub lost: BTreeMap<Kind, Losses>,
}

impl Records {
    /// How many found no room, of all kinds.
    pub fn lost_in_all(&self) -> u64 {
        self.lost.values().map(|lost| lost.count).sum()
    }
}

impl Observer for Records {
    fn event(&mut self, event: &Event, _: &State) {
        if let Some(kind) = event.fact.record() {
            *self.by_kind.entry(kind).or_default() += 1;
        }
        if let Fact::Lost { kind, count } = &event.fact {
            let lost = self.lost.entry(*kind).or_default();
            lost.count += count;
            lost.last = event.time;
        }
    }
}

/// Records of a kind that found no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// How many.
    pub count: u64,
    /// When that was noticed last.
    pub last: Ktime,
}

impl Pipeline {
    /// One that knows nothing yet and asks the rules that `selected` takes.
    pub fn new(limits: Limits, selected: impl Fn(&Rule) -> bool) -> Self {
        Self {
            core: RefCell::new(Core {
                state: State::new(limits),
                ledger: Ledger::new(selected),
                names: Names::default(),
                records: Records::default(),
                news: None,
                missing: Vec::new(),
                begin: None,
            }),
            observers: RefCell::default(),
            recorder: None,
        }
    }

    /// The same, and what goes in is recorded.
    pub fn recorded(self, recorder: Option<Rc<dyn Recorder>>) -> Self {
        Self { recorder, ..self }
    }

    /// Before the first event: says in the recording what is to be known of the run.
    pub fn begin(&self, begin: impl FnOnce(Limits) -> Begin) {
        if let Some(recorder) = &self.recorder {
            let mut core = self.core.borrow_mut();
            let begin = begin(core.state.limits);
            recorder.write(&Entry::Begin(begin.clone()));
            core.begin = Some(begin);
        }
    }

    /// From now on `observer` follows the events, after those that follow already.
    pub fn observe(&self, observer: Box<dyn Observer>) {
        self.observers.borrow_mut().push(observer);
    }

    /// From now on, what happens to pods is news.
    pub fn follow(&self) {
        self.core.borrow_mut().news.get_or_insert_default();
        self.mark(|| Mark::Followed);
    }

    /// Says in the recording that something was told, or judged, at this point between the events.
    pub fn mark(&self, mark: impl FnOnce() -> Mark) {
        if let Some(recorder) = &self.recorder {
            recorder.write(&Entry::Mark(mark()));
        }
    }

    /// Records an event, lets the rules judge it, and shows it to the observers.
    pub fn take_in(&self, event: &Event) {
        if let Some(recorder) = &self.recorder {
            recorder.write(&Entry::Event(event));
        }
        let mut core = self.core.borrow_mut();
        core.take_in(event, &mut self.observers.borrow_mut());
    }

    /// A batch of events has been taken in: a recording that has grown too large begins anew, with what is known.
    pub fn settle(&self, now: Ktime) {
        if let Some(recorder) = &self.recorder
            && recorder.is_due()
        {
            let core = self.core.borrow();
            if let Some(begin) = core.begin.as_ref().filter(|_| core.news.is_some()) {
                recorder.rotate(begin, &core.snapshot(now));
            }
        }
    }

    /// The last event has been taken in.
    pub fn end(&self, end: End) {
        if let Some(recorder) = &self.recorder {
            recorder.write(&Entry::End(end));
        }
    }

    /// Why what is seen is recorded no more; once.
    pub fn take_unrecorded(&self) -> Option<String> {
        self.recorder.as_ref()?.take_complaint()
    }

    /// Looks at what is known now.
    pub fn look<T>(&self, look: impl FnOnce(&Core) -> T) -> T {
        look(&self.core.borrow())
    }

    /// When something is due next.
    pub fn next_deadline(&self) -> Option<Ktime> {
        self.core.borrow().state.next_deadline()
    }

    /// What happened to the node's pods since the last call.
    pub fn news(&self) -> Vec<News> {
        let mut core = self.core.borrow_mut();
        core.news.as_mut().map(NewsFeed::take).unwrap_or_default()
    }

    /// The verdicts since the last call, oldest first.
    pub fn verdicts(&self) -> Vec<Verdict> {
        self.core.borrow_mut().ledger.take()
    }
}

impl Core {
    fn take_in(&mut self, event: &Event, observers: &mut [Box<dyn Observer>]) {
        let Self {
            state,
            ledger,
            names,
            records,
            news,
            missing,
            ..
        } = self;
        if let Fact::HookMissing { .. } = event.fact {
            missing.push(event.fact.clone());
        }
        names.event(event, state);
        records.event(event, state);
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

    /// What is known, as facts of this time.
    fn snapshot(&self, now: Ktime) -> Vec<Event> {
        let missing = self.missing.iter().cloned();
        let missing = missing.map(|fact| Event { time: now, fact });
        missing.chain(self.state.snapshot(now)).collect()
    }
}
