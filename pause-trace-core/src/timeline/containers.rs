//! A pod's containers, and the processes of the runtime that created them.
//!
//! The first process that executes in a container's cgroup is its entrypoint. The ancestors of the
//! entrypoint, up to the daemon, created the container. Those that outlive the creation are a shim
//! or a monitor. All their descendants are attributed to the pod, too.

use super::{
    build::{Builder, Owned},
    journal::{Exec, ProcessHistory},
    model::{ElementKind, Evidence},
};
use crate::{
    event::{
        Comm, ContainerFact, ContainerId, ContainerKind, Ktime, ProcessId, Request, Text,
        run_container,
    },
    news::Restart,
    runtimes,
};

/// Most generations between a daemon and an entrypoint.
const MAX_ANCESTORS: usize = 32;

impl<'a> Builder<'a> {
    pub(super) fn container(&mut self, container: &ContainerFact) {
        let (id, cgroup) = (Some(container.container.clone()), container.cgroup);
        let within = Evidence::Cgroup(cgroup);
        let inside = self.executed.get(&cgroup).cloned().unwrap_or_default();
        if let Some((exec, init)) = inside.first().copied() {
            let builders = self.ancestors(exec, init, id.clone());
            let begins = builders.last().copied().unwrap_or(init).forked;
            if let Some(begins) = begins {
                self.span(
                    begins,
                    Some(exec.time),
                    ElementKind::Create,
                    id.clone(),
                    init,
                    within.clone(),
                );
            }
            self.own(init, id.clone(), within.clone());
            let run = ElementKind::Run {
                file: exec.file.clone(),
                restart: self.restart(container, exec.time),
            };
            self.span(
                exec.time,
                init.ended.map(|(end, _)| end),
                run,
                id.clone(),
                init,
                within.clone(),
            );
            self.ended(init, id.clone(), &within);
        }
        let is_inside = |parent: ProcessId| inside.iter().any(|(_, past)| past.id == parent);
        for (exec, past) in inside
            .iter()
            .skip(1)
            .filter(|(_, past)| !is_inside(past.parent))
        {
            self.own(past, id.clone(), within.clone());
            let begins = past.entered(cgroup).or(past.forked).unwrap_or(exec.time);
            let session = ElementKind::Session {
                file: exec.file.clone(),
            };
            self.span(
                begins,
                past.ended.map(|(end, _)| end),
                session,
                id.clone(),
                past,
                within.clone(),
            );
            self.ended(past, id.clone(), &within);
        }
        self.hooks_of(container);
        if inside.is_empty() {
            return;
        }
        let entered = self
            .journal
            .processes
            .values()
            .filter_map(|past| Some((past.entered(cgroup)?, past)));
        if let Some((time, past)) = entered.min_by_key(|(time, past)| (*time, past.id)) {
            self.moment(
                time,
                ElementKind::CgroupEntered,
                id.clone(),
                Some(past),
                within.clone(),
            );
        }
        if let Some(made) = self.journal.cgroups.get(&cgroup) {
            let path = made.path.clone();
            self.moment(
                made.made,
                ElementKind::CgroupMade { path },
                id.clone(),
                None,
                within.clone(),
            );
            if let Some(removed) = made.removed {
                self.moment(removed, ElementKind::CgroupRemoved, id, None, within);
            }
        }
    }

    /// How often a container of this name ran in the pod before, if it did.
    fn restart(&self, container: &ContainerFact, started: Ktime) -> Option<Restart> {
        if container.what == ContainerKind::Sandbox || container.name.0.is_empty() {
            return None;
        }
        let is_like = |other: &&&ContainerFact| {
            other.what != ContainerKind::Sandbox && other.name == container.name
        };
        let earlier = self.containers.iter().filter(is_like);
        let earlier: Vec<_> = earlier
            .filter_map(|other| self.executed.get(&other.cgroup)?.first())
            .filter(|(exec, _)| exec.time < started)
            .collect();
        let last = earlier.iter().max_by_key(|(exec, _)| exec.time)?;
        let ended = last.1.ended.map(|(ended, _)| ended);
        Some(Restart {
            count: u32::try_from(earlier.len()).unwrap_or(u32::MAX),
            after: ended.map(|ended| started.saturating_sub(ended)),
        })
    }

    /// The OCI hooks of a container, without the programs that they start.
    fn hooks_of(&mut self, container: &ContainerFact) {
        let (id, within) = (&container.container, Evidence::Cgroup(container.cgroup));
        let hooks = self
            .hooks
            .get(&container.cgroup)
            .cloned()
            .unwrap_or_default();
        let is_hook = |parent: ProcessId| hooks.iter().any(|(_, past)| past.id == parent);
        for (exec, past) in hooks.iter().filter(|(_, past)| !is_hook(past.parent)) {
            self.own(past, Some(id.clone()), within.clone());
            let hook = ElementKind::Hook {
                file: exec.file.clone(),
            };
            self.span(
                past.forked.unwrap_or(exec.time),
                past.ended.map(|(end, _)| end),
                hook,
                Some(id.clone()),
                past,
                within.clone(),
            );
            self.ended(past, Some(id.clone()), &within);
        }
    }

