//! Puts the OOM killer's report of its victim before the victim's exit.
//!
//! The kernel sends the SIGKILL first and reports the victim after it (`__oom_kill_process`,
//! mm/oom_kill.c). A victim that runs on another processor can exit between the two, and its exit
//! would be judged as a kill by the kernel without a reason.

use nix::libc::SIGKILL;

use crate::{
    event::{Event, Fact, Ktime, ProcessId},
    state::State,
};

/// How long after the SIGKILL the report may arrive, in ns. The kernel holds a spinlock from one to
/// the other, so that only interrupts and other tracers come between them.
pub(super) const REPORT: Ktime = 50_000_000;

/// Until when to wait for the OOM killer's report of a process that the kernel has killed; `None`
/// if all such reports are there.
///
/// The end of a pid namespace kills its processes with the same signal, but after the exit of the
/// namespace's init.
pub(super) fn report_is_due(events: &[Event], state: &State) -> Option<Ktime> {
    let killed = events
        .iter()
        .enumerate()
        .filter_map(|(index, event)| match &event.fact {
            Fact::Signal(sent) if sent.signal == SIGKILL && !sent.is_from_process() => {
                Some((index, event.time, sent.target))
            }
            _ => None,
        });
    let unexplained = killed.filter(|(index, _, target)| {
        let is_reported = || {
            events[*index..]
                .iter()
                .any(|event| matches!(event.fact, Fact::OomVictim { pid } if pid == target.pid))
        };
        leads_a_container(*target, state)
            && !is_torn_down(*target, &events[..*index], state)
            && !is_reported()
    });
    unexplained.map(|(_, time, _)| time + REPORT).max()
}

/// Whether the end of a process is the end of a container, so that its cause is judged.
fn leads_a_container(process: ProcessId, state: &State) -> bool {
    let known = state.processes.get(process);
    known.is_some_and(|process| {
        let container = state.container_of(process);
        container.is_some_and(|container| container.init == Some(process.id))
    })
}

/// Whether the init of the process's pid namespace, another process, has ended.
fn is_torn_down(process: ProcessId, before: &[Event], state: &State) -> bool {
    let Some(namespace) = state
        .processes
        .get(process)
        .map(|known| known.namespaces.pid)
    else {
        return false;
    };
    let has_ended = |init: ProcessId| {
        before
            .iter()
            .any(|event| matches!(&event.fact, Fact::Exit { task, .. } if task.process == init))
    };
    let init = state.init_of(namespace).filter(|init| init.id != process);
    init.is_some_and(|init| !init.is_alive() || has_ended(init.id))
}

/// Moves each report of a victim before the victim's exit.
pub(super) fn before_the_exit(events: &mut [Event]) {
    for report in 0..events.len() {
        let Fact::OomVictim { pid } = events[report].fact else {
            continue;
        };
        let exit = events[..report].iter().rposition(
            |event| matches!(&event.fact, Fact::Exit { task, .. } if task.process.pid == pid),
        );
        if let Some(exit) = exit {
            events[report].time = events[exit].time;
            events[exit..=report].rotate_right(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Comm, Namespaces, TaskInfo, WaitStatus};

    fn exit(time: Ktime, pid: u32) -> Event {
        let process = ProcessId { pid, start: 1 };
        let task = TaskInfo {
            process,
            parent: ProcessId::default(),
            cgroup: 0,
            namespaces: Namespaces::default(),
            ns_pid: 1,
            comm: Comm::new("app"),
        };
        let status = WaitStatus::killed(SIGKILL);
        let fact = Fact::Exit { task, status };
        Event { time, fact }
    }

    fn victim(time: Ktime, pid: u32) -> Event {
        let fact = Fact::OomVictim { pid };
        Event { time, fact }
    }

    /// Time, pid, and whether the event is a report of the OOM killer.
    fn order(mut events: Vec<Event>) -> Vec<(Ktime, u32, bool)> {
        before_the_exit(&mut events);
        let describe = |event: &Event| match &event.fact {
            Fact::Exit { task, .. } => (event.time, task.process.pid, false),
            Fact::OomVictim { pid } => (event.time, *pid, true),
            _ => panic!("no other events"),
        };
        events.iter().map(describe).collect()
    }

    #[test]
    fn a_report_after_the_exit_comes_before_it() {
        let events = vec![exit(1, 6), exit(2, 7), exit(3, 8), victim(4, 7)];
        let expected = [(1, 6, false), (2, 7, true), (2, 7, false), (3, 8, false)];
        assert_eq!(order(events), expected);
    }

    #[test]
    fn a_report_before_the_exit_stays() {
        let events = vec![exit(1, 6), victim(2, 7), exit(3, 7)];
        assert_eq!(order(events), [(1, 6, false), (2, 7, true), (3, 7, false)]);
    }

    #[test]
    fn every_victim_of_a_group_is_reported_before_its_exit() {
        let events = vec![exit(1, 6), exit(2, 7), victim(3, 6), victim(4, 7)];
        let expected = [(1, 6, true), (1, 6, false), (2, 7, true), (2, 7, false)];
        assert_eq!(order(events), expected);
    }
}
