//! Everything that may belong to some pod's timeline, from events alone and within limits.

use std::collections::VecDeque;

use foldhash::{HashMap, HashSet};

use crate::signal::{SIGCHLD, SIGURG};

use crate::event::{
    CgroupId, Comm, ContainerFact, ContainerId, Event, Fact, Kind, Ktime, NamespaceCall,
    Namespaces, PodFact, PodId, ProcessId, Request, Signal, TaskInfo, Text, WaitStatus,
};
use crate::{
    observer::Observer,
    report::Hook,
    rules::Ledger,
    state::{Change, Listener, State},
};

/// The hook that shows that processes listen.
const LISTEN_HOOK: &str = "inet_sock_set_state";
/// Most processes that are kept. Creating a container takes about ten.
const MAX_PROCESSES: usize = 8_192;
/// Most cgroups that are kept.
const MAX_CGROUPS: usize = 8_192;
/// Most signals that are kept, over all pods. The latest are kept.
const MAX_SIGNALS: usize = 4_096;
/// Most removed pods that are kept.
const MAX_REMOVED: usize = 256;
/// Most setns and unshare calls that are kept of one process. The latest are kept: a daemon makes
/// such calls for every pod.
const MAX_CALLS: usize = 256;
/// Most execs that are kept of one process. The first are kept.
const MAX_EXECS: usize = 8;
/// Most moves between cgroups that are kept of one process. The latest are kept.
const MAX_MOVES: usize = 8;

/// An exec.
#[derive(Clone, Debug)]
pub(super) struct Exec {
    pub(super) time: Ktime,
    pub(super) file: Text,
    pub(super) cgroup: CgroupId,
    pub(super) namespaces: Namespaces,
    /// Whether a process of the runtime executed itself again on the way into a container.
    pub(super) is_self_exec: bool,
}

/// A call of setns or unshare.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) time: Ktime,
    pub(super) tid: u32,
    pub(super) call: NamespaceCall,
    /// The requested `CLONE_NEW*` flags; 0 for a setns that accepts a descriptor of any namespace.
    pub(super) flags: u64,
    pub(super) errno: i32,
    pub(super) after: Namespaces,
}

impl Call {
    /// The thread that made it, if that is not the first one of its process.
    pub(super) fn thread(&self, process: ProcessId) -> Option<u32> {
        (self.tid != process.pid).then_some(self.tid)
    }
}

/// What the journal keeps of a process.
#[derive(Clone, Debug)]
pub(super) struct ProcessHistory {
    pub(super) id: ProcessId,
    /// The process that forked it.
    pub(super) parent: ProcessId,
    pub(super) ns_pid: u32,
    /// Its name after its latest exec.
    pub(super) comm: Comm,
    /// `None` if it started before the hooks were attached, or its fork was not reported.
    pub(super) forked: Option<Ktime>,
    /// Its cgroup when it was forked or first reported.
    pub(super) cgroup: CgroupId,
    pub(super) namespaces: Namespaces,
    pub(super) execs: Vec<Exec>,
    /// What its program was asked to do last.
    pub(super) request: Option<Request>,
    pub(super) calls: VecDeque<Call>,
    pub(super) moves: VecDeque<(Ktime, CgroupId)>,
    pub(super) ended: Option<(Ktime, WaitStatus)>,
    pub(super) reaped: Option<Ktime>,
}

impl ProcessHistory {
    /// The file that it executed first. What it executes later is an implementation detail, such as
    /// runc's copies of itself.
    pub(super) fn file(&self) -> Option<&Text> {
        self.execs.first().map(|exec| &exec.file)
    }

    /// Its first exec in a cgroup, not counting those of the runtime itself.
    pub(super) fn exec_in(&self, cgroup: CgroupId) -> Option<&Exec> {
        self.execs
            .iter()
            .find(|exec| exec.cgroup == cgroup && !exec.is_self_exec)
    }

    /// When it was moved into a cgroup.
    pub(super) fn entered(&self, cgroup: CgroupId) -> Option<Ktime> {
        let moved = self.moves.iter().find(|(_, to)| *to == cgroup);
        moved.map(|(time, _)| *time)
    }
}

/// A cgroup.
#[derive(Clone, Debug)]
pub(super) struct Cgroup {
    pub(super) path: Text,
    pub(super) made: Ktime,
    pub(super) removed: Option<Ktime>,
}

/// A pod.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) namespace: Text,
    pub(super) name: Text,
    pub(super) removed: Option<Ktime>,
    /// When its network was first observed to be ready, and the address.
    pub(super) network_ready: Option<(Ktime, Text)>,
}

