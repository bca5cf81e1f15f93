//! News: what happens to the node's pods, without a judgement: starts, ends, removals.

use std::{fmt, net::IpAddr};

use foldhash::HashMap;

use crate::{
    event::{
        ContainerId, ContainerKind, Kind, Ktime, NamespaceKind, Namespaces, PodId, Text, WaitStatus,
    },
    observer::Observer,
    rules::{Counts, Ledger},
    state::{Change, Listener, OomKilled, Pod, Process, Role, State},
    verdict::{Duration, ProcessRef},
};

/// Something that happened to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub(crate) time: Ktime,
    /// The pod.
    pub pod: PodId,
    /// `None` for the pod as a whole.
    pub container: Option<ContainerId>,
    /// What happened to it.
    pub what: NewsKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewsKind {
    /// A container's entrypoint (the pause of a sandbox) has started.
    Started {
        /// The entrypoint.
        process: ProcessRef,
        /// Whether the container is a sandbox.
        is_pause: bool,
        /// Whether it ran before pause-trace started.
        found: bool,
        /// The namespaces that it runs in.
        namespaces: Namespaces,
        /// Which of them are the pause's.
        shared: Vec<NamespaceKind>,
        /// Which of them are the host's.
        host: Vec<NamespaceKind>,
        /// If a container of this name ran in the pod before.
        restart: Option<Restart>,
    },
    /// A program that the runtime executed to start a pod or container failed.
    StartFailed {
        /// The program.
        process: ProcessRef,
        /// What it was to do: `portmap ADD`.
        step: String,
        /// How it ended.
        status: WaitStatus,
        /// How long it took, in ns.
        took: Ktime,
    },
    /// A container's entrypoint ended.
    Ended {
        /// The entrypoint.
        process: ProcessRef,
        /// Whether the container is a sandbox.
        is_pause: bool,
        /// How it ended.
        status: WaitStatus,
        /// The time since it started, in ns.
        lived: Ktime,
        /// The process of the container that the OOM killer killed last, if it killed one.
        oom_killed: Option<ProcessRef>,
        /// The memory limit that the container was created with, in bytes, if the OOM killer killed
        /// a process of it and the limit is known.
        memory_limit: Option<u64>,
    },
    /// The OOM killer killed a process of a container that is not its entrypoint.
    OomKilled {
        /// The process.
        process: ProcessRef,
        /// How many processes of the container it has killed.
        count: u64,
        /// The memory limit that the container was created with, in bytes, if it is known.
        memory_limit: Option<u64>,
    },
    /// A container listens on a TCP port on which it has not listened before.
    Listens {
        /// The process that began to listen.
        process: ProcessRef,
        /// The address, which is unspecified if it is every address.
        address: IpAddr,
        /// The port; `None` if the kernel has chosen one that no record shows.
        port: Option<u16>,
        /// The time since the container's entrypoint executed, in ns; `None` if that was not
        /// observed.
        after: Option<Ktime>,
    },
    /// The last cgroup of the pod was removed.
    Removed {
        /// The time since the pod's first process started, in ns.
        lived: Ktime,
        /// Whether its pause ended although the runtime did not stop it. The pod then still exists,
        /// as far as is known, and gets another sandbox.
        lost_sandbox: bool,
    },
    /// The last verdict on a removed pod has been given.
    Verified {
        /// The verdicts on it.
        verdicts: Counts,
    },
}

impl NewsKind {
    /// The name in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::StartFailed { .. } => "start_failed",
            Self::Ended { .. } => "ended",
            Self::OomKilled { .. } => "oom_killed",
            Self::Listens { .. } => "listens",
            Self::Removed { .. } => "removed",
            Self::Verified { .. } => "verified",
        }
    }
}

/// A start of a container of which an earlier one has the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// How many started before it, as far as they were observed.
    pub count: u32,
    /// How long the last one had been gone, in ns, if its end was observed.
    pub after: Option<Ktime>,
}

