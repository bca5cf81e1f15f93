//! The node's pods at one time, combined from a survey and the descriptions of containers. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::described::Described;
use crate::{
    event::{
        ContainerFact, ContainerId, ContainerKind, Grace, Mode, NamespaceKind, PauseStatus, PodId,
        Text,
    },
    node::{
        network::Network,
        ports::Port,
        survey::{
            Container, Group, Survey,
            process::{Link, Process},
        },
    },
    stop_outlook::StopOutlook,
};

/// A pod.
#[derive(Clone, Debug)]
pub(crate) struct PodView {
    pub(crate) id: PodId,
    /// `None` if neither a bundle nor a runtime describes the pod.
    pub(crate) namespace: Option<Text>,
    pub(crate) name: Option<Text>,
    /// Sorted by start time, sandboxes first.
    pub(crate) containers: Vec<ContainerView>,
    /// Its network namespaces by inode number, except for the host's and those that could not be
    /// read.
    pub(crate) networks: BTreeMap<u32, Network>,
}

/// A container or sandbox.
#[derive(Clone, Debug)]
pub(crate) struct ContainerView {
    pub(crate) id: ContainerId,
    pub(crate) name: Option<Text>,
    /// Its own id, for a sandbox.
    pub(crate) sandbox: Option<ContainerId>,
    /// The request, if CRI or a bundle described it.
    pub(crate) asked: Option<ContainerFact>,
    /// The pid of its entrypoint, which is the pause in a sandbox. If its runtime did not report
    /// it, the oldest process.
    pub(crate) first: Option<u32>,
    /// Sorted by pid.
    pub(crate) processes: Vec<Process>,
    /// Whether it has more processes or cgroups than were read.
    pub(crate) is_cut: bool,
    /// The entrypoint's namespaces, in the order of [`NamespaceKind::ALL`]; empty without an
    /// entrypoint.
    pub(crate) namespaces: Vec<Compared>,
    /// The host's namespaces as its runtime has them, in the order of [`NamespaceKind::ALL`].
    pub(crate) host: [Link; NamespaceKind::ALL.len()],
    /// Its cgroup, if that still exists.
    pub(crate) group: Option<Group>,
    /// The memory that its cgroup is charged with, in bytes.
    pub(crate) memory: Option<u64>,
    /// The status of the pause, for a sandbox.
    pub(crate) status: Option<PauseStatus>,
    /// What its stop signal would do to its entrypoint; `None` without a living one.
    pub(crate) stop: Option<StopOutlook>,
    /// How long its runtime waits between the stop signal and SIGKILL, if that is known.
    pub(crate) grace: Option<Grace>,
    /// The ports that its processes listen on or are bound to, sorted.
    pub(crate) ports: Vec<Port>,
}

/// A namespace of a container, compared with those of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    pub(crate) kind: NamespaceKind,
    pub(crate) link: Link,
    pub(crate) whose: NamespaceOwner,
    /// The requested mode.
    pub(crate) asked: Mode,
    /// Whether the namespace matches the request; `None` if unknown.
    pub(crate) fits: Option<bool>,
}

/// The owner of a namespace, relative to a container in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamespaceOwner {
    /// The pause of its sandbox.
    Pause,
    /// The container itself: no older container is in it.
    Own,
    Host,
    /// An older container.
    Other(ContainerId),
    Unknown,
}

impl NamespaceOwner {
    /// The owner in one word.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Pause => "same",
            Self::Own => "own",
            Self::Host => "host",
            Self::Other(_) => "other",
            Self::Unknown => "unknown",
        }
    }
}

/// A sandbox and its containers. A pod has several while an old sandbox has not been removed.
#[derive(Clone, Debug)]
pub(crate) struct SandboxView<'a> {
    /// `None` if its pause has ended, or its runtime runs none.
    pub(crate) sandbox: Option<&'a ContainerView>,
    pub(crate) members: Vec<&'a ContainerView>,
}

