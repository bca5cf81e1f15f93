//! Cgroups that become a container's, and what happens to them: the questions that the follower of
//! the pods has to answer.

use std::{
    collections::{HashMap, HashSet},
    iter, mem,
};

use crate::{
    event::{CgroupId, Comm, ContainerId, Event, Fact, Ktime, PodId, ProcessId, Text},
    node::identity,
    observer::Observer,
    rules::Ledger,
    state::{Change, Role, State},
};

/// An event of a container's life that the follower handles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The first process entered the cgroup.
    Entered {
        cgroup: CgroupId,
        /// `None` if the creation of the cgroup was not observed.
        path: Option<Text>,
        /// That process and its ancestors at that time, nearest first. The process that puts the
        /// first one into a container's cgroup often ends a millisecond later.
        pids: Vec<u32>,
    },
    /// A cgroup was created that is not a container's.
    NotAContainer { cgroup: CgroupId },
    /// The cgroup was removed.
    Removed { cgroup: CgroupId },
    /// A container's entrypoint has executed.
    Started {
        pod: PodId,
        container: ContainerId,
        process: ProcessId,
        is_pause: bool,
    },
    /// A process executed under this name, which is one of a runtime.
    Executed { process: ProcessId, comm: Comm },
}

/// The ancestors that are kept of a container's first process: two or three are short-lived
/// processes of the runtime, and the next one stays with the container.
const MAX_LINEAGE: usize = 8;

/// Collects arrivals.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    fresh: Vec<Arrival>,
    /// Containers' cgroups that were created and are still empty.
    empty: HashMap<CgroupId, Text>,
    /// Entrypoints that were reported, of pods that have not been forgotten. A container that is
    /// declared again, even after its end, executes again for the rules, but is reported once.
    started: HashSet<ProcessId>,
}

impl Observer for Arrivals {
    fn event(&mut self, event: &Event, state: &State) {
        match &event.fact {
            Fact::CgroupMade { cgroup, path } => {
                if identity::of_container(&path.0).is_some() {
                    self.empty.insert(*cgroup, path.detached());
                } else if identity::identify(&path.0).is_none() {
                    self.fresh.push(Arrival::NotAContainer { cgroup: *cgroup });
                }
            }
            Fact::CgroupRemoved { cgroup, .. } => {
                self.empty.remove(cgroup);
                self.fresh.push(Arrival::Removed { cgroup: *cgroup });
            }
            Fact::CgroupAttached { task } => {
                let path = self.empty.remove(&task.cgroup);
                if path.is_some() || state.cgroup_path(task.cgroup).is_none() {
                    self.enter(task.cgroup, path, state.processes.lineage(task.process));
                }
            }
            Fact::Fork { task } | Fact::Found { task, .. } => {
                if let Some(path) = self.empty.remove(&task.cgroup) {
                    let above = state.processes.lineage(task.parent);
                    let pids = iter::once(task.process.pid).chain(above);
                    self.enter(task.cgroup, Some(path), pids);
                }
            }
            // A runtime's children have other names, or are not daemons.
            Fact::Exec { task, .. } if state.is_runtime_name(task.comm) => {
                let (process, comm) = (task.process, task.comm);
                self.fresh.push(Arrival::Executed { process, comm });
            }
            _ => {}
        }
    }

    fn change(&mut self, _: Ktime, change: &Change, state: &State, _: &Ledger) {
        match change {
            Change::Executed(id) => {
                if let Some(process) = state.processes.get(*id)
                    && matches!(process.role, Role::Pause | Role::Init)
                    && let (Some(pod), Some(container)) = (&process.pod, &process.container)
                    && process.execs == 1
                    && self.started.insert(process.id)
                {
                    self.fresh.push(Arrival::Started {
                        pod: pod.clone(),
                        container: container.clone(),
                        process: process.id,
                        is_pause: process.role == Role::Pause,
                    });
                }
            }
            Change::RemovalDue(pod) => {
                for init in state.inits_of(pod) {
                    self.started.remove(&init);
                }
            }
            _ => {}
        }
    }
}

impl Arrivals {
    fn enter(&mut self, cgroup: CgroupId, path: Option<Text>, lineage: impl Iterator<Item = u32>) {
        self.fresh.push(Arrival::Entered {
            cgroup,
            path,
            pids: lineage.take(MAX_LINEAGE).collect(),
        });
    }

    /// Reports cgroups that were found after the first process in them.
    pub(super) fn settle(&mut self, state: &State) {
        let mut inside: Vec<_> = state.processes.iter().collect();
        inside.retain(|process| process.is_alive() && self.empty.contains_key(&process.cgroup));
        inside.sort_unstable_by_key(|process| process.id.start);
        for process in inside {
            if let Some(path) = self.empty.remove(&process.cgroup) {
                let lineage = state.processes.lineage(process.id);
                self.enter(process.cgroup, Some(path), lineage);
            }
        }
    }

