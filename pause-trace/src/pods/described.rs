//! Collects what bundles and runtimes say about existing containers, for lookup by container. Pure.

use std::collections::HashMap;

use super::{read::Pinned, roster::Roster, runs};
use crate::{
    event::{
        CgroupId, ContainerFact, ContainerId, ContainerKind, Fact, Grace, NamespaceKind,
        Namespaces, PodFact, PodId, Text,
    },
    node::{
        bundle::{Bundle, Kind, PodNames},
        cri::Known,
        identity::Identity,
    },
};

/// All descriptions.
#[derive(Debug, Default)]
pub(super) struct Described {
    roster: Roster,
    pods: HashMap<PodId, PodFact>,
    containers: HashMap<ContainerId, Entry>,
    /// Namespaces of sandboxes that have no pause.
    pinned: HashMap<ContainerId, Namespaces>,
    /// The host's namespaces as the runtime of a container has them.
    hosts: HashMap<ContainerId, Namespaces>,
    /// From the bundles of containers, for those whose sandbox is not known.
    outlines: HashMap<ContainerId, Outline>,
    /// The grace periods of runs of containers.
    graces: HashMap<ContainerId, Grace>,
}

#[derive(Debug)]
struct Entry {
    fact: ContainerFact,
    sandbox: ContainerId,
    /// The pid of its first process, from its runtime.
    first: Option<u32>,
}

#[derive(Debug)]
struct Outline {
    pod: PodNames,
    name: Option<Text>,
    sandbox: Option<ContainerId>,
}

/// The description of a container. Only its pod is always known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Description {
    pub(super) pod: PodId,
    pub(super) namespace: Option<Text>,
    pub(super) pod_name: Option<Text>,
    pub(super) name: Option<Text>,
    pub(super) sandbox: Option<ContainerId>,
    pub(super) fact: Option<ContainerFact>,
    pub(super) first: Option<u32>,
}

impl Described {
    /// Adds a container's bundle. `who` is as in [`Roster::bundle`].
    pub(super) fn bundle(
        &mut self,
        cgroup: CgroupId,
        identity: &Identity,
        bundle: Bundle,
        who: impl Fn(u32) -> Option<Option<ContainerId>>,
    ) {
        let id = identity.container.clone();
        if matches!(bundle.kind, Some(Kind::Sandbox | Kind::Container)) {
            let outline = Outline {
                pod: bundle.pod.clone(),
                name: bundle.name.clone(),
                sandbox: bundle.sandbox.clone(),
            };
            self.outlines.insert(id, outline);
        }
        for fact in self.roster.bundle(cgroup, identity, bundle, who) {
            self.take(fact);
        }
    }

    /// Adds the sandbox of a container if files pin its namespaces and it has no pause.
    pub(super) fn pinned(&mut self, identity: &Identity, pinned: Pinned) {
        let Pinned {
            sandbox,
            bundle,
            namespaces,
        } = pinned;
        if self.pinned.insert(sandbox.clone(), namespaces).is_none() {
            let uid = identity.pod.as_ref().map(|(uid, _)| uid.clone());
            // It has no cgroup of its own, so the cgroup is 0.
            for fact in self.roster.pinned(0, &sandbox, uid, bundle, namespaces) {
                self.take(fact);
            }
        }
    }

    /// Adds the host's namespaces as the runtime of a container has them. This process may have
    /// others.
    pub(super) fn host(&mut self, container: &ContainerId, namespaces: Namespaces) {
        self.hosts.insert(container.clone(), namespaces);
    }

    /// The inode number of the host's namespace, if the runtime of a container shows it. It says so
    /// of those kinds that [`State::host_of`](crate::state::State::host_of) takes from a runtime.
    pub(super) fn host_of(&self, container: &ContainerId, kind: NamespaceKind) -> Option<u32> {
        let is_runtimes = matches!(
            kind,
            NamespaceKind::Net | NamespaceKind::Ipc | NamespaceKind::Uts
        );
        let inode = self.hosts.get(container)?.get(kind);
        (is_runtimes && inode != 0).then_some(inode)
    }