impl PodView {
    /// Its sandboxes, the newest last. Containers without a known sandbox follow in an entry of
    /// their own.
    pub(crate) fn sandboxes(&self) -> Vec<SandboxView<'_>> {
        let mut sandboxes: Vec<_> = self
            .containers
            .iter()
            .filter(|container| container.is_sandbox())
            .map(|sandbox| SandboxView {
                sandbox: Some(sandbox),
                members: Vec::new(),
            })
            .collect();
        let mut orphans = Vec::new();
        for member in self.containers.iter().filter(|one| !one.is_sandbox()) {
            let its = sandboxes.iter_mut().find(|found| {
                let id = found.sandbox.map(|sandbox| &sandbox.id);
                id.is_some() && id == member.sandbox.as_ref()
            });
            match its {
                Some(its) => its.members.push(member),
                None => orphans.push(member),
            }
        }
        if !orphans.is_empty() {
            sandboxes.push(SandboxView {
                sandbox: None,
                members: orphans,
            });
        }
        sandboxes
    }

    /// The host's namespaces as its runtime has them, in the order of [`NamespaceKind::ALL`].
    pub(crate) fn host(&self) -> [Link; NamespaceKind::ALL.len()] {
        let first = self.containers.first();
        first.map_or([Link::Unknown; NamespaceKind::ALL.len()], |container| {
            container.host
        })
    }

    /// `default/web`, or the uid of a pod whose name is unknown.
    pub(crate) fn title(&self) -> String {
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            _ => format!("pod {}", Text::new(&self.id)),
        }
    }
}

impl SandboxView<'_> {
    /// The number of running processes in its containers, without the pause.
    pub(crate) fn members(&self) -> usize {
        let processes = self.members.iter().flat_map(|member| &member.processes);
        processes.filter(|process| !process.is_zombie()).count()
    }

    /// The containers whose stop will take the whole grace period.
    pub(crate) fn slow_stops(&self) -> impl Iterator<Item = &ContainerView> {
        let members = self.members.iter().copied();
        members.filter(|member| member.slow_stop().is_some())
    }

    /// The number of zombies.
    pub(crate) fn zombies(&self) -> usize {
        let containers = self.members.iter().copied().chain(self.sandbox);
        let processes = containers.flat_map(|container| &container.processes);
        processes.filter(|process| process.is_zombie()).count()
    }

    /// The memory that its cgroups are charged with, in bytes, as far as known.
    pub(crate) fn memory(&self) -> Option<u64> {
        let containers = self.members.iter().copied().chain(self.sandbox);
        containers
            .filter_map(|container| container.memory)
            .reduce(u64::saturating_add)
    }
}

impl ContainerView {
    /// Why a stop of the container will take its whole grace period, a sentence.
    pub(crate) fn slow_stop(&self) -> Option<String> {
        let entry = self.entrypoint()?;
        let signal = self.asked.as_ref()?.stop_signal;
        self.stop?
            .warning(&self.title(), entry.comm, entry.pid, signal)
    }

    pub(crate) fn is_sandbox(&self) -> bool {
        self.sandbox.as_ref() == Some(&self.id)
    }

    /// The entrypoint; for a sandbox, the pause.
    pub(crate) fn entrypoint(&self) -> Option<&Process> {
        let first = self.first?;
        self.processes.iter().find(|process| process.pid == first)
    }

    pub(crate) fn kind(&self) -> Option<ContainerKind> {
        let asked = self.asked.as_ref().map(|asked| asked.what);
        asked.or(self.is_sandbox().then_some(ContainerKind::Sandbox))
    }

