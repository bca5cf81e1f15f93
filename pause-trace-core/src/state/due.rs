//! Deadlines that pass: whether they still matter, and which change follows.

use std::collections::BTreeSet;

use super::{Change, Container, Deadline, On, Process, Received, State};
use crate::event::{ContainerId, Fact, Kind, Ktime, PodId, ProcessId};

/// A container that was told to stop has this many times [`Limits::stop`](super::Limits::stop)
/// to do so, before its runtime is taken to have forgotten the others: on a node 60 s, twice the
/// grace period that a pod has by default.
const MAX_GRACE: Ktime = 12;

impl State {
    /// When the next [`Fact::Tick`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Ktime> {
        self.deadlines.next()
    }

    /// Drops the next deadlines as long as they are moot, so that the reader does not wake up for
    /// them.
    pub(super) fn drop_moot_deadlines(&mut self) {
        let Self {
            deadlines,
            processes,
            containers,
            pods,
            pid_namespaces,
            pins,
            ..
        } = self;
        deadlines.drop_moot(|deadline| match deadline {
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
            Deadline::Sandbox(container)
            | Deadline::PauseEnd(container)
            | Deadline::Listen(container) => !containers.contains_key(container),
            Deadline::Pin(path) => !pins.contains_key(path),
            Deadline::Identity { process, .. } => processes
                .get(*process)
                .is_none_or(|process| process.container.is_some() && process.reaped.is_none()),
            Deadline::Name(process) => processes
                .get(*process)
                .is_none_or(|process| !process.is_nameless()),
        });
    }

    /// The processes that rules may report as still present because deadlines have passed by `now`,
    /// and the time of the first of these deadlines; `None` if there are none.
    ///
    /// The kernel's record of an exit or a reaping can be lost, and it is late if an RCU grace
    /// period is long. A caller that can look at `/proc` reports those processes that are gone as
    /// reaped, at a time before the deadline.
    pub fn in_question(&self, now: Ktime) -> Option<(Ktime, Vec<ProcessId>)> {
        let (first, due) = self.deadlines.due_by(now)?;
        let mut processes = BTreeSet::new();
        for deadline in due {
            match deadline {
                Deadline::Zombie(process)
                | Deadline::Stop { process, .. }
                | Deadline::Init { process, .. } => _ = processes.insert(*process),
                Deadline::Teardown {
                    pid_namespace,
                    init,
                } => {
                    let members = self.processes.iter().filter(|process| {
                        process.namespaces.pid == *pid_namespace && process.id != *init
                    });
                    processes.extend(members.map(|process| process.id));
                }
                Deadline::Removal(pod) => processes.extend(self.left_of(pod)),
                Deadline::Sandbox(container) => {
                    processes.extend(self.containers.get(container).and_then(|known| known.init));
                }
                Deadline::PauseEnd(container) => {
                    let pod = self.containers.get(container).map(|sandbox| &sandbox.pod);
                    let pod = pod.and_then(|pod| self.pods.get(pod));
                    let containers = pod.map_or(&[][..], |pod| &pod.containers);
                    let containers = containers.iter().filter_map(|id| self.containers.get(id));
                    processes.extend(containers.filter_map(|container| container.init));
                }
                Deadline::Pin(_)
                | Deadline::Identity { .. }
                | Deadline::Name(_)
                | Deadline::Listen(_) => {}
            }
        }
        let is_there = |id: &ProcessId| {
            let process = self.processes.get(*id);
            process.is_some_and(|process| process.reaped.is_none())
        };
        let processes: Vec<_> = processes.into_iter().filter(is_there).collect();
        (!processes.is_empty()).then_some((first, processes))
    }

    /// The processes that rules may report as still running because of this fact, if records of
    /// their ends may have been lost: the entrypoints of a pod when its pause or another entrypoint
    /// starts or ends. A caller that can look at `/proc` reports those that are gone as reaped.
    pub fn in_question_by(&self, fact: &Fact) -> Vec<ProcessId> {
        let (Fact::Exec { task, .. } | Fact::Exit { task, .. }) = fact else {
            return Vec::new();
        };
        if self.lost.is_empty() {
            return Vec::new();
        }
        let container = self.cgroups.container(task.cgroup);
        let pod = container
            .and_then(|id| self.containers.get(id))
            .and_then(|container| self.pods.get(&container.pod));
        let ends = [Kind::Exit, Kind::Free, Kind::Watch];
        let Some(pod) = pod.filter(|pod| self.gap(&ends, pod.since).is_some()) else {
            return Vec::new();
        };
        let is_there = |id: &ProcessId| {
            let init = self.processes.get(*id);
            init.is_some_and(|init| init.is_alive() && *id != task.process)
        };
        self.inits_of(&pod.id).filter(is_there).collect()
    }

    /// Processes of a pod, and of the pid namespaces of its sandboxes.
    fn left_of(&self, pod: &PodId) -> impl Iterator<Item = ProcessId> {
        let sandboxes = self.pods.get(pod).map_or(&[][..], |pod| &pod.sandboxes);
        let namespaces: Vec<u32> = sandboxes
            .iter()
            .filter_map(|id| self.containers.get(id)?.namespaces)
            .filter(|namespaces| namespaces.pid_level > 0)
            .map(|namespaces| namespaces.pid)
            .collect();
        let left = self.processes.iter().filter(move |process| {
            process.is_from(pod) || namespaces.contains(&process.namespaces.pid)
        });
        left.map(|process| process.id)
    }

    /// Notes the end of a pause, and waits for what the runtime does then.
    pub(super) fn pause_ended(&mut self, ended: Ktime, pause: ProcessId) {
        let Some(pause) = self.processes.get(pause) else {
            return;
        };
        if let Some(pod) = pause.pod.as_ref().and_then(|id| self.pods.get_mut(id)) {
            pod.pause_ended = pod.pause_ended.max(Some(ended));
        }
        if let Some(sandbox) = pause.container.clone() {
            self.await_stops(sandbox, ended.saturating_add(self.limits.stop));
        }
    }

    /// Gives the runtime of a sandbox whose pause ended time to tell the containers of the pod to
    /// stop.
    pub(super) fn await_stops(&mut self, sandbox: ContainerId, until: Ktime) {
        if let Some(known) = self.containers.get_mut(&sandbox) {
            known.stops_until = Some(until);
        }
        self.deadlines.arm(until, Deadline::PauseEnd(sandbox));
    }

    /// Whether the runtime is stopping the containers of a sandbox whose pause ended one after the
    /// other, as `podman pod restart` does: it told one to stop, which has the time to do so or
    /// has just ended, and has not told another.
    fn is_stop_under_way(&self, now: Ktime, sandbox: &ContainerId) -> bool {
        let Some(sandbox) = self.containers.get(sandbox) else {
            return false;
        };
        let (Some(ended), Some(pod)) = (sandbox.ended, self.pods.get(&sandbox.pod)) else {
            return false;
        };
        let limit = self.limits.stop;
        let told = |container: &Container, init: &Process| {
            let is_stop = |received: &&Received| {
                received.is_stop_by_runtime(container.stop_signal)
                    && received.time.saturating_add(limit) >= ended.time
            };
            let stops = init.signals.iter().filter(is_stop);
            stops.map(|stop| stop.time).max()
        };
        let has_started = |container: &&Container| {
            let started = container.started;
            started.is_some_and(|started| started <= ended.time)
        };
        let containers = pod.containers.iter();
        let containers = containers.filter_map(|id| self.containers.get(id));
        let (mut is_stopping, mut goes_on) = (false, false);
        for container in containers.filter(has_started) {
            let Some(init) = container.init.and_then(|id| self.processes.get(id)) else {
                continue;
            };
            let until = match (told(container, init), container.ended) {
                (Some(told), None) => told.saturating_add(limit.saturating_mul(MAX_GRACE)),
                (Some(_), Some(end)) => end.time.saturating_add(limit),
                (None, end) => {
                    goes_on |= end.is_none();
                    continue;
                }
            };
            is_stopping |= until > now;
        }
        is_stopping && goes_on
    }

    /// The sandboxes whose runtime still has the time to tell the containers to stop.
    pub(super) fn awaiting_stops(&self, now: Ktime) -> impl Iterator<Item = &ContainerId> {
        let sandboxes = self.containers.values();
        let awaiting = sandboxes.filter(move |sandbox| sandbox.stops_until > Some(now));
        awaiting.map(|sandbox| &sandbox.id)
    }

    pub(super) fn deadline_passed(
        &mut self,
        now: Ktime,
        deadline: Deadline,
        changes: &mut Vec<Change>,
    ) {
        match deadline {
            Deadline::Zombie(process) => {
                if let Some(again) = self.recheck_zombie_at(now, process) {
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
                    zombie.overdue_unplaced = true;
                    self.unjudged(process, On::ZombieDue);
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
                let Some(removed) = self.pods.get(&pod).and_then(|pod| pod.removed) else {
                    return;
                };
                let last = removed.saturating_add(self.limits.pin);
                if last > now && self.pins.values().any(|pin| pin.pod.as_ref() == Some(&pod)) {
                    // A kubelet that did not tear down the network at once does so in its clean-up,
                    // which runs every minute.
                    self.deadlines.arm(last, Deadline::Removal(pod));
                } else if removed.saturating_add(self.limits.removal) <= now {
                    changes.push(Change::RemovalDue(pod));
                }
            }
            Deadline::Sandbox(container) => {
                let pause = self
                    .containers
                    .get(&container)
                    .filter(|sandbox| sandbox.unknown)
                    .and_then(|sandbox| self.processes.get(sandbox.init?));
                if pause.is_some_and(Process::is_alive) {
                    changes.push(Change::SandboxDue(container));
                }
            }
            Deadline::PauseEnd(container) => {
                if self.is_stop_under_way(now, &container) {
                    self.await_stops(container, now.saturating_add(self.limits.stop));
                } else if self.containers.contains_key(&container) {
                    changes.push(Change::PauseEndDue(container));
                }
            }
            Deadline::Pin(path) => {
                if self
                    .pins
                    .get(&path)
                    .is_some_and(|pin| pin.sandbox.is_none())
                {
                    changes.push(Change::PinDue(path));
                }
            }
            Deadline::Identity { process, cgroup } => {
                let is_unknown = self
                    .processes
                    .get(process)
                    .is_some_and(|process| process.container.is_none());
                let has_unknown_owner = self.cgroups.has_unknown_owner(cgroup)
                    || self.cgroups.unidentified(cgroup).is_some();
                match is_unknown && has_unknown_owner {
                    true => changes.push(Change::IdentityDue { process, cgroup }),
                    false => self.forget_unidentified(process),
                }
            }
            // `/proc` was read before.
            Deadline::Name(_) => {}
            Deadline::Listen(container) => self.report_listeners(now, &container, changes),
        }
    }

    /// When to check a zombie again if its parent is still reaping others: on a loaded machine the
    /// last of thousands waits long, and is reaped. A parent that always reaps others and never
    /// this one is not busy, so the wait is bounded.
    pub(super) fn recheck_zombie_at(&self, now: Ktime, zombie: ProcessId) -> Option<Ktime> {
        const PATIENCE: u64 = 10;
        let limit = self.limits.zombie;
        let zombie = self.processes.get(zombie)?;
        let again = self
            .processes
            .get(zombie.parent)?
            .last_reap
            .saturating_add(limit);
        let last = zombie
            .ended?
            .time
            .saturating_add(PATIENCE.saturating_mul(limit));
        (again > now && now < last).then_some(again)
    }
}
