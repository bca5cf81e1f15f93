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
pub(crate) struct Pipeline {
    core: RefCell<Core>,
    recorder: Option<Rc<Recorder>>,
}

/// What is known, and what was decided.
pub(crate) struct Core {
    pub(crate) state: State,
    pub(crate) ledger: Ledger,
    pub(crate) names: Names,
    /// The kernel's events that were taken in.
    pub(crate) events_by_kind: BTreeMap<Kind, u64>,
    pub(crate) lost: BTreeMap<Kind, Losses>,
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
pub(crate) struct Losses {
    pub(crate) count: u64,
    /// When that was noticed last.
    pub(crate) last: Ktime,
}

impl Pipeline {
    /// One that knows nothing yet and asks the rules that `selected` takes.
    pub(crate) fn new(limits: Limits, selected: impl Fn(&Rule) -> bool) -> Self {
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
    pub(crate) fn recorded(self, recorder: Option<Rc<Recorder>>) -> Self {
        Self { recorder, ..self }
    }

    /// Before the first event: says in the recording what is to be known of the run.
    pub(crate) fn begin(&self, begin: impl FnOnce(Limits) -> Begin) {
        if let Some(recorder) = &self.recorder {
            let mut core = self.core.borrow_mut();
            let begin = begin(core.state.limits);
            recorder.write(&Entry::Begin(begin.clone()));
            core.begin = Some(begin);
        }
    }

    /// From now on, what happens to pods is news.
    pub(crate) fn follow(&self) {
        self.core.borrow_mut().follows = true;
        self.mark(|| Mark::Followed);
    }

    /// Says in the recording that something was told, or judged, at this point between the events.
    pub(crate) fn mark(&self, mark: impl FnOnce() -> Mark) {
        if let Some(recorder) = &self.recorder {
            recorder.write(&Entry::Mark(mark()));
        }
    }

    /// Takes an event in, and gives `hear` the news that followed.
    pub(crate) fn take_in(&self, event: &Event, mut hear: impl FnMut(&News)) {
        if let Some(recorder) = &self.recorder {
            recorder.write(&Entry::Event(event));
        }
        let mut core = self.core.borrow_mut();
        let heard = core.news.len();
        core.take_in(event);
        core.news[heard..].iter().for_each(&mut hear);
    }

    /// A batch of events has been taken in: where the recording has grown too large it begins anew, with what is known.
    pub(crate) fn settle(&self, now: Ktime) {
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
    pub(crate) fn end(&self, end: End) {
        if let Some(recorder) = &self.recorder {
            recorder.write(&Entry::End(end));
        }
    }

    /// Why what is seen is recorded no more; once.
    pub(crate) fn take_unrecorded(&self) -> Option<String> {
        self.recorder.as_ref()?.take_complaint()
    }

    /// Looks at what is known now.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Core) -> T) -> T {
        look(&self.core.borrow())
    }

    /// When something is due next.
    pub(crate) fn next_deadline(&self) -> Option<Ktime> {
        self.core.borrow_mut().state.next_deadline()
    }

    /// What happened to the node's pods since the last call.
    pub(crate) fn news(&self) -> Vec<News> {
        std::mem::take(&mut self.core.borrow_mut().news)
    }

    /// The verdicts since the last call, oldest first.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
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

#[cfg(test)]
mod tests {
    use std::{env, fs, process};

    use super::*;
    use crate::{
        event::{Modes, PodFact, Source, Text},
        record::{Next, Opening, Recording, Run},
    };

    fn opening() -> Opening {
        Opening {
            recording: 1,
            segment: 0,
            version: String::new(),
            kernel: String::new(),
            arch: String::new(),
            clock_offset: 0,
        }
    }

    #[test]
    fn a_recording_that_has_grown_begins_anew_with_what_is_known() {
        let directory = env::temp_dir().join(format!("pause-trace-pipeline-{}", process::id()));
        fs::create_dir(&directory).expect("it is a new name");
        let path = directory.join("a.ptrec");
        let recorder = Recorder::create(&path, opening(), Some(64 << 10)).expect("there is room");
        let recorder = Rc::new(recorder);
        let pipeline = Pipeline::new(Limits::NODE, |_| true).recorded(Some(recorder.clone()));
        pipeline.begin(|limits| Begin {
            run: Run::Node,
            started: 0,
            limits,
            hooks: Vec::new(),
        });
        pipeline.follow();
        let mut time = 0;
        let mut take_in = |fact| {
            time += 1;
            pipeline.take_in(&Event { time, fact }, |_| ());
            time
        };
        take_in(Fact::Pod(PodFact {
            pod: "uid-1".into(),
            namespace: Text::new("default"),
            name: Text::new("web"),
            modes: Modes::plain(),
            source: Source::Cri,
        }));
        // Until the file has been put away twice: the pod was declared in none that is left.
        for _ in 0..12 {
            for _ in 0..1_000 {
                // A pid that comes up once is what LZ4 can do little about.
                let pid = take_in(Fact::Tick) as u32;
                take_in(Fact::OomVictim {
                    pid: pid.wrapping_mul(0x9e37_79b9),
                });
            }
            recorder.settled_on_disk();
            let now = take_in(Fact::Tick);
            pipeline.settle(now);
        }
        recorder.close();

        let mut recording = Recording::open(&path).expect("it can be read");
        assert!(recording.is_headless());
        let again = Pipeline::new(Limits::NODE, |_| true);
        while let Next::Entry(entry) = recording.next().expect("it can be read") {
            if let Entry::Event(event) = entry {
                again.take_in(&event, |_| ());
            }
        }
        let pods = |pipeline: &Pipeline| {
            pipeline.look(|core| core.state.pods.keys().cloned().collect::<Vec<_>>())
        };
        assert_eq!(pods(&again), pods(&pipeline));
        assert_eq!(pods(&again), ["uid-1".into()]);
        fs::remove_dir_all(&directory).expect("it is ours");
    }
}
