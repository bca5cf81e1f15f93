//! The state of all pods and processes, built from events alone.
//!
//! [`State::apply`] is the only input: it applies an event and returns what changed. The state
//! reads no clock, no file and no BPF map. Events carry the time.

mod cgroup_index;
mod change;
mod deadlines;
mod declared;
mod drain;
mod due;
mod found;
mod kills;
mod listeners;
mod lives;
mod moves;
mod names;
mod namespaces;
mod network;
mod outsiders;
mod placement;
mod pod;
mod process;
mod process_lifecycle;
mod processes;
mod proof;
mod received;
mod signals;
mod snapshot;
mod steps;
mod supervisors;
mod suppressed;
#[cfg(test)]
mod tests;
mod unjudged;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use cgroup_index::CgroupIndex;
pub use change::Change;
pub(crate) use change::On;
pub use deadlines::Limits;
use deadlines::{Deadline, Deadlines};
pub use kills::OomKilled;
use kills::OomKiller;
pub use listeners::{Listener, Listeners};
pub use moves::{Door, SURVEYED, Seen, ThreadCall};
pub use network::Network;
pub use pod::{Container, Cut, Pin, Pod, Reaps, Stop, Worker};
pub use process::{Ended, Handlers, Joins, Membership, Process, Refused, Role};
pub use processes::Processes;
pub use proof::Doubt;
pub use received::{Reason, Received};
use steps::Steps;
pub use steps::{Cause, StepEnd};
use suppressed::Suppressed;
use unjudged::Unjudged;

use crate::event::{
    CgroupId, Comm, ContainerId, Event, Fact, Kind, Ktime, Namespaces, Observed, Outsider, PodId,
    ProcessId, Program, TaskInfo, Text,
};

/// The state of all pods and processes.
#[derive(Debug)]
pub struct State {
    /// The time limits.
    pub limits: Limits,
    /// The host's namespaces.
    pub host: Namespaces,
    /// Processes of pods and of runtimes.
    pub processes: Processes,
    /// Containers, sandboxes included.
    pub containers: HashMap<ContainerId, Container>,
    /// Pods that have not been forgotten.
    pub pods: HashMap<PodId, Pod>,
    cgroups: CgroupIndex,
    /// The pod that each namespace belongs to. The host's namespaces are not in it.
    namespaces: HashMap<u32, PodId>,
    /// Program names of container runtimes.
    runtime_names: HashSet<Comm>,
    /// Pid 1 of each pid namespace, and the number of its processes that have not been reaped.
    pid_namespaces: HashMap<u32, PidNamespace>,
    /// Network namespaces that mounts pin, by path.
    pub(crate) pins: HashMap<Text, Pin>,
    /// The processes outside the pods that acted on one and of which `/proc` said who they are, the
    /// latest last.
    outsiders: VecDeque<Arc<Outsider>>,
    /// Whether a process that has the name of a runtime has to be shown to be one.
    needs_proof: bool,
    /// What `/proc` showed last of a process that may be the runtime.
    shown: Option<Program>,
    deadlines: Deadlines,
    /// Pods that turned out to be older than was known, since the ledger last asked.
    older: BTreeSet<PodId>,
    unjudged: Unjudged,
    suppressed: Suppressed,
    steps: Steps,
    /// The process that is about to be reported as forked, and the kinds of namespaces that its
    /// clone created.
    cloned: Option<(ProcessId, u64)>,
    /// What the OOM killer did last.
    oom_killer: Option<OomKiller>,
    /// Listeners in cgroups in which no container is declared yet.
    early_listeners: VecDeque<Listener>,
    /// Up to when records of each kind may have been lost; `Ktime::MAX` if the kernel has no hook
    /// for it.
    lost: HashMap<Kind, Ktime>,
}

#[derive(Clone, Copy, Debug, Default)]
struct PidNamespace {
    init: ProcessId,
    processes: u32,
}

