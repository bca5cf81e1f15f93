//! Which processes have ended although no record has said so yet.
//!
//! After a storm a batch has tens of thousands of events, and many of them put a process in
//! question. So the batch is searched once, and `/proc` is asked once for each process.

use std::collections::{HashMap, HashSet};

use super::GRACE_PERIOD;
use crate::event::{Event, Fact, Ktime, ProcessId};

/// The records of a process's end in a batch of events.
#[derive(Debug, Default)]
struct End {
    /// The index of its exit.
    exit: Option<usize>,
    /// The index of its reaping, and when that was.
    reaped: Option<(usize, Ktime)>,
}

/// The ends of processes in a batch of events, and which processes are still there.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// The number of events that were searched.
    indexed: usize,
    by_process: HashMap<ProcessId, End>,
    /// Processes that were seen in `/proc` after these events had been read.
    there: HashSet<ProcessId>,
}

impl Ends {
    /// The batch begins anew, or its order has changed.
    pub(super) fn clear(&mut self) {
        self.indexed = 0;
        self.by_process.clear();
        self.there.clear();
    }

    /// Searches the events that were added to the batch.
    pub(super) fn index(&mut self, events: &[Event]) {
        let new = events.iter().enumerate().skip(self.indexed);
        for (index, event) in new {
            match &event.fact {
                Fact::Exit { task, .. } => {
                    self.by_process.entry(task.process).or_default().exit = Some(index);
                }
                Fact::Reaped { process } => {
                    let end = self.by_process.entry(*process).or_default();
                    end.reaped = Some((index, event.time));
                }
                _ => {}
            }
        }
        if events.len() > self.indexed {
            self.indexed = events.len();
            self.there.clear();
        }
    }

    /// Whether one of the events from `next` on reports the late end of a process that should have
    /// been gone by `due`.
    ///
    /// The record of a reaping arrives an RCU grace period after it. A record that arrives within a
    /// grace period after `due` does not prove that the reaping was late.
    pub(super) fn is_late(&self, process: ProcessId, due: Ktime, next: usize) -> bool {
        let Some(end) = self.by_process.get(&process) else {
            return false;
        };
        let is_reaped_late = |(index, time): (usize, Ktime)| {
            index >= next && time > due.saturating_add(GRACE_PERIOD)
        };
        end.exit.is_some_and(|index| index >= next) || end.reaped.is_some_and(is_reaped_late)
    }

    /// Whether a process is gone. One that is still there was there at each of these events.
    pub(super) fn is_gone(
        &mut self,
        process: ProcessId,
        look: impl FnOnce(ProcessId) -> bool,
    ) -> bool {
        if self.there.contains(&process) {
            return false;
        }
        let is_gone = look(process);
        if !is_gone {
            self.there.insert(process);
        }
        is_gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Comm, Namespaces, TaskInfo, WaitStatus};

    const DUE: Ktime = 10_000_000_000;
    const LATE: ProcessId = ProcessId { pid: 7, start: 1 };
    const OTHER: ProcessId = ProcessId { pid: 8, start: 1 };

    fn reaped(process: ProcessId, time: Ktime) -> Event {
        let fact = Fact::Reaped { process };
        Event { time, fact }
    }

    fn exit(process: ProcessId, time: Ktime) -> Event {
        let task = TaskInfo {
            process,
            parent: ProcessId::default(),
            cgroup: 0,
            namespaces: Namespaces::default(),
            ns_pid: process.pid,
            comm: Comm::new("app"),
        };
        let status = WaitStatus::exited(0);
        let fact = Fact::Exit { task, status };
        Event { time, fact }
    }

    fn ends(events: &[Event]) -> Ends {
        let mut ends = Ends::default();
        ends.index(events);
        ends
    }

    #[test]
    fn a_reaping_record_within_a_grace_period_of_the_deadline_is_not_late() {
        let is_late = |time| ends(&[reaped(LATE, time)]).is_late(LATE, DUE, 0);
        assert!(!is_late(DUE + GRACE_PERIOD));
        assert!(is_late(DUE + GRACE_PERIOD + 1));
        assert!(!ends(&[]).is_late(LATE, DUE, 0));
    }

    #[test]
    fn an_exit_after_the_deadline_is_late_for_its_own_process_only() {
        assert!(ends(&[exit(LATE, DUE + 1)]).is_late(LATE, DUE, 0));
        assert!(!ends(&[exit(OTHER, DUE + 1)]).is_late(LATE, DUE, 0));
    }

    #[test]
    fn only_what_has_not_been_judged_counts_and_what_is_added_is_searched() {
        let mut events = vec![exit(LATE, DUE + 1), exit(OTHER, DUE + 2)];
        let mut ends = ends(&events);
        assert!(!ends.is_late(LATE, DUE, 1));
        assert!(ends.is_late(OTHER, DUE, 1));
        events.push(reaped(LATE, DUE + 2 * GRACE_PERIOD));
        ends.index(&events);
        assert!(ends.is_late(LATE, DUE, 2));
        ends.clear();
        assert!(!ends.is_late(LATE, DUE, 0));
    }

    #[test]
    fn a_process_is_looked_for_once_until_more_events_are_read() {
        let mut ends = ends(&[exit(OTHER, DUE)]);
        assert!(!ends.is_gone(LATE, |_| false));
        assert!(!ends.is_gone(LATE, |_| panic!("it was there")));
        ends.index(&[exit(OTHER, DUE), reaped(OTHER, DUE)]);
        assert!(ends.is_gone(LATE, |_| true));
        assert!(ends.is_gone(LATE, |_| true));
    }
}
