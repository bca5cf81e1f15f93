//! Processes outside the pods that act on one: what is known of them.

use std::sync::Arc;

use super::{State, signals};
use crate::event::{
    Comm, Fact, NamespaceCall, NamespaceKind, Outsider, ProcessId, Signal, TaskInfo,
};
use crate::signal::SIGKILL;

/// Most of them that are kept. Each acts on a pod a moment after it was read.
const MAX_OUTSIDERS: usize = 64;

impl State {
    /// The process that acts on a pod in this event, and its name, if it is outside the pods and
    /// their runtime and nobody has said who it is: it kills or stops a process of a pod, or enters
    /// a namespace of a pod. A caller that can look at `/proc` answers with [`Fact::Outsider`]
    /// before the event.
    pub fn asks_who(&self, fact: &Fact) -> Option<(ProcessId, Comm)> {
        let (process, comm) = match fact {
            Fact::Signal(signal) if self.is_stop_of_pod(signal) => {
                (signal.sender, signal.sender_comm)
            }
            Fact::NamespaceChange {
                task,
                call: NamespaceCall::Setns,
                errno: 0,
                ..
            } if self.is_in_namespace_of_pod(task) => (task.process, task.comm),
            _ => return None,
        };
        let is_outside = self
            .processes
            .get(process)
            .is_none_or(|process| !self.is_proven_runtime(process.id) && process.pod.is_none());
        let is_new = || {
            self.outsider(process)
                .is_none_or(|known| known.comm != comm)
        };
        (is_outside && is_new()).then_some((process, comm))
    }

    /// Whether a process sent a process of a pod SIGKILL or a signal that asks it to end.
    pub(super) fn is_stop_of_pod(&self, signal: &Signal) -> bool {
        if !signal.is_from_process() || signal.sender == signal.target {
            return false;
        }
        let target = self.processes.get(signal.target);
        let Some(target) = target.filter(|target| target.pod.is_some()) else {
            return false;
        };
        let stop_signal = || self.container_of(target)?.stop_signal;
        signal.signal == SIGKILL
            || signals::is_ending(signal.signal)
            || stop_signal() == Some(signal.signal)
    }

    pub(super) fn is_in_namespace_of_pod(&self, task: &TaskInfo) -> bool {
        NamespaceKind::ALL
            .into_iter()
            .any(|kind| self.owner_of(task.namespaces.of_children(kind)).is_some())
    }

    pub(super) fn outsider_seen(&mut self, outsider: &Outsider) {
        if self.outsiders.len() == MAX_OUTSIDERS {
            self.outsiders.pop_front();
        }
        let command = outsider.command.detached();
        self.outsiders.push_back(Arc::new(Outsider {
            command,
            ..outsider.clone()
        }));
    }

    /// What `/proc` said of a process outside the pods.
    pub(crate) fn outsider(&self, process: ProcessId) -> Option<&Arc<Outsider>> {
        let mut latest = self.outsiders.iter().rev();
        latest.find(|outsider| outsider.process == process)
    }
}
