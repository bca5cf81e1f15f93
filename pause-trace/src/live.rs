//! The pipeline, running: rings → events → state → rules → verdicts.
//!
//! One thread. The rings are read when the kernel says that there is something, and a tick is made when the state says
//! that something is due; at rest nothing runs.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    io::Read as _,
    time::Duration,
};

use tokio::sync::{Notify, futures::Notified};

use crate::{
    event::{
        CgroupId, Comm, ContainerId, Event, Fact, Kind, Ktime, Namespaces, PodId, ProcessId, Text,
    },
    news::{Announced, Happened, News},
    node::{identity, procfs},
    probe::{self, Hook, LoadError, Loaded, Options, Readiness, Rings},
    report::Names,
    rules::{Ledger, Rule},
    state::{Change, Limits, State},
    sys,
    verdict::Verdict,
};

/// How often the counts of a flood of signals are asked for while it lasts.
const FLOOD_PERIOD: Duration = Duration::from_millis(100);

/// What is running.
pub(crate) struct Live {
    core: RefCell<Core>,
    readiness: Readiness,
    /// Something was taken in.
    changed: Notify,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) started: Ktime,
}

/// Something about a container that somebody should look into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The first process is in it.
    Entered {
        cgroup: CgroupId,
        /// `None` for a cgroup that nobody was seen to make.
        path: Option<Text>,
        pid: u32,
    },
    /// It was made, and is no container's.
    Nobodys { cgroup: CgroupId },
    /// It is gone.
    Removed { cgroup: CgroupId },
    /// A container's entrypoint runs.
    Started {
        pod: PodId,
        container: ContainerId,
        process: ProcessId,
        is_pause: bool,
    },
    /// Somebody of the runtime executed under this name.
    Executed { comm: Comm },
}

/// Cgroups that may be containers', and what happened to them.
#[derive(Debug, Default)]
struct Arrivals {
    fresh: Vec<Arrival>,
    /// Made, and empty so far.
    empty: HashMap<CgroupId, Text>,
}

impl Arrivals {
    fn see(&mut self, event: &Event, state: &State) {
        match &event.fact {
            Fact::CgroupMade { cgroup, path } => {
                if identity::of_container(&path.0).is_some() {
                    self.empty.insert(*cgroup, path.detached());
                } else if identity::identify(&path.0).is_none() {
                    self.fresh.push(Arrival::Nobodys { cgroup: *cgroup });
                }
            }
            Fact::CgroupRemoved { cgroup, .. } => {
                self.empty.remove(cgroup);
                self.fresh.push(Arrival::Removed { cgroup: *cgroup });
            }
            Fact::CgroupAttached {
                cgroup, process, ..
            }
            | Fact::Fork {
                cgroup, process, ..
            }
            | Fact::Found {
                cgroup, process, ..
            } => {
                let path = self.empty.remove(cgroup);
                let is_attached = matches!(event.fact, Fact::CgroupAttached { .. });
                if path.is_some() || (is_attached && state.cgroup_path(*cgroup).is_none()) {
                    self.fresh.push(Arrival::Entered {
                        cgroup: *cgroup,
                        path,
                        pid: process.pid,
                    });
                }
            }
            // What a runtime itself executes goes by other names, or is no daemon.
            Fact::Exec { comm, .. } if state.is_runtime_name(*comm) => {
                self.fresh.push(Arrival::Executed { comm: *comm });
            }
            _ => {}
        }
    }

    fn hear(&mut self, news: &News) {
        if let (
            Some(container),
            Happened::Started {
                process, is_pause, ..
            },
        ) = (&news.container, &news.what)
        {
            self.fresh.push(Arrival::Started {
                pod: news.pod.clone(),
                container: container.clone(),
                process: process.id,
                is_pause: *is_pause,
            });
        }
    }
}

