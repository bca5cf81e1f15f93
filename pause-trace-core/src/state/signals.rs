//! Signals: sender, target, and whether a handler took them.

use super::{Change, Deadline, On, Received, Role, State};
use crate::{
    event::{Ktime, ProcessId, Signal},
    signal::{SIGINT, SIGKILL, SIGQUIT, SIGTERM},
};

impl State {
    pub(super) fn signalled(&mut self, now: Ktime, signal: &Signal, changes: &mut Vec<Change>) {
        // A process may have named itself since its last exec.
        self.rename(signal.sender, signal.sender_comm);
        self.rename(signal.target, signal.target_comm);
        let sender = self.processes.get(signal.sender);
        let sender_pod = sender.and_then(|sender| sender.pod.clone());
        let (role, doubt) = self.standing(signal.sender, Some(signal.target));
        let is_outside = (role != Role::Runtime || doubt.is_some()) && sender_pod.is_none();
        let outsider = is_outside
            .then(|| self.outsider(signal.sender))
            .flatten()
            .filter(|outsider| outsider.comm == signal.sender_comm)
            .cloned();
        let reason = self.reason_of(now, signal);
        let target = self.processes.get(signal.target);
        let is_supervisor = target.is_some_and(|target| self.is_supervisor(target));
        let Some(target) = self.processes.get_mut(signal.target) else {
            return;
        };
        // Who kills a shim or a conmon matters to the pods that it leaves behind.
        let is_outside = target.pod.is_none() && sender_pod.is_none();
        if is_fatal_by_default(signal.signal) && signal.sender != signal.target {
            for process in [signal.sender, signal.target] {
                self.unjudged(process, On::Signalled);
            }
        }
        let Some(target) = self.processes.get_mut(signal.target) else {
            return;
        };
        // It may turn out to be the entrypoint of a container that is not declared yet.
        let may_be_inside = target.unplaced.is_some();
        if is_outside && !is_supervisor && !may_be_inside {
            return;
        }
        let stop_signal = target
            .container
            .as_ref()
            .and_then(|id| self.containers.get(id))
            .and_then(|container| container.stop_signal);
        let is_stop = Some(signal.signal) == stop_signal || is_ending(signal.signal);
        let is_from_other = signal.is_from_process() && signal.sender != signal.target;
        if is_from_other && signal.signal != SIGKILL {
            target.signalled = Some(now);
            target.asked |= Some(signal.signal) == stop_signal
                || matches!(signal.signal, SIGTERM | SIGINT | SIGQUIT);
        }
        let received = Received {
            time: now,
            signal: signal.signal,
            result: signal.result,
            sender: signal.is_from_process().then_some(signal.sender),
            sender_comm: signal.sender_comm,
            sender_role: role,
            sender_doubt: doubt,
            outsider: outsider.filter(|_| signal.is_from_process()),
            target_comm: target.comm,
            sender_pod,
            running: signal.sender,
            reason,
            handled: None,
        };
        if is_from_other && signal.signal != SIGKILL {
            self.note_told(now, signal.target);
        }
        let Some(target) = self.processes.get_mut(signal.target) else {
            return;
        };
        if is_stop {
            target.receive(received);
            if matches!(target.role, Role::Init | Role::Pause) {
                let deadline = Deadline::Stop {
                    process: signal.target,
                    signal: signal.signal,
                    sent: now,
                };
                self.deadlines
                    .arm(now.saturating_add(self.limits.stop), deadline);
            }
        } else if target.role == Role::Pause
            || ((target.role.is_inside() || is_supervisor || may_be_inside)
                && is_fatal_by_default(signal.signal))
        {
            target.receive_other(received);
        }
        if let Some(sender) = self.processes.get_mut(signal.sender) {
            sender.acted_unplaced |= sender.pod.is_none() && sender.place().is_some();
            sender.acted_unplaced |= doubt.is_some();
        }
        if is_outside {
            return;
        }
        if is_stop
            && is_from_other
            && let Some(sender) = self.processes.get_mut(signal.sender)
        {
            sender.sent = Some(now);
        }
        changes.push(Change::Signalled(*signal));
    }

    pub(super) fn signal_taken(
        &mut self,
        now: Ktime,
        id: ProcessId,
        signal: i32,
        handled: bool,
        changes: &mut Vec<Change>,
    ) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if handled {
            process.take(signal, now);
        }
        if handled && is_fatal_by_default(signal) {
            self.unjudged(id, On::SignalTaken);
        }
        changes.push(Change::SignalTaken {
            process: id,
            signal,
            handled,
        });
    }
}

/// Whether a signal is sent to end a process.
pub(super) fn is_ending(signal: i32) -> bool {
    use crate::signal::{SIGABRT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM};
    matches!(
        signal,
        SIGTERM | SIGKILL | SIGINT | SIGQUIT | SIGHUP | SIGABRT
    )
}

/// Whether the default action of a signal ends the process (signal(7)). That includes real-time
/// signals.
fn is_fatal_by_default(signal: i32) -> bool {
    use crate::signal::{SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH};
    !matches!(
        signal,
        SIGCHLD | SIGCONT | SIGSTOP | SIGTSTP | SIGTTIN | SIGTTOU | SIGURG | SIGWINCH
    )
}
