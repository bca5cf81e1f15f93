//! CNI plugins. A plugin is attributed to a pod by the sandbox that the runtime tells it to work
//! for, or, where that is not known, by the network namespace that it enters.

use super::{
    build::{Builder, reference},
    journal::{Call, ProcessHistory},
    model::{CreatedBy, Element, ElementKind, Evidence, Extent},
};
use crate::event::{
    CniRequest, ContainerKind, Ktime, NamespaceCall, NamespaceKind, ProcessId, Request, Text,
    run_container,
};

/// Most programs that are shown as unassigned.
const MAX_UNASSIGNED: usize = 16;
/// Most generations below a plugin.
const MAX_GENERATIONS: usize = 8;

impl<'a> Builder<'a> {
    /// The pod's network namespace, unless it is the host's.
    fn net(&self) -> Option<u32> {
        let net = self.shared?.get(NamespaceKind::Net);
        (net != 0 && net != self.host.net).then_some(net)
    }

    /// Adds the creation of the pod's network namespace, and the plugins that were asked to set it
    /// up, or of which that is unknown, and that entered it.
    pub(super) fn network(&mut self) {
        let asked = self.asked_plugins();
        for (plugin, sandbox) in asked {
            self.plugin(plugin, false, Evidence::Asked(sandbox), MAX_GENERATIONS);
        }
        let Some(net) = self.net() else { return };
        let creations: Vec<_> = self.creations(net);
        // The kernel reuses inode numbers: a process that entered this number before the pod's
        // namespace was created worked for another pod.
        let pause = self
            .elements
            .iter()
            .find(|element| matches!(element.what, ElementKind::Run { .. }));
        let by = pause.map_or(Ktime::MAX, |pause| pause.time);
        let made = creations.iter().rfind(|(call, _)| call.time <= by).copied();
        let since = made.map_or(0, |(call, _)| call.time);
        let until = creations
            .iter()
            .map(|(call, _)| call.time)
            .find(|time| *time > by)
            .unwrap_or(Ktime::MAX);
        let evidence = Evidence::Namespace(net);
        if let Some((call, past)) = made
            && !self.owned.contains_key(&past.id)
        {
            let what = ElementKind::Made {
                namespaces: vec![(NamespaceKind::Net, net)],
                how: CreatedBy::Unshare,
            };
            self.moment(call.time, what, None, Some(past), evidence.clone());
            if let Some(element) = self.elements.last_mut() {
                element.thread = call.thread(past.id);
            }
        }
        let entered = |past: &&ProcessHistory| {
            past.calls.iter().any(|call| {
                call.call == NamespaceCall::Setns
                    && call.errno == 0
                    && call.after.net == net
                    && (since..until).contains(&call.time)
            })
        };
        let mut plugins: Vec<&ProcessHistory> = self
            .journal
            .processes
            .values()
            .filter(entered)
            .filter(|past| !self.owned.contains_key(&past.id))
            .filter_map(|past| self.plugin_ancestor(past))
            .filter(|past| cni(past).is_none())
            .collect();
        plugins.sort_unstable_by_key(|past| past.id);
        plugins.dedup_by_key(|past| past.id);
        for plugin in plugins {
            self.plugin(plugin, false, evidence.clone(), MAX_GENERATIONS);
        }
    }

    /// The plugins that a runtime asked to do something for the pod, and the sandbox that it named.
    /// What a plugin starts inherits the request.
    fn asked_plugins(&self) -> Vec<(&'a ProcessHistory, Text)> {
        let is_sandbox = |id: &Text| {
            let mut sandboxes = self.containers.iter();
            sandboxes.any(|one| {
                one.what == ContainerKind::Sandbox
                    && run_container(&one.container).as_bytes() == &id.0[..]
            })
        };
        let processes = self.journal.processes.values();
        let mut plugins: Vec<_> = processes
            .filter_map(|past| {
                let request = cni(past)?;
                let is_its =
                    request.pod().as_ref() == Some(&self.pod) || is_sandbox(&request.sandbox);
                let parent = self.journal.processes.get(&past.parent);
                let is_first = parent.is_none_or(|parent| cni(parent).is_none());
                (is_its && is_first).then(|| (past, request.sandbox.clone()))
            })
            .collect();
        plugins.sort_unstable_by_key(|(past, _)| past.id);
        plugins
    }

    /// The calls of unshare that created a network namespace with this number, by time.
    fn creations(&self, net: u32) -> Vec<(&'a Call, &'a ProcessHistory)> {
        let processes = self.journal.processes.values();
        let mut creations: Vec<_> = processes
            .flat_map(|past| past.calls.iter().map(move |call| (call, past)))
            .filter(|(call, _)| {
                call.call == NamespaceCall::Unshare && call.errno == 0 && call.after.net == net
            })
            .filter(|(call, _)| call.flags & NamespaceKind::Net.flag() != 0)
            .collect();
        creations.sort_by_key(|(call, past)| (call.time, past.id));
        creations
    }

