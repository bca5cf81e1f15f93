//! When to read how the entrypoints of containers treat signals: once for each, when its stop
//! signal is known and it has had the time to install its handlers.

use std::{collections::HashMap, time::Duration};

use crate::{
    event::{CgroupId, ContainerId, Ktime, ProcessId},
    stop_outlook::YOUNG,
};

/// How long an entrypoint that starts while the node is watched has run its program when it is
/// read. Some programs load for longer than [`YOUNG`].
const SETTLED: Ktime = 2 * YOUNG;

/// How often to wait for an entrypoint that executes another program meanwhile.
const MAX_WAITS: u8 = 4;

/// An entrypoint that was not read yet.
#[derive(Debug)]
pub(super) struct Entrypoint {
    pub(super) container: ContainerId,
    pub(super) process: ProcessId,
    /// How often it was waited for.
    waits: u8,
}

impl Entrypoint {
    pub(super) fn new(container: ContainerId, process: ProcessId) -> Self {
        Self {
            container,
            process,
            waits: 0,
        }
    }

    /// The same after a wait.
    pub(super) fn again(self) -> Self {
        let waits = self.waits + 1;
        Self { waits, ..self }
    }

    /// How long to wait before it is read, if it has run its program for `age` ns; `None` if it has
    /// executed another one too often.
    pub(super) fn wait(&self, age: Ktime) -> Option<Duration> {
        if age >= YOUNG {
            return Some(Duration::ZERO);
        }
        (self.waits < MAX_WAITS).then(|| Duration::from_nanos(SETTLED - age))
    }
}

/// The entrypoints of containers whose stop signal only a runtime knows that has not answered yet.
#[derive(Debug, Default)]
pub(super) struct Stops {
    waiting: HashMap<CgroupId, Entrypoint>,
}

impl Stops {
    /// Keeps an entrypoint until its stop signal is known.
    pub(super) fn wait(&mut self, cgroup: CgroupId, entrypoint: Entrypoint) {
        self.waiting.insert(cgroup, entrypoint);
    }

    /// The entrypoint of a container of which a runtime has answered.
    pub(super) fn known(&mut self, cgroup: CgroupId) -> Option<Entrypoint> {
        self.waiting.remove(&cgroup)
    }

    /// Forgets a cgroup that was removed.
    pub(super) fn removed(&mut self, cgroup: CgroupId) {
        self.waiting.remove(&cgroup);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Ktime = 1_000_000_000;

    fn entrypoint() -> Entrypoint {
        Entrypoint::new("c".into(), ProcessId { pid: 7, start: 1 })
    }

    #[test]
    fn an_old_one_is_read_at_once_and_a_young_one_later() {
        let wait = |age| entrypoint().wait(age);
        assert_eq!(wait(u64::MAX), Some(Duration::ZERO));
        assert_eq!(wait(5 * S), Some(Duration::ZERO));
        assert_eq!(wait(4 * S), Some(Duration::from_secs(6)));
        assert_eq!(wait(0), Some(Duration::from_secs(10)));
    }

    #[test]
    fn one_that_executes_again_and_again_is_not_waited_for_forever() {
        let mut entrypoint = entrypoint();
        let mut waits = 0;
        while entrypoint.wait(S).is_some() {
            entrypoint = entrypoint.again();
            waits += 1;
        }
        assert_eq!(waits, MAX_WAITS);
        assert_eq!(entrypoint.wait(5 * S), Some(Duration::ZERO));
    }

    #[test]
    fn one_waits_until_its_stop_signal_is_known_or_it_is_gone() {
        let mut stops = Stops::default();
        stops.wait(1, entrypoint());
        stops.wait(2, entrypoint());
        stops.removed(2);
        assert!(stops.known(1).is_some());
        assert!(stops.known(1).is_none() && stops.known(2).is_none());
    }
}
