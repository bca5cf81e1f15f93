//! The live pipeline: rings → events → state → rules → verdicts.
//!
//! It runs on one thread. The rings are read when the kernel signals that they have records, and a
//! tick is made when the state has a deadline. At rest nothing runs.

mod arrivals;
mod ends;
mod oom;
mod survey;
mod waiting;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use tokio::sync::{Notify, futures::Notified};

pub(crate) use self::arrivals::Arrival;
use self::{arrivals::Arrivals, ends::Ends};
use crate::{
    event::{CgroupId, Event, Fact, Kind, Ktime, Namespaces, ProcessId, Text},
    node::{identity, outsider, procfs, program},
    pipeline::{Core, Pipeline},
    probe::{self, Hook, LoadError, Loaded, Options, Readiness, Rings},
    record::{Begin, Run},
    report, sys,
};

/// How often the counts of a flood of signals are read while it lasts.
const FLOOD_PERIOD: Duration = Duration::from_millis(100);

/// After so many events memory is given back to the kernel, when a round has few. The allocator
/// keeps what a storm has used: its threshold is a multiple of what parsing BTF needed.
const STORM: usize = 10_000;
const FEW: usize = 1_024;

/// The least time between two times at which memory is given back, in ns.
const TRIM_PERIOD: Ktime = 10_000_000_000;

/// How long after a reaping its record may arrive, in ns: an RCU grace period on a busy machine.
const GRACE_PERIOD: Ktime = 500_000_000;

/// The table of watched cgroups is full.
const NO_ROOM: Fact = Fact::Lost {
    kind: Kind::Watch,
    count: 1,
};

/// A loaded eBPF program and the pipeline behind it.
pub(crate) struct Live {
    kernel: RefCell<Kernel>,
    pub(crate) pipeline: Pipeline,
    readiness: Readiness,
    /// Observes the pipeline once the node's pods are followed.
    arrivals: Rc<RefCell<Arrivals>>,
    /// Notified when events have been taken in.
    changed: Notify,
    /// Whether somebody answers arrivals, so that events may wait for the answer.
    is_followed: Cell<bool>,
    /// Whether the rest of the events waits for an answer.
    waits: Cell<bool>,
    /// How often a round of reading has begun or ended: odd during a round.
    rounds: Cell<u64>,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) started: Ktime,
}

/// The source of the events.
struct Kernel {
    /// Dropping it detaches the hooks.
    loaded: Loaded,
    rings: Rings,
    events: Vec<Event>,
    /// The first of `events` that was not judged.
    next: usize,
    /// What `events` and `/proc` say of the ends of processes.
    ends: Ends,
    /// When memory was given back to the kernel, and how many events were judged since then.
    trimmed: (Ktime, usize),
    failure: Option<anyhow::Error>,
}

impl Live {
    /// Loads the eBPF program, verifies that it reads this kernel's structures correctly, and
    /// starts to watch the descendants of this process.
    pub(crate) async fn start(
        options: &Options,
        run: Run,
        pipeline: Pipeline,
    ) -> Result<Self, LoadError> {
        let refused = LoadError::Refused;
        let mut loaded = probe::load(options)?;
        sys::give_memory_back();
        if options.kernel_log {
            probe::show_log(&mut loaded).map_err(refused)?;
        }
        loaded.watch(std::process::id()).map_err(refused)?;
        let mut rings = Rings::new(&mut loaded).map_err(refused)?;
        let host = probe::self_test(&mut loaded, &mut rings).await?;
        loaded.set_host(&host).map_err(refused)?;
        let readiness = rings.readiness().map_err(|error| refused(error.into()))?;
        let hooks = loaded.hooks.clone();
        let live = Self {
            kernel: RefCell::new(Kernel {
                loaded,
                rings,
                events: Vec::new(),
                next: 0,
                ends: Ends::default(),
                trimmed: (probe::now(), 0),
                failure: None,
            }),
            pipeline,
            readiness,
            arrivals: Rc::default(),
            changed: Notify::new(),
            is_followed: Cell::new(false),
            waits: Cell::new(false),
            rounds: Cell::new(0),
            started: probe::now(),
            hooks,
        };
        live.pipeline.begin(|limits| Begin {
            run,
            started: live.started,
            limits,
            hooks: live.reported_hooks(),
        });
        live.inject_environment(host);
        Ok(live)
    }

