//! Groups containers into pods, records their requested modes, and detects the removal of pods.
//! Pure: descriptions of containers go in, facts come out.

mod former;
mod member;

use std::collections::{HashMap, HashSet};

use self::member::Member;
use super::{runs::Runs, runtimes::Question};
use crate::{
    event::{CgroupId, ContainerId, ContainerKind, Fact, Mode, Namespaces, PodId},
    node::{
        bundle::{Bundle, Kind},
        cri::Known,
        identity::Identity,
        intent::{self, Holder, Intent, Unknown},
    },
};

/// The most containers that wait for the description of their sandbox, which may never arrive.
const MAX_WAITING: usize = 1_024;

/// The pods with existing cgroups.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    /// The run of each container that has a cgroup. All ids in here are those of runs.
    runs: Runs,
    members: HashMap<ContainerId, Member>,
    by_cgroup: HashMap<CgroupId, ContainerId>,
    /// Containers that are in no pod yet: Docker's, which become a sandbox when another container
    /// joins them.
    loose: HashSet<ContainerId>,
    /// Containers that were described before their sandbox.
    waiting: Vec<ContainerId>,
    /// Sandboxes that have been declared, with their pod and whether its pid mode is known.
    sandboxes: HashMap<ContainerId, (PodId, bool)>,
    /// The cgroups of each pod, including those of its sandboxes.
    pods: HashMap<PodId, HashSet<CgroupId>>,
    /// The query to a runtime about each cgroup.
    questions: HashMap<CgroupId, Question>,
}

impl Roster {
    /// Adds a container's bundle and returns the facts to declare. `who` returns the container, if
    /// any, of a process that is older than this container; `None` if there is no such process.
    pub(crate) fn bundle(
        &mut self,
        cgroup: CgroupId,
        identity: &Identity,
        bundle: Bundle,
        who: impl Fn(u32) -> Option<Option<ContainerId>>,
    ) -> Vec<Fact> {
        let former = self.runs.current(&identity.container);
        let id = self.runs.enter(&identity.container, cgroup);
        let mut facts = Vec::new();
        // The container that it joined may itself have joined another one.
        let sandbox_of = |joined: ContainerId| match self.members.get(&joined) {
            Some(member) => member.sandbox.clone(),
            None => joined,
        };
        let by_pid = intent::joined(&bundle, |pid| self.holder(who(pid))).map(sandbox_of);
        let joined_gone = intent::joined_gone(&bundle, |pid| who(pid).is_none());
        let of_gone = joined_gone
            .filter(|_| by_pid.is_none())
            .map(|_| self.sandbox_of_gone(&id, &bundle, &mut facts));
        let holder = |pid| self.holder(who(pid));
        let sandbox = bundle.sandbox.as_ref().map(|id| self.runs.current(id));
        let joined = match bundle.kind {
            Some(Kind::Sandbox) => Some(id.clone()),
            Some(Kind::Container) => sandbox,
            None if identity.podman_pod.is_some() => Some(sandbox.unwrap_or(id.clone())),
            None => sandbox
                .or(by_pid)
                .or(of_gone)
                // Containers of the former run are left: this is the sandbox of their pod.
                .or_else(|| self.sandboxes.contains_key(&former).then(|| id.clone())),
        };
        let sandbox_bundle = joined
            .as_ref()
            .filter(|sandbox| **sandbox != id)
            .and_then(|sandbox| Some((sandbox, self.members.get(sandbox)?.bundle.as_ref()?)));
        let is_sandbox = joined.as_ref() == Some(&id);
        let mut intent = if is_sandbox {
            intent::of_sandbox(&bundle)
        } else {
            intent::of_container(&bundle, sandbox_bundle, holder)
        };
        if bundle.kind.is_none() {
            self.resolve_members(&mut intent);
        }
        if is_sandbox {
            self.complete_former(&former, &bundle, &mut facts);
        }
        let member = Member {
            container: id.clone(),
            cgroup,
            sandbox: joined.clone().unwrap_or(id.clone()),
            is_former: false,
            joined_gone,
            uid: bundle
                .pod
                .uid
                .clone()
                .or(identity.pod.clone().map(|(uid, _)| uid)),
            bundle: Some(bundle),
            intent: Some(intent),
            cri: None,
            grace: None,
            is_pinned: false,
        };
        self.by_cgroup.insert(cgroup, id.clone());
        self.members.insert(id.clone(), member);
        let Some(sandbox) = joined else {
            self.loose.insert(id);
            return vec![Fact::NotInPod { cgroup }];
        };
        if self.loose.remove(&sandbox) {
            self.promote(&sandbox, &mut facts);
        }
        facts.extend(self.declare(&id));
        facts
    }

