//! Processes: their identity, their pod and role, and how they ended.

use super::{
    Doubt,
    moves::ThreadCall,
    received::{Other, Received},
};
use crate::event::{
    CgroupId, Comm, ContainerId, Ktime, Namespaces, PodId, ProcessId, Text, WaitStatus,
};

/// The role of a process in its pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Unknown.
    #[default]
    Stranger,
    /// A process of the container runtime, which creates containers and is in none.
    Runtime,
    /// The pause of a sandbox.
    Pause,
    /// A container's entrypoint: the first process that executed in its cgroup.
    Init,
    /// A process that entered a running container from outside and executed: `kubectl exec` or a
    /// probe.
    Session,
    /// A descendant of one of these inside a container.
    Member,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub(crate) pod: PodId,
    pub(crate) container: ContainerId,
}

impl Role {
    /// Whether it runs the code of the user or of the pause inside a container.
    pub(crate) fn is_inside(self) -> bool {
        matches!(
            self,
            Self::Pause | Self::Init | Self::Session | Self::Member
        )
    }
}

/// Most signals that are kept of one process. The first and the latest matter, so the middle is
/// dropped.
const MAX_RECEIVED: usize = 16;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When it ended.
    pub time: Ktime,
    /// What wait(2) reports.
    pub status: WaitStatus,
    /// The parent at that time, which had to reap it.
    pub(crate) parent: ProcessId,
}

/// A setns that the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub(crate) time: Ktime,
    /// The requested `CLONE_NEW*` flags, or 0.
    pub(crate) flags: u64,
    pub(crate) errno: i32,
}

/// Most refusals that are kept of one process.
const MAX_REFUSED: usize = 8;

/// The setns calls of a process of the runtime and of the processes that it was forked from, back
/// to the last exec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joins {
    pub(crate) made: u32,
    /// Refused calls that have not succeeded since. Runtimes try a call before they enter a user
    /// namespace, where the kernel may refuse it, and again afterwards.
    pub(crate) refused: Vec<Refused>,
}

impl Joins {
    pub(super) fn record(&mut self, time: Ktime, flags: u64, errno: i32) {
        let before = self
            .refused
            .iter()
            .position(|refused| refused.flags == flags);
        if errno == 0 {
            self.made += 1;
            if let Some(before) = before {
                self.refused.remove(before);
            }
        } else if before.is_none() && self.refused.len() < MAX_REFUSED {
            self.refused.push(Refused { time, flags, errno });
        }
    }
}

/// The handlers of a process that SIGKILL ended, as sets of signals in which bit 0 is signal 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handlers {
    pub(crate) caught: u64,
    /// Those of `caught` that it installed itself, and did not get from the process that forked it.
    pub(crate) own: u64,
}

impl Handlers {
    /// Whether there is one for this signal in a set of them.
    pub(crate) fn has(set: u64, signal: i32) -> bool {
        (1..=64).contains(&signal) && set & (1 << (signal - 1)) != 0
    }
}

