//! What there is to find out about: cgroups that come to be a container's, and what happens to them.

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

/// Something about a container that somebody should look into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The first process is in it.
    Entered {
        cgroup: CgroupId,
        /// `None` for a cgroup that nobody was seen to make.
        path: Option<Text>,
        /// That process and those above it then, nearest first. What puts the first process into a container's cgroup often
        /// ends a millisecond later.
        pids: Vec<u32>,
    },
    /// It was made, and is no container's.
    Nobodys { cgroup: CgroupId },
    /// The pod is removed.
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

/// How many processes above the first of a container are kept in mind: a runtime's own are two or three, and then comes what
/// stays with the container.
const LINEAGE: usize = 8;

/// Cgroups that may be containers', and what happened to them.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    fresh: Vec<Arrival>,
    /// Made, and empty so far.
    empty: HashMap<CgroupId, Text>,
    /// Entrypoints that run and were reported: one is judged again when more is known of its container.
    started: HashSet<ProcessId>,
}

impl Observer for Arrivals {
    fn event(&mut self, event: &Event, state: &State) {
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
            // What a runtime itself executes goes by other names, or is no daemon.
            Fact::Exec { task, .. } if state.is_runtime_name(task.comm) => {
                self.fresh.push(Arrival::Executed { comm: task.comm });
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
            Change::Ended(id) => _ = self.started.remove(id),
            _ => {}
        }
    }
}

impl Arrivals {
    fn enter(&mut self, cgroup: CgroupId, path: Option<Text>, lineage: impl Iterator<Item = u32>) {
        self.fresh.push(Arrival::Entered {
            cgroup,
            path,
            pids: lineage.take(LINEAGE).collect(),
        });
    }

    /// Reports cgroups whose first process was found before they were.
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

    /// It is known that a process is in this cgroup.
    pub(super) fn entered(&mut self, cgroup: CgroupId) {
        self.empty.remove(&cgroup);
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

    /// What is heard of events that the state knows by then.
    struct Ear {
        state: State,
        arrivals: Arrivals,
        time: u64,
    }

    impl Ear {
        fn new() -> Self {
            Self {
                state: State::new(Limits::NODE),
                arrivals: Arrivals::default(),
                time: 0,
            }
        }

        fn tell(&mut self, fact: Fact) {
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
            self.tell(Fact::Fork {
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
            self.tell(Fact::CgroupAttached {
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
            self.tell(Fact::CgroupMade {
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
    fn the_first_process_of_a_cgroup_is_told_of_with_those_above_it() {
        let mut ear = Ear::new();
        ear.tell(Fact::Runtime { process: RUNTIME });
        let shim = ear.fork(RUNTIME, 101, 1);
        let runc = ear.fork(shim, 102, 1);
        ear.make();
        assert_eq!(ear.arrivals.take(), []);
        ear.attach(runc);
        assert_eq!(
            ear.arrivals.take(),
            [entered(Some(path()), &[102, 101, 100])]
        );
        let init = ear.fork(runc, 103, CGROUP);
        ear.attach(init);
        assert_eq!(ear.arrivals.take(), []);
    }

    #[test]
    fn one_that_is_forked_into_a_cgroup_is_told_of_with_those_above_it() {
        let mut ear = Ear::new();
        ear.tell(Fact::Runtime { process: RUNTIME });
        let shim = ear.fork(RUNTIME, 101, 1);
        ear.make();
        ear.fork(shim, 102, CGROUP);
        assert_eq!(
            ear.arrivals.take(),
            [entered(Some(path()), &[102, 101, 100])]
        );
    }

    #[test]
    fn a_cgroup_that_nobody_was_seen_to_make_is_told_of_without_a_path() {
        let mut ear = Ear::new();
        ear.tell(Fact::Runtime { process: RUNTIME });
        ear.attach(RUNTIME);
        assert_eq!(ear.arrivals.take(), [entered(None, &[100])]);
        ear.make();
        ear.arrivals.entered(CGROUP);
        ear.fork(RUNTIME, 101, CGROUP);
        assert_eq!(ear.arrivals.take(), []);
    }

    #[test]
    fn a_cgroup_that_is_seen_after_its_process_is_told_of_when_all_is_settled() {
        let mut ear = Ear::new();
        ear.tell(Fact::Runtime { process: RUNTIME });
        ear.fork(RUNTIME, 101, CGROUP);
        ear.make();
        assert_eq!(ear.arrivals.take(), []);
        ear.arrivals.settle(&ear.state);
        assert_eq!(ear.arrivals.take(), [entered(Some(path()), &[101, 100])]);
        ear.arrivals.settle(&ear.state);
        assert_eq!(ear.arrivals.take(), []);
    }
}