    /// `app`, or the first 12 digits of the id if the name is unknown.
    pub(crate) fn title(&self) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => self.id.get(..12).unwrap_or(&self.id).to_owned(),
        }
    }

    /// The inode number of a namespace of its entrypoint.
    pub(crate) fn inode(&self, kind: NamespaceKind) -> Option<u32> {
        let found = self.namespaces.iter().find(|found| found.kind == kind)?;
        match found.link {
            Link::Inode(inode) => Some(inode),
            Link::Gone | Link::Unknown => None,
        }
    }

    /// Whether its entrypoint is in the host's namespace of this kind.
    pub(crate) fn is_in_hosts(&self, kind: NamespaceKind) -> bool {
        let mut namespaces = self.namespaces.iter();
        namespaces.any(|found| found.kind == kind && found.whose == NamespaceOwner::Host)
    }

    /// Its processes as a tree, each with its depth. The roots are processes whose parent is
    /// outside the container.
    pub(crate) fn tree(&self) -> Vec<(usize, &Process)> {
        let mut children: HashMap<u32, Vec<&Process>> = HashMap::new();
        let pids: HashSet<u32> = self.processes.iter().map(|process| process.pid).collect();
        let is_root = |process: &&Process| !pids.contains(&process.parent);
        for process in &self.processes {
            children.entry(process.parent).or_default().push(process);
        }
        let mut found = Vec::with_capacity(self.processes.len());
        let mut visited = HashSet::new();
        // If a pid is reused during the survey, two processes can each appear as the child of the
        // other. Processes that descend from no root come last.
        for start in self.processes.iter().filter(is_root).chain(&self.processes) {
            let mut left = vec![(0, start)];
            while let Some((depth, process)) = left.pop() {
                if visited.insert(process.pid) {
                    found.push((depth, process));
                    let below = children.get(&process.pid).into_iter().flatten().rev();
                    left.extend(below.map(|child| (depth + 1, *child)));
                }
            }
        }
        found
    }
}

/// Combines a survey with descriptions. `host` is a process in the host's namespaces, unless a
/// runtime shows others.
pub(super) fn views(survey: Survey, described: &Described, host: Option<&Process>) -> Vec<PodView> {
    let mut pods: BTreeMap<PodId, PodView> = BTreeMap::new();
    for container in survey.containers {
        let Some(about) = described.of(&container.identity) else {
            continue;
        };
        let pod = pods.entry(about.pod).or_insert_with_key(|id| PodView {
            id: id.clone(),
            namespace: None,
            name: None,
            containers: Vec::new(),
            networks: BTreeMap::new(),
        });
        pod.namespace = about.namespace.or(pod.namespace.take());
        pod.name = about.pod_name.or(pod.name.take());
        pod.containers.push(unconnected(
            container,
            about.name,
            about.sandbox,
            about.fact,
            about.first,
        ));
    }
    let mut pods: Vec<PodView> = pods.into_values().collect();
    let owners = Owners::new(&pods, described, host);
    for pod in &mut pods {
        for container in &mut pod.containers {
            container.namespaces = owners.compare(container);
            container.grace = described.grace_of(&container.id);
            container.host = NamespaceKind::ALL.map(|kind| owners.host(&container.id, kind));
        }
        let start = |container: &ContainerView| {
            container
                .entrypoint()
                .map_or(u64::MAX, |first| first.start_ticks)
        };
        pod.containers
            .sort_by_cached_key(|one| (!one.is_sandbox(), start(one), one.id.clone()));
    }
    pods.sort_by_cached_key(|pod| (pod.name.is_none(), pod.title(), pod.id.clone()));
    pods
}

/// A container that has not been compared with others yet.
fn unconnected(
    container: Container,
    name: Option<Text>,
    sandbox: Option<ContainerId>,
    asked: Option<ContainerFact>,
    first: Option<u32>,
) -> ContainerView {
    let oldest = oldest(&container).map(|process| process.pid);
    let processes = &container.processes;
    // The runtime may be in another pid namespace and report other pids.
    let first = first
        .filter(|first| processes.iter().any(|process| process.pid == *first))
        .or(oldest);
    ContainerView {
        id: container.identity.container,
        name,
        sandbox,
        asked,
        first,
        processes: container.processes,
        is_cut: container.is_cut,
        namespaces: Vec::new(),
        host: [Link::Unknown; NamespaceKind::ALL.len()],
        group: container.groups.into_iter().next(),
        memory: None,
        status: None,
        stop: None,
        grace: None,
        ports: Vec::new(),
    }
}

/// The oldest running process of a container, otherwise its oldest zombie.
pub(super) fn oldest(container: &Container) -> Option<&Process> {
    let processes = container.processes.iter();
    processes.min_by_key(|process| (process.is_zombie(), process.start_ticks, process.pid))
}

/// The namespaces of all containers' entrypoints.
struct Owners<'a> {
    described: &'a Described,
    host: Option<Process>,
    /// The start time and container of the oldest entrypoint in each namespace.
    oldest: HashMap<(NamespaceKind, u32), (u64, ContainerId)>,
    links: HashMap<ContainerId, Process>,
}

