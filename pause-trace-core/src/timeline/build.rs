//! Extracts the timeline of one pod from the journal.
//!
//! `containers.rs` finds the containers and the processes that created them, `programs.rs` what
//! those executed, and `network.rs` the plugins that set up the network. This file combines the
//! parts.

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::{
    journal::{Exec, Journal, Pod, ProcessHistory},
    model::{Element, ElementKind, Evidence, Extent, Lane, Timeline},
};
use crate::{
    event::{
        CgroupId, CniCommand, ContainerFact, ContainerId, ContainerKind, Ktime, Namespaces, PodId,
        ProcessId, Signal,
    },
    verdict::ProcessRef,
};

/// Most signals in a timeline. The latest are kept.
const MAX_SIGNALS: usize = 64;

impl Timeline {
    /// The timeline of a pod so far; `None` for an unknown pod.
    pub fn of(journal: &Journal, pod: &PodId) -> Option<Self> {
        journal.pods.get(pod)?;
        Index::of(journal).timeline(pod)
    }
}

/// What the timelines of all pods are made from, in the order in which a timeline needs it.
pub(crate) struct Index<'a> {
    journal: &'a Journal,
    children: HashMap<ProcessId, Vec<&'a ProcessHistory>>,
    executed: HashMap<CgroupId, Vec<(&'a Exec, &'a ProcessHistory)>>,
    hooks: HashMap<CgroupId, Vec<(&'a Exec, &'a ProcessHistory)>>,
}

impl<'a> Index<'a> {
    pub(crate) fn of(journal: &'a Journal) -> Self {
        let mut children: HashMap<_, Vec<&ProcessHistory>> = HashMap::new();
        let mut executed: HashMap<_, Vec<(&Exec, &ProcessHistory)>> = HashMap::new();
        let mut hooks: HashMap<_, Vec<(&Exec, &ProcessHistory)>> = HashMap::new();
        for past in journal.processes.values() {
            children.entry(past.parent).or_default().push(past);
            let cgroups: HashSet<_> = past.execs.iter().map(|exec| exec.cgroup).collect();
            for cgroup in cgroups {
                if let Some(exec) = past.exec_in(cgroup) {
                    let of = match journal.is_hook(past, exec) {
                        true => &mut hooks,
                        false => &mut executed,
                    };
                    of.entry(cgroup).or_default().push((exec, past));
                }
            }
        }
        for list in children.values_mut() {
            list.sort_unstable_by_key(|past| past.id);
        }
        for list in executed.values_mut().chain(hooks.values_mut()) {
            list.sort_by_key(|(exec, past)| (exec.time, past.id));
        }
        Self {
            journal,
            children,
            executed,
            hooks,
        }
    }

    /// The timeline of a pod so far; `None` for an unknown pod.
    pub(crate) fn timeline(&self, pod: &PodId) -> Option<Timeline> {
        let known = self.journal.pods.get(pod)?;
        Some(Builder::new(self, pod).build(known))
    }
}

/// The attribution of a runtime's process to the pod.
#[derive(Clone)]
pub(super) struct Owned {
    pub(super) container: Option<ContainerId>,
    pub(super) evidence: Evidence,
}

pub(super) struct Builder<'a> {
    pub(super) journal: &'a Journal,
    pub(super) pod: PodId,
    pub(super) children: &'a HashMap<ProcessId, Vec<&'a ProcessHistory>>,
    /// The processes that executed in each cgroup, in the order of their first exec there.
    pub(super) executed: &'a HashMap<CgroupId, Vec<(&'a Exec, &'a ProcessHistory)>>,
    /// The OCI hooks that executed in each cgroup.
    pub(super) hooks: &'a HashMap<CgroupId, Vec<(&'a Exec, &'a ProcessHistory)>>,
    pub(super) containers: Vec<&'a ContainerFact>,
    /// The namespaces of the sandbox, which the pod's containers are to share.
    pub(super) shared: Option<Namespaces>,
    /// The node's namespaces from the view of the sandbox.
    pub(super) host: Namespaces,
    /// The runtime's processes that are attributed to the pod.
    pub(super) owned: HashMap<ProcessId, Owned>,
    pub(super) elements: Vec<Element>,
}

