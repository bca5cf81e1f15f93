//! What is known, built from events alone.
//!
//! [`State::apply`] is the one door: it takes an event in and says what that changed. It reads no clock, no file and no
//! map; time is the event's own.

mod adoption;
mod change;
mod deadlines;
mod namespaces;
mod pod;
mod process;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub(crate) use change::{Change, On};
pub(crate) use deadlines::Limits;
use deadlines::{Deadline, Deadlines};
pub(crate) use pod::{Container, Pod, Reaps, Stop};
pub(crate) use process::{Ended, Joins, Process, Processes, Received, Refused, Role};

use crate::event::{
    CgroupId, Comm, ContainerFact, ContainerId, ContainerKind, Event, Fact, Kind, Ktime,
    NamespaceKind, Namespaces, Observed, PodFact, PodId, ProcessId, Signal, Text, WaitStatus,
};

/// Everything that is known.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) limits: Limits,
    pub(crate) host: Namespaces,
    pub(crate) processes: Processes,
    pub(crate) containers: HashMap<ContainerId, Container>,
    pub(crate) pods: HashMap<PodId, Pod>,
    containers_by_cgroup: HashMap<CgroupId, ContainerId>,
    /// Paths of cgroups that were seen made.
    cgroups: HashMap<CgroupId, Text>,
    /// Which pod a namespace (not the host's) belongs to.
    namespaces: HashMap<u32, PodId>,
    /// Pid 1 of each pid namespace, and how many of its processes are not reaped.
    pid_namespaces: HashMap<u32, PidNamespace>,
    deadlines: Deadlines,
    /// Kinds of records that have been lost, and when last; `Ktime::MAX` where the kernel has no hook.
    lost: HashMap<Kind, Ktime>,
}

#[derive(Clone, Copy, Debug, Default)]
struct PidNamespace {
    init: ProcessId,
    processes: u32,
}

