//! A snapshot of the state, as facts.
//!
//! A recording that has dropped its beginning begins with a snapshot. It contains what a `watch`
//! that starts now would find on the node: running processes, declared pods and containers, and
//! pinned namespaces. It does not contain what processes did before, so no verdict rests on that.

use super::{Container, Pod, Process, Role, State};
use crate::event::{
    ContainerFact, ContainerKind, Event, Fact, Ktime, PodFact, ProcessId, Source, TaskInfo,
};

impl State {
    /// The facts that bring a new state to what is running now. All have the time `now`.
    pub fn snapshot(&self, now: Ktime) -> Vec<Event> {
        let mut facts = vec![Fact::Host {
            namespaces: self.host,
        }];
        let mut names: Vec<_> = self.runtime_names.iter().copied().collect();
        names.sort_unstable_by_key(|name| name.0);
        facts.push(Fact::RuntimeNames { names });
        facts.extend(self.needs_proof.then_some(Fact::ProofRequired));
        facts.extend(self.cgroups.facts());
        let mut pods: Vec<_> = self.pods.values().collect();
        pods.retain(|pod| pod.removed.is_none());
        pods.sort_unstable_by_key(|pod| (pod.declared, &pod.id));
        for pod in pods {
            facts.extend(self.facts_of_pod(pod));
        }
        let mut pins: Vec<_> = self.pins.iter().collect();
        pins.sort_unstable_by_key(|(path, _)| *path);
        facts.extend(pins.into_iter().map(|(path, pin)| Fact::NamespacePinned {
            path: path.clone(),
            namespace: pin.namespace,
            sandbox: pin.sandbox.clone(),
        }));
        let mut processes: Vec<_> = self.processes.iter().collect();
        processes.retain(|process| process.reaped.is_none());
        // Parents first.
        processes.sort_unstable_by_key(|process| {
            let ProcessId { pid, start } = process.id;
            (start, pid)
        });
        for process in processes {
            facts.extend(self.shown_again(process));
            facts.extend(self.running(process));
            facts.extend(self.called_again(process.id).map(Fact::Called));
        }
        let outsiders = self.outsiders.iter();
        facts.extend(outsiders.map(|outsider| Fact::Outsider(outsider.as_ref().clone())));
        let at = |fact| Event { time: now, fact };
        facts.into_iter().map(at).collect()
    }

    /// A process that has not been reaped.
    fn running(&self, process: &Process) -> Option<Fact> {
        let task = TaskInfo {
            process: process.id,
            parent: process.parent,
            cgroup: process.cgroup,
            namespaces: process.namespaces,
            ns_pid: process.ns_pid,
            comm: process.comm,
        };
        let parent = self.processes.get(process.parent);
        let has_moved = parent.is_none_or(|parent| parent.cgroup != process.cgroup);
        // It sets a container up. One that is found in its cgroup is taken for the entrypoint, and
        // would be judged by namespaces that it has not joined yet.
        let is_inside =
            process.container.is_some() || has_moved && !self.is_runtime_by_name(process);
        if process.role == Role::Runtime && is_inside {
            // Nothing depends on when the runtime reaps its own processes.
            return process.is_alive().then_some(Fact::Fork { task });
        }
        Some(Fact::Found {
            task,
            ended: process.ended.map(|ended| ended.status),
        })
    }