impl<'a> Owners<'a> {
    fn new(pods: &[PodView], described: &'a Described, host: Option<&Process>) -> Self {
        let mut owners = Self {
            described,
            host: host.cloned(),
            oldest: HashMap::new(),
            links: HashMap::new(),
        };
        for container in pods.iter().flat_map(|pod| &pod.containers) {
            let Some(process) = container.entrypoint() else {
                continue;
            };
            owners.links.insert(container.id.clone(), process.clone());
            for kind in NamespaceKind::ALL {
                if let Link::Inode(inode) = process.namespace(kind) {
                    let own = (process.start_ticks, container.id.clone());
                    let oldest = owners.oldest.entry((kind, inode)).or_insert(own.clone());
                    if own < *oldest {
                        *oldest = own;
                    }
                }
            }
        }
        owners
    }

    fn compare(&self, container: &ContainerView) -> Vec<Compared> {
        let Some(process) = container.entrypoint() else {
            return Vec::new();
        };
        let compare = |kind| {
            let link = process.namespace(kind);
            let whose = self.whose(container, kind, link);
            let asked = container.asked.as_ref();
            let asked = match kind {
                // Kubernetes does not specify it: the defaults for cgroup v1 and v2 differ.
                NamespaceKind::Cgroup => Mode::Unknown,
                _ => asked.map_or(Mode::Unknown, |asked| asked.modes.get(kind).clone()),
            };
            Compared {
                fits: self.fits(container, kind, link, &whose, &asked),
                kind,
                link,
                whose,
                asked,
            }
        };
        NamespaceKind::ALL.map(compare).into()
    }

    fn whose(&self, container: &ContainerView, kind: NamespaceKind, link: Link) -> NamespaceOwner {
        let Link::Inode(inode) = link else {
            return NamespaceOwner::Unknown;
        };
        let host = self.host(&container.id, kind);
        if host == Link::Unknown {
            return NamespaceOwner::Unknown;
        }
        if host == link {
            return NamespaceOwner::Host;
        }
        if !container.is_sandbox() && self.pauses(container, kind) == Some(link) {
            return NamespaceOwner::Pause;
        }
        match self.oldest.get(&(kind, inode)) {
            Some((_, owner)) if *owner != container.id => NamespaceOwner::Other(owner.clone()),
            _ => NamespaceOwner::Own,
        }
    }

    /// The host's namespace as the runtime of a container has it, otherwise as this process has it.
    fn host(&self, container: &ContainerId, kind: NamespaceKind) -> Link {
        let own = self.host.as_ref();
        let own = own.map_or(Link::Unknown, |host| host.namespace(kind));
        let runtimes = self.described.host_of(container, kind);
        runtimes.map_or(own, Link::Inode)
    }

    /// The namespace of the pause of a container's sandbox, or the one that a file pins if there is
    /// no pause.
    fn pauses(&self, container: &ContainerView, kind: NamespaceKind) -> Option<Link> {
        let sandbox = container.sandbox.as_ref()?;
        if let Some(pause) = self.links.get(sandbox) {
            return Some(pause.namespace(kind));
        }
        let inode = self.described.pins(sandbox)?.get(kind);
        (inode != 0).then_some(Link::Inode(inode))
    }

    fn fits(
        &self,
        container: &ContainerView,
        kind: NamespaceKind,
        link: Link,
        whose: &NamespaceOwner,
        asked: &Mode,
    ) -> Option<bool> {
        if *whose == NamespaceOwner::Unknown {
            return None;
        }
        match asked {
            Mode::Node => Some(*whose == NamespaceOwner::Host),
            Mode::Container => Some(*whose == NamespaceOwner::Own),
            Mode::Pod if container.is_sandbox() => Some(*whose == NamespaceOwner::Own),
            Mode::Pod => {
                self.pauses(container, kind)
                    .filter(|pauses| matches!(pauses, Link::Inode(_)))?;
                Some(*whose == NamespaceOwner::Pause)
            }
            Mode::Target(id) => match self.links.get(id)?.namespace(kind) {
                Link::Inode(target) => Some(link == Link::Inode(target)),
                Link::Gone | Link::Unknown => None,
            },
            Mode::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests;