impl<'a> Builder<'a> {
    fn new(index: &'a Index<'a>, pod: &PodId) -> Self {
        let Index {
            journal,
            children,
            executed,
            hooks,
        } = index;
        let mut containers: Vec<_> = journal
            .containers
            .values()
            .filter(|container| container.fact.pod == *pod)
            .collect();
        let first = |cgroup| executed.get(&cgroup)?.first().map(|(exec, _)| exec.time);
        containers.sort_by_key(|container| {
            let fact = &container.fact;
            (
                first(fact.cgroup).unwrap_or(container.declared),
                fact.container.clone(),
            )
        });
        let pinned = containers.iter().find_map(|container| container.pinned);
        let sandbox = containers
            .iter()
            .rev()
            .find(|one| one.fact.what == ContainerKind::Sandbox);
        let pause = sandbox.and_then(|one| executed.get(&one.fact.cgroup)?.first());
        let shared = pause
            .map(|(exec, _)| exec.namespaces)
            .or(sandbox.and_then(|one| one.namespaces))
            .or(pinned);
        let host = sandbox
            .and_then(|one| one.host)
            .or_else(|| containers.iter().find_map(|one| one.host))
            .unwrap_or(journal.host);
        let containers = containers
            .into_iter()
            .map(|container| &container.fact)
            .collect();
        Self {
            journal,
            pod: pod.clone(),
            children,
            executed,
            hooks,
            containers,
            shared,
            host,
            owned: HashMap::new(),
            elements: Vec::new(),
        }
    }

    fn build(mut self, known: &Pod) -> Timeline {
        let containers = self.containers.clone();
        for container in &containers {
            self.container(container);
        }
        self.asked();
        self.programs();
        self.network();
        self.signals();
        self.listeners();
        if let Some((time, address)) = &known.network_ready {
            let what = ElementKind::NetworkReady {
                address: address.clone(),
            };
            self.moment(*time, what, None, None, Evidence::Named);
        }
        if let Some(time) = known.removed {
            self.moment(time, ElementKind::Removed, None, None, Evidence::Named);
        }
        let up = self.up();
        // For a sandbox without a pause, the start was observed if that of one of its containers
        // was.
        let is_whole = containers
            .iter()
            .any(|one| one.what == ContainerKind::Sandbox && self.init(one).is_some())
            || containers
                .iter()
                .all(|one| one.cgroup == 0 || one.what != ContainerKind::Sandbox)
                && up.is_some()
            || containers
                .iter()
                .any(|one| self.journal.containers[&one.container].pinned.is_some())
                && up.is_some();
        // Nothing of a pod whose network fails ever runs.
        let is_whole = is_whole
            || containers.is_empty()
                && self.elements.iter().any(|element| {
                    let is_asked = |asked: &(CniCommand, _)| asked.0 == CniCommand::Add;
                    matches!(&element.what, ElementKind::Plugin { asked, .. } if asked.as_ref().is_some_and(is_asked))
                });
        let mut elements = std::mem::take(&mut self.elements);
        elements.sort_by_key(|element| {
            (
                element.time,
                std::cmp::Reverse(element.end().unwrap_or(Ktime::MAX)),
            )
        });
        let listens = |element: &&Element| matches!(element.what, ElementKind::Listens { .. });
        let first_listen = elements.iter().find(listens).map(|first| first.time);
        let began = elements
            .first()
            .map(|first| first.time)
            .filter(|_| is_whole);
        let (unassigned, more_unassigned) = match began {
            Some(began) => self.unassigned(began, up.unwrap_or(self.journal.now)),
            None => (Vec::new(), 0),
        };
        let since = began.unwrap_or(0);
        let mut lost: Vec<_> = self
            .journal
            .lost
            .iter()
            .filter(|(_, (_, last))| *last >= since)
            .collect();
        lost.sort_by_key(|(kind, _)| **kind as u32);
        Timeline {
            pod: self.pod.clone(),
            namespace: known.namespace.clone(),
            name: known.name.clone(),
            began,
            up,
            removed: known.removed,
            first_listen,
            sees_listeners: !self.journal.misses_listeners,
            now: self.journal.now,
            elements,
            unassigned,
            more_unassigned,
            containers: containers
                .iter()
                .map(|one| Lane {
                    id: one.container.clone(),
                    name: one.name.clone(),
                    kind: one.what,
                })
                .collect(),
            lost: lost
                .into_iter()
                .map(|(kind, (count, _))| (*kind, *count))
                .collect(),
            is_cut: self.journal.forgot.is_some_and(|forgot| forgot >= since),
        }
    }

