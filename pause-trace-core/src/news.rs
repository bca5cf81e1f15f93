//! What happens to the node's pods, apart from whether it is right: they come, run and go.

use std::collections::HashSet;

use crate::{
    event::{ContainerId, Ktime, NamespaceKind, Namespaces, PodId, WaitStatus},
    observer::Observer,
    rules::{Counts, Ledger},
    state::{Change, Process, Role, State},
    verdict::ProcessRef,
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
    pub what: Happened,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A container's entrypoint (a sandbox' pause) runs.
    Started {
        /// The entrypoint.
        process: ProcessRef,
        /// Whether the container is a sandbox.
        is_pause: bool,
        /// It ran before we came.
        found: bool,
        /// The namespaces that it runs in.
        namespaces: Namespaces,
        /// Which of them are the pause's.
        shared: Vec<NamespaceKind>,
        /// Which of them are the host's.
        host: Vec<NamespaceKind>,
    },
    /// A container's entrypoint ended.
    Ended {
        /// The entrypoint.
        process: ProcessRef,
        /// Whether the container is a sandbox.
        is_pause: bool,
        /// How it ended.
        status: WaitStatus,
        /// In ns, since it started.
        lived: Ktime,
    },
    /// The pod was removed.
    Removed {
        /// In ns, since it became known.
        lived: Ktime,
    },
    /// All that can be said of a removed pod has been said.
    Verified {
        /// The verdicts on it.
        verdicts: Counts,
    },
}

impl Happened {
    /// As machines call it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Ended { .. } => "ended",
            Self::Removed { .. } => "removed",
            Self::Verified { .. } => "verified",
        }
    }
}

/// Makes news of what changes, and keeps it until it is fetched.
#[derive(Debug, Default)]
pub(crate) struct NewsFeed {
    fresh: Vec<News>,
    /// Containers that run, as the news have it.
    started: HashSet<ContainerId>,
}

impl NewsFeed {
    /// The news since the last call, oldest first.
    pub(crate) fn take(&mut self) -> Vec<News> {
        std::mem::take(&mut self.fresh)
    }

    /// Whether this is news. A container that is described again is judged again, and yet has started once.
    fn is_news(&mut self, news: &News) -> bool {
        let Some(container) = &news.container else {
            return true;
        };
        match news.what {
            Happened::Started { .. } => self.started.insert(container.clone()),
            Happened::Ended { .. } => self.started.remove(container),
            _ => true,
        }
    }
}

impl Observer for NewsFeed {
    fn change(&mut self, time: Ktime, change: &Change, state: &State, ledger: &Ledger) {
        if let Some(news) = News::of(time, change, state, |pod| ledger.counts_of(pod))
            && self.is_news(&news)
        {
            self.fresh.push(news);
        }
    }
}

/// The namespaces that a container's news are about.
pub const TOLD: [NamespaceKind; 5] = [
    NamespaceKind::Net,
    NamespaceKind::Ipc,
    NamespaceKind::Uts,
    NamespaceKind::Pid,
    NamespaceKind::User,
];

impl News {
    /// What a change says of a pod. `counts` gives what stands of a pod's verdicts.
    fn of(
        time: Ktime,
        change: &Change,
        state: &State,
        counts: impl FnOnce(&PodId) -> Counts,
    ) -> Option<Self> {
        let (pod, container, what) = match change {
            Change::Executed(id) => {
                let process = entrypoint(state, *id).filter(|process| process.execs == 1)?;
                let (shared, host) = compare(state, process);
                let what = Happened::Started {
                    process: reference(process),
                    is_pause: process.role == Role::Pause,
                    found: process.found,
                    namespaces: process.namespaces,
                    shared,
                    host,
                };
                (process.pod.clone()?, process.container.clone(), what)
            }
            Change::Ended(id) => {
                let process = entrypoint(state, *id)?;
                let ended = process.ended?;
                let what = Happened::Ended {
                    process: reference(process),
                    is_pause: process.role == Role::Pause,
                    status: ended.status,
                    lived: ended.time.saturating_sub(process.id.start),
                };
                (process.pod.clone()?, process.container.clone(), what)
            }
            Change::PodRemoved(id) => {
                let pod = state.pods.get(id)?;
                let lived = time.saturating_sub(pod.declared);
                (id.clone(), None, Happened::Removed { lived })
            }
            Change::RemovalDue(id) => {
                let verdicts = counts(id);
                (id.clone(), None, Happened::Verified { verdicts })
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
}

impl News {
    /// Whether a verdict of this time is told before this. What happened comes before what was judged of it, but the last
    /// word on a pod comes last.
    pub fn follows(&self, verdict: Ktime) -> bool {
        match self.what {
            Happened::Verified { .. } => verdict <= self.time,
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

fn reference(process: &Process) -> ProcessRef {
    ProcessRef {
        id: process.id,
        ns_pid: process.ns_pid,
        comm: process.comm,
    }
}

/// Which namespaces of a process are the pause's, and which the host's.
fn compare(state: &State, process: &Process) -> (Vec<NamespaceKind>, Vec<NamespaceKind>) {
    let pause = state
        .pod_of(process)
        .and_then(|pod| state.pause_of(pod))
        .filter(|pause| pause.id != process.id);
    let own = &process.namespaces;
    let same_as = |other: &Namespaces| {
        let same = |kind: &NamespaceKind| own.get(*kind) == other.get(*kind);
        TOLD.into_iter().filter(same).collect::<Vec<_>>()
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
mod tests {
    use super::*;

    fn news(what: Happened) -> News {
        News {
            time: 5,
            pod: "p".into(),
            container: None,
            what,
        }
    }

    #[test]
    fn what_happened_is_told_before_what_was_judged_of_it() {
        let removed = news(Happened::Removed { lived: 1 });
        assert!(removed.follows(4));
        assert!(!removed.follows(5));
    }

    #[test]
    fn the_last_word_on_a_pod_comes_last() {
        let verdicts = Counts::default();
        let verified = news(Happened::Verified { verdicts });
        assert!(verified.follows(5));
        assert!(!verified.follows(6));
    }
}
