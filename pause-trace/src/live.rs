//! The pipeline, running: rings → events → state → rules → verdicts.
//!
//! One thread. The rings are read when the kernel says that there is something, and a tick is made when the state says
//! that something is due; at rest nothing runs.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use tokio::sync::{Notify, futures::Notified};

use crate::{
    event::{Event, Fact, Kind, Ktime, Namespaces},
    node::procfs,
    probe::{self, Hook, LoadError, Loaded, Options, Readiness, Rings},
    report::Names,
    rules::{Ledger, Rule},
    state::{Limits, State},
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
                    reason: crate::event::Text::new(reason),
                });
            }
        }
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
            self.names.learn(event);
            if let Fact::Lost { kind, count } = &event.fact {
                *self.lost.entry(*kind).or_default() += count;
            }
            if let Fact::PodRemoved { pod } = &event.fact {
                // The kernel gives inode numbers away again: who gets them next is no visitor of this pod.
                self.loaded
                    .forget_namespaces(&self.state.namespaces_of(pod))?;
            }
            self.ledger.judge(&mut self.state, event);
        }
        self.verdicts.append(&mut self.ledger.take());
        events.clear();
        self.events = events;
        Ok(())
    }
}