    pub(super) fn ended(
        &mut self,
        past: &ProcessHistory,
        container: Option<ContainerId>,
        evidence: &Evidence,
    ) {
        let Some((ended, status)) = past.ended else {
            return;
        };
        self.moment(
            ended,
            ElementKind::Exited { status },
            container.clone(),
            Some(past),
            evidence.clone(),
        );
        if let Some(reaped) = past.reaped {
            let what = ElementKind::Reaped {
                after: reaped.saturating_sub(ended),
            };
            self.moment(reaped, what, container, Some(past), evidence.clone());
        }
    }

    /// Attributes the ancestors of an entrypoint to the pod, with all their descendants. Returns
    /// those that only created this container, the nearest first: they have exited when the
    /// entrypoint executes.
    fn ancestors(
        &mut self,
        exec: &Exec,
        init: &'a ProcessHistory,
        container: Option<ContainerId>,
    ) -> Vec<&'a ProcessHistory> {
        let evidence = Evidence::AncestorOf(init.id.pid);
        let mut builders = Vec::new();
        let mut is_building = true;
        let mut next = init.parent;
        for _ in 0..MAX_ANCESTORS {
            let Some(past) = self.journal.processes.get(&next) else {
                break;
            };
            if self.is_daemon(past) {
                break;
            }
            is_building &= past.ended.is_some_and(|(ended, _)| ended <= exec.time);
            if is_building {
                builders.push(past);
                self.own(past, container.clone(), evidence.clone());
            } else {
                self.own(past, None, evidence.clone());
                self.descendants(past);
            }
            next = past.parent;
        }
        builders
    }

    /// Attributes the descendants of one of the pod's processes to the pod. In a damaged recording
    /// a process may be its own ancestor. Since each has one parent, a walk that returns anywhere
    /// returns to where it began.
    fn descendants(&mut self, above: &'a ProcessHistory) {
        let mut open = vec![above];
        while let Some(past) = open.pop() {
            for child in self.children.get(&past.id).cloned().unwrap_or_default() {
                if self.is_daemon(child) || child.id == above.id {
                    continue;
                }
                // What a tool starts outside the cgroup, such as some OCI hooks, is for the same
                // container.
                let of_parent = || self.owned.get(&past.id)?.container.clone();
                let container = self.container_of_subtree(child).or_else(of_parent);
                self.own(child, container, Evidence::DescendsFrom(above.id.pid));
                open.push(child);
            }
        }
    }

    /// The container whose cgroup a process or one of its descendants was in.
    fn container_of_subtree(&self, above: &'a ProcessHistory) -> Option<ContainerId> {
        if let Some(container) = self.container_asked_for(above) {
            return Some(container);
        }
        let mut open = vec![above];
        while let Some(past) = open.pop() {
            let moved = past.moves.iter().map(|(_, cgroup)| *cgroup);
            let mut cgroups = moved
                .chain([past.cgroup])
                .chain(past.execs.iter().map(|exec| exec.cgroup));
            if let Some(container) = cgroups.find_map(|cgroup| self.journal.container_at(cgroup)) {
                return Some(container.clone());
            }
            let children = self.children.get(&past.id).into_iter().flatten();
            open.extend(children.filter(|child| child.id != above.id));
        }
        None
    }

    /// Attributes the shims and the OCI runtimes that were asked to work on the pod's containers to
    /// the pod, where nothing else has attributed them.
    pub(super) fn asked(&mut self) {
        let is_its = |id: &Text| {
            let mut containers = self.containers.iter();
            containers.find(|one| run_container(&one.container).as_bytes() == &id.0[..])
        };
        let processes = self.journal.processes.values();
        let asked: Vec<_> = processes
            .filter_map(|past| {
                let Some(Request::Oci(request)) = &past.request else {
                    return None;
                };
                is_its(&request.container)?;
                Some((past, request.container.clone()))
            })
            .collect();
        for (past, id) in asked {
            let container = self.container_asked_for(past);
            self.own(past, container, Evidence::Asked(id));
        }
    }

    /// The container that an OCI runtime was asked to work on, if that ran only once.
    fn container_asked_for(&self, past: &ProcessHistory) -> Option<ContainerId> {
        let Some(Request::Oci(request)) = &past.request else {
            return None;
        };
        let is_tool = request.namespace.0.is_empty();
        let is_it = |one: &&&ContainerFact| {
            is_tool && run_container(&one.container).as_bytes() == &request.container.0[..]
        };
        let mut runs = self.containers.iter().filter(is_it);
        let first = runs.next()?;
        runs.next().is_none().then(|| first.container.clone())
    }

    fn own(&mut self, past: &ProcessHistory, container: Option<ContainerId>, evidence: Evidence) {
        self.owned.entry(past.id).or_insert(Owned {
            container,
            evidence,
        });
    }

    pub(super) fn is_daemon(&self, past: &ProcessHistory) -> bool {
        // A daemon serves all pods, so descending from it does not attribute a process to one. A
        // child of a daemon has the daemon's name until it executes.
        let is_itself = past.forked.is_none() || !past.execs.is_empty();
        // A process in a container can have any name.
        let is_named = || {
            self.journal.container_at(past.cgroup).is_none()
                && runtimes::daemons().any(|name| Comm::new(name) == past.comm)
        };
        self.journal.declared_runtimes.contains(&past.id) || is_itself && is_named()
    }
}
