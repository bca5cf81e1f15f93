//! Reads one pod out of the journal.
//!
//! A container's entrypoint is known by its cgroup. Its ancestors up to the daemon made it; what else descends from those that
//! are still there then, a shim or a monitor, is the pod's as well. The network's part is in `network.rs`.

use std::collections::{HashMap, HashSet};

use super::{
    journal::{Call, Exec, Journal, Pod, ProcessHistory},
    model::{Element, Evidence, Extent, Lane, Making, Timeline, What, Whose},
};
use crate::{
    event::{
        CgroupId, Comm, ContainerFact, ContainerId, ContainerKind, Ktime, NamespaceCall,
        NamespaceKind, Namespaces, PodId, ProcessId, Signal,
    },
    runtimes,
    verdict::ProcessRef,
};

/// Most generations between a daemon and an entrypoint.
const MOST_ANCESTORS: usize = 32;
/// Most signals that are told of a pod, the latest.
const MOST_SIGNALS: usize = 64;

impl Timeline {
    /// A pod's timeline as far as it is known; `None` for a pod that is not.
    pub fn of(journal: &Journal, pod: &PodId) -> Option<Self> {
        let known = journal.pods.get(pod)?;
        Some(Builder::new(journal, pod).build(known))
    }
}

/// A process of the runtime that worked for the pod.
#[derive(Clone)]
pub(super) struct Owned {
    container: Option<ContainerId>,
    evidence: Evidence,
}

pub(super) struct Builder<'a> {
    pub(super) journal: &'a Journal,
    pub(super) children: HashMap<ProcessId, Vec<&'a ProcessHistory>>,
    /// By cgroup: who executed there, in that order.
    executed: HashMap<CgroupId, Vec<(&'a Exec, &'a ProcessHistory)>>,
    containers: Vec<&'a ContainerFact>,
    /// The namespaces that the pod's containers are to share.
    pub(super) shared: Option<Namespaces>,
    /// The runtime's processes that are known to be the pod's.
    pub(super) owned: HashMap<ProcessId, Owned>,
    pub(super) elements: Vec<Element>,
}

impl<'a> Builder<'a> {
    fn new(journal: &'a Journal, pod: &PodId) -> Self {
        let mut children: HashMap<_, Vec<&ProcessHistory>> = HashMap::new();
        let mut executed: HashMap<_, Vec<(&Exec, &ProcessHistory)>> = HashMap::new();
        for past in journal.processes.values() {
            children.entry(past.parent).or_default().push(past);
            let cgroups: HashSet<_> = past.execs.iter().map(|exec| exec.cgroup).collect();
            for cgroup in cgroups {
                if let Some(exec) = past.exec_in(cgroup) {
                    executed.entry(cgroup).or_default().push((exec, past));
                }
            }
        }
        for list in children.values_mut() {
            list.sort_unstable_by_key(|past| past.id);
        }
        for list in executed.values_mut() {
            list.sort_by_key(|(exec, past)| (exec.time, past.id));
        }
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
        let shared = pause.map(|(exec, _)| exec.namespaces).or(pinned);
        let containers = containers
            .into_iter()
            .map(|container| &container.fact)
            .collect();
        Self {
            journal,
            children,
            executed,
            containers,
            shared,
            owned: HashMap::new(),
            elements: Vec::new(),
        }
    }

