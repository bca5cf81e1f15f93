//! The runs of containers. Docker and Podman start a container again under the same id, with
//! another cgroup, other processes and perhaps other namespaces: what was true of one run says
//! nothing about the next. Each run is a container of its own to the verifier.

use std::collections::{HashMap, VecDeque};

pub(super) use crate::event::run_container as container;
use crate::event::{CgroupId, ContainerId, run_id};

/// The most containers whose runs are counted. The containers that entered a cgroup first are
/// forgotten first.
const MAX_CONTAINERS: usize = 4_096;

/// The current run of each container.
#[derive(Debug, Default)]
pub(super) struct Runs {
    current: HashMap<ContainerId, (CgroupId, u32)>,
    order: VecDeque<ContainerId>,
}

impl Runs {
    /// The id of the run of a container that has this cgroup. Another cgroup is another run.
    pub(super) fn enter(&mut self, container: &ContainerId, cgroup: CgroupId) -> ContainerId {
        if let Some((known, number)) = self.current.get_mut(container) {
            if *known != cgroup {
                (*known, *number) = (cgroup, *number + 1);
            }
            return run_id(container, *number);
        }
        if self.order.len() == MAX_CONTAINERS
            && let Some(oldest) = self.order.pop_front()
        {
            self.current.remove(&oldest);
        }
        self.current.insert(container.clone(), (cgroup, 1));
        self.order.push_back(container.clone());
        container.clone()
    }

    /// Whether a run of a container is known.
    pub(super) fn is_known(&self, container: &ContainerId) -> bool {
        self.current.contains_key(container)
    }

    /// The id of the current run of a container, the first one if no run is known.
    pub(super) fn current(&self, container: &ContainerId) -> ContainerId {
        match self.current.get(container) {
            Some((_, number)) => run_id(container, *number),
            None => container.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_with_another_cgroup_is_another_run() {
        let mut runs = Runs::default();
        let id = ContainerId::from("c");
        assert_eq!(&*runs.current(&id), "c");
        assert_eq!(&*runs.enter(&id, 1), "c");
        assert_eq!(&*runs.enter(&id, 1), "c");
        assert_eq!(&*runs.enter(&id, 2), "c@2");
        assert_eq!(&*runs.enter(&id, 3), "c@3");
        assert_eq!(&*runs.current(&id), "c@3");
        assert_eq!(&*runs.enter(&"d".into(), 4), "d");
    }

    #[test]
    fn the_containers_that_are_counted_are_bounded() {
        let mut runs = Runs::default();
        for number in 0..=MAX_CONTAINERS as u64 {
            runs.enter(&format!("c{number}").as_str().into(), number);
        }
        assert_eq!(runs.current.len(), MAX_CONTAINERS);
        assert_eq!(runs.order.len(), MAX_CONTAINERS);
    }
}
