//! Who is believed to be a runtime. A name alone proves nothing: a process can give itself any
//! name, and so can an executable in an image. A runtime is in no container, and its executable
//! belongs to root and is on the node. What such a process starts is the runtime's, too, until it
//! executes in a container.
//!
//! A process that is perhaps the runtime keeps the role of one, so that the containers that it
//! makes are seen. What it does to a pod is neither passed nor called a violation.

use super::{Process, Role, State};
use crate::{
    event::{Comm, Fact, NamespaceCall, ProcessId, Program, ProgramFile, Proof, TaskInfo, Text},
    runtimes,
};

/// Why a process may not be the runtime, although it has its name or comes from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Its executable could not be read.
    Unread,
    /// Its executable is another program.
    OtherProgram,
    /// Another user than root may change its executable.
    NotRoots,
    /// Its executable is not the node's.
    NotNodes,
    /// It executed in a mount namespace of its own, or in a cgroup of unknown use.
    Apart,
    /// It is in a container that is not a pod's, or not known yet.
    InContainer,
}

impl Doubt {
    /// The doubt as a clause.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Unread => "it ended before its executable could be read",
            Self::OtherProgram => "its executable is another program",
            Self::NotRoots => "another user than root may change its executable",
            Self::NotNodes => "its executable is not a file of the node",
            Self::Apart => "the runtime started it, and it may be in a container",
            Self::InContainer => "it is in a container, which may be a node or of the same pod",
        }
    }
}

/// What is known of a process that has the name of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is the runtime, or perhaps.
    Runtime(Option<Doubt>),
    /// It is in a pod's container.
    Refuted,
}

impl ProgramFile {
    fn doubt(&self) -> Option<Doubt> {
        /// What the kernel appends to the path of a file that was deleted, as by an upgrade.
        const DELETED: &[u8] = b" (deleted)";
        let path = self.path.0.strip_suffix(DELETED).unwrap_or(&self.path.0);
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let (is_groups, is_anyones) = (self.mode & 0o020 != 0, self.mode & 0o002 != 0);
        let (user, group) = self.owner;
        if !runtimes::is_executable(name) {
            Some(Doubt::OtherProgram)
        } else if user != 0 || is_anyones || (is_groups && group != 0) {
            Some(Doubt::NotRoots)
        } else if !self.is_nodes {
            Some(Doubt::NotNodes)
        } else {
            None
        }
    }
}

impl State {
    /// The process whose program decides in this event whether it is the runtime, and its name. A
    /// caller that can look at `/proc` answers with [`Fact::Program`] before the event.
    pub fn asks_program(&self, fact: &Fact) -> Option<(ProcessId, Comm)> {
        if !self.needs_proof {
            return None;
        }
        // Who acts on a pod under the name of a runtime and is none of this node may be one of a
        // node that is a container.
        let is_named_stranger = |id: ProcessId, comm| {
            let process = self.processes.get(id);
            let is_stranger = process.is_none_or(|process| {
                process.role == Role::Stranger && process.container.is_none()
            });
            is_stranger && self.is_runtime_name(comm) && self.shown(id).is_none()
        };
        let (asks, process, comm) = match fact {
            Fact::Found { task, .. } => {
                let asks = !self.is_known(task.process) && self.has_claim(task);
                (asks, task.process, task.comm)
            }
            Fact::Exec { task, .. } => {
                let asks = match self.is_proven_runtime(task.process) {
                    true => self.may_enter(task),
                    false => self.has_claim(task),
                };
                (asks, task.process, task.comm)
            }
            Fact::Signal(signal) if self.is_stop_of_pod(signal) => {
                let (sender, comm) = (signal.sender, signal.sender_comm);
                (is_named_stranger(sender, comm), sender, comm)
            }
            Fact::NamespaceChange {
                task,
                call: NamespaceCall::Setns,
                errno: 0,
                ..
            } if self.is_in_namespace_of_pod(task) => {
                let (process, comm) = (task.process, task.comm);
                (is_named_stranger(process, comm), process, comm)
            }
            _ => return None,
        };
        asks.then_some((process, comm))
    }

