//! How the state changes, event by event.

mod deadlines;
mod ends;
mod found;
mod hooks;
mod memory;
mod names;
mod pins;
mod proof;
mod reparenting;
mod roles;

use super::*;
use crate::event::{
    ContainerFact, ContainerKind, Mode, Modes, PodFact, Signal, SignalResult, Source, TaskInfo,
    WaitStatus,
};

const HOST: Namespaces = Namespaces {
    mnt: 1,
    uts: 2,
    ipc: 3,
    net: 4,
    pid: 5,
    pid_children: 5,
    user: 6,
    cgroup: 7,
    net_owner: 6,
    pid_level: 0,
};
/// The cgroups of the host, the pod's sandbox and its container.
const ROOT: CgroupId = 1;
const SANDBOX: CgroupId = 10;
const APP: CgroupId = 11;
const MS: Ktime = 1_000_000;

const RUNTIME: ProcessId = id(100);

const fn id(pid: u32) -> ProcessId {
    ProcessId { pid, start: 1 }
}

/// Namespaces like the host's, except for mnt and pid. The pid namespace is one level down.
const fn inside(pid: u32) -> Namespaces {
    Namespaces {
        mnt: 1_000 + pid,
        pid,
        pid_children: pid,
        pid_level: 1,
        ..HOST
    }
}

struct World {
    state: State,
    now: Ktime,
    /// What the last record said about each process.
    last_record: HashMap<ProcessId, (CgroupId, Namespaces, u32)>,
}

impl World {
    /// A host without pods and runtimes.
    fn bare() -> Self {
        let mut world = Self {
            state: State::new(Limits::REFERENCE),
            now: 0,
            last_record: HashMap::new(),
        };
        world.apply(Fact::Host { namespaces: HOST });
        world
    }

    /// A host with a runtime, and a declared pod `p` without processes.
    fn new() -> Self {
        let mut world = Self::bare();
        world.apply(Fact::Runtime { process: RUNTIME });
        world.declare_pod();
        world.declare("sandbox", ContainerKind::Sandbox, SANDBOX);
        world.declare("app", ContainerKind::App, APP);
        world
    }

    /// Applies a fact, a microsecond later.
    fn apply(&mut self, fact: Fact) -> Vec<Change> {
        self.now += 1_000;
        let mut changes = Vec::new();
        self.state.apply(
            &Event {
                time: self.now,
                fact,
            },
            &mut changes,
        );
        self.state.forget(&changes);
        changes
    }

    /// When the next tick is due, after a batch of events.
    fn next_deadline(&mut self) -> Option<Ktime> {
        let (time, fact) = (self.now, Fact::Tick);
        let mut changes = Vec::new();
        self.state.apply(&Event { time, fact }, &mut changes);
        assert_eq!(changes, []);
        self.state.next_deadline()
    }

    fn wait(&mut self, ns: Ktime) -> Vec<Change> {
        self.now += ns;
        self.apply(Fact::Tick)
    }

    fn declare_pod(&mut self) {
        self.apply(Fact::Pod(PodFact {
            pod: "p".into(),
            namespace: Text::new("default"),
            name: Text::new("p"),
            modes: Modes::plain(),
            source: Source::Reference,
        }));
    }

    fn declare(&mut self, container: &str, what: ContainerKind, cgroup: CgroupId) -> Vec<Change> {
        self.apply(Fact::Container(ContainerFact {
            container: container.into(),
            pod: "p".into(),
            name: Text::new(container),
            what,
            sandbox: None,
            cgroup,
            modes: Modes {
                pid: Mode::Container,
                ..Modes::plain()
            },
            stop_signal: 15,
            file: None,
            source: Source::Reference,
        }))
    }

    fn fork(
        &mut self,
        parent: ProcessId,
        pid: u32,
        cgroup: CgroupId,
        namespaces: Namespaces,
        ns_pid: u32,
    ) -> ProcessId {
        let process = ProcessId {
            pid,
            start: self.now + 1,
        };
        self.last_record
            .insert(process, (cgroup, namespaces, ns_pid));
        self.apply(Fact::Fork {
            task: TaskInfo {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm: Comm::new("child"),
            },
        });
        process
    }

    fn exec(&mut self, process: ProcessId) -> Vec<Change> {
        let (cgroup, namespaces, ns_pid) = self.last_record[&process];
        let parent = self
            .state
            .processes
            .get(process)
            .map_or(RUNTIME, |process| process.parent);
        let (comm, file) = (Comm::new("app"), Text::new("/app"));
        self.apply(Fact::Exec {
            task: TaskInfo {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
            },
            file,
        })
    }

    fn exit(&mut self, process: ProcessId, parent: ProcessId) -> Vec<Change> {
        let (cgroup, namespaces, ns_pid) = self.last_record[&process];
        let (status, comm) = (WaitStatus::exited(0), Comm::new("app"));
        self.apply(Fact::Exit {
            task: TaskInfo {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
            },
            status,
        })
    }

    fn reap(&mut self, process: ProcessId) -> Vec<Change> {
        self.apply(Fact::Reaped { process })
    }

    /// The container's entrypoint, pid 1 of pid namespace 50.
    fn app(&mut self) -> ProcessId {
        let app = self.fork(RUNTIME, 200, APP, inside(50), 1);
        self.exec(app);
        app
    }

    /// A child inside the container.
    fn child(&mut self, parent: ProcessId, pid: u32) -> ProcessId {
        self.fork(parent, pid, APP, inside(50), pid)
    }

    fn get(&self, process: ProcessId) -> &Process {
        self.state
            .processes
            .get(process)
            .expect("the process is known")
    }

    fn parent(&self, process: ProcessId) -> ProcessId {
        self.get(process).parent
    }

    fn container(&self, container: &str) -> &Container {
        &self.state.containers[container]
    }

    fn pod(&self) -> &Pod {
        &self.state.pods["p"]
    }
}
