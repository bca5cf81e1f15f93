//! The life of a process: fork, exec, exit and reaping.

use super::{Change, Deadline, Ended, Joins, On, Process, Role, State, proof::Claim};
use crate::event::{
    ContainerId, ContainerKind, Ktime, NamespaceKind, Namespaces, ProcessId, TaskInfo, Text,
    WaitStatus,
};

impl State {
    pub(super) fn forked(&mut self, now: Ktime, task: &TaskInfo, changes: &mut Vec<Change>) {
        let cloned = self.cloned.take();
        self.update_process(now, task);
        self.named_like(task.parent, task.comm);
        let (process, parent) = (task.process, task.parent);
        let born_of = parent;
        self.inherit_outside(born_of, process);
        let Some(parent) = self.processes.get(parent) else {
            return;
        };
        let of_runtime = match parent.role {
            Role::Runtime => (parent.doubt, parent.home.clone()),
            _ => (None, None),
        };
        let (role, session, container) = (parent.role, parent.session, parent.container.clone());
        // Also of a child that is cloned into a cgroup elsewhere (`CLONE_INTO_CGROUP`).
        let of_parent = || parent.membership().filter(|_| role.is_inside());
        let hook_in = parent.hook_in;
        let origin = parent.moved_out_of.clone().or_else(of_parent);
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
            child.note_moved_out(origin);
            child.hook_in = hook_in.filter(|cgroup| *cgroup == child.cgroup);
            (child.doubt, child.home) = of_runtime;
            child.joins = joins;
            child.born_inside = child.container.is_some() && child.container != container;
        }
        if let Some(parent) = self.processes.get_mut(born_of) {
            parent.has_forked = true;
        }
        self.note_unplaced(born_of, process);
        self.note_fork(now, born_of);
        let made = cloned
            .filter(|(cloned, _)| *cloned == process)
            .map_or(0, |(_, flags)| flags);
        self.forked_in(now, born_of, process, made, changes);
        self.attached(now, process);
    }

    /// Updates what the state has of a process, or adds the process if it is new.
    pub(super) fn update_process(&mut self, now: Ktime, task: &TaskInfo) {
        let TaskInfo {
            process: id,
            cgroup,
            namespaces,
            ns_pid,
            comm,
            ..
        } = *task;
        let known = self.processes.get(id).map(|known| known.namespaces);
        let namespaces = match known.filter(Namespaces::are_known) {
            Some(known) if !namespaces.are_known() => known,
            _ => namespaces,
        };
        let parent = match self.processes.get(id) {
            // The record does not contain the parent.
            Some(known) if task.parent == ProcessId::default() => known.parent,
            _ => task.parent,
        };
        let container = self.cgroups.container(cgroup).cloned();
        let pod = container
            .as_ref()
            .and_then(|id| self.containers.get(id))
            .map(|container| container.pod.clone());
        let known = self.processes.get(id).map(|process| process.namespaces.pid);
        if known.is_none() {
            self.replace_reused_pid(now, id);
            let prepared = self.prepared_since(parent, id);
            self.processes.insert(Process {
                id,
                prepared,
                born_of: parent,
                parent,
                forked: now,
                seen: now,
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
        // A process that has exited has no children any more, but a record that is written at that
        // moment may still name it as the parent.
        let parent = match self.processes.get(parent) {
            Some(ended) if !ended.is_alive() => self.new_parent_of(parent),
            _ => parent,
        };
        if parent != ProcessId::default() {
            self.processes.set_parent(id, parent);
        }
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        process.comm = comm;
        process.namespaces = namespaces;
        process.ns_pid = ns_pid;
        if process.container.is_none() && process.cgroup != cgroup {
            process.left_place = process.place().or(process.left_place);
        }
        process.cgroup = cgroup;
        if process.container != container {
            let left = process.membership().filter(|_| process.role.is_inside());
            let (old, new) = (process.container.clone(), container.clone());
            (process.container, process.pod) = (container, pod);
            process.note_moved_out(left);
            let prepared = process.prepared;
            if let Some(container) = &new {
                self.lived(container, prepared);
            }
            self.count_alive(old.as_ref(), -1);
            self.count_alive(new.as_ref(), 1);
        }
    }

    /// Removes the former process of a reused pid. Its exit and reaping were not reported.
    pub(super) fn replace_reused_pid(&mut self, now: Ktime, id: ProcessId) {
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

    pub(super) fn leave_pid_namespace(&mut self, inode: u32) {
        if let Some(namespace) = self.pid_namespaces.get_mut(&inode) {
            namespace.processes = namespace.processes.saturating_sub(1);
            if namespace.processes == 0 {
                self.pid_namespaces.remove(&inode);
            }
        }
    }

    pub(super) fn count_alive(&mut self, container: Option<&ContainerId>, by: i32) {
        if let Some(container) = container.and_then(|id| self.containers.get_mut(id)) {
            container.alive = container.alive.saturating_add_signed(by);
        }
    }

    /// A process of the runtime that entered a container's cgroup, or was forked there, is setting
    /// up the container, so it has to execute soon.
    pub(super) fn attached(&mut self, now: Ktime, id: ProcessId) {
        if let Some(process) = self.processes.get(id)
            && !process.role.is_inside()
            && let Some(container) = process.container.clone()
        {
            self.deadlines.arm(
                now.saturating_add(self.limits.init),
                Deadline::Init {
                    process: id,
                    container,
                },
            );
        }
    }

    pub(super) fn executed(
        &mut self,
        now: Ktime,
        task: &TaskInfo,
        file: &Text,
        changes: &mut Vec<Change>,
    ) {
        let id = task.process;
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        process.file = file.detached();
        process.last_exec = Some(now);
        process.has_forked = false;
        self.await_name(now, id);
        let Some(process) = self.processes.get(id) else {
            return;
        };
        if process.role == Role::Stranger
            && self.is_runtime_by_name(process)
            && let Claim::Runtime(doubt) = self.claim_of(process)
        {
            self.becomes_runtime(id, doubt);
        } else {
            self.program_executed(id, task);
        }
        let is_hook = self.processes.get(id).is_some_and(|it| self.is_hook(it));
        if let Some(process) = self.processes.get_mut(id).filter(|_| is_hook) {
            process.hook_in = Some(process.cgroup);
        }
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if process.container.is_none() {
            process.joins = Joins::default();
            let (role, cgroup, mnt) = (process.role, process.cgroup, process.namespaces.mnt);
            // Only a process of a runtime can be in an undeclared container, whatever its
            // namespaces are.
            let may_be_container = role == Role::Runtime
                && mnt != self.host.mnt
                && self.cgroups.path(cgroup).is_some();
            if self
                .processes
                .get(id)
                .is_some_and(|process| !self.is_of_runtime(process))
                && let Some(process) = self.processes.get_mut(id)
            {
                if process.unplaced.is_some_and(|(before, _)| before == cgroup) {
                    process.execs_before += 1;
                }
                process.unplaced = Some((cgroup, now));
                process.may_be_container = may_be_container;
                if !self.cgroups.is_outside(cgroup) {
                    self.unjudged.executed(now, cgroup);
                }
            }
            if may_be_container {
                let deadline = Deadline::Identity {
                    process: id,
                    cgroup,
                };
                self.deadlines
                    .arm(now.saturating_add(self.limits.identity), deadline);
            }
            return;
        }
        self.executed_inside(now, id, changes);
    }

    /// Applies an exec to a process whose container is known.
    pub(super) fn executed_inside(&mut self, now: Ktime, id: ProcessId, changes: &mut Vec<Change>) {
        if self
            .processes
            .get(id)
            .is_none_or(|process| self.is_of_runtime(process))
        {
            return;
        }
        // The process may have been found before its parent.
        if let Some(parent) = self.processes.get(id).map(|process| process.parent) {
            self.inherit_outside(parent, id);
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
                container.namespaces = Some(process.namespaces).filter(Namespaces::are_known);
                container.outside = process.outside;
                container.started = Some(now);
            }
        }
        process.execs += 1;
        process.executed.get_or_insert(now);
        let as_executed = (process.comm, process.file.clone());
        process.first.get_or_insert(as_executed);
        let (namespaces, pod, outside) =
            (process.namespaces, container.pod.clone(), container.outside);
        for kind in NamespaceKind::ALL {
            let inode = namespaces.get(kind);
            if outside.is_none_or(|outside| outside.get(kind) != inode) {
                self.claim(&pod, inode);
            }
        }
        changes.push(Change::Executed(id));
    }

    pub(super) fn exited(
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
            return; // two threads that exit at the same time can both report the exit of the process
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
        let role = process.role;
        let (is_init, is_inside) = (process.is_namespace_init(), role.is_inside());
        let is_orphan = process.role == Role::Member && process.born_of != parent;
        let is_orphan_of_undeclared = process.born_of != parent;
        let was_refused = process.role == Role::Runtime && !process.joins.refused.is_empty();
        self.count_alive(container.as_ref(), -1);
        self.settle_reason(id);
        self.note_oom_kill(now, id, container.as_ref(), changes);
        let is_adopted = is_orphan
            && self
                .processes
                .get(parent)
                .is_some_and(|new_parent| new_parent.pod == pod);
        let cut = self.cut_off(id, ended);
        if let Some(container) = container
            .as_ref()
            .and_then(|id| self.containers.get_mut(id))
        {
            container.adopted += u64::from(is_adopted);
            if container.init == Some(id) {
                container.ended = Some(ended);
            } else if let Some((init, worker)) = cut {
                container.cut.add(init, worker);
            }
        }
        self.note_left(now, id, parent, status);
        if let Some(pod) = pod.as_ref().and_then(|id| self.pods.get_mut(id)) {
            pod.zombies += u32::from(is_inside);
            pod.most_zombies = pod.most_zombies.max(pod.zombies);
        }
        self.deadlines
            .arm(now.saturating_add(self.limits.zombie), Deadline::Zombie(id));
        if role == Role::Pause {
            self.pause_ended(now, id);
        }
        self.step_ended(now, id, status, changes);
        self.supervisor_ended(id, changes);
        self.reparent_children(id);
        if is_init && self.members_of(namespaces.pid) > 1 {
            let deadline = Deadline::Teardown {
                pid_namespace: namespaces.pid,
                init: id,
            };
            self.deadlines
                .arm(now.saturating_add(self.limits.teardown), deadline);
        }
        if container.is_some() {
            changes.push(Change::Ended(id));
        } else if status.signal().is_some() || is_orphan_of_undeclared {
            self.unjudged(id, On::Ended);
        }
        // If a child goes on, the rules for each namespace judge where it executes.
        if was_refused
            && !self
                .processes
                .iter()
                .any(|process| process.born_of == id && process.is_alive())
        {
            changes.push(Change::JoinsRefused(id));
        }
    }

    /// The process to which the children of an exited process are reparented: pid 1 of the exited
    /// process's pid namespace (`find_new_reaper`, kernel/exit.c). The children of pid 1 itself
    /// stay with it, because it reaps them before it exits (`zap_pid_ns_processes`). In the initial
    /// pid namespace, the new parent is unknown. The kernel prefers a subreaper to pid 1; the exit
    /// record of the child contains that parent.
    pub(super) fn new_parent_of(&self, parent: ProcessId) -> ProcessId {
        let Some(parent) = self.processes.get(parent) else {
            return ProcessId::default();
        };
        match self.pid_namespaces.get(&parent.namespaces.pid) {
            Some(namespace) if parent.namespaces.pid_level > 0 => namespace.init,
            _ => ProcessId::default(),
        }
    }

    pub(super) fn reparent_children(&mut self, parent: ProcessId) {
        let new_parent = self.new_parent_of(parent);
        let children: Vec<_> = self
            .processes
            .children(parent)
            .map(|child| child.id)
            .collect();
        for child in children {
            self.processes.set_parent(child, new_parent);
        }
    }

    pub(super) fn reaped(&mut self, now: Ktime, id: ProcessId, changes: &mut Vec<Change>) {
        let Some(process) = self.processes.get(id) else {
            return;
        };
        if process.reaped.is_some() {
            return;
        }
        let waited = process
            .ended
            .map(|ended| now.saturating_sub(ended.time))
            .filter(|_| process.role.is_inside() && !process.ended_unseen());
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

    /// Removes a process that is gone from all counts. Its exit may not have been reported.
    pub(super) fn retire(&mut self, now: Ktime, id: ProcessId) {
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
            self.reparent_children(id);
        }
        if let Some(pod) = pod.and_then(|id| self.pods.get_mut(&id)) {
            pod.zombies = pod.zombies.saturating_sub(u32::from(was_zombie));
            pod.overdue = pod.overdue.saturating_sub(u32::from(was_overdue));
        }
        self.leave_pid_namespace(pid_namespace);
    }
}