    /// The first process that executed in a container, and its exec.
    fn init(&self, container: &ContainerFact) -> Option<(&'a Exec, &'a ProcessHistory)> {
        self.executed.get(&container.cgroup)?.first().copied()
    }

    /// When the last container first executed; `None` while a known container has not. Restarts do
    /// not count.
    fn up(&self) -> Option<Ktime> {
        let mut names = HashSet::new();
        let counted =
            |one: &&&ContainerFact| matches!(one.what, ContainerKind::Init | ContainerKind::App);
        let first = self
            .containers
            .iter()
            .filter(counted)
            .filter(|one| names.insert(one.name.clone()));
        let execs: Option<Vec<Ktime>> = first.map(|one| Some(self.init(one)?.0.time)).collect();
        execs?.into_iter().max()
    }

    fn listeners(&mut self) {
        let journal = self.journal;
        for fact in self.containers.clone() {
            let listeners = &journal.containers[&fact.container].listeners;
            let first = listeners.iter().map(|listener| listener.since).min();
            for listener in listeners {
                let what = ElementKind::Listens {
                    address: listener.address,
                    port: (listener.port != 0).then_some(listener.port),
                    is_first: first == Some(listener.since),
                };
                self.elements.push(Element {
                    time: listener.since,
                    extent: Extent::Moment,
                    what,
                    container: Some(fact.container.clone()),
                    process: Some(ProcessRef {
                        id: listener.process,
                        ns_pid: listener.ns_pid,
                        comm: listener.comm,
                    }),
                    thread: None,
                    status: None,
                    evidence: Evidence::Cgroup(listener.cgroup),
                });
            }
        }
    }

    fn signals(&mut self) {
        let container_of_target = |signal: &Signal| {
            let container = self.journal.container_at(signal.cgroup)?;
            self.containers
                .iter()
                .any(|one| one.container == *container)
                .then_some(container)
        };
        let all: Vec<_> = self
            .journal
            .signals
            .iter()
            .filter_map(|(time, signal)| {
                Some((*time, *signal, container_of_target(signal)?.clone()))
            })
            .collect();
        let latest = all.len().saturating_sub(MAX_SIGNALS);
        for (time, signal, container) in all.into_iter().skip(latest) {
            let from = ProcessRef {
                id: signal.sender,
                ns_pid: 0,
                comm: signal.sender_comm,
            };
            let from = signal.is_from_process().then_some(from);
            let what = ElementKind::Signal {
                signal: signal.signal,
                from,
                result: signal.result,
            };
            let target = ProcessRef {
                id: signal.target,
                ns_pid: 0,
                comm: signal.target_comm,
            };
            self.elements.push(Element {
                time,
                extent: Extent::Moment,
                what,
                container: Some(container),
                process: Some(target),
                thread: None,
                status: None,
                evidence: Evidence::Cgroup(signal.cgroup),
            });
        }
    }

    pub(super) fn span(
        &mut self,
        time: Ktime,
        end: Option<Ktime>,
        what: ElementKind,
        container: Option<ContainerId>,
        past: &ProcessHistory,
        evidence: Evidence,
    ) {
        let extent = end.map_or(Extent::Open, Extent::Until);
        let is_process = what.ends_with_process();
        let status = past.ended.filter(|_| is_process).map(|(_, status)| status);
        let process = Some(reference(past));
        self.elements.push(Element {
            time,
            extent,
            what,
            container,
            process,
            thread: None,
            status,
            evidence,
        });
    }

    pub(super) fn moment(
        &mut self,
        time: Ktime,
        what: ElementKind,
        container: Option<ContainerId>,
        past: Option<&ProcessHistory>,
        evidence: Evidence,
    ) {
        let process = past.map(reference);
        self.elements.push(Element {
            time,
            extent: Extent::Moment,
            what,
            container,
            process,
            thread: None,
            status: None,
            evidence,
        });
    }
}

pub(super) fn reference(past: &ProcessHistory) -> ProcessRef {
    ProcessRef {
        id: past.id,
        ns_pid: past.ns_pid,
        comm: past.comm,
    }
}
