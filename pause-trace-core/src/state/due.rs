//! What comes due: whether it still matters, and what it then says.

use super::{Change, Deadline, Process, State};
use crate::event::{Ktime, ProcessId};

impl State {
    /// When a [`Fact::Tick`] is due.
    pub(crate) fn next_deadline(&mut self) -> Option<Ktime> {
        let Self {
            deadlines,
            processes,
            containers,
            pods,
            pid_namespaces,
            pins,
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
            Deadline::Sandbox(container) => !containers.contains_key(container),
            Deadline::Pin(path) => !pins.contains_key(path),
            Deadline::Identity { process, .. } => processes
                .get(*process)
                .is_none_or(|process| process.container.is_some()),
        })
    }

    /// Processes that a tick at `now` would call zombies. Whoever can look at them should, and say so of those that are
    /// gone: the kernel's word of a reaping can go astray without a trace while another tracer attaches.
    pub fn zombies_due(&self, now: Ktime) -> Vec<ProcessId> {
        let mut due = self.deadlines.zombies(now);
        due.retain(|id| self.processes.get(*id).is_some_and(Process::is_zombie));
        due
    }

    pub(super) fn came_due(&mut self, now: Ktime, deadline: Deadline, changes: &mut Vec<Change>) {
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
                let Some(removed) = self.pods.get(&pod).and_then(|pod| pod.removed) else {
                    return;
                };
                let last = removed + self.limits.pin;
                if last > now && self.pins.values().any(|pin| pin.pod.as_ref() == Some(&pod)) {
                    // A kubelet that did not come to the network at once does with its clean-up, each minute.
                    self.deadlines.arm(last, Deadline::Removal(pod));
                } else if removed + self.limits.removal <= now {
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
                if is_unknown && self.places.is_in_question(cgroup) {
                    changes.push(Change::IdentityDue { process, cgroup });
                }
            }
        }
    }

    /// When to look at a zombie again whose parent is busy with others: on a loaded machine the last of thousands waits
    /// long, and is reaped. Who gets round to others all the time and never to this one is not busy: that ends it.
    pub(super) fn reaping_goes_on(&self, now: Ktime, zombie: ProcessId) -> Option<Ktime> {
        const PATIENCE: u64 = 10;
        let limit = self.limits.zombie;
        let zombie = self.processes.get(zombie)?;
        let again = self.processes.get(zombie.parent)?.last_reap + limit;
        let last = zombie.ended?.time + PATIENCE * limit;
        (again > now && now < last).then_some(again)
    }
}
