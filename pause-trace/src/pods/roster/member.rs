//! A container of the roster, and the facts that declare it.

use super::former;
use crate::{
    event::{
        CgroupId, ContainerFact, ContainerId, ContainerKind, Grace, GraceSource, Mode, Modes,
        PodFact, PodId, Source, Text,
    },
    node::{
        bundle::{Bundle, Manager},
        intent::{self, Intent},
    },
    pods::runs,
};

/// A container with an existing cgroup and at least one description.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) container: ContainerId,
    pub(super) cgroup: CgroupId,
    /// The id of its sandbox; a sandbox has its own id here.
    pub(super) sandbox: ContainerId,
    /// Whether it is a sandbox without a pause: its cgroup is the pod's, and files pin its
    /// namespaces.
    pub(super) is_pinned: bool,
    /// Whether it is the former run of a sandbox, which ended before it was seen: it has no cgroup,
    /// and only the containers that are left in its namespaces show that it was there.
    pub(super) is_former: bool,
    /// The pid of the process whose namespaces it joined, if that is gone.
    pub(super) joined_gone: Option<u32>,
    /// The uid of its pod, from the bundle or the path of its cgroup.
    pub(super) uid: Option<PodId>,
    pub(super) bundle: Option<Bundle>,
    pub(super) intent: Option<Intent>,
    /// The answer of CRI.
    pub(super) cri: Option<(PodFact, ContainerFact)>,
    /// The grace period of CRI's answer.
    pub(super) grace: Option<Grace>,
}

impl Member {
    /// A former run of a sandbox.
    pub(super) fn former(run: &ContainerId) -> Self {
        Self {
            container: run.clone(),
            cgroup: 0,
            sandbox: run.clone(),
            is_pinned: false,
            is_former: true,
            joined_gone: None,
            uid: None,
            bundle: None,
            intent: None,
            cri: None,
            grace: None,
        }
    }

    /// Its grace period: the pod's, else that of its engine.
    pub(super) fn grace(&self) -> Option<Grace> {
        let period = self.bundle.as_ref().and_then(|bundle| bundle.stop_timeout);
        let of_engine = period.map(|period| Grace {
            period,
            source: GraceSource::Engine,
        });
        self.grace.or(of_engine)
    }

    pub(super) fn is_sandbox(&self) -> bool {
        self.sandbox == self.container
    }

    pub(super) fn short(id: &str) -> Text {
        let id = runs::container(id);
        Text::new(id.get(..12).unwrap_or(id))
    }

    /// The pod of this sandbox, and whether its pid mode is known, which a bundle does not contain.
    pub(super) fn pod_fact(&self) -> (PodFact, bool) {
        let source = self.source();
        if let Some((pod, _)) = &self.cri {
            return (pod.clone(), true);
        }
        let names = self.bundle.as_ref().map(|bundle| &bundle.pod);
        let named = |text: Option<&Text>| text.cloned();
        let knows_pids = self
            .intent
            .as_ref()
            .is_some_and(|intent| intent.pid.is_ok());
        let fact = PodFact {
            pod: self
                .uid
                .clone()
                .unwrap_or_else(|| runs::container(&self.container).into()),
            namespace: named(names.and_then(|names| names.namespace.as_ref()))
                .unwrap_or_else(|| Text::new("-")),
            name: named(names.and_then(|names| names.name.as_ref()))
                .unwrap_or_else(|| Self::short(&self.container)),
            modes: self.modes(),
            source,
        };
        (fact, knows_pids)
    }

    /// Whether CRI or the bundle says which signal stops it. Podman writes every signal but its
    /// default into the bundle; the runtimes of a kubelet do not.
    pub(super) fn knows_stop_signal(&self) -> bool {
        let is_podmans =
            |bundle: &Bundle| bundle.manager == Manager::Conmon && bundle.pod.uid.is_none();
        let says = |bundle: &Bundle| bundle.stop_signal.is_some() || is_podmans(bundle);
        self.cri.is_some() || self.bundle.as_ref().is_some_and(says)
    }

    pub(super) fn fact(&self, pod: &PodId, modes: Modes) -> ContainerFact {
        if let Some((_, fact)) = &self.cri {
            return ContainerFact {
                container: self.container.clone(),
                pod: pod.clone(),
                cgroup: self.own_cgroup(),
                sandbox: self.known_sandbox(),
                ..fact.clone()
            };
        }
        let bundle = self.bundle.as_ref();
        let name = bundle
            .and_then(|bundle| bundle.name.clone())
            .unwrap_or_else(|| match self.is_sandbox() {
                true => Text::new("pause"),
                false => Self::short(&self.container),
            });
        let what = match modes.pid {
            _ if self.is_sandbox() => ContainerKind::Sandbox,
            Mode::Target(_) => ContainerKind::Ephemeral,
            _ => ContainerKind::App,
        };
        let stop_signal = bundle.and_then(Bundle::stop_signal);
        ContainerFact {
            container: self.container.clone(),
            pod: pod.clone(),
            name,
            what,
            cgroup: self.own_cgroup(),
            modes,
            stop_signal: stop_signal.unwrap_or_default(),
            sandbox: self.known_sandbox(),
            file: None,
            source: self.source(),
        }
    }

    /// Its sandbox, unless nothing is known of it but that it is gone.
    fn known_sandbox(&self) -> Option<ContainerId> {
        let is_unknown = self.sandbox == former::nameless(&self.container);
        (!is_unknown).then(|| self.sandbox.clone())
    }

    /// The cgroup of its own processes; 0 for a sandbox without a pause.
    fn own_cgroup(&self) -> CgroupId {
        if self.is_pinned { 0 } else { self.cgroup }
    }

    fn source(&self) -> Source {
        match self.cri {
            Some(_) => Source::Cri,
            None => Source::Bundle,
        }
    }

    /// The requested modes: from CRI if it answered, otherwise from the bundle.
    pub(super) fn modes(&self) -> Modes {
        if let Some((_, fact)) = &self.cri {
            return fact.modes.clone();
        }
        let Some(intent) = self.intent.clone() else {
            return Modes::unknown();
        };
        let or_unknown = |mode: Result<Mode, intent::Unknown>| mode.unwrap_or(Mode::Unknown);
        let pid = match intent.pid {
            // A sandbox has a pid namespace of its own, whether or not its containers share it.
            Err(_) if self.is_sandbox() => Mode::Container,
            pid => or_unknown(pid),
        };
        Modes {
            net: or_unknown(intent.net),
            ipc: or_unknown(intent.ipc),
            uts: or_unknown(intent.uts),
            pid,
            user: or_unknown(intent.user),
        }
    }
}