    /// The hooks as reports list them.
    pub(crate) fn reported_hooks(&self) -> Vec<report::Hook> {
        let reported = |hook: &Hook| report::Hook {
            hook: hook.name.to_owned(),
            how: hook.how.as_ref().map_or("missing", |how| how).into(),
        };
        self.hooks.iter().map(reported).collect()
    }

    fn inject_environment(&self, host: Namespaces) {
        self.inject(Fact::Host { namespaces: host });
        for hook in &self.hooks {
            if let Err(reason) = &hook.how {
                self.inject(Fact::HookMissing {
                    kind: hook.kind,
                    reason: Text::new(reason),
                });
            }
        }
    }

    /// Watches another cgroup, which has a share of the rings of its own.
    pub(crate) fn watch_cgroup(&self, cgroup: CgroupId) -> anyhow::Result<()> {
        let is_watched = self.kernel.borrow_mut().loaded.watch_cgroup(cgroup)?;
        if !is_watched {
            self.inject(NO_ROOM);
        }
        Ok(())
    }

    /// Takes in the path of a cgroup whose creation was not observed and that a process entered. If
    /// it is a container's cgroup, it is watched from now on.
    pub(crate) fn discover_cgroup(&self, cgroup: CgroupId, path: &Text) -> anyhow::Result<()> {
        if identity::of_container(&path.0).is_some() {
            self.watch_cgroup(cgroup)?;
        }
        let path = path.clone();
        self.declare(Fact::CgroupMade { cgroup, path });
        self.arrivals.borrow_mut().entered(cgroup);
        Ok(())
    }

    /// Returns what happened to containers' cgroups since the last call.
    pub(crate) fn take_arrivals(&self) -> Vec<Arrival> {
        self.arrivals.borrow_mut().take()
    }

    /// Waits until something happens to a container's cgroup, and returns it.
    pub(crate) async fn arrivals(&self) -> Vec<Arrival> {
        loop {
            let changed = self.changed.notified();
            let arrivals = self.take_arrivals();
            if !arrivals.is_empty() {
                return arrivals;
            }
            changed.await;
        }
    }

    /// Reads events and judges them until the rings fail. Dropping the future stops this without
    /// losing events.
    pub(crate) async fn pump(&self) -> anyhow::Result<()> {
        loop {
            let (next, is_flooded, has_held) = {
                let rings = &self.kernel.borrow().rings;
                (
                    self.pipeline.next_deadline(),
                    rings.is_flooded(),
                    rings.has_held(),
                )
            };
            let due = async {
                match next {
                    Some(at) => {
                        tokio::time::sleep(Duration::from_nanos(at.saturating_sub(probe::now())))
                            .await
                    }
                    None => std::future::pending().await,
                }
            };
            let flood = async {
                match is_flooded {
                    true => tokio::time::sleep(FLOOD_PERIOD).await,
                    false => std::future::pending().await,
                }
            };
            if has_held {
                tokio::task::yield_now().await;
            } else {
                tokio::select! {
                    ready = self.readiness.wait() => ready?,
                    () = due => {}
                    () = flood => {}
                    // An injected fact may have armed a deadline.
                    () = self.changed.notified() => continue,
                }
            }
            self.rounds.update(|rounds| rounds + 1);
            self.kernel.borrow_mut().read_round(None, &self.pipeline)?;
            self.judge_round().await?;
            self.rounds.update(|rounds| rounds + 1);
            self.changed.notify_waiters();
        }
    }

    /// A check that the events are read: between two calls, a round of reading has ended, or none
    /// is open.
    pub(crate) fn progress(&self) -> impl Fn() -> bool {
        let seen = Cell::new(None);
        move || {
            let rounds = self.rounds.get();
            seen.replace(Some(rounds)) != Some(rounds) || rounds.is_multiple_of(2)
        }
    }

