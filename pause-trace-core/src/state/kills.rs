//! Why the kernel killed a process: the OOM killer, or the end of its pid namespace.
//!
//! `signal_generate` shows only that the kernel sent the SIGKILL, and which task was running. The
//! OOM killer runs in the task whose allocation failed; the end of a pid namespace runs in its
//! init, which has exited by then.

use super::{Change, Process, Reason, Received, State};
use crate::{
    event::{Comm, ContainerId, Ktime, ProcessId, Signal},
    signal::SIGKILL,
};

/// How long after it marked its victim the OOM killer may still kill those that share the victim's
/// memory, in ns: it walks all processes of the machine, and can be preempted.
const SHARERS: Ktime = 1_000_000_000;

/// The latest work of the OOM killer.
#[derive(Clone, Copy, Debug)]
pub(super) struct OomKiller {
    marked: Ktime,
    /// The task that it runs in.
    running: ProcessId,
    victim: ProcessId,
    comm: Comm,
}

/// The processes of a container that the OOM killer killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomKilled {
    /// When the last of them ended.
    pub(crate) time: Ktime,
    /// The last of them.
    pub(crate) id: ProcessId,
    pub(crate) ns_pid: u32,
    pub(crate) comm: Comm,
    pub(crate) count: u64,
}

impl State {
    /// Notes the memory limit that a container was created with.
    pub(super) fn limit_memory(&mut self, container: &ContainerId, bytes: u64) {
        if let Some(container) = self.containers.get_mut(container) {
            container.memory_limit = Some(bytes);
        }
    }

    /// Notes that the OOM killer marked a process. It marks its victim right after the SIGKILL, and
    /// also a process that is already ending (`task_will_free_mem`, mm/oom_kill.c), which it does
    /// not kill.
    pub(super) fn oom_marked(&mut self, now: Ktime, pid: u32) {
        let marked = self.processes.by_pid(pid);
        let Some(id) = marked
            .filter(|known| known.is_alive())
            .map(|known| known.id)
        else {
            return;
        };
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        process.oom = Some(now);
        let mut kills = process.signals.iter_mut().rev();
        if let Some(kill) = kills.find(|received| is_kernels_kill(received))
            && kill.reason != Reason::Teardown
        {
            // With `memory.oom.group`, one task kills and marks one process after the other.
            kill.reason = Reason::Oom;
            self.oom_killer = Some(OomKiller {
                marked: now,
                running: kill.running,
                victim: id,
                comm: process.comm,
            });
        }
    }

    /// Why the kernel sends a process this signal. [`Reason::Unseen`] for all signals but SIGKILL.
    pub(super) fn reason_of(&self, now: Ktime, signal: &Signal) -> Reason {
        if signal.signal != SIGKILL || signal.is_from_process() {
            return Reason::Unseen;
        }
        // A limit such as RLIMIT_CPU ends a process while it runs itself.
        if signal.sender != signal.target && self.is_ended_init(signal.sender) {
            return Reason::Teardown;
        }
        // After the mark, the OOM killer kills the other processes that share the victim's memory,
        // without a mark (`__oom_kill_process`, mm/oom_kill.c).
        let killer = self.oom_killer.filter(|killer| {
            killer.running == signal.sender
                && killer.victim != signal.target
                && now.saturating_sub(killer.marked) <= SHARERS
        });
        if let Some(OomKiller { victim, comm, .. }) = killer {
            return Reason::OomShared { victim, comm };
        }
        let target = self.processes.get(signal.target);
        match target.and_then(|target| target.oom) {
            Some(_) => Reason::Oom,
            None => Reason::Unseen,
        }
    }

    /// Looks again for the reason why the kernel killed a process that has now ended: the record of
    /// the exit of a namespace's init that had threads can come after the first of these kills.
    pub(super) fn settle_reason(&mut self, id: ProcessId) {
        let unseen =
            |received: &Received| is_kernels_kill(received) && received.reason == Reason::Unseen;
        let running: Vec<_> = self.processes.get(id).map_or_else(Vec::new, |process| {
            let kills = process.signals.iter().filter(|kill| unseen(kill));
            kills.map(|kill| kill.running).collect()
        });
        for by in running {
            if by != id
                && self.is_ended_init(by)
                && let Some(process) = self.processes.get_mut(id)
            {
                let kills = process.signals.iter_mut().filter(|kill| unseen(kill));
                kills.for_each(|kill| kill.reason = Reason::Teardown);
            }
        }
    }

    /// Notes in the container of a process that has ended that the OOM killer killed it.
    pub(super) fn note_oom_kill(
        &mut self,
        now: Ktime,
        id: ProcessId,
        container: Option<&ContainerId>,
        changes: &mut Vec<Change>,
    ) {
        let Some(process) = self.processes.get(id).filter(|known| known.is_oom_killed()) else {
            return;
        };
        let (ns_pid, comm) = (process.ns_pid, process.comm);
        if let Some(container) = container.and_then(|id| self.containers.get_mut(id)) {
            let before = container.oom.map_or(0, |before| before.count);
            container.oom = Some(OomKilled {
                time: now,
                id,
                ns_pid,
                comm,
                count: before + 1,
            });
            changes.push(Change::OomKilled(id));
        }
    }

    /// Whether a process was pid 1 of a pid namespace, and has ended. It then kills the others of
    /// its namespace (`zap_pid_ns_processes`, kernel/pid_namespace.c).
    fn is_ended_init(&self, id: ProcessId) -> bool {
        let known = self.processes.get(id);
        known.is_some_and(|known| known.is_namespace_init() && !known.is_alive())
    }
}

/// Whether this is a SIGKILL that the kernel sent.
fn is_kernels_kill(received: &Received) -> bool {
    received.signal == SIGKILL && received.sender.is_none()
}

impl Process {
    /// The signal that killed it, if one did and it was recorded.
    pub(crate) fn fatal(&self) -> Option<&Received> {
        let signal = self.ended?.status.signal()?;
        let others = self.others.iter().map(|other| &other.last);
        self.signals.iter().chain(others).find(|received| {
            received.signal == signal && received.was_queued() && received.handled.is_none()
        })
    }

    /// Whether the OOM killer killed it. The mark alone does not show that: a process that is
    /// already ending is marked as well.
    pub(crate) fn is_oom_killed(&self) -> bool {
        let killed = self.ended.and_then(|ended| ended.status.signal()) == Some(SIGKILL);
        killed
            && match self.fatal() {
                Some(by) => matches!(by.reason, Reason::Oom | Reason::OomShared { .. }),
                None => self.oom.is_some(),
            }
    }
}
