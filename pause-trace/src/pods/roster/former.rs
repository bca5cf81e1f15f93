//! Containers that are left in the namespaces of a sandbox that was started again, or removed,
//! before it was seen: their bundles name a process that is gone.

use super::{Roster, member::Member};
use crate::{
    event::{ContainerId, Fact, Modes, PodFact, PodId, Source, Text},
    node::{bundle::Bundle, intent},
    pods::runs,
};

/// Stands for the sandbox of a container if nothing says which one that was. No container has this
/// id, and it is not declared.
pub(super) fn nameless(container: &ContainerId) -> ContainerId {
    format!("{container}/joined").into()
}

impl Roster {
    /// The sandbox of the container `id`, which joined a process that is gone. If Docker says whose
    /// process that was, this is the run of that container that exists, otherwise a former run,
    /// which is declared here. If nothing says it, the container is in a pod of its own without a
    /// known sandbox.
    pub(super) fn sandbox_of_gone(
        &mut self,
        id: &ContainerId,
        bundle: &Bundle,
        facts: &mut Vec<Fact>,
    ) -> ContainerId {
        let Some(target) = bundle.docker.network_of.as_ref() else {
            let sandbox = nameless(id);
            let pod = PodId::from(runs::container(id));
            facts.push(Fact::Pod(PodFact {
                pod: pod.clone(),
                namespace: Text::new("-"),
                name: Member::short(id),
                modes: Modes::unknown(),
                source: Source::Bundle,
            }));
            self.sandboxes.insert(sandbox.clone(), (pod, true));
            return sandbox;
        };
        let target = ContainerId::from(target.to_string());
        let run = self.runs.current(&target);
        if !self.members.contains_key(&run) {
            // A later run has a cgroup, and therefore another number.
            if !self.runs.is_known(&target) {
                self.runs.enter(&target, 0);
            }
            self.members.insert(run.clone(), Member::former(&run));
            facts.extend(self.declare(&run));
        }
        run
    }

    /// Completes the former run of a sandbox: every run has the same configuration.
    pub(super) fn complete_former(
        &mut self,
        former: &ContainerId,
        bundle: &Bundle,
        facts: &mut Vec<Fact>,
    ) {
        let Some(member) = self
            .members
            .get_mut(former)
            .filter(|member| member.is_former && member.bundle.is_none())
        else {
            return;
        };
        member.intent = Some(intent::of_sandbox(bundle));
        member.bundle = Some(bundle.clone());
        facts.extend(self.declare(former));
        let mut left: Vec<_> = self
            .members
            .values()
            .filter(|member| member.sandbox == *former && !member.is_former)
            .map(|member| (member.cgroup, member.container.clone()))
            .collect();
        left.sort_unstable();
        for (_, container) in left {
            self.interpret_again(&container);
            self.add_to_pod(&container, facts);
        }
    }
}