    /// The grace period of a container.
    pub(super) fn grace_of(&self, container: &ContainerId) -> Option<Grace> {
        self.graces.get(&self.roster.run_of(container)).copied()
    }

    /// The namespaces of a sandbox that has no pause.
    pub(super) fn pins(&self, sandbox: &ContainerId) -> Option<&Namespaces> {
        self.pinned.get(sandbox)
    }

    /// Adds a runtime's answer about a container. For a sandbox without a pause, this is the only
    /// source of its pod.
    pub(super) fn answered(&mut self, cgroup: CgroupId, id: &ContainerId, known: Known) {
        let Known {
            sandbox,
            container,
            pid,
            ..
        } = known.clone();
        let first = pid.or(sandbox.pid.filter(|_| container.is_none()));
        for fact in self.roster.asked(cgroup, id, known) {
            self.take(fact);
        }
        let id = &self.roster.run_of(id);
        self.pods
            .entry(sandbox.pod.pod.clone())
            .or_insert(sandbox.pod);
        if let Some(fact) = container.or(sandbox.pause) {
            let entry = self.containers.entry(id.clone()).or_insert(Entry {
                fact,
                sandbox: sandbox.id,
                first: None,
            });
            entry.first = first;
        }
    }

    fn take(&mut self, fact: Fact) {
        match fact {
            Fact::Pod(fact) => drop(self.pods.insert(fact.pod.clone(), fact)),
            Fact::Container(fact) => {
                let id = fact.container.clone();
                let sandbox = match fact.what {
                    ContainerKind::Sandbox => id.clone(),
                    _ => self.roster.sandbox_of(&id).unwrap_or(&id).clone(),
                };
                let first = self.containers.get(&id).and_then(|before| before.first);
                let entry = Entry {
                    fact,
                    sandbox,
                    first,
                };
                self.containers.insert(id, entry);
            }
            Fact::GracePeriod { container, grace } => drop(self.graces.insert(container, grace)),
            _ => {}
        }
    }

    /// The description of a container; `None` if it is in no pod.
    pub(super) fn of(&self, identity: &Identity) -> Option<Description> {
        let id = &identity.container;
        if let Some(Entry {
            fact,
            sandbox,
            first,
        }) = self.containers.get(&self.roster.run_of(id))
        {
            let pod = self.pods.get(&fact.pod);
            return Some(Description {
                pod: fact.pod.clone(),
                namespace: pod.map(|pod| pod.namespace.clone()),
                pod_name: pod.map(|pod| pod.name.clone()),
                name: Some(fact.name.clone()),
                sandbox: self.existing(sandbox),
                fact: Some(fact.clone()),
                first: *first,
            });
        }
        let outline = self.outlines.get(id);
        let uid = identity.pod.as_ref().map(|(uid, _)| uid.clone());
        let pod = uid.or_else(|| {
            let outline = outline?;
            outline.pod.uid.clone().or_else(|| outline.sandbox.clone())
        })?;
        let described = self.pods.get(&pod);
        let named = |from: fn(&PodNames) -> &Option<Text>, declared: fn(&PodFact) -> &Text| {
            let outlined = outline.and_then(|outline| from(&outline.pod).clone());
            outlined.or_else(|| described.map(|pod| declared(pod).clone()))
        };
        Some(Description {
            namespace: named(|names| &names.namespace, |pod| &pod.namespace),
            pod_name: named(|names| &names.name, |pod| &pod.name),
            name: outline.and_then(|outline| outline.name.clone()),
            sandbox: outline.and_then(|outline| outline.sandbox.clone()),
            fact: None,
            first: None,
            pod,
        })
    }

    /// The id of the container with this run, unless the run has ended and the container was
    /// started again.
    fn existing(&self, run: &ContainerId) -> Option<ContainerId> {
        let container = ContainerId::from(runs::container(run));
        (self.roster.run_of(&container) == *run).then_some(container)
    }
}
