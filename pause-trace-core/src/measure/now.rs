//! What there is at this moment.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashMapExt as _};

use crate::{
    event::{ContainerKind, PodId},
    rules::Ledger,
    state::{Pod, Role, State},
};

/// The namespace and the name under which the pods are counted that have no labels of their own.
/// No pod of Kubernetes has such a name.
pub const OTHER: &str = "_other";

/// What there is at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The pods that have not been removed.
    pub pods: u64,
    /// The pauses that run.
    pub pauses: u64,
    /// The containers whose entrypoint runs, without sandboxes.
    pub containers: u64,
    /// The processes of pods that have ended and were not reaped.
    pub zombies: u64,
    /// Those of them that ended longer ago than rules allow.
    pub overdue: u64,
    /// The pods by namespace and name, escaped, and [`OTHER`]. Two pods can have one name.
    pub by_pod: BTreeMap<(String, String), PodNow>,
}

/// What there is in one pod, or in several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodNow {
    /// Its zombies.
    pub zombies: u64,
    /// For each rule, how many verdicts on it and its containers are failures.
    pub findings: BTreeMap<&'static str, u64>,
}

impl Now {
    /// Counts. At most `labelled` pods are listed by name, those that were declared first; the
    /// others are counted together. If it is 0, no pod is listed.
    pub fn of(state: &State, ledger: &Ledger, labelled: usize) -> Self {
        let mut now = Self::default();
        for pod in state.pods.values() {
            now.pods += u64::from(pod.removed.is_none());
            now.zombies += u64::from(pod.zombies);
            now.overdue += u64::from(pod.overdue);
        }
        let is_alive = |id| state.processes.get(id).is_some_and(|it| it.is_alive());
        for container in state.containers.values() {
            if let Some(init) = container.init.filter(|init| is_alive(*init)) {
                let is_pause = container.what == ContainerKind::Sandbox
                    && state
                        .processes
                        .get(init)
                        .is_some_and(|it| it.role == Role::Pause);
                now.pauses += u64::from(is_pause);
                now.containers += u64::from(container.what != ContainerKind::Sandbox);
            }
        }
        if labelled > 0 {
            now.list(state, ledger, labelled);
        }
        now
    }

    fn list(&mut self, state: &State, ledger: &Ledger, labelled: usize) {
        let mut pods: Vec<&Pod> = state.pods.values().collect();
        pods.sort_unstable_by_key(|pod| (pod.declared, &pod.id));
        let other = || (OTHER.to_owned(), OTHER.to_owned());
        let mut keys: HashMap<&PodId, (String, String)> = HashMap::new();
        self.by_pod.insert(other(), PodNow::default());
        for (place, pod) in pods.into_iter().enumerate() {
            let key = match place < labelled {
                true => (pod.namespace.to_string(), pod.name.to_string()),
                false => other(),
            };
            let listed = self.by_pod.entry(key.clone()).or_default();
            listed.zombies += u64::from(pod.zombies);
            keys.insert(&pod.id, key);
        }
        for (rule, pod) in ledger.failing() {
            let key = keys.get(pod).cloned().unwrap_or_else(other);
            let listed = self.by_pod.entry(key).or_default();
            *listed.findings.entry(rule).or_default() += 1;
        }
    }
}