/// `restart 3, 10.2 s after the last end`
impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "restart {}", self.count)?;
        match self.after {
            Some(after) => write!(f, ", {} after the last end", Duration(after)),
            None => Ok(()),
        }
    }
}

/// The earlier starts of a container with one name in one pod.
#[derive(Clone, Copy, Debug, Default)]
struct Starts {
    count: u32,
    last_end: Option<Ktime>,
}

/// Turns changes into news, and keeps the news until it is taken.
#[derive(Debug, Default)]
pub(crate) struct NewsFeed {
    fresh: Vec<News>,
    /// What was reported of each container whose pod has not been forgotten.
    reported: HashMap<ContainerId, Reported>,
    /// When a kill of the OOM killer was last reported, by container, until the container ends.
    oom_killed: HashMap<ContainerId, Ktime>,
    /// The starts of containers by pod and name, until the pod is forgotten.
    starts: HashMap<PodId, HashMap<Text, Starts>>,
}

/// What was reported of a container. A container that is declared again, even after its end, is
/// judged again, but starts and ends only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reported {
    Start,
    End,
}

/// How often the kills of the OOM killer in one container are reported, in ns. A container can
/// start processes that run out of memory as fast as the OOM killer kills them.
const OOM_PERIOD: Ktime = 10_000_000_000;

impl NewsFeed {
    /// The news since the last call, oldest first.
    pub(crate) fn take(&mut self) -> Vec<News> {
        std::mem::take(&mut self.fresh)
    }

    fn report(&mut self, mut news: News, state: &State) {
        if let Some(container) = news.container.clone()
            && !matches!(news.what, NewsKind::StartFailed { .. })
        {
            let container = &container;
            let before = self.reported.get(container).copied();
            let now = match news.what {
                NewsKind::Started { .. } if before.is_none() => Reported::Start,
                NewsKind::Ended { .. } if before == Some(Reported::Start) => Reported::End,
                NewsKind::OomKilled { .. } if before == Some(Reported::Start) => {
                    let last = self.oom_killed.get(container);
                    if last.is_some_and(|last| news.time.saturating_sub(*last) < OOM_PERIOD) {
                        return;
                    }
                    self.oom_killed.insert(container.clone(), news.time);
                    Reported::Start
                }
                NewsKind::Listens { .. } if before == Some(Reported::Start) => Reported::Start,
                _ => return,
            };
            self.reported.insert(container.clone(), now);
            self.count(container, &mut news, state);
        }
        self.fresh.push(news);
    }

    /// Counts the start or the end of a container, and says of a start whether it is a restart.
    fn count(&mut self, container: &ContainerId, news: &mut News, state: &State) {
        let Some(known) = state.containers.get(container) else {
            return;
        };
        if known.what == ContainerKind::Sandbox || known.name.0.is_empty() {
            return;
        }
        let of_pod = self.starts.entry(news.pod.clone()).or_default();
        let starts = of_pod.entry(known.name.clone()).or_default();
        match &mut news.what {
            NewsKind::Started { restart, .. } => {
                let after = starts.last_end.map(|end| news.time.saturating_sub(end));
                *restart = (starts.count > 0).then_some(Restart {
                    count: starts.count,
                    after,
                });
                starts.count += 1;
            }
            NewsKind::Ended { .. } => starts.last_end = Some(news.time),
            _ => {}
        }
    }

    fn forget(&mut self, pod: &PodId, state: &State) {
        self.starts.remove(pod);
        let Some(pod) = state.pods.get(pod) else {
            return;
        };
        for container in pod.sandboxes.iter().chain(&pod.containers) {
            self.reported.remove(container);
            self.oom_killed.remove(container);
        }
    }
}

impl Observer for NewsFeed {
    fn change(&mut self, time: Ktime, change: &Change, state: &State, ledger: &Ledger) {
        if let Some(news) = News::of(time, change, state, |pod| ledger.counts_of(pod)) {
            self.report(news, state);
        }
        match change {
            // A container that ended before it was declared: no other change reports its end.
            Change::Executed(id) => {
                if let Some(process) = entrypoint(state, *id).filter(|known| !known.ended_unseen())
                    && let Some(news) = News::of_end(process, state)
                {
                    self.report(news, state);
                }
            }
            Change::RemovalDue(pod) => self.forget(pod, state),
            _ => {}
        }
    }
}