/// A container.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) fact: ContainerFact,
    pub(super) declared: Ktime,
    /// Of a sandbox without a pause: the namespaces that files pin.
    pub(super) pinned: Option<Namespaces>,
    /// The node's namespaces from its view, as [`State::host_of`] has them, if they are known.
    pub(super) host: Option<Namespaces>,
    /// Those of its entrypoint, also if that was found running.
    pub(super) namespaces: Option<Namespaces>,
    /// The TCP ports on which its processes have listened, in the order in which that was reported.
    pub(super) listeners: Vec<Listener>,
}

/// Everything so far that may belong to some pod's timeline.
#[derive(Debug, Default)]
pub struct Journal {
    pub(super) host: Namespaces,
    /// Program names of container runtimes.
    pub(super) runtimes: HashSet<Comm>,
    /// Processes that act as a runtime.
    pub(super) declared_runtimes: HashSet<ProcessId>,
    pub(super) processes: HashMap<ProcessId, ProcessHistory>,
    /// Processes in the order of their first record.
    order: VecDeque<ProcessId>,
    pub(super) cgroups: HashMap<CgroupId, Cgroup>,
    cgroup_order: VecDeque<CgroupId>,
    pub(super) pods: HashMap<PodId, Pod>,
    removed: VecDeque<PodId>,
    /// The pods that only network plugins were asked about when they became known.
    pub(super) expected: VecDeque<PodId>,
    pub(super) containers: HashMap<ContainerId, Container>,
    by_cgroup: HashMap<CgroupId, ContainerId>,
    pub(super) signals: VecDeque<(Ktime, Signal)>,
    pub(super) lost: HashMap<Kind, (u64, Ktime)>,
    /// When a process was last forgotten because of the limit.
    pub(super) forgot: Option<Ktime>,
    /// Whether the kernel does not report that processes listen.
    pub(super) misses_listeners: bool,
    pub(super) now: Ktime,
}

impl Observer for Journal {
    fn event(&mut self, event: &Event, _: &State) {
        self.take(event);
    }

    fn change(&mut self, _: Ktime, change: &Change, state: &State, _: &Ledger) {
        let container = match change {
            Change::Executed(process) => state
                .processes
                .get(*process)
                .and_then(|process| process.container.as_ref()),
            Change::ContainerDeclared(container) => Some(container),
            Change::Listens {
                container,
                listener,
            } => {
                if let Some(known) = self.containers.get_mut(container) {
                    known.listeners.push(*listener);
                }
                None
            }
            _ => None,
        };
        if let Some(container) = container {
            self.update_namespaces(container, state);
        }
    }
}

impl Journal {
    /// Adds an event. Only the namespaces of containers that were found running, and their node's,
    /// and where containers listen are taken from the state instead.
    pub fn take(&mut self, event: &Event) {
        let now = event.time;
        self.now = self.now.max(now);
        match &event.fact {
            Fact::Host { namespaces } => self.host = *namespaces,
            Fact::RuntimeNames { names } => self.runtimes.extend(names),
            Fact::Runtime { process } => {
                self.declared_runtimes.insert(*process);
            }
            Fact::Fork { task } if !self.is_inside(task.parent, task.cgroup) => {
                let past = self.process(now, task);
                past.forked = Some(now);
                past.ns_pid = task.ns_pid;
            }
            Fact::Found { task, .. } => self.process(now, task).ns_pid = task.ns_pid,
            Fact::Exec { task, file } => {
                if self.is_members(task) {
                    return;
                }
                let is_self_exec = self.is_self_exec(task, file);
                let past = self.process(now, task);
                (past.comm, past.ns_pid) = (task.comm, task.ns_pid);
                if past.execs.len() < MAX_EXECS {
                    past.execs.push(Exec {
                        time: now,
                        file: file.detached(),
                        cgroup: task.cgroup,
                        namespaces: task.namespaces,
                        is_self_exec,
                    });
                }
            }
            Fact::Called(called) => self.asked(&called.process, &called.request),
            Fact::Exit { task, status } => {
                if let Some(past) = self.processes.get_mut(&task.process) {
                    past.ended = Some((now, *status));
                }
            }
            Fact::Reaped { process } => {
                if let Some(past) = self.processes.get_mut(process) {
                    past.reaped.get_or_insert(now);
                }
            }
            Fact::NamespaceChange {
                task,
                tid,
                call,
                flags,
                errno,
            } => {
                if self.is_members(task) {
                    return;
                }
                let past = self.process(now, task);
                if past.calls.len() == MAX_CALLS {
                    past.calls.pop_front();
                }
                past.calls.push_back(Call {
                    time: now,
                    tid: *tid,
                    call: *call,
                    flags: *flags,
                    errno: *errno,
                    after: task.namespaces,
                });
            }
            Fact::CgroupAttached { task } => {
                let past = self.process(now, task);
                if past.moves.len() == MAX_MOVES {
                    past.moves.pop_front();
                }
                past.moves.push_back((now, task.cgroup));
            }
            Fact::CgroupMade { cgroup, path } => self.cgroup_made(now, *cgroup, path),
            Fact::CgroupRemoved { cgroup, .. } => {
                if let Some(known) = self.cgroups.get_mut(cgroup) {
                    known.removed = Some(now);
                }
            }
            Fact::Signal(signal) => self.signalled(now, signal),
            Fact::Lost { kind, count } => {
                let (lost, last) = self.lost.entry(*kind).or_default();
                *lost = lost.saturating_add(*count);
                *last = now;
            }
            Fact::HookMissing {
                kind: Kind::Listen, ..
            } => self.misses_listeners = true,
            Fact::Pod(fact) => self.pod(fact),
            Fact::Container(fact) => self.container(now, fact),
            Fact::SandboxPinned {
                container,
                namespaces,
            } => {
                if let Some(known) = self.containers.get_mut(container) {
                    known.pinned = Some(*namespaces);
                }
            }
            Fact::Observed(observation) => {
                if observation.what == crate::event::Observed::NetworkReady
                    && observation.holds
                    && let Some(pod) = self.pods.get_mut(&observation.pod)
                {
                    pod.network_ready
                        .get_or_insert_with(|| (now, observation.detail.detached()));
                }
            }
            Fact::PodRemoved { pod } => self.pod_removed(now, pod),
            _ => {}
        }
    }