    fn build(mut self, known: &Pod) -> Timeline {
        let containers = self.containers.clone();
        for container in &containers {
            self.container(container);
        }
        self.programs();
        self.network();
        self.signals();
        if let Some((time, address)) = &known.network_ready {
            let what = What::NetworkReady {
                address: address.clone(),
            };
            self.moment(*time, what, None, None, Evidence::Named);
        }
        if let Some(time) = known.removed {
            self.moment(time, What::Removed, None, None, Evidence::Named);
        }
        let up = self.up();
        // A sandbox without a pause is seen to begin when one of its containers is.
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
        let mut elements = std::mem::take(&mut self.elements);
        elements.sort_by_key(|element| {
            (
                element.time,
                std::cmp::Reverse(element.end().unwrap_or(Ktime::MAX)),
            )
        });
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
            pod: containers
                .first()
                .map_or_else(|| "".into(), |one| one.pod.clone()),
            namespace: known.namespace.clone(),
            name: known.name.clone(),
            began,
            up,
            removed: known.removed,
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

    /// Who executed first in a container.
    fn init(&self, container: &ContainerFact) -> Option<(&'a Exec, &'a ProcessHistory)> {
        self.executed.get(&container.cgroup)?.first().copied()
    }

    /// When the last container's first instance executed; `None` while one that is known has not.
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

    fn container(&mut self, container: &ContainerFact) {
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
                    What::Create,
                    id.clone(),
                    init,
                    within.clone(),
                );
            }
            self.own(init, id.clone(), within.clone());
            let run = What::Run {
                file: exec.file.clone(),
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
            let session = What::Session {
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
                What::CgroupEntered,
                id.clone(),
                Some(past),
                within.clone(),
            );
        }
        if let Some(made) = self.journal.cgroups.get(&cgroup) {
            let path = made.path.clone();
            self.moment(
                made.made,
                What::CgroupMade { path },
                id.clone(),
                None,
                within.clone(),
            );
            if let Some(removed) = made.removed {
                self.moment(removed, What::CgroupRemoved, id, None, within);
            }
        }
    }

    fn ended(
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
            What::Exited { status },
            container.clone(),
            Some(past),
            evidence.clone(),
        );
        if let Some(reaped) = past.reaped {
            let what = What::Reaped {
                after: reaped.saturating_sub(ended),
            };
            self.moment(reaped, what, container, Some(past), evidence.clone());
        }
    }

    /// Takes an entrypoint's ancestors for the pod's, with all that descends from them. Gives those that were there for this
    /// container alone, the nearest first: they have ended when it executes, or executed it themselves.
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
        for _ in 0..MOST_ANCESTORS {
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

    /// What descends from one of the pod's own.
    fn descendants(&mut self, above: &'a ProcessHistory) {
        let mut open = vec![above];
        while let Some(past) = open.pop() {
            for child in self.children.get(&past.id).cloned().unwrap_or_default() {
                if self.is_daemon(child) {
                    continue;
                }
                let home = self.home(child);
                self.own(child, home, Evidence::DescendsFrom(above.id.pid));
                open.push(child);
            }
        }
    }

    /// The container whose cgroup a process, or one that descends from it, came into.
    fn home(&self, past: &'a ProcessHistory) -> Option<ContainerId> {
        let mut open = vec![past];
        while let Some(past) = open.pop() {
            let moved = past.moves.iter().map(|(_, cgroup)| *cgroup);
            let mut been = moved
                .chain([past.cgroup])
                .chain(past.execs.iter().map(|exec| exec.cgroup));
            if let Some(container) = been.find_map(|cgroup| self.journal.container_at(cgroup)) {
                return Some(container.clone());
            }
            open.extend(self.children.get(&past.id).into_iter().flatten());
        }
        None
    }

    fn own(&mut self, past: &ProcessHistory, container: Option<ContainerId>, evidence: Evidence) {
        self.owned.entry(past.id).or_insert(Owned {
            container,
            evidence,
        });
    }

    pub(super) fn is_daemon(&self, past: &ProcessHistory) -> bool {
        // A daemon serves all pods: what descends from it is no pod's by that alone. What a daemon has forked goes by its name until it executes.
        let is_itself = past.forked.is_none() || !past.execs.is_empty();
        let is_named = || runtimes::daemons().any(|name| Comm::new(name) == past.comm);
        self.journal.declared_runtimes.contains(&past.id) || is_itself && is_named()
    }

    /// What the runtime's processes executed, and what they did to namespaces on the way.
    fn programs(&mut self) {
        let mut owned: Vec<_> = self
            .owned
            .iter()
            .map(|(id, owned)| (*id, owned.clone()))
            .collect();
        owned.sort_unstable_by_key(|(id, _)| *id);
        for (
            id,
            Owned {
                container,
                evidence,
            },
        ) in owned
        {
            let Some(past) = self.journal.processes.get(&id) else {
                continue;
            };
            let inside = past
                .execs
                .iter()
                .find(|exec| !exec.is_again && self.journal.container_at(exec.cgroup).is_some());
            if let (None, Some(forked), Some(file)) = (inside, past.forked, past.file()) {
                let what = What::Program { file: file.clone() };
                let end = past.ended.map(|(end, _)| end);
                self.span(forked, end, what, container.clone(), past, evidence.clone());
            }
            let until = inside.map_or(Ktime::MAX, |exec| exec.time);
            self.cloned(past, &container, &evidence);
            for (index, call) in past
                .calls
                .iter()
                .enumerate()
                .filter(|(_, call)| call.time < until)
            {
                let before = before(past, index);
                for what in self.of_call(call, &before) {
                    self.moment(
                        call.time,
                        what,
                        container.clone(),
                        Some(past),
                        evidence.clone(),
                    );
                }
            }
        }
    }

    /// Namespaces that came with a fork.
    fn cloned(
        &mut self,
        past: &ProcessHistory,
        container: &Option<ContainerId>,
        evidence: &Evidence,
    ) {
        let (Some(forked), Some(parent)) = (past.forked, self.journal.processes.get(&past.parent))
        else {
            return;
        };
        let calls = parent.calls.iter().take_while(|call| call.time <= forked);
        // A thread's child has the thread's namespaces: what any of them had then is no news.
        let known: Vec<_> = calls
            .map(|call| call.after)
            .chain([parent.namespaces])
            .collect();
        let is_new = |kind: &NamespaceKind| {
            let own = past.namespaces.get(*kind);
            own != 0
                && known
                    .iter()
                    .all(|known| known.of_children(*kind) != own && known.get(*kind) != own)
        };
        let namespaces: Vec<_> = NamespaceKind::ALL.into_iter().filter(is_new).collect();
        if !namespaces.is_empty() {
            let namespaces = namespaces
                .into_iter()
                .map(|kind| (kind, past.namespaces.get(kind)))
                .collect();
            let what = What::Made {
                namespaces,
                how: Making::Clone,
            };
            self.moment(
                forked,
                what,
                container.clone(),
                Some(past),
                evidence.clone(),
            );
        }
    }

    /// What a setns or unshare did, in the order of the kinds.
    fn of_call(&self, call: &Call, before: &Namespaces) -> Vec<What> {
        let asked = |kind: &NamespaceKind| call.flags & kind.flag() != 0;
        let changed =
            |kind: &NamespaceKind| call.after.of_children(*kind) != before.of_children(*kind);
        let kinds: Vec<_> = match call.flags {
            0 => NamespaceKind::ALL.into_iter().filter(changed).collect(),
            _ => NamespaceKind::ALL.into_iter().filter(asked).collect(),
        };
        match (call.call, call.errno) {
            (NamespaceCall::Setns, 0) => kinds
                .into_iter()
                .map(|kind| {
                    let inode = call.after.of_children(kind);
                    What::Joined {
                        kind,
                        inode,
                        whose: self.whose(kind, inode),
                    }
                })
                .collect(),
            (NamespaceCall::Setns, errno) => vec![What::Refused { kinds, errno }],
            (NamespaceCall::Unshare, 0) if !kinds.is_empty() => {
                let made = |kind: NamespaceKind| (kind, call.after.of_children(kind));
                vec![What::Made {
                    namespaces: kinds.into_iter().map(made).collect(),
                    how: Making::Unshare,
                }]
            }
            (NamespaceCall::Unshare, _) => Vec::new(),
        }
    }

    fn whose(&self, kind: NamespaceKind, inode: u32) -> Whose {
        if self.journal.host.get(kind) == inode {
            Whose::Host
        } else if self.shared.is_some_and(|shared| shared.get(kind) == inode) {
            Whose::Pod
        } else {
            Whose::Other
        }
    }

    fn signals(&mut self) {
        let is_ours = |signal: &Signal| {
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
            .filter_map(|(time, signal)| Some((*time, *signal, is_ours(signal)?.clone())))
            .collect();
        let latest = all.len().saturating_sub(MOST_SIGNALS);
        for (time, signal, container) in all.into_iter().skip(latest) {
            let from = ProcessRef {
                id: signal.sender,
                ns_pid: 0,
                comm: signal.sender_comm,
            };
            let from = signal.is_from_process().then_some(from);
            let what = What::Signal {
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
                evidence: Evidence::Cgroup(signal.cgroup),
            });
        }
    }

    pub(super) fn span(
        &mut self,
        time: Ktime,
        end: Option<Ktime>,
        what: What,
        container: Option<ContainerId>,
        past: &ProcessHistory,
        evidence: Evidence,
    ) {
        let extent = end.map_or(Extent::Open, Extent::Until);
        let process = Some(reference(past));
        self.elements.push(Element {
            time,
            extent,
            what,
            container,
            process,
            evidence,
        });
    }

    pub(super) fn moment(
        &mut self,
        time: Ktime,
        what: What,
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

/// The namespaces of a call's thread before it.
fn before(past: &ProcessHistory, index: usize) -> Namespaces {
    let tid = past.calls[index].tid;
    let earlier = past.calls.iter().take(index).rev();
    earlier
        .clone()
        .find(|call| call.tid == tid)
        .map_or(past.namespaces, |call| call.after)
}