/// The namespaces that the news of a container lists.
pub const LISTED_NAMESPACES: [NamespaceKind; 5] = [
    NamespaceKind::Net,
    NamespaceKind::Ipc,
    NamespaceKind::Uts,
    NamespaceKind::Pid,
    NamespaceKind::User,
];

impl News {
    /// The news that a change is, if any. `counts` returns the verdict counts of a pod.
    fn of(
        time: Ktime,
        change: &Change,
        state: &State,
        counts: impl FnOnce(&PodId) -> Counts,
    ) -> Option<Self> {
        let (pod, container, what) = match change {
            Change::Executed(id) => {
                return Self::of_start(time, entrypoint(state, *id)?, state);
            }
            Change::OomKilled(id) => {
                let process = state.processes.get(*id)?;
                if entrypoint(state, *id).is_some() {
                    return None; // its end says so
                }
                let kills = oom_kills(state, process)?;
                let container = state.container_of(process)?;
                let init = container.init.and_then(|init| state.processes.get(init));
                if init.is_some_and(|init| init.oom.is_some()) {
                    return None; // with `memory.oom.group`, the end of the container says so
                }
                let what = NewsKind::OomKilled {
                    process: killed(&kills),
                    count: kills.count,
                    memory_limit: container.memory_limit,
                };
                (process.pod.clone()?, process.container.clone(), what)
            }
            Change::Listens {
                container,
                listener,
            } => return Self::of_listener(container, listener, state),
            Change::StepEnded(step) if !step.has_succeeded() && !step.is_doubtful => {
                let what = NewsKind::StartFailed {
                    process: ProcessRef {
                        id: step.process,
                        ns_pid: step.ns_pid,
                        comm: step.comm,
                    },
                    step: step.name(),
                    status: step.status,
                    took: step.took(),
                };
                (step.pod.clone()?, step.container.clone(), what)
            }
            Change::Ended(id) => return Self::of_end(entrypoint(state, *id)?, state),
            Change::PodRemoved(id) => {
                let pod = state.pods.get(id)?;
                let lived = time.saturating_sub(state.exists_since(pod));
                let lost_sandbox = has_lost_sandbox(state, pod);
                let what = NewsKind::Removed {
                    lived,
                    lost_sandbox,
                };
                (id.clone(), None, what)
            }
            Change::RemovalDue(id) => {
                let verdicts = counts(id);
                (id.clone(), None, NewsKind::Verified { verdicts })
            }
            _ => return None,
        };
        Some(Self {
            time,
            pod,
            container,
            what,
        })
    }

    /// The start of a container. Its time is that of the exec, which may have been before the
    /// container was declared; for a process that was found, it is `time`.
    fn of_start(time: Ktime, process: &Process, state: &State) -> Option<Self> {
        if process.execs != 1 {
            return None;
        }
        let (shared, host) = compare(state, process);
        let executed = process.executed.filter(|_| !process.found);
        Some(Self {
            time: executed.unwrap_or(time),
            pod: process.pod.clone()?,
            container: process.container.clone(),
            what: NewsKind::Started {
                process: reference(process),
                is_pause: process.role == Role::Pause,
                found: process.found,
                namespaces: process.namespaces,
                shared,
                host,
                restart: None,
            },
        })
    }

    /// The end of a container, if it has ended.
    fn of_end(process: &Process, state: &State) -> Option<Self> {
        let ended = process.ended?;
        let kills = oom_kills(state, process);
        let container = state.container_of(process).filter(|_| kills.is_some());
        Some(Self {
            time: ended.time,
            pod: process.pod.clone()?,
            container: process.container.clone(),
            what: NewsKind::Ended {
                process: reference(process),
                is_pause: process.role == Role::Pause,
                status: ended.status,
                lived: ended.time.saturating_sub(process.id.start),
                oom_killed: kills.as_ref().map(killed),
                memory_limit: container.and_then(|container| container.memory_limit),
            },
        })
    }

