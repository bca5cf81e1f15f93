//! Measures what happens to the node's pods, for metrics: how often, and how long it took.
//!
//! A [`Measure`] turns events and changes into numbers, and a [`Meter`] adds them up. What can be
//! counted at any moment instead, such as the zombies, is computed from the state when somebody
//! asks ([`Now`]). Neither decides anything.

mod now;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use foldhash::{HashMap, HashMapExt as _};
pub use now::{Now, OTHER, PodNow};

use crate::{
    event::{Event, Fact, Kind, Ktime, PodId, ProcessId, SignalResult},
    observer::Observer,
    rules::Ledger,
    signal::SIGKILL,
    state::{Change, Process, Role, State},
    timeline::{Journal, Timeline},
};

/// Adds measurements up. It is called for every event, so it allocates nothing.
pub trait Meter {
    /// The kernel reported a record of this kind.
    fn record(&self, kind: Kind);
    /// So many records of a kind were lost.
    fn lost(&self, kind: Kind, count: u64);
    /// So many records of a kind were counted and not reported, because a pod wrote too many.
    fn suppressed(&self, kind: Kind, count: u64);
    /// A signal was generated.
    fn signal(&self, result: SignalResult);
    /// A process of a pod was reaped this long after its end, in ns.
    fn reaped(&self, reaper: Reaper, after: Ktime);
    /// The entrypoint of a container ended this long after its runtime sent it its stop signal, in
    /// ns.
    fn stopped(&self, end: StopEnd, after: Ktime);
    /// A phase of the start of a pod took this long, in ns.
    fn started(&self, phase: Phase, took: Ktime);
    /// A pod started, and it is not known how long that took.
    fn start_unmeasured(&self);
    /// The OOM killer killed a process of a container.
    fn oom_killed(&self);
}

/// Who reaped a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaper {
    /// The pause of the pod.
    Pause,
    /// Another process of the pod.
    Container,
    /// Its parent is in no pod: the runtime, a subreaper of the node, or pid 1.
    Outside,
}

impl Reaper {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pause, Self::Container, Self::Outside];

    /// The value of the label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Container => "container",
            Self::Outside => "outside",
        }
    }

    fn of(process: &Process, state: &State) -> Self {
        match state.processes.get(process.parent).map(|it| it.role) {
            Some(Role::Pause) => Self::Pause,
            Some(role) if role.is_inside() => Self::Container,
            _ => Self::Outside,
        }
    }
}

/// How an entrypoint ended that was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopEnd {
    /// It ended otherwise than by SIGKILL.
    Itself,
    /// SIGKILL ended it.
    Killed,
}

impl StopEnd {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Itself, Self::Killed];

    /// The value of the label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Itself => "itself",
            Self::Killed => "killed",
        }
    }
}

/// A phase of a pod's start, as [`Phases`](crate::timeline::Phases) has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The CNI plugins.
    Cni,
    /// From the beginning to the exec of the pause.
    Sandbox,
    /// The creation of one container.
    Create,
    /// From the beginning to the exec of the last container.
    Start,
    /// From the beginning to the first listen on a TCP port.
    FirstListen,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Cni,
        Self::Sandbox,
        Self::Create,
        Self::Start,
        Self::FirstListen,
    ];

    /// The value of the label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cni => "cni",
            Self::Sandbox => "sandbox",
            Self::Create => "create",
            Self::Start => "start",
            Self::FirstListen => "first_listen",
        }
    }
}

/// What can happen to a pod: the names of all [`NewsKind`](crate::news::NewsKind).
pub const NEWS: [&str; 7] = [
    "started",
    "start_failed",
    "ended",
    "oom_killed",
    "listens",
    "removed",
    "verified",
];

/// How long after the exec of a container no further one may start, in ns, so that the pod counts
/// as started.
const SETTLED: Ktime = 2_000_000_000;

/// What is known of the start of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// A container executed. The start is measured at this time, if no other one does before.
    Due(Ktime),
    /// It was measured. If its beginning is known and nothing has listened yet, this is when it
    /// began.
    Measured(Option<Ktime>),
}

/// Measures events and changes.
pub struct Measure<M> {
    meter: M,
    journal: Journal,
    starts: HashMap<PodId, Start>,
    /// The pods whose start is due, in the order of these times. An entry is obsolete if its pod
    /// has another time.
    due: VecDeque<(Ktime, PodId)>,
}

impl<M: Meter> Measure<M> {
    /// Adds everything up in `meter`.
    pub fn new(meter: M) -> Self {
        Self {
            meter,
            journal: Journal::default(),
            starts: HashMap::new(),
            due: VecDeque::new(),
        }
    }

