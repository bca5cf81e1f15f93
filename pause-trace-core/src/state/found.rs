//! Processes that started before the hooks were attached.
//!
//! The task iterator reports their cgroup, namespaces, current parent and start time. What they
//! executed and joined before, and the signals they got, are unknown, so no verdict rests on that.

use super::{Change, Deadline, Doubt, Ended, Process, Role, State, proof::Claim};
use crate::event::{Comm, Ktime, ProcessId, WaitStatus};

impl State {
    /// Whether the hooks have already reported a process, so that the task iterator adds nothing.
    pub(super) fn is_known(&self, id: ProcessId) -> bool {
        self.processes
            .get(id)
            .is_some_and(|process| process.role != Role::Stranger || process.unplaced.is_some())
    }

    /// Applies the rest of a `Found` record, after [`State::update_process`].
    pub(super) fn found(
        &mut self,
        now: Ktime,
        id: ProcessId,
        status: Option<WaitStatus>,
        changes: &mut Vec<Change>,
    ) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let parent = process.parent;
        self.inherit_outside(parent, id);
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        // Start times are of the same clock as events.
        process.forked = id.start;
        process.found = true;
        let (parent, cgroup) = (process.parent, process.cgroup);
        if let Some(status) = status {
            process.ended = Some(Ended {
                time: now,
                status,
                parent,
            });
            let init_of = process
                .is_namespace_init()
                .then_some(process.namespaces.pid);
            self.deadlines
                .arm(now.saturating_add(self.limits.zombie), Deadline::Zombie(id));
            if let Some(pid_namespace) = init_of {
                let deadline = Deadline::Teardown {
                    pid_namespace,
                    init: id,
                };
                self.deadlines
                    .arm(now.saturating_add(self.limits.teardown), deadline);
            }
        }
        let container = self.cgroups.container(cgroup).cloned();
        if status.is_some() {
            self.count_alive(container.as_ref(), -1);
        }
        let parent = self.processes.get(parent);
        let is_members_child = parent.is_some_and(|parent| parent.cgroup == cgroup);
        let is_runtimes_child = parent.is_some_and(|parent| parent.role == Role::Runtime);
        let of_parent =
            parent.and_then(|parent| self.doubt_of_child(parent, self.processes.get(id)?));
        let named = self
            .processes
            .get(id)
            .filter(|process| self.is_runtime_by_name(process))
            .map(|process| self.claim_of(process));
        let is_by_descent = container.is_none() && is_runtimes_child && is_members_child;
        match named {
            Some(Claim::Runtime(doubt)) => return self.becomes_runtime(id, doubt),
            None if is_by_descent => return self.becomes_runtime(id, of_parent),
            _ => {}
        }
        if let Some(process) = self.processes.get_mut(id) {
            process.unplaced = Some((cgroup, id.start));
            process.unplaced_member = (is_members_child && !is_runtimes_child).then_some(cgroup);
        }
        if let Some(container) = container {
            self.place(&container, id, changes);
        }
    }

    /// Whether a zombie of a pod was found that may be overdue. That is known `Limits::zombie`
    /// after it was found, or later if its parent is still reaping others.
    pub fn awaits_found_zombies(&self, now: Ktime) -> bool {
        /// A deadline is judged with the first event after it, which takes a moment.
        const MOMENT: Ktime = 100_000_000;
        let is_awaited = |process: &Process| {
            process.ended_unseen()
                && process.is_zombie()
                && !process.overdue
                && process.role.is_inside()
                && now
                    < process
                        .seen
                        .saturating_add(self.limits.zombie)
                        .saturating_add(MOMENT)
        };
        self.processes.iter().any(is_awaited)
    }

    /// Whether a process belongs to the node's runtime, by its name. A runtime in another pid
    /// namespace belongs to a container, such as a node that is itself a container.
    pub(super) fn is_runtime_by_name(&self, process: &Process) -> bool {
        process.container.is_none()
            && process.namespaces.pid == self.host.pid
            && self.is_runtime_name(process.comm)
    }

    /// Whether this is the program name of a container runtime.
    pub fn is_runtime_name(&self, comm: Comm) -> bool {
        self.runtime_names.contains(&comm)
    }

    /// Gives the runtime's role to a process, and to those of its children that were found before
    /// it.
    pub(super) fn becomes_runtime(&mut self, id: ProcessId, doubt: Option<Doubt>) {
        let home = self.home_shown(id);
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        process.role = Role::Runtime;
        process.unplaced = None;
        process.doubt = doubt;
        process.home = home.or(process.home.take());
        let cgroup = process.cgroup;
        let is_like_it = |child: &&Process| child.role == Role::Stranger && child.cgroup == cgroup;
        let children: Vec<_> = self
            .processes
            .children(id)
            .filter(is_like_it)
            .filter_map(|child| {
                let parent = self.processes.get(id)?;
                Some((child.id, self.doubt_of_child(parent, child)))
            })
            .collect();
        for (child, doubt) in children {
            self.becomes_runtime(child, doubt);
        }
    }
}