    /// A container listens on another port. Its time is when it began to.
    fn of_listener(id: &ContainerId, listener: &Listener, state: &State) -> Option<Self> {
        let container = state.containers.get(id)?;
        let init = container.init.and_then(|init| state.processes.get(init));
        let executed = init.filter(|init| !init.found).and(container.started);
        Some(Self {
            time: listener.since,
            pod: container.pod.clone(),
            container: Some(id.clone()),
            what: NewsKind::Listens {
                process: ProcessRef {
                    id: listener.process,
                    ns_pid: listener.ns_pid,
                    comm: listener.comm,
                },
                address: listener.address,
                port: (listener.port != 0).then_some(listener.port),
                after: executed.map(|executed| listener.since.saturating_sub(executed)),
            },
        })
    }

    /// Whether a verdict of this time is reported before this news. An event is reported before the
    /// verdicts on it, but `Verified` is reported after all verdicts on the pod.
    pub fn follows(&self, verdict: Ktime) -> bool {
        match self.what {
            NewsKind::Verified { .. } => verdict <= self.time,
            _ => verdict < self.time,
        }
    }
}

fn entrypoint(state: &State, id: crate::event::ProcessId) -> Option<&Process> {
    state
        .processes
        .get(id)
        .filter(|process| matches!(process.role, Role::Pause | Role::Init))
}

/// Whether the pause of a pod's sandbox ended and the runtime neither stopped it nor was asked to.
fn has_lost_sandbox(state: &State, pod: &Pod) -> bool {
    let Some(pause) = state.pause_of(pod).filter(|pause| !pause.is_alive()) else {
        return false;
    };
    let Some(sandbox) = state.container_of(pause) else {
        return false;
    };
    let is_stopping = pod.stopping.or(sandbox.stopping).is_some();
    // The record of the stop may be missing.
    let gap = state.gap(&[Kind::SignalGenerate], sandbox.since);
    let is_known = gap.is_none() && sandbox.flooded.is_none() && !pause.ended_unseen();
    let mut signals = pause.signals.iter();
    let may_be_stop = |received: &crate::state::Received| {
        received.sender_role == Role::Runtime || received.sender_doubt.is_some()
    };
    is_known && !is_stopping && !signals.any(may_be_stop)
}

/// What the OOM killer did in the container of a process.
fn oom_kills(state: &State, process: &Process) -> Option<OomKilled> {
    state.container_of(process)?.oom
}

fn killed(kills: &OomKilled) -> ProcessRef {
    ProcessRef {
        id: kills.id,
        ns_pid: kills.ns_pid,
        comm: kills.comm,
    }
}

fn reference(process: &Process) -> ProcessRef {
    ProcessRef {
        id: process.id,
        ns_pid: process.ns_pid,
        comm: process.comm,
    }
}

/// The namespaces that a process shares with the pause, and with the host.
fn compare(state: &State, process: &Process) -> (Vec<NamespaceKind>, Vec<NamespaceKind>) {
    let pause = state
        .pod_of(process)
        .and_then(|pod| state.pause_of(pod))
        .filter(|pause| pause.id != process.id);
    let own = &process.namespaces;
    let same_as = |other: &Namespaces| {
        let same = |kind: &NamespaceKind| own.get(*kind) == other.get(*kind);
        LISTED_NAMESPACES
            .into_iter()
            .filter(same)
            .collect::<Vec<_>>()
    };
    let container = process.container.as_ref();
    let host = container
        .and_then(|id| state.containers.get(id))
        .map_or(state.host, |container| state.host_of(container));
    let host = same_as(&host);
    let mut shared = pause.map_or_else(Vec::new, |pause| same_as(&pause.namespaces));
    shared.retain(|kind| !host.contains(kind));
    (shared, host)
}

#[cfg(test)]
mod listen_tests;
#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod tests;