impl State {
    /// An empty state.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            host: Namespaces::default(),
            processes: Processes::default(),
            containers: HashMap::new(),
            pods: HashMap::new(),
            cgroups: CgroupIndex::default(),
            namespaces: HashMap::new(),
            runtime_names: HashSet::new(),
            pid_namespaces: HashMap::new(),
            pins: HashMap::new(),
            outsiders: VecDeque::new(),
            needs_proof: false,
            shown: None,
            deadlines: Deadlines::default(),
            older: BTreeSet::new(),
            unjudged: Unjudged::default(),
            suppressed: Suppressed::default(),
            steps: Steps::default(),
            cloned: None,
            oom_killer: None,
            early_listeners: VecDeque::new(),
            lost: HashMap::new(),
        }
    }

    pub(crate) fn pod_of(&self, process: &Process) -> Option<&Pod> {
        self.pods.get(process.pod.as_ref()?)
    }

    /// Since when a pod exists, as far as is known: when it was declared, or when the first of its
    /// processes that run containers started, if that was before.
    pub fn exists_since(&self, pod: &Pod) -> Ktime {
        let containers = pod.sandboxes.iter().chain(&pod.containers);
        let started = containers.filter_map(|id| self.containers.get(id)?.started);
        started.fold(pod.declared, Ktime::min)
    }

    /// The container that a process is in.
    pub fn container_of(&self, process: &Process) -> Option<&Container> {
        self.containers.get(process.container.as_ref()?)
    }

    /// The entrypoints of a pod's containers, also of those that have ended.
    pub fn inits_of(&self, pod: &PodId) -> impl Iterator<Item = ProcessId> {
        let pod = self.pods.get(pod).into_iter();
        let containers = pod.flat_map(|pod| pod.sandboxes.iter().chain(&pod.containers));
        containers.filter_map(|id| self.containers.get(id)?.init)
    }

    /// The current sandbox of a pod.
    pub(crate) fn sandbox_of(&self, pod: &Pod) -> Option<&Container> {
        self.containers.get(pod.sandbox()?)
    }

    /// The pause of the current sandbox, also after it has exited.
    pub(crate) fn pause_of(&self, pod: &Pod) -> Option<&Process> {
        self.processes.get(self.sandbox_of(pod)?.init?)
    }

    /// The path of a cgroup, if its creation was reported.
    pub fn cgroup_path(&self, cgroup: CgroupId) -> Option<&Text> {
        self.cgroups.path(cgroup)
    }

    /// The path of a cgroup that was removed before it was known whether it is a container's.
    pub(crate) fn path_of_removed(&self, cgroup: CgroupId) -> Option<&Text> {
        self.cgroups.unidentified(cgroup)
    }

    /// The cgroups that exist as far as is known.
    pub fn cgroups(&self) -> impl Iterator<Item = CgroupId> {
        self.cgroups.ids()
    }

    /// Pid 1 of a pid namespace.
    pub fn init_of(&self, pid_namespace: u32) -> Option<&Process> {
        self.processes
            .get(self.pid_namespaces.get(&pid_namespace)?.init)
    }

    /// The number of processes of a pid namespace that have not been reaped.
    pub(crate) fn members_of(&self, pid_namespace: u32) -> u32 {
        self.pid_namespaces
            .get(&pid_namespace)
            .map_or(0, |namespace| namespace.processes)
    }

    /// Why a record of one of these kinds may have been lost since then; `None` if none was.
    pub(crate) fn gap(&self, kinds: &[Kind], since: Ktime) -> Option<String> {
        let (kind, last) = kinds.iter().find_map(|kind| {
            self.lost
                .get_key_value(kind)
                .filter(|(_, last)| **last >= since)
        })?;
        Some(match *last {
            Ktime::MAX => format!("the kernel has no hook for `{}` records", kind.name()),
            _ => format!("`{}` records were lost", kind.name()),
        })
    }

    /// Applies an event, and appends what changed to `changes`.
    pub fn apply(&mut self, event: &Event, changes: &mut Vec<Change>) {
        let now = event.time;
        match &event.fact {
            Fact::Cloned { process, flags } => self.cloned = Some((*process, *flags)),
            Fact::Fork { task } => self.forked(now, task, changes),
            Fact::Exec { task, file } => {
                self.update_and_compare(now, task, Seen::Exec, changes);
                self.executed(now, task, file, changes);
            }
            Fact::Exit { task, status } => {
                self.update_and_compare(now, task, Seen::Exit, changes);
                self.exited(now, task.process, task.parent, *status, changes);
            }
            Fact::Found { task, ended } => {
                if !self.is_known(task.process) {
                    self.update_process(now, task);
                    self.found(now, task.process, *ended, changes);
                }
            }
            Fact::Reaped { process } => self.reaped(now, *process, changes),
            Fact::NamespaceChange {
                task,
                tid,
                call,
                flags,
                errno,
            } => {
                let (call, process, after) = (*call, task.process, task.namespaces);
                let thread = (*tid != process.pid).then_some(*tid);
                let judged = self.last_namespaces(process);
                let known = self.processes.get(process);
                let before = known.map_or(self.host, |known| known.namespaces);
                // A call changes the namespaces of the calling thread only. The namespaces of a
                // process are those of its first thread, as in /proc/PID/ns, and so are its name
                // and its pid.
                let mut task = *task;
                if thread.is_some() {
                    task.namespaces = before;
                    if let Some(known) = known {
                        (task.comm, task.ns_pid) = (known.comm, known.ns_pid);
                    }
                }
                self.update_process(now, &task);
                match (thread, judged) {
                    (None, Some(before)) => {
                        let call = (*flags, *errno);
                        self.moved_before_call(process, call, &before, &after, changes);
                    }
                    (Some(tid), _) if *errno == 0 => {
                        if let Some(known) = self.processes.get_mut(process)
                            && known.role.is_inside()
                        {
                            known.note_thread(now, tid, call, *flags, &after);
                        }
                    }
                    _ => {}
                }
                self.unjudged(process, On::NamespaceChanged);
                self.unjudged_of_entered(process, before, after, true);
                self.namespaces_changed(now, process, call, *flags, *errno, &before, &after);
                changes.push(Change::NamespaceChanged {
                    process,
                    thread,
                    door: Door::Call(call),
                    flags: *flags,
                    errno: *errno,
                    before,
                    after,
                    unowned: 0,
                });
            }
            Fact::Signal(signal) => self.signalled(now, signal, changes),
            Fact::SignalDelivered {
                process,
                signal,
                handled,
                ..
            } => {
                self.signal_taken(now, *process, *signal, *handled, changes);
            }
            Fact::SignalsSuppressed {
                cgroup,
                signal,
                last,
                ..
            } => {
                let container = self
                    .cgroups
                    .container(*cgroup)
                    .and_then(|id| self.containers.get_mut(id));
                if let Some(container) = container
                    && (Some(*signal) == container.stop_signal || signals::is_ending(*signal))
                {
                    container.flooded = container.flooded.max(Some(*last));
                }
            }
            Fact::RecordsSuppressed { cgroup, kind, .. } => {
                self.records_suppressed(now, *cgroup, *kind, changes);
            }
            Fact::Called(called) => self.called(now, called),
            Fact::Outsider(outsider) => self.outsider_seen(outsider),
            Fact::ProofRequired => self.needs_proof = true,
            Fact::Program(program) => self.program_shown(program),
            Fact::Named { process, comm } => self.rename(*process, *comm),
            Fact::Runtime { process } => self.runtime(*process),
            Fact::RuntimeNames { names } => self.runtime_names.extend(names),
            Fact::Tick => {}
            Fact::WatchEnded => {
                let sandboxes = self.awaiting_stops(now).cloned();
                changes.extend(sandboxes.map(Change::PauseEndDue));
            }
            Fact::Handlers {
                process,
                caught,
                own,
            } => {
                if let Some(process) = self.processes.get_mut(*process) {
                    let (caught, own) = (*caught, *own);
                    process.handlers = Some(Handlers { caught, own });
                }
            }
            Fact::CgroupMade { cgroup, path } => {
                self.cgroups.created(now, *cgroup, path);
            }
            Fact::CgroupRemoved { cgroup, .. } => {
                self.forget_listeners(*cgroup);
                self.cgroups.removed(*cgroup);
            }
            Fact::CgroupAttached { task } => {
                // Another process may have moved it, in the middle of a call of its own.
                let known = self.last_namespaces(task.process);
                let known = known.or_else(|| self.undeclared_namespaces(task.process));
                let namespaces = known.unwrap_or(task.namespaces);
                let task = TaskInfo {
                    namespaces,
                    ..*task
                };
                self.update_process(now, &task);
                self.attached(now, task.process);
            }
            Fact::OomVictim { pid } => self.oom_marked(now, *pid),
            Fact::Listen(listen) => self.listened(now, listen),
            Fact::MemoryLimit { container, bytes } => self.limit_memory(container, *bytes),
            Fact::GracePeriod { container, grace } => {
                if let Some(known) = self.containers.get_mut(container) {
                    known.grace = Some(*grace);
                }
            }
            Fact::Host { namespaces } => self.host = *namespaces,
            Fact::Pod(fact) => self.pod(now, fact, changes),
            Fact::Container(fact) => self.container(now, fact, changes),
            Fact::PodStopping { pod, grace } => {
                if let Some(known) = self.pods.get_mut(pod) {
                    known.stopping = Some(Stop {
                        since: now,
                        grace: *grace,
                    });
                    changes.push(Change::PodStopping(pod.clone()));
                }
            }
            Fact::ContainerStopping { container, grace } => {
                if let Some(known) = self.containers.get_mut(container) {
                    known.stopping = Some(Stop {
                        since: now,
                        grace: *grace,
                    });
                    changes.push(Change::ContainerStopping(container.clone()));
                }
            }
            Fact::PodRemoved { pod } => {
                if let Some(known) = self.pods.get_mut(pod) {
                    known.removed = Some(now);
                    self.deadlines.arm(
                        now.saturating_add(self.limits.removal),
                        Deadline::Removal(pod.clone()),
                    );
                    changes.push(Change::PodRemoved(pod.clone()));
                }
            }
            Fact::SandboxUnknown { container } => self.sandbox_unknown(now, container),
            Fact::NotInPod { cgroup } => {
                self.cgroups.mark_outside(*cgroup);
                self.unjudged.forget(*cgroup);
                self.suppressed.forget(*cgroup);
            }
            Fact::SandboxPinned {
                container,
                namespaces,
            } => self.sandbox_pinned(now, container, namespaces, changes),
            Fact::NamespacePinned {
                path,
                namespace,
                sandbox,
            } => self.pinned(now, path, *namespace, sandbox.as_ref()),
            Fact::NamespaceUnpinned { path } => {
                let pod = self.pins.remove(path).and_then(|pin| pin.pod);
                // The deadline of the removed pod was postponed until this mount is gone.
                if let Some(pod) = pod.filter(|pod| {
                    let pod = self.pods.get(pod);
                    pod.is_some_and(|pod| pod.removed.is_some())
                }) {
                    self.deadlines.arm(now, Deadline::Removal(pod));
                }
            }
            Fact::Observed(observation) => {
                if observation.what == Observed::NetworkReady {
                    self.observed_network(now, observation);
                }
                changes.push(Change::Observed(observation.clone()));
            }
            Fact::PauseStatus(status) => {
                if let Some(pod) = self.pods.get_mut(&status.pod) {
                    pod.measured_before = pod.measured.replace(status.clone());
                    pod.has_measured_pause = true;
                }
                changes.push(Change::PauseStatus(status.clone()));
            }
            Fact::PauseStarted(status) => {
                if let Some(pod) = self.pods.get_mut(&status.pod) {
                    pod.at_start = Some(status.clone());
                    pod.has_measured_pause = true;
                }
                changes.push(Change::PauseStarted(status.clone()));
            }
            Fact::PauseUnmeasured {
                pod,
                process,
                reason,
            } => {
                if let Some(known) = self.pods.get_mut(pod) {
                    known.has_measured_pause = true;
                    changes.push(Change::PauseUnmeasured {
                        pod: pod.clone(),
                        process: *process,
                        reason: reason.to_string(),
                    });
                }
            }
            Fact::SignalMasks { process, masks } => changes.push(Change::SignalMasks {
                process: *process,
                masks: *masks,
            }),
            Fact::HookMissing { kind, reason } => {
                self.lost.insert(*kind, Ktime::MAX);
                changes.push(Change::HookMissing {
                    kind: *kind,
                    reason: reason.to_string(),
                });
            }
            Fact::Lost { kind, count } => {
                let last = self.lost.entry(*kind).or_default();
                *last = now.max(*last);
                changes.push(Change::Lost {
                    kind: *kind,
                    count: *count,
                });
            }
        }
        // The time of a loss is when its counter was read, and events that happened before may
        // follow.
        if matches!(event.fact, Fact::Lost { .. }) {
            return;
        }
        while let Some(deadline) = self.deadlines.due(now) {
            self.deadline_passed(now, deadline, changes);
        }
        // Deadlines that are moot are dropped here, by an event, and not whenever the next deadline
        // is read: a deadline that is moot now may matter again later, and a replay has only the
        // events to reproduce that.
        if event.fact.record().is_none() {
            self.drop_moot_deadlines();
        }
    }

    /// Forgets the processes and pods that are no longer needed after the changes of the last
    /// event.
    pub(crate) fn forget(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Reaped(process) => self.forget_process(*process),
                // It was declared after it was reaped.
                Change::Executed(id) if self.processes.get(*id).is_some_and(Process::is_reaped) => {
                    self.forget_process(*id);
                }
                Change::RemovalDue(pod) => self.forget_pod(pod),
                Change::IdentityDue { process, .. } => self.forget_unidentified(*process),
                _ => {}
            }
        }
    }
}
