//! A pod's network, as the looks at it show it.

use super::{Process, Received, Role, State};
use crate::{
    event::{ContainerId, Ktime, Observation, PodId, ProcessId, Text},
    signal::SIGKILL,
};

/// A pod's network namespace in which loopback was up and an address was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The network namespace: a sandbox that replaces another one has a new one.
    namespace: u32,
    /// When it was last seen to be ready, and with what.
    pub(crate) ready: Ktime,
    pub(crate) addresses: Text,
    /// When it was last seen to be ready before that, and with what.
    pub(crate) before: Option<(Ktime, Text)>,
    /// When it was first seen not to be ready after that.
    pub(crate) lost: Option<Ktime>,
}

impl State {
    /// Notes a look at a pod's network.
    pub(super) fn observed_network(&mut self, now: Ktime, observation: &Observation) {
        let container = self.containers.get(&observation.container);
        let namespaces = container.and_then(|container| container.namespaces);
        let namespace = namespaces.map_or(0, |namespaces| namespaces.net);
        let Some(pod) = self.pods.get_mut(&observation.pod) else {
            return;
        };
        match observation.holds {
            true => pod.network_ready = pod.network_ready.or(Some(now)),
            false => pod.network_unready = Some(now),
        }
        let known = pod
            .network
            .take()
            .filter(|known| known.namespace == namespace);
        pod.network = match (observation.holds, known) {
            (true, known) => Some(Network {
                namespace,
                ready: now,
                addresses: observation.detail.detached(),
                before: known.map(|known| (known.ready, known.addresses)),
                lost: None,
            }),
            (false, Some(known)) => Some(Network {
                lost: known.lost.or(Some(now)),
                ..known
            }),
            (false, None) => None,
        };
    }

    /// The container and process through which to look at a pod's network again, because the last
    /// look was the first that found it missing. One look may have come in the middle of a change,
    /// or of the pod's end.
    pub fn network_in_doubt(&self, pod: &PodId) -> Option<(ContainerId, ProcessId)> {
        let pod = self.pods.get(pod)?;
        let lost = pod.network.as_ref()?.lost?;
        if pod.network_unready != Some(lost) {
            return None;
        }
        let alive = |id: &ContainerId| {
            let container = self.containers.get(id)?;
            let init = self.processes.get(container.init?)?;
            init.is_alive().then(|| (id.clone(), init.id))
        };
        let mut inside = pod.sandbox().into_iter().chain(&pod.containers);
        inside.find_map(alive)
    }
}

impl Process {
    /// Whether the runtime asked it to end, or killed it.
    pub(crate) fn is_told_to_end(&self, stop_signal: Option<i32>) -> bool {
        let is_stop = |received: &Received| {
            (received.sender_role == Role::Runtime || received.sender_doubt.is_some())
                && (Some(received.signal) == stop_signal || received.signal == SIGKILL)
        };
        self.signals.iter().any(is_stop)
    }
}
