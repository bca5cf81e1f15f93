//! From events to verdicts and news, wherever the events come from: the kernel, now, or a recording.
//!
//! What comes out is a matter of the events and their order alone. That is why a recording needs nothing else, and why it
//! is made here: whatever is about to be judged has been written down before.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use crate::{
    event::{Event, Fact, Kind, Ktime},
    news::{Announced, News},
    record::{Begin, End, Entry, Mark, Recorder},
    report::Names,
    rules::{Ledger, Rule},
    state::{Change, Limits, State},
    verdict::Verdict,
};

/// The pipeline: events go in, and what followed from them is asked for.
pub struct Pipeline {
    core: RefCell<Core>,
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
    /// The kernel's events that were taken in.
    pub events_by_kind: BTreeMap<Kind, u64>,
    /// The kernel's records that found no room.
    pub lost: BTreeMap<Kind, Losses>,
    /// Whether the node's pods are followed, so that what happens to them is news.
    follows: bool,
    /// What nobody has heard of yet.
    news: Vec<News>,
    announced: Announced,
    /// Hooks that the kernel lacks, as it was told.
    missing: Vec<Fact>,
    /// How the recording began, where one is made.
    begin: Option<Begin>,
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
                events_by_kind: BTreeMap::new(),
                lost: BTreeMap::new(),
                follows: false,
                news: Vec::new(),
                announced: Announced::default(),
                missing: Vec::new(),
                begin: None,
            }),
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

    /// From now on, what happens to pods is news.
    pub fn follow(&self) {
        self.core.borrow_mut().follows = true;
        self.mark(|| Mark::Followed);
    }

    /// Says in the recording that something was told, or judged, at this point between the events.
    pub fn mark(&self, mark: impl FnOnce() -> Mark) {
        if let Some(recorder) = &self.recorder {
            recorder.write(&Entry::Mark(mark()));
        }
    }

    /// Takes an event in, and gives `hear` the news that followed.
    pub fn take_in(&self, event: &Event, mut hear: impl FnMut(&News)) {
        if let Some(recorder) = &self.recorder {
            recorder.write(&Entry::Event(event));
        }
        let mut core = self.core.borrow_mut();
        let heard = core.news.len();
        core.take_in(event);
        core.news[heard..].iter().for_each(&mut hear);
    }

    /// A batch of events has been taken in: where the recording has grown too large it begins anew, with what is known.
    pub fn settle(&self, now: Ktime) {
        if let Some(recorder) = &self.recorder
            && recorder.is_due()
        {
            let core = self.core.borrow();
            if let Some(begin) = core.begin.as_ref().filter(|_| core.follows) {
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
        self.core.borrow_mut().state.next_deadline()
    }

    /// What happened to the node's pods since the last call.
    pub fn news(&self) -> Vec<News> {
        std::mem::take(&mut self.core.borrow_mut().news)
    }

    /// The verdicts since the last call, oldest first.
    pub fn verdicts(&self) -> Vec<Verdict> {
        self.core.borrow_mut().ledger.take()
    }
}

impl Core {
    fn take_in(&mut self, event: &Event) {
        let Self {
            state,
            ledger,
            names,
            news,
            announced,
            ..
        } = self;
        if let Some(kind) = event.fact.record() {
            *self.events_by_kind.entry(kind).or_default() += 1;
        }
        match &event.fact {
            Fact::Lost { kind, count } => {
                let lost = self.lost.entry(*kind).or_default();
                lost.count += count;
                lost.last = event.time;
            }
            Fact::HookMissing { .. } => self.missing.push(event.fact.clone()),
            _ => {}
        }
        names.learn(event);
        if !self.follows {
            ledger.judge(state, event);
            return;
        }
        ledger.judge_and_tell(state, event, |change: &Change, state, ledger| {
            let counts = |pod: &_| ledger.counts_of(pod);
            let told = News::of(event.time, change, state, counts);
            // A container that is described again is judged again, and yet has started once.
            news.extend(told.filter(|told| announced.take(told)));
        });
    }

    /// What is known, as facts of this time.
    fn snapshot(&self, now: Ktime) -> Vec<Event> {
        let missing = self.missing.iter().cloned();
        let missing = missing.map(|fact| Event { time: now, fact });
        missing.chain(self.state.snapshot(now)).collect()
    }
}
