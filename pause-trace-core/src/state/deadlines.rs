//! Deadlines: the only way in which the absence of an event becomes known.

use std::{cmp::Reverse, collections::BinaryHeap};

use serde::{Deserialize, Serialize};

use crate::event::{CgroupId, ContainerId, Ktime, PodId, ProcessId, Text};

/// The time limits after which a missing event is a fault, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// From the exit of a process to its reaping.
    pub zombie: Ktime,
    /// From a stop signal to its effect on a pause, or to its delivery to any other process; and
    /// from the end of a pause until its runtime has told the containers of the pod to stop.
    pub stop: Ktime,
    /// From the runtime's entry into a container's cgroup to the exec.
    pub init: Ktime,
    /// From the exit of a pid namespace's init to the reaping of its last member.
    pub teardown: Ktime,
    /// From the removal of a pod to the exit of its last process.
    pub removal: Ktime,
    /// From the pinning of a network namespace until it has a sandbox, and from the removal of that
    /// sandbox's pod until the pin is gone.
    pub pin: Ktime,
    /// From a container's first exec to its declaration.
    pub identity: Ktime,
    /// From taking a signal to an exit that is still attributed to the signal.
    pub reaction: Ktime,
    /// Most zombies that a pod may have at once.
    pub zombies: u32,
}

impl Limits {
    /// Limits for real pods on a node that may be busy.
    pub const NODE: Self = Self {
        zombie: 5_000_000_000,
        stop: 5_000_000_000,
        init: 30_000_000_000,
        teardown: 10_000_000_000,
        removal: 10_000_000_000,
        pin: 120_000_000_000,
        identity: 10_000_000_000,
        reaction: 100_000_000,
        zombies: 64,
    };

    /// Limits for the reference pod, which waits for nothing else.
    pub const REFERENCE: Self = Self {
        zombie: 1_000_000_000,
        stop: 1_000_000_000,
        init: 1_000_000_000,
        teardown: 1_000_000_000,
        removal: 1_000_000_000,
        pin: 1_000_000_000,
        identity: 1_000_000_000,
        reaction: 100_000_000,
        zombies: 64,
    };

    /// The limits for a machine on which everything takes `factor` times as long.
    pub fn times(self, factor: u32) -> Self {
        let times = |limit: Ktime| limit.saturating_mul(factor.into());
        Self {
            zombie: times(self.zombie),
            stop: times(self.stop),
            init: times(self.init),
            teardown: times(self.teardown),
            removal: times(self.removal),
            pin: times(self.pin),
            identity: times(self.identity),
            reaction: times(self.reaction),
            zombies: self.zombies,
        }
    }
}

/// What is checked when a deadline passes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deadline {
    Zombie(ProcessId),
    Stop {
        process: ProcessId,
        signal: i32,
        sent: Ktime,
    },
    Init {
        process: ProcessId,
        container: ContainerId,
    },
    Teardown {
        pid_namespace: u32,
        init: ProcessId,
    },
    Removal(PodId),
    Sandbox(ContainerId),
    PauseEnd(ContainerId),
    Pin(Text),
    Identity {
        process: ProcessId,
        cgroup: CgroupId,
    },
    Name(ProcessId),
    Listen(ContainerId),
}

/// All deadlines, the next one first.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BinaryHeap<Reverse<(Ktime, Deadline)>>);

impl Deadlines {
    pub(super) fn arm(&mut self, at: Ktime, deadline: Deadline) {
        self.0.push(Reverse((at, deadline)));
    }

    /// Takes a deadline that has passed by `now`.
    pub(super) fn due(&mut self, now: Ktime) -> Option<Deadline> {
        if self.0.peek()?.0.0 > now {
            return None;
        }
        let passed = self.0.pop().map(|Reverse((_, deadline))| deadline);
        self.give_back();
        passed
    }

    /// The deadlines that have passed by `now`, and the time of the first.
    pub(super) fn due_by(&self, now: Ktime) -> Option<(Ktime, Vec<&Deadline>)> {
        let Reverse((first, _)) = self.0.peek().filter(|Reverse((at, _))| *at <= now)?;
        let due = self.0.iter().filter(|Reverse((at, _))| *at <= now);
        Some((*first, due.map(|Reverse((_, deadline))| deadline).collect()))
    }

    /// Drops the next deadlines as long as `is_moot` is true for them.
    pub(super) fn drop_moot(&mut self, is_moot: impl Fn(&Deadline) -> bool) {
        while let Some(Reverse((_, deadline))) = self.0.peek()
            && is_moot(deadline)
        {
            self.0.pop();
        }
        self.give_back();
    }

    /// Gives back the memory of the deadlines of a storm.
    fn give_back(&mut self) {
        const KEPT: usize = 512;
        let (capacity, needed) = (self.0.capacity(), self.0.len());
        if capacity > KEPT && needed < capacity / 8 {
            self.0.shrink_to(2 * needed);
        }
    }

    /// The time of the next deadline.
    pub(super) fn next(&self) -> Option<Ktime> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_deadlines_leaves_no_large_table() {
        let fill = |deadlines: &mut Deadlines| {
            for pid in 1..50_000 {
                let process = ProcessId { pid, start: 1 };
                deadlines.arm(pid.into(), Deadline::Zombie(process));
            }
        };
        let mut deadlines = Deadlines::default();
        fill(&mut deadlines);
        while deadlines.due(60_000).is_some() {}
        assert!(deadlines.0.capacity() <= 4_096);
        fill(&mut deadlines);
        deadlines.drop_moot(|_| true);
        assert!(deadlines.0.capacity() <= 4_096);
    }
}