/// What waits may look at.
pub(crate) struct Core {
    /// Dropping it detaches the hooks.
    loaded: Loaded,
    rings: Rings,
    pub(crate) state: State,
    pub(crate) ledger: Ledger,
    /// Verdicts that nobody has taken yet.
    verdicts: Vec<Verdict>,
    events: Vec<Event>,
    /// Where the node's pods are followed: what nobody has looked at yet.
    arrivals: Option<Arrivals>,
    /// Where the node's pods are followed: what nobody has heard of yet.
    news: Vec<News>,
    announced: Announced,
    /// The kernel's events that were taken in.
    pub(crate) events_by_kind: BTreeMap<Kind, u64>,
    pub(crate) names: Names,
    pub(crate) lost: BTreeMap<Kind, u64>,
    failure: Option<anyhow::Error>,
}

impl Live {
    /// Loads the program, proves that it reads this kernel rightly, and starts to watch this process' descendants.
    pub(crate) async fn start(
        options: &Options,
        limits: Limits,
        selected: impl Fn(&Rule) -> bool,
    ) -> Result<Self, LoadError> {
        let refused = LoadError::Refused;
        let mut loaded = probe::load(options)?;
        sys::give_memory_back();
        if options.kernel_log {
            probe::show_log(&mut loaded).map_err(refused)?;
        }
        loaded.watch(std::process::id()).map_err(refused)?;
        let mut rings = Rings::new(&mut loaded).map_err(refused)?;
        let sees_namespaces = loaded
            .hooks
            .iter()
            .any(|hook| hook.kind == Kind::Namespace && hook.how.is_ok());
        let host = probe::self_test(&mut rings, sees_namespaces).await?;
        loaded.set_host(&host).map_err(refused)?;
        let readiness = rings.readiness().map_err(|error| refused(error.into()))?;
        let hooks = loaded.hooks.clone();
        let live = Self {
            core: RefCell::new(Core {
                loaded,
                rings,
                state: State::new(limits),
                ledger: Ledger::new(selected),
                verdicts: Vec::new(),
                events: Vec::new(),
                arrivals: None,
                news: Vec::new(),
                announced: Announced::default(),
                events_by_kind: BTreeMap::new(),
                names: Names::default(),
                lost: BTreeMap::new(),
                failure: None,
            }),
            readiness,
            changed: Notify::new(),
            started: probe::now(),
            hooks,
        };
        live.tell_of(host);
        Ok(live)
    }

    fn tell_of(&self, host: Namespaces) {
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

    /// Watches the node's runtimes by their names, these cgroups, and all that is in them; from now
    /// on [`Live::arrivals`] tells of cgroups that come and go.
    ///
    /// The hooks are attached already: what begins meanwhile is reported by them, and what began before is found now.
    pub(crate) fn follow(
        &self,
        names: &[Comm],
        cgroups: impl Iterator<Item = (CgroupId, Text)>,
    ) -> anyhow::Result<()> {
        /// Children whose pid is lower than their parent's are found by the next reading. A chain of more than a few of
        /// them, each between two wraps of the pids, is no runtime's.
        const READINGS: u32 = 4;
        let mut core = self.core.borrow_mut();
        core.arrivals = Some(Arrivals::default());
        let raw: Vec<_> = names.iter().map(|name| name.0).collect();
        core.loaded.watch_names(&raw)?;
        core.take_in(Some(Fact::RuntimeNames {
            names: names.to_vec(),
        }))?;
        for (cgroup, path) in cgroups {
            core.loaded.watch_cgroup(cgroup)?;
            core.take_in(Some(Fact::CgroupMade { cgroup, path }))?;
        }
        let mut found = 0;
        for _ in 0..READINGS {
            core.loaded.iterator()?.read_to_end(&mut Vec::new())?;
            core.take_in(None)?;
            let now_found = core.events_by_kind.get(&Kind::Found).copied().unwrap_or(0);
            if now_found == found {
                break;
            }
            found = now_found;
        }
        Ok(())
    }

    /// Watches one more cgroup.
    pub(crate) fn watch_cgroup(&self, cgroup: CgroupId) -> anyhow::Result<()> {
        self.core.borrow_mut().loaded.watch_cgroup(cgroup)
    }

    /// What happened to containers' cgroups since the last call.
    pub(crate) fn take_arrivals(&self) -> Vec<Arrival> {
        let mut core = self.core.borrow_mut();
        let arrivals = core.arrivals.as_mut();
        arrivals
            .map(|arrivals| std::mem::take(&mut arrivals.fresh))
            .unwrap_or_default()
    }

    /// The same, once something has.
    pub(crate) async fn arrivals(&self) -> Vec<Arrival> {
        self.until(|core| {
            let arrivals = core.arrivals.as_ref()?;
            (!arrivals.fresh.is_empty()).then_some(())
        })
        .await;
        self.take_arrivals()
    }

    /// Reads and judges until the rings fail. Dropping the future stops it; nothing is lost by that.
    pub(crate) async fn pump(&self) -> anyhow::Result<()> {
        loop {
            let (next, is_flooded, has_held) = {
                let mut core = self.core.borrow_mut();
                (
                    core.state.next_deadline(),
                    core.rings.is_flooded(),
                    core.rings.has_held(),
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
                    // What was injected may have armed a deadline.
                    () = self.changed.notified() => continue,
                }
            }
            self.core.borrow_mut().take_in(None)?;
            self.changed.notify_waiters();
        }
    }

    /// Takes a fact in that is not the kernel's, after all that happened before it.
    pub(crate) fn inject(&self, fact: Fact) {
        let mut core = self.core.borrow_mut();
        if let Err(error) = core.take_in(Some(fact)) {
            core.failure = Some(error);
        }
        drop(core);
        self.changed.notify_waiters();
    }

    /// The programs, and what they cost the kernel's verifier.
    pub(crate) fn verified(&self) -> Vec<probe::Verified> {
        probe::verified(&self.core.borrow().loaded)
    }

    /// Looks at what is known now.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Core) -> T) -> T {
        look(&self.core.borrow())
    }