    /// Marks a cgroup as entered.
    pub(super) fn entered(&mut self, cgroup: CgroupId) {
        self.empty.remove(&cgroup);
    }

    /// Whether nothing has to be answered.
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty()
    }

    /// Whether a container has begun that was not answered.
    pub(super) fn has_entered(&self) -> bool {
        let is_entry = |arrival: &Arrival| matches!(arrival, Arrival::Entered { .. });
        self.fresh.iter().any(is_entry)
    }

    pub(super) fn take(&mut self) -> Vec<Arrival> {
        mem::take(&mut self.fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Namespaces, TaskInfo},
        state::{Limits, State},
    };

    const CGROUP: CgroupId = 10;
    const RUNTIME: ProcessId = ProcessId { pid: 100, start: 1 };

    fn path() -> Text {
        Text::new(&format!("/kubepods/podx/{}", "8852eac2".repeat(8)))
    }

    /// Arrivals, fed with events together with the state.
    struct Fixture {
        state: State,
        arrivals: Arrivals,
        time: u64,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                state: State::new(Limits::NODE),
                arrivals: Arrivals::default(),
                time: 0,
            }
        }

        fn apply(&mut self, fact: Fact) {
            self.time += 1;
            let event = Event {
                time: self.time,
                fact,
            };
            self.arrivals.event(&event, &self.state);
            self.state.apply(&event, &mut Vec::new());
        }

        fn fork(&mut self, parent: ProcessId, pid: u32, cgroup: CgroupId) -> ProcessId {
            let process = ProcessId { pid, start: 1 };
            self.apply(Fact::Fork {
                task: TaskInfo {
                    process,
                    parent,
                    cgroup,
                    namespaces: Namespaces::default(),
                    ns_pid: pid,
                    comm: Comm::new("runc"),
                },
            });
            process
        }

        fn attach(&mut self, process: ProcessId) {
            self.apply(Fact::CgroupAttached {
                task: TaskInfo {
                    process,
                    parent: ProcessId::default(),
                    cgroup: CGROUP,
                    namespaces: Namespaces::default(),
                    ns_pid: process.pid,
                    comm: Comm::new("runc"),
                },
            });
        }

        fn make(&mut self) {
            self.apply(Fact::CgroupMade {
                cgroup: CGROUP,
                path: path(),
            });
        }
    }

    fn entered(path: Option<Text>, pids: &[u32]) -> Arrival {
        Arrival::Entered {
            cgroup: CGROUP,
            path,
            pids: pids.to_vec(),
        }
    }

    #[test]
    fn the_first_process_of_a_cgroup_is_reported_with_its_ancestors() {
        let mut fixture = Fixture::new();
        fixture.apply(Fact::Runtime { process: RUNTIME });
        let shim = fixture.fork(RUNTIME, 101, 1);
        let runc = fixture.fork(shim, 102, 1);
        fixture.make();
        assert_eq!(fixture.arrivals.take(), []);
        fixture.attach(runc);
        assert_eq!(
            fixture.arrivals.take(),
            [entered(Some(path()), &[102, 101, 100])]
        );
        let init = fixture.fork(runc, 103, CGROUP);
        fixture.attach(init);
        assert_eq!(fixture.arrivals.take(), []);
    }

    #[test]
    fn a_process_forked_into_a_cgroup_is_reported_with_its_ancestors() {
        let mut fixture = Fixture::new();
        fixture.apply(Fact::Runtime { process: RUNTIME });
        let shim = fixture.fork(RUNTIME, 101, 1);
        fixture.make();
        fixture.fork(shim, 102, CGROUP);
        assert_eq!(
            fixture.arrivals.take(),
            [entered(Some(path()), &[102, 101, 100])]
        );
    }

    #[test]
    fn a_cgroup_whose_creation_was_missed_is_reported_without_a_path() {
        let mut fixture = Fixture::new();
        fixture.apply(Fact::Runtime { process: RUNTIME });
        fixture.attach(RUNTIME);
        assert_eq!(fixture.arrivals.take(), [entered(None, &[100])]);
        fixture.make();
        fixture.arrivals.entered(CGROUP);
        fixture.fork(RUNTIME, 101, CGROUP);
        assert_eq!(fixture.arrivals.take(), []);
    }

    #[test]
    fn a_cgroup_found_after_its_process_is_reported_on_settling() {
        let mut fixture = Fixture::new();
        fixture.apply(Fact::Runtime { process: RUNTIME });
        fixture.fork(RUNTIME, 101, CGROUP);
        fixture.make();
        assert_eq!(fixture.arrivals.take(), []);
        fixture.arrivals.settle(&fixture.state);
        assert_eq!(
            fixture.arrivals.take(),
            [entered(Some(path()), &[101, 100])]
        );
        fixture.arrivals.settle(&fixture.state);
        assert_eq!(fixture.arrivals.take(), []);
    }
}
