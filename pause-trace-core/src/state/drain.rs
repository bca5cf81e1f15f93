//! What the processes of a container do after its entrypoint was sent its stop signal.
//!
//! An init may tell its workers to end without a signal: over a socket, a pipe or shared memory. If
//! a worker ends, the init may have told it so. But a worker that was told nothing goes on with its
//! work, which starts processes and ends them, as `sleep 1` in a loop does. So an end counts if
//!
//! - the process is a child of the init, which may also have started it after the stop, to tell the
//!   workers; or
//! - the process ran when the stop was sent, and its parent, a worker, has not replaced it since.

use super::{Ended, Process, Received, Role, State, Worker};
use crate::{
    event::{ContainerId, Ktime, ProcessId, WaitStatus},
    signal::SIGKILL,
};

impl State {
    /// When the entrypoint of a container was last sent its stop signal; if that is unknown, any
    /// signal to end it.
    fn stopped(&self, container: &ContainerId) -> Option<(ProcessId, Ktime)> {
        let container = self.containers.get(container)?;
        let init = self.processes.get(container.init?)?;
        let stop_signal = container.stop_signal;
        let is_stop = |signal| signal != SIGKILL && stop_signal.is_none_or(|stop| stop == signal);
        let mut latest = init.signals.iter().rev();
        let stop = latest.find(|received| is_stop(received.signal))?;
        Some((init.id, stop.time))
    }

    /// The entrypoint of the container of a process that ended, and what to remember of the
    /// process, if the kernel or the runtime killed it after that entrypoint was sent a signal to
    /// end.
    pub(super) fn cut_off(&self, id: ProcessId, ended: Ended) -> Option<(ProcessId, Worker)> {
        let process = self.processes.get(id)?;
        let is_member = process.role == Role::Member && process.session.is_none();
        let is_killed = ended.status.signal() == Some(SIGKILL) && !process.is_oom_killed();
        if !is_member || !is_killed {
            return None;
        }
        let is_others = |kill: &Received| {
            kill.signal == SIGKILL
                && kill.sender.is_some()
                && (kill.sender_role != Role::Runtime || kill.sender_doubt.is_some())
        };
        let init = self.containers.get(process.container.as_ref()?)?.init?;
        let was_stopped = !self.processes.get(init)?.signals.is_empty();
        (was_stopped && !process.signals.iter().any(is_others)).then_some((
            init,
            Worker {
                id,
                comm: process.comm,
                forked: process.forked,
                ended: ended.time,
                handlers: process.handlers,
                signalled: process.signalled,
                asked: process.asked,
            },
        ))
    }

    /// Notes that a worker forked a child.
    pub(super) fn note_fork(&mut self, now: Ktime, parent: ProcessId) {
        if let Some(container) = self.worker(parent)
            && let Some((_, stop)) = self.stopped(container)
        {
            self.count_left(now, parent, stop, -1);
        }
    }

    /// Notes that a process ended that `parent` has to reap.
    pub(super) fn note_left(
        &mut self,
        now: Ktime,
        id: ProcessId,
        parent: ProcessId,
        status: WaitStatus,
    ) {
        let Some(container) = self.worker(id) else {
            return;
        };
        let Some((init, stop)) = self.stopped(container) else {
            return;
        };
        let Some(process) = self.processes.get(id) else {
            return;
        };
        if status.signal() == Some(SIGKILL) {
            if process.has_left() {
                self.member_left(now, id);
            }
            return;
        }
        let (is_own, was_there) = (process.born_of == init, process.forked <= stop);
        let is_workers = parent != init && self.worker(parent) == Some(container);
        match (is_own, was_there) {
            (true, _) => self.member_left(now, id),
            (false, true) if is_workers => self.count_left(now, parent, stop, 1),
            (false, true) => self.member_left(now, id),
            (false, false) => {}
        }
    }

    /// Notes that another process sent a process a signal other than SIGKILL.
    pub(super) fn note_told(&mut self, now: Ktime, id: ProcessId) {
        let Some(container) = self.worker(id) else {
            return;
        };
        let Some((_, stop)) = self.stopped(container) else {
            return;
        };
        let forked = self.processes.get(id).map(|process| process.forked);
        if forked.is_some_and(|forked| forked <= stop)
            && let Some(container) = self.container_mut_of(id)
        {
            container.member_told = Some(now);
        }
    }

    /// Whether a process of a container ended since then in a way that its entrypoint may have
    /// caused.
    pub(crate) fn has_left_since(&self, container: &ContainerId, since: Ktime) -> bool {
        let noted = self
            .containers
            .get(container)
            .and_then(|known| known.member_left);
        let mut processes = self.processes.iter();
        noted.is_some_and(|noted| noted >= since)
            || processes.any(|process| {
                process.has_left()
                    && process.is_alive()
                    && self.worker(process.id) == Some(container)
            })
    }

    /// The container of a process that is neither an entrypoint nor of an exec session.
    fn worker(&self, id: ProcessId) -> Option<&ContainerId> {
        let process = self.processes.get(id)?;
        let is_worker = process.role == Role::Member && process.session.is_none();
        process.container.as_ref().filter(|_| is_worker)
    }

    fn count_left(&mut self, now: Ktime, id: ProcessId, stop: Ktime, by: i32) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        let before = process.left.filter(|(of, _)| *of == stop);
        let is_forgotten = before.is_none() && process.has_left();
        let left = before.map_or(0, |(_, left)| left);
        process.left = Some((stop, left.saturating_add(by)));
        if is_forgotten {
            self.member_left(now, id);
        }
    }

    fn member_left(&mut self, now: Ktime, id: ProcessId) {
        if let Some(container) = self.container_mut_of(id) {
            container.member_left = Some(now);
        }
    }

    fn container_mut_of(&mut self, id: ProcessId) -> Option<&mut super::Container> {
        let container = self.processes.get(id)?.container.as_ref()?;
        self.containers.get_mut(container)
    }
}

impl Process {
    /// Whether more of its children ended since the stop than it has replaced.
    fn has_left(&self) -> bool {
        self.left.is_some_and(|(_, left)| left > 0)
    }
}