    /// Who joins a namespace of a container that has the pod's shares it with the pod. Through CRI,
    /// who joins a container's pid namespace is an ephemeral container.
    fn resolve_members(&self, intent: &mut Intent) {
        let is_pods = |mode: &Result<Mode, Unknown>, of: fn(&Intent) -> &Result<Mode, Unknown>| {
            let Ok(Mode::Target(target)) = mode else {
                return false;
            };
            let target = self.members.get(target);
            let its = target.and_then(|target| target.intent.as_ref());
            its.is_some_and(|its| matches!(of(its), Ok(Mode::Pod)))
        };
        if is_pods(&intent.net, |its| &its.net) {
            intent.net = Ok(Mode::Pod);
        }
        if is_pods(&intent.ipc, |its| &its.ipc) {
            intent.ipc = Ok(Mode::Pod);
        }
        if is_pods(&intent.pid, |its| &its.pid) {
            intent.pid = Ok(Mode::Pod);
        }
    }

    /// Whose a process is that [`Roster::bundle`] asked about.
    fn holder(&self, who: Option<Option<ContainerId>>) -> Holder {
        match who {
            None => Holder::Gone,
            Some(None) => Holder::Node,
            Some(Some(id)) => {
                let id = self.runs.current(&id);
                Holder::Container {
                    sandbox: self.members.get(&id).map(|member| member.sandbox.clone()),
                    id,
                }
            }
        }
    }

    /// Adds CRI's answer about a container with a cgroup. An answer about a sandbox without a pause
    /// contains no container, and is ignored.
    pub(crate) fn asked(&mut self, cgroup: CgroupId, id: &ContainerId, known: Known) -> Vec<Fact> {
        let Known {
            sandbox,
            container,
            grace,
            ..
        } = known;
        let Some(fact) = container.or(sandbox.pause) else {
            return Vec::new();
        };
        let id = &self.runs.enter(id, cgroup);
        let its_sandbox = match fact.what {
            ContainerKind::Sandbox => id.clone(),
            _ => self.runs.current(&sandbox.id),
        };
        self.loose.remove(id);
        self.by_cgroup.insert(cgroup, id.clone());
        let member = self.members.entry(id.clone()).or_insert_with(|| Member {
            container: id.clone(),
            cgroup,
            sandbox: its_sandbox.clone(),
            uid: None,
            bundle: None,
            intent: None,
            cri: None,
            grace: None,
            is_pinned: false,
            is_former: false,
            joined_gone: None,
        });
        member.sandbox = its_sandbox;
        member.cri = Some((sandbox.pod, fact));
        member.grace = grace;
        self.declare(id)
    }

    /// Adds a sandbox without a pause. `cgroup` is the parent of its containers' cgroups, and the
    /// pod exists as long as that cgroup does. `namespaces` are those that files pin for the
    /// sandbox.
    pub(crate) fn pinned(
        &mut self,
        cgroup: CgroupId,
        sandbox: &ContainerId,
        uid: Option<PodId>,
        bundle: Bundle,
        namespaces: Namespaces,
    ) -> Vec<Fact> {
        let member = Member {
            container: sandbox.clone(),
            cgroup,
            sandbox: sandbox.clone(),
            is_pinned: true,
            is_former: false,
            joined_gone: None,
            uid: bundle.pod.uid.clone().or(uid),
            intent: Some(intent::of_sandbox(&bundle)),
            bundle: Some(bundle),
            cri: None,
            grace: None,
        };
        self.by_cgroup.insert(cgroup, sandbox.clone());
        self.members.insert(sandbox.clone(), member);
        let mut facts = self.declare(sandbox);
        facts.push(Fact::SandboxPinned {
            container: sandbox.clone(),
            namespaces,
        });
        facts
    }