    /// Why a child of the runtime may not be the runtime's.
    pub(super) fn doubt_of_child(&self, runtime: &Process, child: &Process) -> Option<Doubt> {
        let is_apart = runtime.namespaces.mnt != child.namespaces.mnt;
        runtime
            .doubt
            .or_else(|| (self.needs_proof && is_apart).then_some(Doubt::Apart))
    }

    /// What a later reader of a snapshot has to know of a process that has the role of the runtime.
    pub(super) fn shown_again(&self, process: &Process) -> Option<Fact> {
        let proof = match (process.doubt, &process.home) {
            (None, _) => Proof::Known,
            (Some(Doubt::InContainer), Some(path)) => Proof::InContainer {
                path: path.clone(),
                is_pods: false,
            },
            (Some(_), _) => Proof::Unread,
        };
        (self.needs_proof && process.role == Role::Runtime).then_some(Fact::Program(Program {
            process: process.id,
            comm: process.comm,
            proof,
        }))
    }

    /// Whether a process has the name of a runtime where one can be. A runtime in another pid
    /// namespace belongs to a container, such as a node that is itself a container.
    fn has_claim(&self, task: &TaskInfo) -> bool {
        self.cgroups.container(task.cgroup).is_none()
            && task.namespaces.pid == self.host.pid
            && self.is_runtime_name(task.comm)
    }

    /// Whether a process of the runtime may have executed in a container that is not known yet.
    fn may_enter(&self, task: &TaskInfo) -> bool {
        let runtime = self
            .processes
            .get(task.process)
            .and_then(|process| process.outside);
        let has_own_mounts = runtime.is_some_and(|runtime| runtime.mnt != task.namespaces.mnt);
        self.cgroups.container(task.cgroup).is_none()
            && (has_own_mounts || self.cgroups.has_unknown_owner(task.cgroup))
    }

    /// Whether a process is known to be the runtime's.
    pub fn is_proven_runtime(&self, id: ProcessId) -> bool {
        let process = self.processes.get(id);
        process.is_some_and(|process| process.role == Role::Runtime && process.doubt.is_none())
    }

    /// Keeps what `/proc` shows of a process for the event that follows.
    pub(super) fn program_shown(&mut self, program: &Program) {
        let mut program = program.clone();
        if let Proof::InContainer { path, .. } = &mut program.proof {
            *path = path.detached();
        }
        self.shown = Some(program);
    }

    fn shown(&self, id: ProcessId) -> Option<&Proof> {
        let shown = self.shown.as_ref().filter(|shown| shown.process == id)?;
        Some(&shown.proof)
    }

    /// What is known of a process that has the name of a runtime.
    pub(super) fn claim_of(&self, process: &Process) -> Claim {
        if !self.needs_proof {
            return Claim::Runtime(None); // an old recording, or the reference pod
        }
        // The runtime starts its own programs, wherever they are.
        let is_started_by_runtime = || {
            let parent = self.processes.get(process.parent);
            parent.is_some_and(|parent| {
                let (own, its) = (&process.namespaces, &parent.namespaces);
                self.is_proven_runtime(parent.id)
                    && parent.cgroup == process.cgroup
                    && own.mnt == its.mnt
            })
        };
        match self.shown(process.id) {
            Some(Proof::InContainer { is_pods: true, .. }) => Claim::Refuted,
            Some(Proof::InContainer { .. }) => Claim::Runtime(Some(Doubt::InContainer)),
            Some(Proof::Known) => Claim::Runtime(None),
            _ if is_started_by_runtime() => Claim::Runtime(None),
            Some(Proof::File(file)) => Claim::Runtime(file.doubt()),
            Some(Proof::Unread) | None => Claim::Runtime(Some(Doubt::Unread)),
        }
    }