    /// The program that a runtime started: this process or an ancestor of it.
    fn plugin_ancestor(&self, past: &'a ProcessHistory) -> Option<&'a ProcessHistory> {
        let mut plugin = past;
        for _ in 0..MAX_GENERATIONS {
            if self.is_runtime(plugin) {
                return None;
            }
            let parent = self.journal.processes.get(&plugin.parent)?;
            if self.is_runtime(parent) {
                return (!plugin.execs.is_empty()).then_some(plugin);
            }
            plugin = parent;
        }
        None
    }

    fn is_runtime(&self, past: &ProcessHistory) -> bool {
        let is_named = || self.journal.runtimes.contains(&past.comm);
        let is_contained = || self.journal.container_at(past.cgroup).is_some();
        self.is_daemon(past) || (is_named() && !is_contained())
    }

    fn plugin(
        &mut self,
        past: &'a ProcessHistory,
        delegated: bool,
        evidence: Evidence,
        generations: usize,
    ) {
        if let (Some(forked), Some(file)) = (past.forked, past.file()) {
            let asked = cni(past).map(|request| (request.command, request.interface.clone()));
            let parent = self.journal.processes.get(&past.parent);
            // Plugins are in one directory. What else one starts, such as iptables, inherits its
            // request and is none.
            let is_plugin = !delegated
                || asked.is_none()
                || parent.and_then(ProcessHistory::file).map(directory) == Some(directory(file));
            let what = match is_plugin {
                true => ElementKind::Plugin {
                    file: file.clone(),
                    delegated,
                    asked,
                },
                false => self.program(past, file),
            };
            let end = past.ended.map(|(end, _)| end);
            self.span(forked, end, what, None, past, evidence);
        }
        if generations == 0 {
            return;
        }
        for child in self.children.get(&past.id).cloned().unwrap_or_default() {
            self.plugin(
                child,
                true,
                Evidence::DescendsFrom(past.id.pid),
                generations - 1,
            );
        }
    }

    /// The programs that runtimes executed between these times and that cannot be attributed to a
    /// pod.
    pub(super) fn unassigned(&self, since: Ktime, until: Ktime) -> (Vec<Element>, usize) {
        let assigned: Vec<ProcessId> = self
            .elements
            .iter()
            .filter_map(|element| Some(element.process?.id))
            .collect();
        let is_candidate = |past: &&ProcessHistory| {
            past.forked
                .is_some_and(|forked| (since..=until).contains(&forked))
                && !past.execs.is_empty()
                && !self.owned.contains_key(&past.id)
                && !assigned.contains(&past.id)
                && !self.is_daemon(past)
                && cni(past).is_none()
                && self
                    .journal
                    .processes
                    .get(&past.parent)
                    .is_some_and(|parent| self.is_daemon(parent))
                && !self.belongs_to_another_pod(past, MAX_GENERATIONS)
        };
        let mut found: Vec<_> = self
            .journal
            .processes
            .values()
            .filter(is_candidate)
            .collect();
        found.sort_unstable_by_key(|past| (past.forked, past.id));
        let more = found.len().saturating_sub(MAX_UNASSIGNED);
        let shown = found.into_iter().take(MAX_UNASSIGNED).filter_map(|past| {
            Some(Element {
                time: past.forked?,
                extent: past
                    .ended
                    .map_or(Extent::Open, |(end, _)| Extent::Until(end)),
                what: self.program(past, past.file()?),
                container: None,
                process: Some(reference(past)),
                thread: None,
                status: past.ended.map(|(_, status)| status),
                evidence: Evidence::None,
            })
        });
        (shown.collect(), more)
    }

    /// Whether a process or a descendant of it entered a network namespace or a container's cgroup.
    /// Those of this pod are already attributed, so it belongs to another pod.
    fn belongs_to_another_pod(&self, past: &ProcessHistory, generations: usize) -> bool {
        let home = past.namespaces.net;
        let entered = |after: u32| after != 0 && after != home && after != self.host.net;
        let moved = past
            .moves
            .iter()
            .map(|(_, cgroup)| *cgroup)
            .chain([past.cgroup]);
        past.calls.iter().any(|call| entered(call.after.net))
            || moved
                .into_iter()
                .any(|cgroup| self.journal.container_at(cgroup).is_some())
            || generations > 0
                && self
                    .children
                    .get(&past.id)
                    .into_iter()
                    .flatten()
                    .any(|child| self.belongs_to_another_pod(child, generations - 1))
    }
}

/// What a plugin, or what it started, was asked to do.
fn cni(past: &ProcessHistory) -> Option<&CniRequest> {
    match &past.request {
        Some(Request::Cni(request)) => Some(request),
        _ => None,
    }
}

fn directory(file: &Text) -> &[u8] {
    let slash = file.0.iter().rposition(|byte| *byte == b'/');
    &file.0[..slash.unwrap_or_default()]
}