    /// Makes a container a sandbox, because another container has joined its namespaces.
    fn promote(&mut self, sandbox: &ContainerId, facts: &mut Vec<Fact>) {
        if let Some(member) = self.members.get_mut(sandbox) {
            member.intent = member.bundle.as_ref().map(intent::of_sandbox);
            facts.extend(self.declare(sandbox));
        }
    }

    /// Declares a container after its sandbox, and again when more is known about it.
    fn declare(&mut self, id: &ContainerId) -> Vec<Fact> {
        let mut facts = Vec::new();
        let Some(member) = self.members.get(id) else {
            return facts;
        };
        if member.is_sandbox() {
            let (fact, knows_pids) = member.pod_fact();
            let pod = fact.pod.clone();
            facts.push(Fact::Pod(fact));
            self.sandboxes.insert(id.clone(), (pod, knows_pids));
        } else if !self.sandboxes.contains_key(&member.sandbox) {
            if self.waiting.len() < MAX_WAITING && !self.waiting.contains(id) {
                self.waiting.push(id.clone());
            }
            return facts;
        }
        self.add_to_pod(id, &mut facts);
        let (ready, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|early| {
                self.members
                    .get(early)
                    .is_some_and(|early| early.sandbox == *id)
            });
        self.waiting = waiting;
        let ready: Vec<ContainerId> = ready;
        for early in ready {
            self.interpret_again(&early);
            self.add_to_pod(&early, &mut facts);
        }
        facts
    }