    /// Notes what an exec shows of a process that has the role of the runtime.
    pub(super) fn program_executed(&mut self, id: ProcessId, task: &TaskInfo) {
        if !self.needs_proof {
            return;
        }
        let home = self.home_shown(id);
        let (may_enter, has_claim) = (self.may_enter(task), self.has_claim(task));
        let Some(process) = self.processes.get(id) else {
            return;
        };
        if process.role != Role::Runtime {
            return;
        }
        let doubt = match (&home, process.doubt) {
            (Some(_), doubt) if self.is_of_runtime(process) => doubt,
            (Some(_), _) => Some(Doubt::InContainer),
            // As runc does first of all, from a copy of its file.
            (None, None) if self.is_self_exec(process) => None,
            (None, doubt) if has_claim && (doubt.is_some() || may_enter) => {
                match self.claim_of(process) {
                    Claim::Runtime(doubt) => doubt,
                    Claim::Refuted => Some(Doubt::InContainer),
                }
            }
            (None, None) if may_enter => Some(Doubt::Apart),
            (None, doubt) => doubt,
        };
        if let Some(process) = self.processes.get_mut(id) {
            process.doubt = doubt;
            if doubt == Some(Doubt::InContainer) {
                process.home = home.or(process.home.take());
            }
        }
    }

    /// The path of the container's cgroup that a process was just found in.
    pub(super) fn home_shown(&self, id: ProcessId) -> Option<Text> {
        match self.shown(id) {
            Some(Proof::InContainer { path, .. }) => Some(path.clone()),
            _ => None,
        }
    }

    /// Who a sender is, for a target: its role, and why that is in doubt. A process in a container
    /// is perhaps the runtime of the containers below, or in the same pod, and nothing else.
    pub(crate) fn standing(
        &self,
        sender: ProcessId,
        target: Option<ProcessId>,
    ) -> (Role, Option<Doubt>) {
        let known = self.processes.get(sender);
        let role = known.map_or(Role::Stranger, |known| known.role);
        let is_outside = known.is_none_or(|known| known.container.is_none());
        let home = match known.and_then(|known| known.home.as_ref()) {
            Some(home) => Some(home.clone()),
            None => self.home_shown(sender),
        };
        let doubt = match role {
            Role::Runtime => known.and_then(|known| known.doubt),
            Role::Stranger if is_outside && home.is_some() => Some(Doubt::InContainer),
            _ => None,
        };
        let is_inside = doubt == Some(Doubt::InContainer);
        match home.filter(|_| is_inside) {
            Some(home) if !self.may_be_near(&home, target) => (Role::Stranger, None),
            _ => (role, doubt),
        }
    }

    /// Whether a process may be in the same pod as a container, or in a container below it: then it
    /// is below the parent of the container's cgroup.
    fn may_be_near(&self, home: &Text, target: Option<ProcessId>) -> bool {
        let target = target.and_then(|target| self.processes.get(target));
        let Some(path) = target.and_then(|target| self.cgroups.path(target.cgroup)) else {
            return true;
        };
        let slash = home.0.iter().rposition(|byte| *byte == b'/');
        let parent = &home.0[..slash.unwrap_or_default()];
        let rest = path.0.strip_prefix(parent);
        rest.is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// Says who sent signals, once the container of the sender is known.
    pub(super) fn settle_sender(&mut self, id: ProcessId) {
        let Some(sender) = self.processes.get_mut(id) else {
            return;
        };
        if !std::mem::take(&mut sender.acted_unplaced) {
            return;
        }
        let (role, pod) = (sender.role, sender.pod.clone());
        for target in self.processes.iter_mut() {
            let others = target.others.iter_mut().map(|other| &mut other.last);
            for received in target.signals.iter_mut().chain(others) {
                if received.sender == Some(id)
                    && (received.sender_doubt.take().is_some() || received.sender_pod.is_none())
                {
                    (received.sender_role, received.sender_pod) = (role, pod.clone());
                }
            }
        }
    }
}