    /// A pod, and those of its containers that may still have processes. A sandbox is included even
    /// if its pause is gone, because the containers are compared with it.
    fn facts_of_pod(&self, pod: &Pod) -> Vec<Fact> {
        let containers: Vec<_> = pod
            .sandboxes
            .iter()
            .chain(&pod.containers)
            .filter_map(|id| self.containers.get(id))
            .filter(|known| known.what == ContainerKind::Sandbox || known.ended.is_none())
            .collect();
        let source = containers
            .first()
            .map_or(Source::Bundle, |container| container.source);
        let mut facts = vec![Fact::Pod(PodFact {
            pod: pod.id.clone(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            modes: pod.modes.clone(),
            source,
        })];
        for container in containers {
            facts.push(declared(container));
            facts.extend(container.memory_limit.map(|bytes| Fact::MemoryLimit {
                container: container.id.clone(),
                bytes,
            }));
            facts.extend(container.grace.map(|grace| Fact::GracePeriod {
                container: container.id.clone(),
                grace,
            }));
            let is_pinned = container.what == ContainerKind::Sandbox && container.init.is_none();
            if let Some(namespaces) = container.namespaces.filter(|_| is_pinned) {
                facts.push(Fact::SandboxPinned {
                    container: container.id.clone(),
                    namespaces,
                });
            }
        }
        facts
    }
}

fn declared(container: &Container) -> Fact {
    let Container {
        id,
        pod,
        name,
        what,
        sandbox,
        source,
        cgroup,
        modes,
        stop_signal,
        file,
        ..
    } = container.clone();
    Fact::Container(ContainerFact {
        container: id,
        pod,
        name,
        what,
        sandbox,
        cgroup,
        modes,
        stop_signal: stop_signal.unwrap_or_default(),
        file,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Comm, Modes, Namespaces, Text, WaitStatus},
        state::Limits,
    };

    fn id(pid: u32) -> ProcessId {
        let start = u64::from(pid);
        ProcessId { pid, start }
    }

    fn namespaces(first: u32) -> Namespaces {
        Namespaces {
            mnt: first,
            uts: first + 1,
            ipc: first + 2,
            net: first + 3,
            pid: first + 4,
            pid_children: first + 4,
            user: 7,
            cgroup: 8,
            net_owner: 7,
            pid_level: 0,
        }
    }

    fn container(id: &str, what: ContainerKind, cgroup: u64) -> Fact {
        Fact::Container(ContainerFact {
            container: id.into(),
            pod: "uid-1".into(),
            name: Text::new(id),
            what,
            sandbox: None,
            cgroup,
            modes: Modes::plain(),
            stop_signal: 15,
            file: None,
            source: Source::Bundle,
        })
    }

    fn state(events: &[Event]) -> State {
        let mut state = State::new(Limits::NODE);
        for event in events {
            let mut changes = Vec::new();
            state.apply(event, &mut changes);
            state.forget(&changes);
        }
        state
    }

    #[test]
    fn a_state_made_from_a_snapshot_has_what_runs() {
        let (shim, pause, app, child) = (id(100), id(200), id(300), id(400));
        // It has not joined anything yet.
        let (starting, stage, over) = (id(500), id(600), id(700));
        let forked = |parent, process, cgroup, ns, comm| Fact::Fork {
            task: TaskInfo {
                process,
                parent,
                cgroup,
                namespaces: namespaces(ns),
                ns_pid: 1,
                comm: Comm::new(comm),
            },
        };
        let executed = |process, cgroup, ns, comm| Fact::Exec {
            task: TaskInfo {
                process,
                parent: shim,
                cgroup,
                namespaces: namespaces(ns),
                ns_pid: 1,
                comm: Comm::new(comm),
            },
            file: Text::new("/bin/x"),
        };
        let exited = |process, cgroup| Fact::Exit {
            task: TaskInfo {
                process,
                parent: shim,
                cgroup,
                namespaces: namespaces(10),
                ns_pid: 1,
                comm: Comm::new("runc:[0:PARENT]"),
            },
            status: WaitStatus::exited(0),
        };
        let facts = [
            Fact::Host {
                namespaces: namespaces(10),
            },
            Fact::RuntimeNames {
                names: vec![Comm::new("containerd-shim")],
            },
            executed(shim, 1, 10, "containerd-shim"),
            Fact::Pod(PodFact {
                pod: "uid-1".into(),
                namespace: Text::new("default"),
                name: Text::new("web"),
                modes: Modes::plain(),
                source: Source::Bundle,
            }),
            container("s1", ContainerKind::Sandbox, 11),
            forked(shim, pause, 11, 100, "runc"),
            executed(pause, 11, 100, "pause"),
            container("c1", ContainerKind::App, 12),
            forked(shim, app, 12, 200, "runc"),
            executed(app, 12, 200, "app"),
            forked(app, child, 12, 200, "app"),
            container("c2", ContainerKind::App, 14),
            forked(shim, starting, 14, 10, "runc:[0:PARENT]"),
            forked(starting, stage, 14, 10, "runc:[1:CHILD]"),
            forked(shim, over, 14, 10, "runc:[0:PARENT]"),
            exited(over, 14),
            Fact::CgroupMade {
                cgroup: 13,
                path: Text::new("/a/b"),
            },
            Fact::NamespacePinned {
                path: Text::new("/run/netns/x"),
                namespace: 103,
                sandbox: Some("s1".into()),
            },
        ];
        let at = |(number, fact)| Event {
            time: 500 + number as Ktime,
            fact,
        };
        let events: Vec<_> = facts.into_iter().enumerate().map(at).collect();
        let known = state(&events);
        let snapshot = known.snapshot(1_000);
        let again = state(&snapshot);
        for state in [&known, &again] {
            let role = |id| state.processes.get(id).map(|process| process.role);
            assert_eq!(
                [shim, pause, app, child, starting, stage].map(role),
                [
                    Role::Runtime,
                    Role::Pause,
                    Role::Init,
                    Role::Member,
                    Role::Runtime,
                    Role::Runtime
                ]
                .map(Some)
            );
            let pod = state.pods.get("uid-1").expect("the pod runs");
            assert_eq!(state.pause_of(pod).map(|process| process.id), Some(pause));
            assert_eq!(pod.containers, ["c1".into(), "c2".into()]);
            let init = |id| state.containers.get(id).and_then(|known| known.init);
            assert_eq!((init("c1"), init("c2")), (Some(app), None));
        }
        assert_eq!(
            again.snapshot(1_000),
            snapshot,
            "a snapshot of a snapshot is the same"
        );
    }
}
