//! Declared pods and containers.

use super::{Change, Container, Cut, Deadline, Listeners, Pin, Pod, Reaps, State};
use crate::event::{
    ContainerFact, ContainerId, ContainerKind, Kind, Ktime, Namespaces, PodFact, PodId, Source,
    Text,
};

impl State {
    pub(super) fn pod(&mut self, now: Ktime, fact: &PodFact, changes: &mut Vec<Change>) {
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
            since: now,
            sandboxes: Vec::new(),
            containers: Vec::new(),
            stopping: None,
            suppressed: None,
            pause_ended: None,
            removed: None,
            zombies: 0,
            most_zombies: 0,
            overdue: 0,
            reaped: 0,
            slowest_reap: 0,
            measured: None,
            measured_before: None,
            at_start: None,
            has_measured_pause: false,
            network_ready: None,
            network_unready: None,
            network: None,
        });
        (known.namespace, known.name, known.modes) =
            (namespace.clone(), name.clone(), modes.clone());
        if known.removed.take().is_some() {
            known.stopping = None; // a static pod is created again with the same uid
        }
        self.older.insert(pod.clone());
        changes.push(Change::PodDeclared(pod.clone()));
    }

    pub(super) fn container(
        &mut self,
        now: Ktime,
        fact: &ContainerFact,
        changes: &mut Vec<Change>,
    ) {
        let ContainerFact {
            container,
            pod,
            name,
            what,
            sandbox,
            cgroup,
            modes,
            stop_signal,
            file,
            source,
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
                sandbox: None,
                source: *source,
                cgroup: *cgroup,
                modes: modes.clone(),
                stop_signal: None,
                file: None,
                declared: now,
                since: now,
                init: None,
                namespaces: None,
                outside: None,
                started: None,
                ended: None,
                stopping: None,
                alive: 0,
                unknown: false,
                member_left: None,
                member_told: None,
                cut: Cut::default(),
                oom: None,
                memory_limit: None,
                grace: None,
                listeners: Listeners::default(),
                stops_until: None,
                orphaned: None,
                flooded: None,
                reaps: Reaps::default(),
                session_reaps: Reaps::default(),
                adopted: 0,
            });
        // A source that knows more may declare the container again. What was observed stays, and is
        // judged again by the new declaration.
        let is_other = known.modes != *modes || (file.is_some() && known.file != *file);
        (known.name, known.modes) = (name.clone(), modes.clone());
        known.stop_signal = (*stop_signal != 0).then_some(*stop_signal);
        known.file = file.clone().or(known.file.take());
        let again = known.init.filter(|_| is_other);
        known.source = *source;
        known.sandbox = sandbox.clone().or(known.sandbox.take());
        if *source == Source::Cri {
            known.unknown = false;
        }
        if *cgroup != 0 {
            known.cgroup = *cgroup;
            self.cgroups.claim(*cgroup, container);
            match self.cgroups.made(*cgroup) {
                Some(made) => self.lived(container, made),
                // The record of its creation was lost, so it may be as old as any loss.
                None if self.lost.contains_key(&Kind::CgroupMkdir) => self.lived(container, 0),
                None => {}
            }
            self.judge_late(*cgroup, container);
        }
        let pins = self.pins.values_mut();
        for pin in pins.filter(|pin| pin.sandbox.as_ref() == Some(container)) {
            pin.pod = Some(pod.clone());
        }
        changes.push(Change::ContainerDeclared(container.clone()));
        self.suppressed_early(container, changes);
        self.place_early(container, changes);
        self.place_listeners(container);
        changes.extend(again.map(Change::Executed));
    }

    /// The runtime, when queried, does not know a sandbox.
    pub(super) fn sandbox_unknown(&mut self, now: Ktime, container: &ContainerId) {
        if let Some(sandbox) = self.containers.get_mut(container)
            && !std::mem::replace(&mut sandbox.unknown, true)
        {
            self.deadlines.arm(
                now.saturating_add(self.limits.removal),
                Deadline::Sandbox(container.clone()),
            );
        }
    }

    /// Files pin the namespaces of a sandbox. They existed before any container that joined them.
    pub(super) fn sandbox_pinned(
        &mut self,
        now: Ktime,
        container: &ContainerId,
        namespaces: &Namespaces,
        changes: &mut Vec<Change>,
    ) {
        let Some(pod) = self
            .containers
            .get(container)
            .map(|known| known.pod.clone())
        else {
            return;
        };
        let members = self.pods.get(&pod).map_or(&[][..], |pod| &pod.containers);
        let members: Vec<_> = members
            .iter()
            .filter_map(|id| self.containers.get(id))
            .collect();
        let first = members.iter().filter_map(|member| member.started).min();
        // Containers that executed before can be compared with the sandbox only now.
        changes.extend(
            members
                .iter()
                .filter_map(|member| member.init)
                .map(Change::Executed),
        );
        if let Some(sandbox) = self.containers.get_mut(container) {
            sandbox.namespaces = Some(*namespaces);
            sandbox.started = Some(first.map_or(now, |first| first.min(now)));
        }
    }

    pub(super) fn pinned(
        &mut self,
        now: Ktime,
        path: &Text,
        namespace: u32,
        sandbox: Option<&ContainerId>,
    ) {
        let pin = self.pins.entry(path.detached()).or_insert_with(|| Pin {
            namespace,
            sandbox: None,
            pod: None,
            since: now,
        });
        if let Some(sandbox) = sandbox {
            pin.sandbox = Some(sandbox.clone());
            pin.pod = self
                .containers
                .get(sandbox)
                .map(|sandbox| sandbox.pod.clone());
        } else if pin.sandbox.is_none() {
            self.deadlines.arm(
                now.saturating_add(self.limits.pin),
                Deadline::Pin(path.detached()),
            );
        }
    }

    pub(super) fn forget_pod(&mut self, id: &PodId) {
        let Some(pod) = self.pods.remove(id) else {
            return;
        };
        for container in pod.sandboxes.iter().chain(&pod.containers) {
            self.cgroups.forget(container);
            if let Some(container) = self.containers.remove(container) {
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
