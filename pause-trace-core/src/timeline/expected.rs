//! Pods of which only a network plugin was told so far.

use super::journal::{Journal, Pod};
use crate::event::{ProcessId, Request};

/// Most pods that are kept that only network plugins were asked about.
const MAX_EXPECTED: usize = 256;

impl Journal {
    /// Notes what a program is asked to do. A pod of which a network plugin is told is known from
    /// then on.
    pub(super) fn asked(&mut self, process: &ProcessId, request: &Request) {
        if let Some(past) = self.processes.get_mut(process) {
            past.request = Some(request.clone());
        }
        let Request::Cni(request) = request else {
            return;
        };
        let Some(id) = request.pod().filter(|id| !self.pods.contains_key(id)) else {
            return;
        };
        let pod = Pod {
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            removed: None,
            network_ready: None,
        };
        self.pods.insert(id.clone(), pod);
        self.expected.push_back(id);
        if self.expected.len() > MAX_EXPECTED
            && let Some(oldest) = self.expected.pop_front()
        {
            let mut containers = self.containers.values();
            if !containers.any(|container| container.fact.pod == oldest) {
                self.pods.remove(&oldest);
            }
        }
    }
}