/// A process, up to its reaping.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Its pid and start time.
    pub id: ProcessId,
    /// Its pid in its own pid namespace.
    pub ns_pid: u32,
    /// The process that forked it.
    pub(crate) born_of: ProcessId,
    /// The process that has to reap it, if known. It changes when the parent exits.
    pub(crate) parent: ProcessId,
    /// Its name.
    pub comm: Comm,
    /// Whether it started before the hooks were attached, so that what it did before is unknown.
    pub(crate) found: bool,
    /// When it was first reported: its fork, or when it was found.
    pub(crate) seen: Ktime,
    /// The file that it executed last; empty if none is known.
    pub file: Text,
    /// When it executed that file, if the exec was reported.
    pub(crate) last_exec: Option<Ktime>,
    /// Its name after its first exec inside its container, and the file of that exec.
    pub(crate) first: Option<(Comm, Text)>,
    /// The number of its execs inside its container.
    pub execs: u32,
    /// The namespaces that it is in.
    pub namespaces: Namespaces,
    /// The cgroup that it is in.
    pub cgroup: CgroupId,
    /// Its role.
    pub role: Role,
    /// The container that it is in.
    pub container: Option<ContainerId>,
    /// The pod that it is in.
    pub pod: Option<PodId>,
    pub(crate) forked: Ktime,
    /// When it started, or the first of those processes of the runtime that it comes from and that
    /// run for its container or pod alone: what they do decides what it finds.
    pub(super) prepared: Ktime,
    /// Its first exec inside its container.
    pub executed: Option<Ktime>,
    /// The cgroup and time of its last exec in a cgroup without a declared container.
    pub(super) unplaced: Option<(CgroupId, Ktime)>,
    /// The execs before that one in the same cgroup, which were not judged.
    pub(crate) execs_before: u32,
    /// Whether that exec may have been the one of a container's entrypoint.
    pub(super) may_be_container: bool,
    /// The cgroup without a declared container in which it was forked by a process that had
    /// executed there.
    pub(super) unplaced_member: Option<CgroupId>,
    /// How it ended.
    pub ended: Option<Ended>,
    /// When it was reaped. Only a container's entrypoint stays in the state afterwards, and for a
    /// while a process that may become one when its container is declared.
    pub(crate) reaped: Option<Ktime>,
    /// Whether it exited longer than `Limits::zombie` ago and has not been reaped.
    pub overdue: bool,
    /// Whether that was so before its container was declared.
    pub(super) overdue_unplaced: bool,
    /// When a child of it was last reported as reaped.
    pub(crate) last_reap: Ktime,
    /// When the OOM killer marked it. See [`Process::is_oom_killed`].
    pub(crate) oom: Option<Ktime>,
    /// The signals that were sent to end it, oldest first.
    pub signals: Vec<Received>,
    /// The other signals that it received, by number. Of a pause, all are kept; of other processes,
    /// those whose default action is fatal.
    pub others: Vec<Other>,
    /// When it last sent a signal to end another process.
    pub(crate) sent: Option<Ktime>,
    /// When another process last sent it a signal other than SIGKILL.
    pub(super) signalled: Option<Ktime>,
    /// Whether another process ever sent it a signal that asks it to end.
    pub(super) asked: bool,
    /// Its handlers, if SIGKILL ended it.
    pub(super) handlers: Option<Handlers>,
    /// The children that it had when the entrypoint was sent this stop signal and that ended since,
    /// less those that it forked since.
    pub(super) left: Option<(Ktime, i32)>,
    /// The exec session or probe that it belongs to, for `Session` itself and its descendants.
    pub session: Option<ProcessId>,
    /// The setns calls. Only processes of the runtime have some.
    pub(crate) joins: Joins,
    /// The setns and unshare calls of threads other than the first one. Those of the runtime are
    /// not kept.
    pub(super) thread_calls: Vec<ThreadCall>,
    /// The namespaces that their runtime regards as the node's. Only processes of a runtime and
    /// their children have some.
    pub(super) outside: Option<Namespaces>,
    /// The cgroup without a declared container that it or an ancestor was moved out of.
    pub(super) left_place: Option<CgroupId>,
    /// Where it or an ancestor was when it was first moved out of the cgroups of its pod.
    pub(crate) moved_out_of: Option<Membership>,
    /// Why it may not be the runtime, although it has the role of one.
    pub(super) doubt: Option<Doubt>,
    /// The path of the container's cgroup that `/proc` showed it in.
    pub(super) home: Option<Text>,
    /// Whether it sent a signal while it was perhaps the runtime, or in a cgroup without a declared
    /// container.
    pub(super) acted_unplaced: bool,
    /// Whether it has forked a process since its last exec.
    pub(crate) has_forked: bool,
    /// The cgroup in which it is an OCI hook, or comes from one.
    pub(super) hook_in: Option<CgroupId>,
    /// Whether it was forked directly into a container's cgroup that its parent is not in
    /// (`CLONE_INTO_CGROUP`).
    pub(crate) born_inside: bool,
}