    /// Injects a fact that does not come from the kernel, after all events that happened before it.
    pub(crate) fn inject(&self, fact: Fact) {
        let mut kernel = self.kernel.borrow_mut();
        if let Err(error) = kernel.process_event(Some(fact), &self.pipeline) {
            kernel.failure = Some(error);
        }
        drop(kernel);
        self.changed.notify_waiters();
    }

    /// Whether the kernel refuses this thread a call that following the pods makes later.
    pub(crate) fn is_refused(&self) -> bool {
        self.kernel.borrow_mut().loaded.is_refused()
    }

    /// The loaded programs, and what they cost the kernel's verifier.
    pub(crate) fn verified(&self) -> Vec<probe::Verified> {
        probe::verified(&self.kernel.borrow().loaded)
    }

    /// Calls `read` with the current state.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Core) -> T) -> T {
        self.pipeline.read(read)
    }

    /// Waits until `read` returns a value.
    pub(crate) async fn until<T>(&self, mut read: impl FnMut(&Core) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            if let Some(found) = self.pipeline.read(&mut read) {
                return found;
            }
            changed.await;
        }
    }

    /// Resolves when events have been taken in after this call.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

impl Kernel {
    /// Takes in all events up to now, then `fact`.
    fn process_event(&mut self, fact: Option<Fact>, pipeline: &Pipeline) -> anyhow::Result<()> {
        self.read_round(fact, pipeline)?;
        self.judge_round(pipeline, || false)
    }

    /// Whether events were read and not judged.
    fn is_behind(&self) -> bool {
        self.next < self.events.len()
    }

    /// Judges a fact before the events that wait.
    fn insert(&mut self, fact: Fact, pipeline: &Pipeline) -> anyhow::Result<()> {
        let before = self.next.checked_sub(1).and_then(|at| self.events.get(at));
        match before.map(|event| event.time) {
            Some(time) => self.judge(&Event { time, fact }, pipeline),
            None => self.process_event(Some(fact), pipeline),
        }
    }

