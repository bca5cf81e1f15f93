//! What may belong to some pod's timeline, from events alone and bounded.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::signal::{SIGCHLD, SIGURG};

use crate::event::{
    CgroupId, Comm, ContainerFact, ContainerId, Event, Fact, Kind, Ktime, NamespaceCall,
    Namespaces, PodFact, PodId, ProcessId, Signal, TaskInfo, Text, WaitStatus,
};

/// Most processes that are kept. A container's creation takes about ten.
const MOST_PROCESSES: usize = 8_192;
/// Most cgroups.
const MOST_CGROUPS: usize = 8_192;
/// Most signals to processes of all pods, the latest.
const MOST_SIGNALS: usize = 4_096;
/// Most pods that were removed.
const MOST_REMOVED: usize = 256;
/// Most setns and unshare calls of one process, the latest: a daemon makes them for every pod.
const MOST_CALLS: usize = 256;
/// Most files that one process is remembered to have executed, the first ones.
const MOST_EXECS: usize = 8;
/// Most cgroups that one process is remembered to have been moved into, the latest.
const MOST_MOVES: usize = 8;

/// What a process executed, and where.
#[derive(Clone, Debug)]
pub(super) struct Exec {
    pub(super) time: Ktime,
    pub(super) file: Text,
    pub(super) cgroup: CgroupId,
    pub(super) namespaces: Namespaces,
    /// A runtime's process that only executes itself again on the way into a container, which is not in it yet.
    pub(super) is_again: bool,
}

/// A setns or unshare.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) time: Ktime,
    pub(super) tid: u32,
    pub(super) call: NamespaceCall,
    /// `CLONE_NEW*` as asked; 0 for a setns to whatever the descriptor is.
    pub(super) flags: u64,
    pub(super) errno: i32,
    pub(super) after: Namespaces,
}

/// All that is kept of a process.
#[derive(Clone, Debug)]
pub(super) struct ProcessHistory {
    pub(super) id: ProcessId,
    /// Who forked it.
    pub(super) parent: ProcessId,
    pub(super) ns_pid: u32,
    /// By its latest exec.
    pub(super) comm: Comm,
    /// `None` for one that was there before, or whose fork was not seen.
    pub(super) forked: Option<Ktime>,
    /// As it was forked, or first seen.
    pub(super) cgroup: CgroupId,
    pub(super) namespaces: Namespaces,
    pub(super) execs: Vec<Exec>,
    pub(super) calls: VecDeque<Call>,
    pub(super) moves: VecDeque<(Ktime, CgroupId)>,
    pub(super) ended: Option<(Ktime, WaitStatus)>,
    pub(super) reaped: Option<Ktime>,
}

impl ProcessHistory {
    /// What it executed first; the rest is its own affair, as runc's copies of itself are.
    pub(super) fn file(&self) -> Option<&Text> {
        self.execs.first().map(|exec| &exec.file)
    }

    /// Its first exec in a cgroup, once the runtime was through with it.
    pub(super) fn exec_in(&self, cgroup: CgroupId) -> Option<&Exec> {
        self.execs
            .iter()
            .find(|exec| exec.cgroup == cgroup && !exec.is_again)
    }

    /// When it came into a cgroup that it was not always in.
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

/// A pod's name, and when it was known and gone.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) namespace: Text,
    pub(super) name: Text,
    pub(super) removed: Option<Ktime>,
    /// When its network was first seen to work, and with which address.
    pub(super) network_ready: Option<(Ktime, Text)>,
}

/// A container, with where it ran.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) fact: ContainerFact,
    pub(super) declared: Ktime,
    /// Of a sandbox without a pause: the namespaces that files keep for it.
    pub(super) pinned: Option<Namespaces>,
}

/// What has happened, as far as it may belong to a pod.
#[derive(Debug, Default)]
pub struct Journal {
    pub(super) host: Namespaces,
    /// Names that runtimes' processes go by.
    pub(super) runtimes: HashSet<Comm>,
    /// Processes that play a runtime.
    pub(super) declared_runtimes: HashSet<ProcessId>,
    pub(super) processes: HashMap<ProcessId, ProcessHistory>,
    /// In the order they were first seen.
    order: VecDeque<ProcessId>,
    pub(super) cgroups: HashMap<CgroupId, Cgroup>,
    cgroup_order: VecDeque<CgroupId>,
    pub(super) pods: HashMap<PodId, Pod>,
    removed: VecDeque<PodId>,
    pub(super) containers: HashMap<ContainerId, Container>,
    by_cgroup: HashMap<CgroupId, ContainerId>,
    pub(super) signals: VecDeque<(Ktime, Signal)>,
    pub(super) lost: HashMap<Kind, (u64, Ktime)>,
    /// When the last process was let go of for want of room.
    pub(super) forgot: Option<Ktime>,
    pub(super) now: Ktime,
}