impl Process {
    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        self.ended.is_none() && self.reaped.is_none()
    }

    /// Whether it has not been reaped.
    pub fn is_there(&self) -> bool {
        self.reaped.is_none()
    }

    /// Since when it has run its program, as far as is known: its last exec that was reported, or
    /// its start.
    pub fn runs_since(&self) -> Ktime {
        self.last_exec.unwrap_or(self.id.start)
    }

    /// The cgroup without a declared container in which it executed, or was forked by what had
    /// executed there.
    pub(super) fn place(&self) -> Option<CgroupId> {
        self.unplaced
            .map(|(place, _)| place)
            .or(self.unplaced_member)
    }

    /// Whether it is still in that cgroup.
    pub(super) fn is_in_place(&self) -> bool {
        let executed = self.unplaced.map(|(place, _)| place);
        [executed, self.unplaced_member].contains(&Some(self.cgroup)) && self.container.is_none()
    }

    /// Whether it is in the cgroups of a pod, or was moved out of them.
    pub(crate) fn is_from(&self, pod: &PodId) -> bool {
        self.pod.as_ref() == Some(pod) || self.was_moved_out_of(pod)
    }

    /// The container that it is in.
    pub(super) fn membership(&self) -> Option<Membership> {
        let (pod, container) = (self.pod.clone()?, self.container.clone()?);
        Some(Membership { pod, container })
    }

    /// Whether it was moved out of the cgroups of a pod.
    pub(crate) fn was_moved_out_of(&self, pod: &PodId) -> bool {
        self.moved_out_of
            .as_ref()
            .is_some_and(|left| left.pod == *pod)
    }

    /// Notes the container that it was moved out of, unless it was moved out of another one before
    /// or is in the same pod.
    pub(super) fn note_moved_out(&mut self, left: Option<Membership>) {
        let left = self.moved_out_of.take().or(left);
        self.moved_out_of = left.filter(|left| self.pod.as_ref() != Some(&left.pod));
    }

    /// Whether it was reaped.
    pub(super) fn is_reaped(&self) -> bool {
        self.reaped.is_some()
    }

    /// Whether it was a zombie when it was found. When it ended is unknown.
    pub(crate) fn ended_unseen(&self) -> bool {
        self.found && self.ended.is_some_and(|ended| ended.time <= self.seen)
    }

    /// How a finding says that it is in a namespace. Where a process executed that was found
    /// running is unknown.
    pub(crate) fn is_or_executed(&self) -> &'static str {
        match self.found {
            true => "runs",
            false => "executed",
        }
    }

    /// The name that it had after its first exec inside its container.
    pub(crate) fn first_comm(&self) -> Comm {
        match &self.first {
            Some((comm, _)) if self.last_exec > self.executed => *comm,
            _ => self.comm,
        }
    }

    /// The file that it executed first inside its container, or last if it is in none; its name if
    /// that exec was not reported.
    pub(crate) fn executable(&self) -> String {
        let file = match &self.first {
            Some((_, file)) => file,
            None => &self.file,
        };
        shown_as(file, self.first_comm())
    }

    /// Its last exec if that was after `time`, as evidence: `sh (pid 7) executed /sbin/tini`.
    pub(crate) fn exec_after(&self, time: Ktime) -> Option<(Ktime, String)> {
        let at = self.last_exec.filter(|at| *at > time)?;
        let file = shown_as(&self.file, self.comm);
        let what = format!(
            "pid {} executed {file} and was called {} from then on",
            self.id.pid, self.comm
        );
        Some((at, what))
    }

    /// Whether only `/proc` may know what it is called: it executed itself, and since then no
    /// record has shown a name that it gave itself.
    pub(super) fn is_nameless(&self) -> bool {
        self.is_alive() && self.file.names_itself() && self.file.gives_name(self.comm)
    }

    /// Whether it has exited and has not been reaped.
    pub(crate) fn is_zombie(&self) -> bool {
        self.ended.is_some() && self.reaped.is_none()
    }

    /// Whether it is pid 1 of a pid namespace other than the initial one.
    pub(crate) fn is_namespace_init(&self) -> bool {
        self.ns_pid == 1 && self.namespaces.pid_level > 0
    }

    pub(crate) fn receive(&mut self, received: Received) {
        if self.signals.len() == MAX_RECEIVED {
            self.signals.remove(MAX_RECEIVED / 2);
        }
        self.signals.push(received);
    }

    /// Keeps the latest signal of each number. There are only 64 numbers.
    pub(super) fn receive_other(&mut self, received: Received) {
        match self
            .others
            .iter_mut()
            .find(|other| other.last.signal == received.signal)
        {
            Some(other) => {
                *other = Other {
                    last: received,
                    count: other.count + 1,
                }
            }
            None => self.others.push(Other {
                last: received,
                count: 1,
            }),
        }
    }

    /// Notes that a handler took a signal.
    pub(super) fn take(&mut self, signal: i32, now: Ktime) {
        let others = self.others.iter_mut().map(|other| &mut other.last);
        let waiting =
            |received: &&mut Received| received.signal == signal && received.handled.is_none();
        if let Some(received) = self.signals.iter_mut().rev().chain(others).find(waiting) {
            received.handled = Some(now);
        }
    }
}

/// An executed file; the name of the process if there is no file, or if the process executed itself
/// and has named itself since.
fn shown_as(file: &Text, comm: Comm) -> String {
    let has_own_name = file.names_itself() && !file.gives_name(comm);
    match file.0.is_empty() || has_own_name {
        true => comm.to_string(),
        false => file.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::SignalResult,
        signal::{SIGCHLD, SIGHUP, SIGTERM},
        state::Reason,
    };

    fn received(signal: i32, time: Ktime) -> Received {
        Received {
            time,
            signal,
            result: SignalResult::Delivered,
            sender: None,
            sender_comm: Comm::default(),
            sender_role: Role::Stranger,
            sender_doubt: None,
            outsider: None,
            target_comm: Comm::default(),
            sender_pod: None,
            running: ProcessId::default(),
            reason: Reason::Unseen,
            handled: None,
        }
    }

    #[test]
    fn a_flood_of_signals_keeps_the_first_and_the_latest() {
        let mut process = Process::default();
        for time in 0..100 {
            process.receive(received(SIGHUP, time));
            process.receive_other(received(SIGCHLD, time));
        }
        assert_eq!(process.signals.len(), MAX_RECEIVED);
        assert_eq!(process.signals.first().map(|first| first.time), Some(0));
        assert_eq!(process.signals.last().map(|last| last.time), Some(99));
        assert_eq!(
            process.others,
            [Other {
                last: received(SIGCHLD, 99),
                count: 100
            }]
        );
    }

    #[test]
    fn a_handler_takes_the_latest_unhandled_signal_of_its_number() {
        let mut process = Process::default();
        process.receive(received(SIGTERM, 1));
        process.receive(received(SIGTERM, 2));
        process.receive_other(received(SIGCHLD, 3));
        process.take(SIGTERM, 4);
        process.take(SIGTERM, 5);
        process.take(SIGTERM, 6);
        process.take(SIGCHLD, 7);
        process.take(SIGHUP, 8);
        let handled: Vec<_> = process
            .signals
            .iter()
            .map(|received| received.handled)
            .collect();
        assert_eq!(handled, [Some(5), Some(4)]);
        assert_eq!(process.others[0].last.handled, Some(7));
    }
}
