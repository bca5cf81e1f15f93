//! The programs that the runtime executed for a pod, and the namespaces they created and joined.

use super::{
    build::{Builder, Owned},
    journal::{Call, ProcessHistory},
    model::{CreatedBy, ElementKind, Evidence, Owner},
};
use crate::event::{
    ContainerId, Ktime, NamespaceCall, NamespaceKind, Namespaces, OciCommand, OciRequest, Request,
    Text,
};

impl Builder<'_> {
    /// Adds what the attributed processes executed, and their calls of setns and unshare.
    pub(super) fn programs(&mut self) {
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
            let inside = past.execs.iter().find(|exec| {
                !exec.is_self_exec && self.journal.container_at(exec.cgroup).is_some()
            });
            if let (None, Some(forked), Some(file)) = (inside, past.forked, past.file()) {
                let what = match self.is_hook_of_tool(past) {
                    true => ElementKind::Hook { file: file.clone() },
                    false => self.program(past, file),
                };
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
                    if let Some(element) = self.elements.last_mut() {
                        element.thread = call.thread(id);
                    }
                }
            }
        }
    }

    /// Whether a program that an OCI runtime started outside the container is one of its hooks:
    /// what a script started before it executed the runtime is not, nor are copies of the runtime.
    fn is_hook_of_tool(&self, past: &ProcessHistory) -> bool {
        let Some(parent) = self.journal.processes.get(&past.parent) else {
            return false;
        };
        let is_tool = matches!(
            &parent.request,
            Some(Request::Oci(OciRequest {
                command: OciCommand::Create | OciCommand::Start,
                namespace,
                ..
            })) if namespace.0.is_empty()
        );
        let executed = parent.execs.last().map(|exec| exec.time);
        is_tool
            && executed.is_some_and(|executed| past.forked > Some(executed))
            && past.file().is_some_and(|file| !file.names_itself())
    }

    /// A program of the runtime, with what it was asked to do.
    pub(super) fn program(&self, past: &ProcessHistory, file: &Text) -> ElementKind {
        let asked = match &past.request {
            Some(Request::Oci(request)) => Some(request.command),
            _ => None,
        };
        ElementKind::Program {
            file: file.clone(),
            asked,
        }
    }

    /// Adds the namespaces that a process was cloned into.
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
        // A child gets the namespaces of the thread that forks it, so the namespaces that any
        // thread of the parent had by then are not new.
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
            let what = ElementKind::Made {
                namespaces,
                how: CreatedBy::Clone,
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

    /// What a setns or unshare did, in the order of namespace kinds.
    fn of_call(&self, call: &Call, before: &Namespaces) -> Vec<ElementKind> {
        let is_requested = |kind: &NamespaceKind| call.flags & kind.flag() != 0;
        let changed =
            |kind: &NamespaceKind| call.after.of_children(*kind) != before.of_children(*kind);
        let kinds: Vec<_> = match call.flags {
            0 => NamespaceKind::ALL.into_iter().filter(changed).collect(),
            _ => NamespaceKind::ALL
                .into_iter()
                .filter(is_requested)
                .collect(),
        };
        match (call.call, call.errno) {
            (NamespaceCall::Setns, 0) => kinds
                .into_iter()
                .map(|kind| {
                    let inode = call.after.of_children(kind);
                    ElementKind::Joined {
                        kind,
                        inode,
                        owner: self.owner(kind, inode),
                    }
                })
                .collect(),
            (NamespaceCall::Setns, errno) => vec![ElementKind::Refused { kinds, errno }],
            (NamespaceCall::Unshare, 0) if !kinds.is_empty() => {
                let made = |kind: NamespaceKind| (kind, call.after.of_children(kind));
                vec![ElementKind::Made {
                    namespaces: kinds.into_iter().map(made).collect(),
                    how: CreatedBy::Unshare,
                }]
            }
            (NamespaceCall::Unshare, _) => Vec::new(),
        }
    }

    fn owner(&self, kind: NamespaceKind, inode: u32) -> Owner {
        if self.host.get(kind) == inode {
            Owner::Host
        } else if self.shared.is_some_and(|shared| shared.get(kind) == inode) {
            Owner::Pod
        } else {
            Owner::Other
        }
    }
}

/// The namespaces of the calling thread before the call.
fn before(past: &ProcessHistory, index: usize) -> Namespaces {
    let tid = past.calls[index].tid;
    let earlier = past.calls.iter().take(index).rev();
    earlier
        .clone()
        .find(|call| call.tid == tid)
        .map_or(past.namespaces, |call| call.after)
}