    /// The hooks of a recording. One that was made before processes were seen to listen lacks that.
    pub fn begin(&mut self, hooks: &[Hook]) {
        self.misses_listeners = hooks.iter().all(|hook| hook.hook != LISTEN_HOOK);
    }

    /// If the next new process makes it forget others: when it last forgot some, which tells one
    /// such occasion from the next.
    pub(crate) fn is_full(&self) -> Option<Option<Ktime>> {
        (self.order.len() >= MAX_PROCESSES).then_some(self.forgot)
    }

    /// The known pods: uid, namespace and name.
    pub fn pods(&self) -> impl Iterator<Item = (&PodId, &Text, &Text)> {
        self.pods
            .iter()
            .map(|(id, pod)| (id, &pod.namespace, &pod.name))
    }

    /// Whether an exec in a container's cgroup is that of an OCI hook or of a program it started: a
    /// process that is alive in the cgroup and has not executed there forked it, and that is the
    /// runtime's init.
    pub(super) fn is_hook(&self, past: &ProcessHistory, exec: &Exec) -> bool {
        let Some(parent) = self.processes.get(&past.parent) else {
            return false;
        };
        let is_in_cgroup = parent.cgroup == exec.cgroup || parent.entered(exec.cgroup).is_some();
        let was_alive = parent.ended.is_none_or(|(ended, _)| ended > exec.time);
        let of_parent = parent.exec_in(exec.cgroup).filter(|of| of.time < exec.time);
        is_in_cgroup && was_alive && of_parent.is_none_or(|of| self.is_hook(parent, of))
    }

    /// The container of a cgroup.
    pub(super) fn container_at(&self, cgroup: CgroupId) -> Option<&ContainerId> {
        self.by_cgroup.get(&cgroup)
    }

    /// Whether a process that forks in a cgroup runs the user's code: the cgroup is a container's,
    /// and the process executed in it or is itself not kept.
    fn is_inside(&self, process: ProcessId, cgroup: CgroupId) -> bool {
        self.by_cgroup.contains_key(&cgroup)
            && self
                .processes
                .get(&process)
                .is_none_or(|past| past.exec_in(cgroup).is_some())
    }

    /// Whether a process executes itself, from `/proc/self/…` or a descriptor, in the mount
    /// namespace of its parent. `runc init` does so, and on a busy machine it is already in the
    /// container's cgroup (see `State::is_self_exec`).
    fn is_self_exec(&self, task: &TaskInfo, file: &Text) -> bool {
        let forked_by = self
            .processes
            .get(&task.process)
            .map_or(task.parent, |past| past.parent);
        let parents = self
            .processes
            .get(&forked_by)
            .map(|past| past.namespaces.mnt);
        let mnt = task.namespaces.mnt;
        file.names_itself() && (mnt == self.host.mnt || parents == Some(mnt))
    }