    /// Reads all events up to now, and adds `fact` behind them.
    fn read_round(&mut self, fact: Option<Fact>, pipeline: &Pipeline) -> anyhow::Result<()> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut events = std::mem::take(&mut self.events);
        let time = self.read_with_victims(&mut events, pipeline)?;
        self.ends.clear();
        oom::before_the_exit(&mut events[self.next..]);
        // Not a later time: events that happened while the rings were drained are still unknown, so
        // no deadline after the drain may pass.
        let fact = fact.unwrap_or(Fact::Tick);
        events.push(Event { time, fact });
        self.events = events;
        Ok(())
    }

    /// Judges the events that were read, until `is_asked` after one of them.
    fn judge_round(
        &mut self,
        pipeline: &Pipeline,
        is_asked: impl Fn() -> bool,
    ) -> anyhow::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        let mut next = self.next;
        while let Some(time) = events.get(next).map(|event| event.time) {
            // No deadline passes with a loss, whose time is later than that of events after it.
            let is_lost = matches!(events[next].fact, Fact::Lost { .. });
            if !is_lost
                && let Some((due, pending)) = pipeline.read(|core| core.state.in_question(time))
            {
                for process in self.gone((due, pending), next, &mut events)? {
                    let fact = Fact::Reaped { process };
                    let time = due.saturating_sub(1);
                    self.judge(&Event { time, fact }, pipeline)?;
                }
            }
            let pending = pipeline.read(|core| core.state.in_question_by(&events[next].fact));
            if !pending.is_empty() {
                for process in self.gone((time, pending), next, &mut events)? {
                    let fact = Fact::Reaped { process };
                    self.judge(&Event { time, fact }, pipeline)?;
                }
            }
            let (nameless, who, claimed) = pipeline.read(|core| {
                let (state, fact) = (&core.state, &events[next].fact);
                (
                    state.nameless(time).filter(|_| !is_lost),
                    state.asks_who(fact),
                    state.asks_program(fact),
                )
            });
            if let Some((due, processes)) = nameless {
                let time = due.saturating_sub(1);
                for process in processes {
                    if let Some(comm) = outsider::name(process) {
                        let fact = Fact::Named { process, comm };
                        self.judge(&Event { time, fact }, pipeline)?;
                    }
                }
            }
            if let Some((process, comm)) = claimed {
                let fact = Fact::Program(program::read(process, comm));
                self.judge(&Event { time, fact }, pipeline)?;
            }
            // The process may be gone, and then nothing more is known of it than its name.
            if let Some(known) = who.and_then(|(process, comm)| outsider::read(process, comm)) {
                let fact = Fact::Outsider(known);
                self.judge(&Event { time, fact }, pipeline)?;
            }
            self.judge(&events[next], pipeline)?;
            next += 1;
            if is_asked() {
                break;
            }
        }
        self.next = next;
        if next < events.len() {
            self.events = events;
            return Ok(());
        }
        self.next = 0;
        if let Some(last) = events.last() {
            pipeline.settle(last.time);
            self.trim(last.time, &mut events);
        }
        events.clear();
        self.events = events;
        Ok(())
    }

    /// Gives back the memory of a storm of events, once it is over.
    fn trim(&mut self, now: Ktime, events: &mut Vec<Event>) {
        let (last, since) = self.trimmed;
        let since = since.saturating_add(events.len());
        let is_over = events.len() <= FEW && now.saturating_sub(last) >= TRIM_PERIOD;
        if since < STORM || !is_over {
            self.trimmed.1 = since;
            return;
        }
        self.trimmed = (now, 0);
        events.clear();
        events.shrink_to(FEW);
        sys::give_memory_back();
    }

    /// Reads the rings up to now, and until the OOM killer has reported its victims among the
    /// processes that the kernel killed. Returns the time up to which all events are known.
    fn read_with_victims(
        &mut self,
        events: &mut Vec<Event>,
        pipeline: &Pipeline,
    ) -> anyhow::Result<Ktime> {
        let mut time = self.read(events)?;
        // Whatever the records say: nothing else is done meanwhile.
        let longest = time + oom::REPORT;
        while let Some(until) = pipeline.read(|core| oom::report_is_due(events, &core.state))
            && time < until.min(longest)
        {
            self.rings
                .wait(Duration::from_nanos(until.min(longest) - time))?;
            time = self.read(events)?;
        }
        Ok(time)
    }

    /// Reads the rings up to now. Returns that time.
    fn read(&mut self, events: &mut Vec<Event>) -> anyhow::Result<Ktime> {
        let time = self.rings.drain(events)?;
        if self.rings.is_flooded() {
            self.rings.drain_floods(events)?;
        }
        Ok(time)
    }

    /// Returns those of `pending` that have left `/proc` although no event from `next` on reports
    /// their end: the kernel's record was lost or is late.
    fn gone(
        &mut self,
        (due, pending): (Ktime, Vec<ProcessId>),
        next: usize,
        events: &mut Vec<Event>,
    ) -> anyhow::Result<Vec<ProcessId>> {
        let mut gone = pending;
        let ends = &mut self.ends;
        ends.index(events);
        gone.retain(|process| {
            !ends.is_late(*process, due, next) && ends.is_gone(*process, procfs::is_gone)
        });
        if gone.is_empty() {
            return Ok(gone);
        }
        // A process that ended after the rings were read was still there at the deadline, so it was
        // late.
        let later = events.len();
        let time = self.read(events)?;
        let fact = Fact::Tick;
        events.push(Event { time, fact });
        self.ends.index(events);
        gone.retain(|process| !self.ends.is_late(*process, due, later));
        Ok(gone)
    }

    /// Passes an event to the pipeline.
    fn judge(&mut self, event: &Event, pipeline: &Pipeline) -> anyhow::Result<()> {
        if let Fact::PodRemoved { pod } = &event.fact {
            // The kernel reuses inode numbers: the next process in a namespace of the same number
            // has not joined this pod.
            let namespaces = pipeline.read(|core| core.state.namespaces_of(pod));
            self.loaded.forget_namespaces(&namespaces)?;
        }
        pipeline.process_event(event);
        Ok(())
    }
}