    /// Interprets a container's bundle again, together with its sandbox's, for modes that were
    /// unknown without the sandbox.
    fn interpret_again(&mut self, id: &ContainerId) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let sandbox = self.members.get(&member.sandbox);
        let (Some(bundle), Some(intent)) = (&member.bundle, member.intent.clone()) else {
            return;
        };
        // The process that the container joined was the first of its sandbox, whichever is now.
        let mut of_sandbox = sandbox.and_then(|sandbox| sandbox.bundle.clone());
        if let (Some(bundle), Some(gone)) = (&mut of_sandbox, member.joined_gone) {
            bundle.init = Some(gone);
        }
        let sandbox = sandbox
            .map(|sandbox| &sandbox.container)
            .zip(of_sandbox.as_ref());
        // Pids were resolved when the bundle was added; they may have been reused since.
        let again = intent::of_container(bundle, sandbox, |_| Holder::Gone);
        let intent = Intent {
            net: intent.net.or(again.net),
            ipc: intent.ipc.or(again.ipc),
            uts: intent.uts.or(again.uts),
            pid: intent.pid.or(again.pid),
            user: intent.user.or(again.user),
        };
        if let Some(member) = self.members.get_mut(id) {
            member.intent = Some(intent);
        }
    }

    fn add_to_pod(&mut self, id: &ContainerId, facts: &mut Vec<Fact>) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let Some((pod, knows_pids)) = self.sandboxes.get(&member.sandbox).cloned() else {
            return;
        };
        // Kubernetes gives all containers of a pod the same pid mode, so the first container shows
        // what the sandbox's bundle does not contain.
        let modes = member.modes();
        if !knows_pids
            && !member.is_sandbox()
            && matches!(modes.pid, Mode::Pod | Mode::Container)
            && let Some(sandbox) = self.members.get(&member.sandbox)
        {
            let (mut fact, _) = sandbox.pod_fact();
            fact.modes.pid = modes.pid.clone();
            facts.push(Fact::Pod(fact));
            self.sandboxes
                .insert(member.sandbox.clone(), (pod.clone(), true));
        }
        facts.push(Fact::Container(member.fact(&pod, modes)));
        let limit = member
            .bundle
            .as_ref()
            .and_then(|bundle| bundle.memory_limit);
        facts.extend(limit.map(|bytes| Fact::MemoryLimit {
            container: id.clone(),
            bytes,
        }));
        facts.extend(member.grace().map(|grace| Fact::GracePeriod {
            container: id.clone(),
            grace,
        }));
        let cgroups = self.pods.entry(pod).or_default();
        if !member.is_former {
            cgroups.insert(member.cgroup);
        }
    }

    /// Handles the removal of a cgroup. A pod is removed with its last cgroup: the sandbox remains
    /// when a container is restarted, and a sandbox that is replaced has ended with its containers.
    /// A process that is left in the cgroup of an ended container keeps the cgroup, but not the
    /// pod, whose sandbox is removed last.
    pub(crate) fn removed(
        &mut self,
        cgroup: CgroupId,
        has_ended: impl Fn(&ContainerId) -> bool,
    ) -> Option<Fact> {
        self.questions.remove(&cgroup);
        let id = self.by_cgroup.remove(&cgroup)?;
        let gone = self.members.remove(&id)?;
        self.loose.remove(&id);
        self.waiting.retain(|waiting| *waiting != id);
        let (pod, _) = self.sandboxes.get(&gone.sandbox)?.clone();
        let is_over = self.pods.get_mut(&pod).is_some_and(|left| {
            left.remove(&cgroup);
            let is_of_ended = |cgroup| self.by_cgroup.get(cgroup).is_some_and(&has_ended);
            left.is_empty() || (gone.sandbox == id && left.iter().all(is_of_ended))
        });
        // Remaining members still need the entry to find their pod.
        let has_members = self
            .members
            .values()
            .any(|member| member.sandbox == gone.sandbox && !member.is_former);
        if !has_members {
            self.sandboxes.remove(&gone.sandbox);
            self.members.remove(&gone.sandbox);
        }
        is_over.then(|| {
            self.pods.remove(&pod);
            Fact::PodRemoved { pod }
        })
    }

    /// Stores a query, to repeat it after a restart of the runtime.
    pub(crate) fn remember(&mut self, question: Question) {
        self.questions.insert(question.cgroup, question);
    }

    /// The queries to repeat after a restart of the runtime.
    pub(crate) fn questions(&self) -> impl Iterator<Item = Question> {
        self.questions.values().cloned()
    }

    /// Whether a container's sandbox was requested by kubelet or another CRI client.
    pub(crate) fn is_of_kubernetes(&self, id: &ContainerId) -> bool {
        let sandbox = self
            .members
            .get(id)
            .and_then(|member| self.members.get(&member.sandbox));
        sandbox.is_some_and(|sandbox| {
            let kind = sandbox.bundle.as_ref().and_then(|bundle| bundle.kind);
            sandbox.cri.is_some() || kind == Some(Kind::Sandbox)
        })
    }

    /// Whether it is known which signal stops a container. The bundle of one that the kubelet
    /// requested does not contain the signal of its image, so only its runtime knows.
    pub(crate) fn knows_stop_signal(&self, id: &ContainerId) -> bool {
        self.members.get(id).is_some_and(Member::knows_stop_signal)
    }

    /// Whether the runtime at the socket of a container's shim must know the container as a
    /// sandbox. Docker runs its containers in a containerd that may also serve CRI, which does not
    /// list them.
    pub(crate) fn is_sandbox_of_cri(&self, id: &ContainerId) -> bool {
        self.is_sandbox(id) && self.is_of_kubernetes(id)
    }

    /// The id of the current run of a container.
    pub(crate) fn run_of(&self, id: &ContainerId) -> ContainerId {
        self.runs.current(id)
    }

    /// The sandbox of an existing container; its own id if it is a sandbox.
    pub(crate) fn sandbox_of(&self, id: &ContainerId) -> Option<&ContainerId> {
        self.members.get(id).map(|member| &member.sandbox)
    }

    /// Whether a container is a sandbox that has been declared.
    pub(crate) fn is_sandbox(&self, id: &ContainerId) -> bool {
        self.sandboxes.contains_key(id)
    }
}

#[cfg(test)]
mod tests;