impl State {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            host: Namespaces::default(),
            processes: Processes::default(),
            containers: HashMap::new(),
            pods: HashMap::new(),
            containers_by_cgroup: HashMap::new(),
            cgroups: HashMap::new(),
            namespaces: HashMap::new(),
            pid_namespaces: HashMap::new(),
            deadlines: Deadlines::default(),
            lost: HashMap::new(),
        }
    }

    pub(crate) fn pod_of(&self, process: &Process) -> Option<&Pod> {
        self.pods.get(process.pod.as_ref()?)
    }

    pub(crate) fn container_of(&self, process: &Process) -> Option<&Container> {
        self.containers.get(process.container.as_ref()?)
    }

    /// The sandbox that counts now.
    pub(crate) fn sandbox_of(&self, pod: &Pod) -> Option<&Container> {
        self.containers.get(pod.sandbox()?)
    }

    /// The pause of the sandbox that counts now, also after its end.
    pub(crate) fn pause_of(&self, pod: &Pod) -> Option<&Process> {
        self.processes.get(self.sandbox_of(pod)?.init?)
    }

    /// The path of a cgroup that was seen made.
    pub(crate) fn cgroup_path(&self, cgroup: CgroupId) -> Option<&Text> {
        self.cgroups.get(&cgroup)
    }

    /// Pid 1 of a pid namespace.
    pub(crate) fn init_of(&self, pid_namespace: u32) -> Option<&Process> {
        self.processes
            .get(self.pid_namespaces.get(&pid_namespace)?.init)
    }

    /// Processes of a pid namespace that are not reaped.
    pub(crate) fn members_of(&self, pid_namespace: u32) -> u32 {
        self.pid_namespaces
            .get(&pid_namespace)
            .map_or(0, |namespace| namespace.processes)
    }

    /// Why a record of one of these kinds may have been missed since then; `None` where all were seen.
    pub(crate) fn gap(&self, kinds: &[Kind], since: Ktime) -> Option<String> {
        let (kind, last) = kinds.iter().find_map(|kind| {
            self.lost
                .get_key_value(kind)
                .filter(|(_, last)| **last >= since)
        })?;
        Some(match *last {
            Ktime::MAX => format!("the kernel has no hook for {kind:?} records"),
            _ => format!("{kind:?} records were lost"),
        })
    }

    /// When a [`Fact::Tick`] is due.
    pub(crate) fn next_deadline(&mut self) -> Option<Ktime> {
        let Self {
            deadlines,
            processes,
            containers,
            pods,
            pid_namespaces,
            ..
        } = self;
        deadlines.next(|deadline| match deadline {
            Deadline::Zombie(process) => processes
                .get(*process)
                .is_none_or(|process| process.reaped.is_some()),
            Deadline::Stop { process, .. } => processes
                .get(*process)
                .is_none_or(|process| !process.is_alive()),
            Deadline::Init { process, container } => {
                processes
                    .get(*process)
                    .is_none_or(|process| process.executed.is_some() || !process.is_alive())
                    || !containers.contains_key(container)
            }
            Deadline::Teardown {
                pid_namespace,
                init,
            } => pid_namespaces
                .get(pid_namespace)
                .is_none_or(|namespace| namespace.init != *init),
            Deadline::Removal(pod) => pods.get(pod).is_none_or(|pod| pod.removed.is_none()),
            Deadline::Identity { process, .. } => processes
                .get(*process)
                .is_none_or(|process| process.container.is_some()),
        })
    }

    /// Processes that a tick at `now` would call zombies. Whoever can look at them should, and say so of those that are
    /// gone: the kernel's word of a reaping can go astray without a trace while another tracer attaches.
    pub(crate) fn zombies_due(&self, now: Ktime) -> Vec<ProcessId> {
        let mut due = self.deadlines.zombies(now);
        due.retain(|id| self.processes.get(*id).is_some_and(Process::is_zombie));
        due
    }

    /// The namespaces that a pod's containers were seen in, the host's left out.
    pub(crate) fn namespaces_of(&self, pod: &PodId) -> Vec<u32> {
        let containers = self
            .containers
            .values()
            .filter(|container| container.pod == *pod);
        let inodes = containers
            .filter_map(|container| container.namespaces)
            .flat_map(|namespaces| {
                [
                    namespaces.net,
                    namespaces.ipc,
                    namespaces.pid,
                    namespaces.mnt,
                ]
            });
        inodes.filter(|inode| !self.is_host(*inode)).collect()
    }

    /// Takes an event in, and adds to `changes` what followed from it.
    pub(crate) fn apply(&mut self, event: &Event, changes: &mut Vec<Change>) {
        let now = event.time;
        match &event.fact {
            Fact::Fork {
                parent,
                process,
                cgroup,
                namespaces,
                ns_pid,
                comm,
            } => {
                self.forked(now, *parent, *process, *cgroup, namespaces, *ns_pid, *comm);
            }
            Fact::Exec {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
                file,
            } => {
                self.seen(now, *process, *parent, *cgroup, namespaces, *ns_pid, *comm);
                self.executed(now, *process, file, changes);
            }
            Fact::Exit {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                status,
                comm,
            } => {
                self.seen(now, *process, *parent, *cgroup, namespaces, *ns_pid, *comm);
                self.exited(now, *process, *parent, *status, changes);
            }
            Fact::Reaped { process } => self.reaped(now, *process, changes),
            Fact::NamespaceChange {
                process,
                tid,
                call,
                flags,
                errno,
                namespaces,
                cgroup,
                ns_pid,
                comm,
            } => {
                let before = self
                    .processes
                    .get(*process)
                    .map_or(self.host, |known| known.namespaces);
                let parent = self
                    .processes
                    .get(*process)
                    .map_or(ProcessId::default(), |known| known.parent);
                // Any other thread changes its own alone; a process' are its first thread's, as in /proc/PID/ns.
                let own = if *tid == process.pid {
                    namespaces
                } else {
                    &before
                };
                self.seen(now, *process, parent, *cgroup, own, *ns_pid, *comm);
                let (call, process, after) = (*call, *process, *namespaces);
                self.namespaces_changed(now, process, call, *flags, *errno, &before, &after);
                changes.push(Change::NamespaceChanged {
                    process,
                    call,
                    flags: *flags,
                    errno: *errno,
                    before,
                    after,
                });
            }
            Fact::Signal(signal) => self.signalled(now, signal, changes),
            Fact::SignalDelivered {
                process,
                signal,
                handled,
                ..
            } => {
                self.taken(now, *process, *signal, *handled, changes);
            }
            Fact::SignalsSuppressed {
                cgroup,
                signal,
                last,
                ..
            } => {
                let container = self
                    .containers_by_cgroup
                    .get(cgroup)
                    .and_then(|id| self.containers.get_mut(id));
                if let Some(container) = container
                    && (*signal == container.stop_signal || is_ending(*signal))
                {
                    container.flooded = container.flooded.max(Some(*last));
                }
            }
            Fact::Runtime { .. } | Fact::Tick => {
                if let Fact::Runtime { process } = &event.fact {
                    self.runtime(*process);
                }
            }
            Fact::CgroupMade { cgroup, path } => {
                self.cgroups.insert(*cgroup, path.detached());
            }
            Fact::CgroupRemoved { cgroup, .. } => {
                self.cgroups.remove(cgroup);
            }
            Fact::CgroupAttached {
                process,
                cgroup,
                namespaces,
                ns_pid,
                comm,
            } => {
                let parent = self
                    .processes
                    .get(*process)
                    .map_or(ProcessId::default(), |known| known.parent);
                self.seen(now, *process, parent, *cgroup, namespaces, *ns_pid, *comm);
                self.attached(now, *process);
            }
            Fact::OomVictim { pid } => {
                if let Some(id) = self
                    .processes
                    .by_pid(*pid)
                    .filter(|process| process.is_alive())
                    .map(|process| process.id)
                    && let Some(process) = self.processes.get_mut(id)
                {
                    process.oom = Some(now);
                    changes.push(Change::OomKilled(id));
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
                    self.deadlines
                        .arm(now + self.limits.removal, Deadline::Removal(pod.clone()));
                    changes.push(Change::PodRemoved(pod.clone()));
                }
            }
            Fact::Observed(observation) => {
                if observation.what == Observed::NetworkReady
                    && let Some(pod) = self.pods.get_mut(&observation.pod)
                {
                    match observation.holds {
                        true => pod.network_ready = pod.network_ready.or(Some(now)),
                        false => pod.network_unready = Some(now),
                    }
                }
                changes.push(Change::Observed(observation.clone()));
            }
            Fact::PauseStatus(status) => changes.push(Change::PauseStatus(status.clone())),
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
        while let Some(deadline) = self.deadlines.due(now) {
            self.came_due(now, deadline, changes);
        }
    }

    /// Lets go of what the changes of the last event were about and nobody will ask for again.
    pub(crate) fn forget(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Reaped(process) => self.forget_process(*process),
                Change::RemovalDue(pod) => self.forget_pod(pod),
                _ => {}
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "they are the record's fields")]
    fn forked(
        &mut self,
        now: Ktime,
        parent: ProcessId,
        process: ProcessId,
        cgroup: CgroupId,
        namespaces: &Namespaces,
        ns_pid: u32,
        comm: Comm,
    ) {
        self.seen(now, process, parent, cgroup, namespaces, ns_pid, comm);
        let born_of = parent;
        let Some(parent) = self.processes.get(parent) else {
            return;
        };
        let (role, session, namespaces, container) = (
            parent.role,
            parent.session,
            parent.namespaces,
            parent.container.clone(),
        );
        let joins = if role == Role::Runtime {
            parent.joins.clone()
        } else {
            Joins::default()
        };
        if let Some(child) = self.processes.get_mut(process) {
            child.role = match role {
                Role::Runtime => Role::Runtime,
                Role::Stranger => Role::Stranger,
                _ => Role::Member,
            };
            child.session = session;
            child.joins = joins;
            child.born_inside = child.container.is_some() && child.container != container;
        }
        self.note_unplaced(born_of, process);
        self.claim_cloned(&namespaces, process);
        self.attached(now, process);
    }

    /// Brings a process' own record up to what an event says of it, making it where it is new.
    #[expect(clippy::too_many_arguments, reason = "they are the record's fields")]
    fn seen(
        &mut self,
        now: Ktime,
        id: ProcessId,
        parent: ProcessId,
        cgroup: CgroupId,
        namespaces: &Namespaces,
        ns_pid: u32,
        comm: Comm,
    ) {
        let container = self.containers_by_cgroup.get(&cgroup).cloned();
        let pod = container
            .as_ref()
            .and_then(|id| self.containers.get(id))
            .map(|container| container.pod.clone());
        let known = self.processes.get(id).map(|process| process.namespaces.pid);
        if known.is_none() {
            self.replace_namesake(now, id);
            self.processes.insert(Process {
                id,
                born_of: parent,
                parent,
                forked: now,
                ..Process::default()
            });
        }
        if known != Some(namespaces.pid) {
            if let Some(left) = known {
                self.leave_pid_namespace(left);
            }
            let entry = self.pid_namespaces.entry(namespaces.pid).or_default();
            entry.processes += 1;
            if ns_pid == 1 {
                entry.init = id;
            }
        }
        // A parent that has ended has no children any more, though a record made in that very moment may still name it.
        let parent = match self.processes.get(parent) {
            Some(ended) if !ended.is_alive() => self.heir_of(parent),
            _ => parent,
        };
        if parent != ProcessId::default() {
            self.processes.set_parent(id, parent);
        }
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        process.comm = comm;
        process.namespaces = *namespaces;
        process.ns_pid = ns_pid;
        process.cgroup = cgroup;
        if process.container != container {
            let (old, new) = (process.container.clone(), container.clone());
            process.container = container;
            process.pod = pod;
            self.count_alive(old.as_ref(), -1);
            self.count_alive(new.as_ref(), 1);
        }
    }

    /// A pid that is given anew was free: the end of who had it before went unseen.
    fn replace_namesake(&mut self, now: Ktime, id: ProcessId) {
        if let Some(old) = self
            .processes
            .by_pid(id.pid)
            .filter(|old| old.reaped.is_none())
            .map(|old| old.id)
        {
            self.retire(now, old);
            self.forget_process(old);
        }
    }

    fn leave_pid_namespace(&mut self, inode: u32) {
        if let Some(namespace) = self.pid_namespaces.get_mut(&inode) {
            namespace.processes = namespace.processes.saturating_sub(1);
            if namespace.processes == 0 {
                self.pid_namespaces.remove(&inode);
            }
        }
    }

    fn count_alive(&mut self, container: Option<&ContainerId>, by: i32) {
        if let Some(container) = container.and_then(|id| self.containers.get_mut(id)) {
            container.alive = container.alive.saturating_add_signed(by);
        }
    }

    fn runtime(&mut self, id: ProcessId) {
        if self.processes.get(id).is_none() {
            self.processes.insert(Process {
                id,
                ..Process::default()
            });
        }
        if let Some(process) = self.processes.get_mut(id) {
            process.role = Role::Runtime;
        }
    }

    /// A process of the runtime that entered a container's cgroup, or was forked there by one that had, is building the
    /// container: it has to execute soon.
    fn attached(&mut self, now: Ktime, id: ProcessId) {
        if let Some(process) = self.processes.get(id)
            && !process.role.is_inside()
            && let Some(container) = process.container.clone()
        {
            self.deadlines.arm(
                now + self.limits.init,
                Deadline::Init {
                    process: id,
                    container,
                },
            );
        }
    }

    fn executed(&mut self, now: Ktime, id: ProcessId, file: &Text, changes: &mut Vec<Change>) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        process.file = file.detached();
        if process.container.is_none() {
            process.joins = Joins::default();
            let (role, cgroup, mnt) = (process.role, process.cgroup, process.namespaces.mnt);
            // What no runtime built is no container, whatever namespaces it is in.
            let is_elsewhere =
                role == Role::Runtime && mnt != self.host.mnt && self.cgroups.contains_key(&cgroup);
            if self
                .processes
                .get(id)
                .is_some_and(|process| !self.is_runtime_again(process))
                && let Some(process) = self.processes.get_mut(id)
            {
                process.unplaced = Some((cgroup, now));
            }
            if is_elsewhere {
                let deadline = Deadline::Identity {
                    process: id,
                    cgroup,
                };
                self.deadlines.arm(now + self.limits.identity, deadline);
            }
            return;
        }
        self.executed_inside(now, id, changes);
    }

    /// What an exec makes of a process whose container is known.
    fn executed_inside(&mut self, now: Ktime, id: ProcessId, changes: &mut Vec<Change>) {
        if self
            .processes
            .get(id)
            .is_none_or(|process| self.is_runtime_again(process))
        {
            return;
        }
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let Some(container) = process
            .container
            .as_ref()
            .and_then(|id| self.containers.get_mut(id))
        else {
            return;
        };
        if !process.role.is_inside() {
            process.role = match (container.init, container.what) {
                (None, ContainerKind::Sandbox) => Role::Pause,
                (None, _) => Role::Init,
                (Some(_), _) => Role::Session,
            };
            if process.role == Role::Session {
                process.session = Some(id);
            } else {
                container.init = Some(id);
                container.namespaces = Some(process.namespaces);
                container.started = Some(now);
            }
        }
        process.execs += 1;
        process.executed.get_or_insert(now);
        let (namespaces, pod) = (process.namespaces, container.pod.clone());
        for kind in NamespaceKind::ALL {
            self.claim(&pod, namespaces.get(kind));
        }
        changes.push(Change::Executed(id));
    }

    fn exited(
        &mut self,
        now: Ktime,
        id: ProcessId,
        parent: ProcessId,
        status: WaitStatus,
        changes: &mut Vec<Change>,
    ) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if process.ended.is_some() || process.reaped.is_some() {
            return; // two threads that ended at once were both the last
        }
        let ended = Ended {
            time: now,
            status,
            parent,
        };
        process.ended = Some(ended);
        let (container, pod, namespaces) = (
            process.container.clone(),
            process.pod.clone(),
            process.namespaces,
        );
        let (is_init, is_inside) = (process.is_namespace_init(), process.role.is_inside());
        let is_orphan = process.role == Role::Member && process.born_of != parent;
        let was_refused = process.role == Role::Runtime && !process.joins.refused.is_empty();
        self.count_alive(container.as_ref(), -1);
        let is_adopted = is_orphan
            && self
                .processes
                .get(parent)
                .is_some_and(|heir| heir.pod == pod);
        let is_of_session = self
            .processes
            .get(id)
            .is_some_and(|process| process.session.is_some());
        if let Some(container) = container
            .as_ref()
            .and_then(|id| self.containers.get_mut(id))
        {
            container.adopted += u64::from(is_adopted);
            if container.init == Some(id) {
                container.ended = Some(ended);
            } else if !is_of_session && status.signal() != Some(nix::libc::SIGKILL) {
                container.member_left = Some(now);
            }
        }
        if let Some(pod) = pod.as_ref().and_then(|id| self.pods.get_mut(id)) {
            pod.zombies += u32::from(is_inside);
            pod.most_zombies = pod.most_zombies.max(pod.zombies);
        }
        self.deadlines
            .arm(now + self.limits.zombie, Deadline::Zombie(id));
        self.hand_over_children(id);
        if is_init && self.members_of(namespaces.pid) > 1 {
            let deadline = Deadline::Teardown {
                pid_namespace: namespaces.pid,
                init: id,
            };
            self.deadlines.arm(now + self.limits.teardown, deadline);
        }
        if container.is_some() {
            changes.push(Change::Ended(id));
        }
        // What a child got to execute in is for the rules of each namespace to say.
        if was_refused
            && !self
                .processes
                .iter()
                .any(|process| process.born_of == id && process.is_alive())
        {
            changes.push(Change::JoinsRefused(id));
        }
    }

    /// Who has to reap the children of a process that ended: pid 1 of the namespace *it* was in, as `find_new_reaper` has
    /// it (kernel/exit.c); pid 1's own children stay with it, for it reaps them before it goes (`zap_pid_ns_processes`).
    /// Unknown in the initial namespace. A subreaper may come before pid 1: the child's own end will tell.
    fn heir_of(&self, parent: ProcessId) -> ProcessId {
        let Some(parent) = self.processes.get(parent) else {
            return ProcessId::default();
        };
        match self.pid_namespaces.get(&parent.namespaces.pid) {
            Some(namespace) if parent.namespaces.pid_level > 0 => namespace.init,
            _ => ProcessId::default(),
        }
    }

    fn hand_over_children(&mut self, parent: ProcessId) {
        let heir = self.heir_of(parent);
        let children: Vec<_> = self
            .processes
            .children(parent)
            .map(|child| child.id)
            .collect();
        for child in children {
            self.processes.set_parent(child, heir);
        }
    }

    fn reaped(&mut self, now: Ktime, id: ProcessId, changes: &mut Vec<Change>) {
        let Some(process) = self.processes.get(id) else {
            return;
        };
        if process.reaped.is_some() {
            return;
        }
        let waited = process
            .ended
            .map(|ended| now.saturating_sub(ended.time))
            .filter(|_| process.role.is_inside());
        let (pod, session) = (process.pod.clone(), process.session);
        let reaper = self
            .processes
            .get(process.parent)
            .filter(|reaper| reaper.role.is_inside());
        let by = reaper.map(|reaper| {
            (
                reaper.container.clone(),
                session.is_some() && session != reaper.session,
            )
        });
        let parent = process.parent;
        if let Some(parent) = self.processes.get_mut(parent) {
            parent.last_reap = now;
        }
        self.retire(now, id);
        if let Some(waited) = waited {
            if let Some(pod) = pod.and_then(|id| self.pods.get_mut(&id)) {
                pod.reaped += 1;
                pod.slowest_reap = pod.slowest_reap.max(waited);
            }
            if let Some((container, is_session_orphan)) = by
                && let Some(container) = container.and_then(|id| self.containers.get_mut(&id))
            {
                let reaps = if is_session_orphan {
                    &mut container.session_reaps
                } else {
                    &mut container.reaps
                };
                reaps.add(waited);
            }
        }
        changes.push(Change::Reaped(id));
    }

    /// Takes a process that is gone out of every count; its end may have gone unseen.
    fn retire(&mut self, now: Ktime, id: ProcessId) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let was_alive = process.is_alive();
        let was_overdue = std::mem::take(&mut process.overdue);
        process.reaped = Some(now);
        let (container, pod, pid_namespace) = (
            process.container.clone(),
            process.pod.clone(),
            process.namespaces.pid,
        );
        let was_zombie = !was_alive && process.role.is_inside();
        if was_alive {
            self.count_alive(container.as_ref(), -1);
            self.hand_over_children(id);
        }
        if let Some(pod) = pod.and_then(|id| self.pods.get_mut(&id)) {
            pod.zombies = pod.zombies.saturating_sub(u32::from(was_zombie));
            pod.overdue = pod.overdue.saturating_sub(u32::from(was_overdue));
        }
        self.leave_pid_namespace(pid_namespace);
    }

    fn signalled(&mut self, now: Ktime, signal: &Signal, changes: &mut Vec<Change>) {
        let sender = self.processes.get(signal.sender);
        let (role, sender_pod) = sender.map_or((Role::Stranger, None), |sender| {
            (sender.role, sender.pod.clone())
        });
        let Some(target) = self.processes.get_mut(signal.target) else {
            return;
        };
        if target.pod.is_none() && sender_pod.is_none() {
            return;
        }
        let stop_signal = target
            .container
            .as_ref()
            .and_then(|id| self.containers.get(id))
            .map(|container| container.stop_signal);
        let is_stop = Some(signal.signal) == stop_signal || is_ending(signal.signal);
        let received = Received {
            time: now,
            signal: signal.signal,
            result: signal.result,
            sender: signal.is_from_process().then_some(signal.sender),
            sender_comm: signal.sender_comm,
            sender_role: role,
            sender_pod,
            handled: None,
        };
        if is_stop {
            target.receive(received);
            if matches!(target.role, Role::Init | Role::Pause) {
                let deadline = Deadline::Stop {
                    process: signal.target,
                    signal: signal.signal,
                    sent: now,
                };
                self.deadlines.arm(now + self.limits.stop, deadline);
            }
        } else if target.role == Role::Pause
            || (target.role.is_inside() && is_fatal_by_default(signal.signal))
        {
            target.receive_other(received);
        }
        if is_stop
            && signal.sender != signal.target
            && signal.is_from_process()
            && let Some(sender) = self.processes.get_mut(signal.sender)
        {
            sender.sent = Some(now);
        }
        changes.push(Change::Signalled(*signal));
    }

    fn taken(
        &mut self,
        now: Ktime,
        id: ProcessId,
        signal: i32,
        handled: bool,
        changes: &mut Vec<Change>,
    ) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if handled {
            process.take(signal, now);
        }
        changes.push(Change::SignalTaken {
            process: id,
            signal,
            handled,
        });
    }

    fn pod(&mut self, now: Ktime, fact: &PodFact, changes: &mut Vec<Change>) {
        let PodFact {
            pod,
            namespace,
            name,
            modes,
            ..
        } = fact;
        let known = self.pods.entry(pod.clone()).or_insert_with(|| Pod {
            id: pod.clone(),
            namespace: namespace.clone(),
            name: name.clone(),
            modes: modes.clone(),
            declared: now,
            sandboxes: Vec::new(),
            containers: Vec::new(),
            stopping: None,
            removed: None,
            zombies: 0,
            most_zombies: 0,
            overdue: 0,
            reaped: 0,
            slowest_reap: 0,
            network_ready: None,
            network_unready: None,
        });
        if known.removed.take().is_some() {
            known.stopping = None; // a static pod comes back with the same uid
        }
        changes.push(Change::PodDeclared(pod.clone()));
    }

    fn container(&mut self, now: Ktime, fact: &ContainerFact, changes: &mut Vec<Change>) {
        let ContainerFact {
            container,
            pod,
            name,
            what,
            cgroup,
            modes,
            stop_signal,
            file,
            ..
        } = fact;
        let Some(known) = self.pods.get_mut(pod) else {
            return;
        };
        let of_kind = if *what == ContainerKind::Sandbox {
            &mut known.sandboxes
        } else {
            &mut known.containers
        };
        if !of_kind.contains(container) {
            of_kind.push(container.clone());
        }
        let known = self
            .containers
            .entry(container.clone())
            .or_insert_with(|| Container {
                id: container.clone(),
                pod: pod.clone(),
                name: name.clone(),
                what: *what,
                cgroup: *cgroup,
                modes: modes.clone(),
                stop_signal: *stop_signal,
                file: None,
                declared: now,
                init: None,
                namespaces: None,
                started: None,
                ended: None,
                stopping: None,
                alive: 0,
                member_left: None,
                flooded: None,
                reaps: Reaps::default(),
                session_reaps: Reaps::default(),
                adopted: 0,
            });
        // Told again, by a source that knows more: what has been seen of it stays.
        (known.name, known.modes, known.stop_signal) = (name.clone(), modes.clone(), *stop_signal);
        known.file = file.clone().or(known.file.take());
        if *cgroup != 0 {
            known.cgroup = *cgroup;
            self.containers_by_cgroup.insert(*cgroup, container.clone());
        }
        changes.push(Change::ContainerDeclared(container.clone()));
        self.adopt(container, changes);
    }

    /// When to look at a zombie again whose parent is busy with others: on a loaded machine the last of thousands waits
    /// long, and is reaped. Who gets round to others all the time and never to this one is not busy: that ends it.
    fn reaping_goes_on(&self, now: Ktime, zombie: ProcessId) -> Option<Ktime> {
        const PATIENCE: u64 = 10;
        let limit = self.limits.zombie;
        let zombie = self.processes.get(zombie)?;
        let again = self.processes.get(zombie.parent)?.last_reap + limit;
        let last = zombie.ended?.time + PATIENCE * limit;
        (again > now && now < last).then_some(again)
    }

    fn came_due(&mut self, now: Ktime, deadline: Deadline, changes: &mut Vec<Change>) {
        match deadline {
            Deadline::Zombie(process) => {
                if let Some(again) = self.reaping_goes_on(now, process) {
                    self.deadlines.arm(again, Deadline::Zombie(process));
                    return;
                }
                let Some(zombie) = self
                    .processes
                    .get_mut(process)
                    .filter(|process| process.is_zombie())
                else {
                    return;
                };
                let Some(pod) = zombie.pod.as_ref().and_then(|id| self.pods.get_mut(id)) else {
                    return;
                };
                if zombie.role.is_inside() {
                    zombie.overdue = true;
                    pod.overdue += 1;
                }
                changes.push(Change::ZombieDue(process));
            }
            Deadline::Stop {
                process,
                signal,
                sent,
            } => {
                if self.processes.get(process).is_some_and(Process::is_alive) {
                    changes.push(Change::StopDue {
                        process,
                        signal,
                        sent,
                    });
                }
            }
            Deadline::Init { process, container } => {
                let waits = self
                    .processes
                    .get(process)
                    .is_some_and(|process| process.executed.is_none() && process.is_alive());
                if waits && self.containers.contains_key(&container) {
                    changes.push(Change::InitDue { process, container });
                }
            }
            Deadline::Teardown {
                pid_namespace,
                init,
            } => {
                let remains = self
                    .processes
                    .get(init)
                    .is_some_and(|init| init.reaped.is_none());
                let is_same = self
                    .pid_namespaces
                    .get(&pid_namespace)
                    .is_some_and(|namespace| namespace.init == init);
                if is_same && self.members_of(pid_namespace) > u32::from(remains) {
                    changes.push(Change::TeardownDue {
                        pid_namespace,
                        init,
                    });
                }
            }
            Deadline::Removal(pod) => {
                let removed = self.pods.get(&pod).and_then(|pod| pod.removed);
                if removed.is_some_and(|removed| removed + self.limits.removal <= now) {
                    changes.push(Change::RemovalDue(pod));
                }
            }
            Deadline::Identity { process, cgroup } => {
                if self
                    .processes
                    .get(process)
                    .is_some_and(|process| process.container.is_none())
                {
                    changes.push(Change::IdentityDue { process, cgroup });
                }
            }
        }
    }

    /// A container's entrypoint is kept until its pod goes: how it ended is asked for later.
    fn forget_process(&mut self, id: ProcessId) {
        let kept = self
            .processes
            .get(id)
            .and_then(|process| self.container_of(process))
            .is_some_and(|container| container.init == Some(id));
        if !kept {
            self.processes.remove(id);
        }
    }

    fn forget_pod(&mut self, id: &PodId) {
        let Some(pod) = self.pods.remove(id) else {
            return;
        };
        for container in pod.sandboxes.iter().chain(&pod.containers) {
            if let Some(container) = self.containers.remove(container) {
                self.containers_by_cgroup.remove(&container.cgroup);
                let init = container.init.and_then(|init| self.processes.get(init));
                if let Some(init) = init
                    .filter(|init| init.reaped.is_some())
                    .map(|init| init.id)
                {
                    self.processes.remove(init);
                }
            }
        }
        self.namespaces.retain(|_, owner| owner != id);
    }
}

/// Signals that are sent to end a process.
fn is_ending(signal: i32) -> bool {
    use nix::libc::{SIGABRT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM};
    matches!(
        signal,
        SIGTERM | SIGKILL | SIGINT | SIGQUIT | SIGHUP | SIGABRT
    )
}

/// Signals that end a process which does nothing about them (signal(7); the real-time ones too).
fn is_fatal_by_default(signal: i32) -> bool {
    use nix::libc::{SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH};
    !matches!(
        signal,
        SIGCHLD | SIGCONT | SIGSTOP | SIGTSTP | SIGTTIN | SIGTTOU | SIGURG | SIGWINCH
    )
}