impl Journal {
    /// Takes an event in. It makes no difference whether the state has it already.
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
                let is_again = self.is_self_exec(task, file);
                let past = self.process(now, task);
                (past.comm, past.ns_pid) = (task.comm, task.ns_pid);
                if past.execs.len() < MOST_EXECS {
                    past.execs.push(Exec {
                        time: now,
                        file: file.detached(),
                        cgroup: task.cgroup,
                        namespaces: task.namespaces,
                        is_again,
                    });
                }
            }
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
                if past.calls.len() == MOST_CALLS {
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
                if past.moves.len() == MOST_MOVES {
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
                *lost += count;
                *last = now;
            }
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
            Fact::Observed(seen) => {
                if seen.what == crate::event::Observed::NetworkReady
                    && seen.holds
                    && let Some(pod) = self.pods.get_mut(&seen.pod)
                {
                    pod.network_ready
                        .get_or_insert_with(|| (now, seen.detail.detached()));
                }
            }
            Fact::PodRemoved { pod } => self.pod_removed(now, pod),
            _ => {}
        }
    }

    /// The pods that are known, by uid.
    pub fn pods(&self) -> impl Iterator<Item = (&PodId, &Text, &Text)> {
        self.pods
            .iter()
            .map(|(id, pod)| (id, &pod.namespace, &pod.name))
    }

    /// The pods that somebody means by `NAMESPACE/NAME` or `NAME`, or by the beginning of their uid or of a container's id.
    pub fn called(&self, wanted: &str) -> Vec<PodId> {
        if wanted.is_empty() {
            return Vec::new();
        }
        let is_called = |id: &PodId, pod: &Pod| {
            let title = [&pod.namespace.0[..], b"/", &pod.name.0].concat();
            title == wanted.as_bytes()
                || pod.name.0 == wanted.as_bytes()
                || format!("{}/{}", pod.namespace, pod.name) == wanted
                || id.starts_with(wanted)
        };
        let by_name = self
            .pods
            .iter()
            .filter(|(id, pod)| is_called(id, pod))
            .map(|(id, _)| id);
        let containers = self
            .containers
            .iter()
            .filter(|(id, _)| id.starts_with(wanted));
        let by_container = containers.map(|(_, container)| &container.fact.pod);
        let mut called: Vec<_> = by_name.chain(by_container).cloned().collect();
        called.sort_unstable();
        called.dedup();
        called
    }

    /// The container whose cgroup this is.
    pub(super) fn container_at(&self, cgroup: CgroupId) -> Option<&ContainerId> {
        self.by_cgroup.get(&cgroup)
    }

    /// Whether what this process forks in a cgroup is the user's: it executed there, and a container's it is.
    fn is_inside(&self, process: ProcessId, cgroup: CgroupId) -> bool {
        self.by_cgroup.contains_key(&cgroup)
            && self
                .processes
                .get(&process)
                .is_none_or(|past| past.exec_in(cgroup).is_some())
    }

    /// Whether a process executes itself, from `/proc/self/…` or a descriptor, in the mount namespace of whoever forked it: so
    /// does `runc init`, and on a busy machine it is in the container's cgroup by then (see the state's function of this name).
    fn is_self_exec(&self, task: &TaskInfo, file: &Text) -> bool {
        let names_itself = ["/proc/self/", "/proc/thread-self/", "/dev/fd/"];
        let names_itself = names_itself
            .iter()
            .any(|prefix| file.0.starts_with(prefix.as_bytes()));
        let forked_by = self
            .processes
            .get(&task.process)
            .map_or(task.parent, |past| past.parent);
        let parents = self
            .processes
            .get(&forked_by)
            .map(|past| past.namespaces.mnt);
        let mnt = task.namespaces.mnt;
        names_itself && (mnt == self.host.mnt || parents == Some(mnt))
    }

    /// Whether a process is a container's own affair: its fork was not kept because of that.
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
            calls: VecDeque::new(),
            moves: VecDeque::new(),
            ended: None,
            reaped: None,
        })
    }

    /// Lets go of an eighth: of the oldest that have ended, then of the oldest that were forked meanwhile. Daemons were there
    /// before.
    fn make_room(&mut self, now: Ktime) {
        if self.order.len() < MOST_PROCESSES {
            return;
        }
        let mut left = MOST_PROCESSES / 8;
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
        if self.cgroup_order.len() == MOST_CGROUPS
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

    /// Keeps what asks something of a process; that a child has ended and what Go's scheduler tells itself ask nothing.
    fn signalled(&mut self, now: Ktime, signal: &Signal) {
        if matches!(signal.signal, SIGCHLD | SIGURG) {
            return;
        }
        if self.signals.len() == MOST_SIGNALS {
            self.signals.pop_front();
        }
        self.signals.push_back((now, *signal));
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
        if self.removed.len() > MOST_REMOVED
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