    /// Measures the starts that are complete by now. Called before somebody reads the meter: at
    /// rest there is no event that would do it.
    pub fn settle(&mut self, now: Ktime) {
        while let Some((at, _)) = self.due.front()
            && *at <= now
        {
            let Some((at, pod)) = self.due.pop_front() else {
                return;
            };
            if self.starts.get(&pod) == Some(&Start::Due(at)) {
                self.measure(pod);
            }
        }
    }

    fn measure(&mut self, pod: PodId) {
        let timeline = Timeline::of(&self.journal, &pod);
        let known = timeline.and_then(|timeline| Some((timeline.began, timeline.phases()?)));
        let Some((began, phases)) = known else {
            self.meter.start_unmeasured();
            self.starts.insert(pod, Start::Measured(None));
            return;
        };
        let single = [
            (Phase::Cni, phases.cni),
            (Phase::Sandbox, phases.sandbox),
            (Phase::Start, phases.start),
            (Phase::FirstListen, phases.first_listen),
        ];
        let created = phases
            .create
            .into_iter()
            .map(|took| (Phase::Create, Some(took)));
        for (phase, took) in single.into_iter().chain(created) {
            if let Some(took) = took {
                self.meter.started(phase, took);
            }
        }
        let began = began.filter(|_| phases.first_listen.is_none());
        self.starts.insert(pod, Start::Measured(began));
    }

    fn executed(&mut self, now: Ktime, process: ProcessId, state: &State) {
        let Some(process) = state.processes.get(process) else {
            return;
        };
        // What was found running began at an unknown time.
        if process.role != Role::Init || process.execs != 1 || process.found {
            return;
        }
        if let Some(pod) = &process.pod
            && !matches!(self.starts.get(pod), Some(Start::Measured(_)))
        {
            let at = now.saturating_add(SETTLED);
            self.starts.insert(pod.clone(), Start::Due(at));
            self.due.push_back((at, pod.clone()));
        }
    }

    fn ended(&self, process: ProcessId, state: &State) {
        let Some(process) = state.processes.get(process) else {
            return;
        };
        let (Some(ended), Some(container)) = (process.ended, state.container_of(process)) else {
            return;
        };
        if container.init != Some(process.id) {
            return;
        }
        let is_stop = |signal: i32| signal != SIGKILL && Some(signal) == container.stop_signal;
        let mut signals = process.signals.iter();
        let stop = signals.find(|sent| sent.sender_role == Role::Runtime && is_stop(sent.signal));
        if let Some(stop) = stop {
            let end = match ended.status.signal() {
                Some(SIGKILL) => StopEnd::Killed,
                _ => StopEnd::Itself,
            };
            let after = ended.time.saturating_sub(stop.time);
            self.meter.stopped(end, after);
        }
    }

    fn reaped(&self, now: Ktime, process: ProcessId, state: &State) {
        if let Some(process) = state.processes.get(process)
            && process.role.is_inside()
            && !process.ended_unseen()
            && let Some(ended) = process.ended
        {
            let after = now.saturating_sub(ended.time);
            self.meter.reaped(Reaper::of(process, state), after);
        }
    }

    fn listens(&mut self, pod: &PodId, since: Ktime) {
        if let Some(Start::Measured(began)) = self.starts.get_mut(pod)
            && let Some(began) = began.take()
        {
            let took = since.saturating_sub(began);
            self.meter.started(Phase::FirstListen, took);
        }
    }
}

impl<M: Meter> Observer for Measure<M> {
    fn event(&mut self, event: &Event, state: &State) {
        self.settle(event.time);
        self.journal.event(event, state);
        if let Some(kind) = event.fact.record() {
            self.meter.record(kind);
        }
        match &event.fact {
            Fact::Signal(signal) => self.meter.signal(signal.result),
            Fact::Lost { kind, count } => self.meter.lost(*kind, *count),
            Fact::RecordsSuppressed { kind, count, .. } => self.meter.suppressed(*kind, *count),
            Fact::SignalsSuppressed { count, .. } => {
                self.meter.suppressed(Kind::SignalGenerate, *count);
            }
            _ => {}
        }
    }

    fn change(&mut self, time: Ktime, change: &Change, state: &State, ledger: &Ledger) {
        self.journal.change(time, change, state, ledger);
        match change {
            Change::Executed(process) => self.executed(time, *process, state),
            Change::Ended(process) => self.ended(*process, state),
            Change::Reaped(process) => self.reaped(time, *process, state),
            Change::OomKilled(_) => self.meter.oom_killed(),
            Change::Listens {
                container,
                listener,
            } => {
                if let Some(container) = state.containers.get(container) {
                    self.listens(&container.pod, listener.since);
                }
            }
            // A pod that lives for less than two seconds has started, too.
            Change::PodRemoved(pod) => {
                if matches!(self.starts.get(pod), Some(Start::Due(_))) {
                    self.measure(pod.clone());
                }
            }
            Change::RemovalDue(pod) => {
                self.starts.remove(pod);
            }
            _ => {}
        }
    }
}