    /// Whether a process runs the user's code in a container, so that its fork was not kept.
    fn is_members(&self, task: &TaskInfo) -> bool {
        !self.processes.contains_key(&task.process) && self.is_inside(task.parent, task.cgroup)
    }

    fn process(&mut self, now: Ktime, task: &TaskInfo) -> &mut ProcessHistory {
        let id = task.process;
        if !self.processes.contains_key(&id) {
            self.make_room(now);
            self.order.push_back(id);
        }
        self.processes.entry(id).or_insert_with(|| ProcessHistory {
            id,
            parent: task.parent,
            ns_pid: 0,
            comm: task.comm,
            forked: None,
            cgroup: task.cgroup,
            namespaces: task.namespaces,
            execs: Vec::new(),
            request: None,
            calls: VecDeque::new(),
            moves: VecDeque::new(),
            ended: None,
            reaped: None,
        })
    }

    /// Forgets an eighth of the processes: first the oldest that have exited, then the oldest whose
    /// fork was reported. Daemons usually started before the hooks were attached, so they are kept.
    fn make_room(&mut self, now: Ktime) {
        if self.order.len() < MAX_PROCESSES {
            return;
        }
        let mut left = MAX_PROCESSES / 8;
        for is_dispensable in [
            |past: &ProcessHistory| past.ended.is_some(),
            |past: &ProcessHistory| past.forked.is_some(),
        ] {
            self.order.retain(|id| {
                let goes = left > 0 && self.processes.get(id).is_none_or(is_dispensable);
                if goes {
                    left -= 1;
                    self.processes.remove(id);
                }
                !goes
            });
        }
        self.forgot = Some(now);
    }

    fn cgroup_made(&mut self, now: Ktime, id: CgroupId, path: &Text) {
        if self.cgroup_order.len() == MAX_CGROUPS
            && let Some(oldest) = self.cgroup_order.pop_front()
        {
            self.cgroups.remove(&oldest);
        }
        let cgroup = Cgroup {
            path: path.detached(),
            made: now,
            removed: None,
        };
        if self.cgroups.insert(id, cgroup).is_none() {
            self.cgroup_order.push_back(id);
        }
    }

    /// Keeps a signal, except SIGCHLD and the SIGURG that Go's scheduler sends to its own threads.
    fn signalled(&mut self, now: Ktime, signal: &Signal) {
        if matches!(signal.signal, SIGCHLD | SIGURG) {
            return;
        }
        if self.signals.len() == MAX_SIGNALS {
            self.signals.pop_front();
        }
        self.signals.push_back((now, *signal));
    }

    /// Takes from the state which namespaces a container has, and its node.
    fn update_namespaces(&mut self, container: &ContainerId, state: &State) {
        if let Some(known) = self.containers.get_mut(container)
            && let Some(container) = state.containers.get(container)
        {
            known.host = state.known_host_of(container).or(known.host);
            known.namespaces = container.namespaces.or(known.namespaces);
        }
    }

    fn pod(&mut self, fact: &PodFact) {
        let PodFact {
            pod,
            namespace,
            name,
            ..
        } = fact;
        let known = self.pods.entry(pod.clone()).or_insert_with(|| Pod {
            namespace: Text::default(),
            name: Text::default(),
            removed: None,
            network_ready: None,
        });
        (known.namespace, known.name) = (namespace.detached(), name.detached());
    }

    fn container(&mut self, now: Ktime, fact: &ContainerFact) {
        let known = self.containers.entry(fact.container.clone());
        let known = known.or_insert_with(|| Container {
            fact: fact.clone(),
            declared: now,
            pinned: None,
            host: None,
            namespaces: None,
            listeners: Vec::new(),
        });
        known.fact = fact.clone();
        if fact.cgroup != 0 {
            self.by_cgroup.insert(fact.cgroup, fact.container.clone());
        }
    }

    fn pod_removed(&mut self, now: Ktime, id: &PodId) {
        let Some(pod) = self.pods.get_mut(id) else {
            return;
        };
        pod.removed = Some(now);
        self.removed.push_back(id.clone());
        if self.removed.len() > MAX_REMOVED
            && let Some(oldest) = self.removed.pop_front()
        {
            self.pods.remove(&oldest);
            self.containers
                .retain(|_, container| container.fact.pod != oldest);
            self.by_cgroup
                .retain(|_, container| self.containers.contains_key(container));
        }
    }
}