    /// Waits until `look` finds what it looks for.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut(&Core) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            if let Some(found) = look(&self.core.borrow()) {
                return found;
            }
            changed.await;
        }
    }

    /// Resolves when something has been taken in after this call.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// What happened to the node's pods since the last call.
    pub(crate) fn news(&self) -> Vec<News> {
        std::mem::take(&mut self.core.borrow_mut().news)
    }

    /// The verdicts since the last call.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        std::mem::take(&mut self.core.borrow_mut().verdicts)
    }
}

impl Core {
    /// Everything up to now, and then `fact`.
    fn take_in(&mut self, fact: Option<Fact>) -> anyhow::Result<()> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut events = std::mem::take(&mut self.events);
        let time = self.rings.drain(&mut events)?;
        if self.rings.is_flooded() {
            self.rings.drain_floods(&mut events)?;
        }
        // A reaping that /proc shows is as good as one that the kernel reported.
        for process in self.state.zombies_due(time) {
            if procfs::is_gone(process) {
                events.push(Event {
                    time,
                    fact: Fact::Reaped { process },
                });
            }
        }
        // Not a later time: what happened while the rings were drained is not known yet, and must not come due.
        events.push(Event {
            time,
            fact: fact.unwrap_or(Fact::Tick),
        });
        for event in &events {
            if let Some(kind) = event.fact.record() {
                *self.events_by_kind.entry(kind).or_default() += 1;
            }
            if let Some(arrivals) = &mut self.arrivals {
                arrivals.see(event, &self.state);
            }
            self.names.learn(event);
            if let Fact::Lost { kind, count } = &event.fact {
                *self.lost.entry(*kind).or_default() += count;
            }
            if let Fact::PodRemoved { pod } = &event.fact {
                // The kernel gives inode numbers away again: who gets them next is no visitor of this pod.
                self.loaded
                    .forget_namespaces(&self.state.namespaces_of(pod))?;
            }
            if let Some(arrivals) = &mut self.arrivals {
                let (news, announced) = (&mut self.news, &mut self.announced);
                let hear = |change: &Change, state: &State, ledger: &Ledger| {
                    let counts = |pod: &_| ledger.counts_of(pod);
                    let told = News::of(event.time, change, state, counts);
                    // A container that is described again is judged again, and yet has started once.
                    if let Some(told) = told.filter(|told| announced.take(told)) {
                        arrivals.hear(&told);
                        news.push(told);
                    }
                };
                self.ledger.judge_and_tell(&mut self.state, event, hear);
            } else {
                self.ledger.judge(&mut self.state, event);
            }
        }
        self.verdicts.append(&mut self.ledger.take());
        events.clear();
        self.events = events;
        Ok(())
    }
}
