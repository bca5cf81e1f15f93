//! Processes: who they are, to whom they belong, how they ended.

use std::collections::{BTreeSet, HashMap};

use crate::event::{
    CgroupId, Comm, ContainerId, Ktime, Namespaces, PodId, ProcessId, SignalResult, Text,
    WaitStatus,
};

/// What a process is to its pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Nothing known.
    #[default]
    Stranger,
    /// Of the container runtime's tree: it builds containers, and is in none.
    Runtime,
    /// The pause of a sandbox.
    Pause,
    /// A container's entrypoint: the first that executed in its cgroup.
    Init,
    /// Entered a container later from outside and executed: `kubectl exec`, a probe.
    Session,
    /// Descends from one of these inside a container.
    Member,
}

impl Role {
    /// Whether it runs the user's (or the pause's) code inside a container.
    pub(crate) fn is_inside(self) -> bool {
        matches!(
            self,
            Self::Pause | Self::Init | Self::Session | Self::Member
        )
    }
}

/// A signal that was meant to end or stop a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// When it was generated.
    pub time: Ktime,
    /// The signal's number.
    pub signal: i32,
    /// What became of it.
    pub result: SignalResult,
    /// `None` when the kernel sent it.
    pub sender: Option<ProcessId>,
    /// The sender's name.
    pub sender_comm: Comm,
    pub(crate) sender_role: Role,
    /// The sender's pod, if it was in one.
    pub(crate) sender_pod: Option<PodId>,
    /// When a handler took it.
    pub handled: Option<Ktime>,
}

/// Signals of one number that do not ask for a process' end, and yet may bring it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// The latest.
    pub last: Received,
    pub count: u64,
}

/// Most signals remembered of one process. The first and the latest matter: the middle is dropped.
const MAX_RECEIVED: usize = 16;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When it ended.
    pub time: Ktime,
    /// What wait(2) reports.
    pub status: WaitStatus,
    /// Who had to reap it then.
    pub(crate) parent: ProcessId,
}

/// A setns that the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub(crate) time: Ktime,
    /// `CLONE_NEW*` as asked, or 0.
    pub(crate) flags: u64,
    pub(crate) errno: i32,
}

/// Most refusals remembered of one process.
const MAX_REFUSED: usize = 8;

/// How the runtime's part of a container's setup went: setns calls of a process and of those it was forked from, back to
/// the last exec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joins {
    pub(crate) made: u32,
    /// What was refused and has not been granted since. Runtimes try what may be refused before they enter a user
    /// namespace, and again after.
    pub(crate) refused: Vec<Refused>,
}

impl Joins {
    pub(super) fn tried(&mut self, time: Ktime, flags: u64, errno: i32) {
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

/// A process that is, or was until it was reaped.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Its pid and start time.
    pub id: ProcessId,
    /// In its own pid namespace.
    pub ns_pid: u32,
    /// Who forked it.
    pub(crate) born_of: ProcessId,
    /// Who has to reap it, as far as known: changes when its parent ends.
    pub(crate) parent: ProcessId,
    /// Its name.
    pub comm: Comm,
    /// Whether it was there before us: what it did before is not known.
    pub(crate) found: bool,
    /// What it executed last; empty before.
    pub file: Text,
    /// How often it executed a file inside its container.
    pub execs: u32,
    /// The namespaces that it is in.
    pub namespaces: Namespaces,
    /// The cgroup that it is in.
    pub cgroup: CgroupId,
    /// What it is to its pod.
    pub role: Role,
    /// The container that it is in.
    pub container: Option<ContainerId>,
    /// The pod that it is in.
    pub pod: Option<PodId>,
    pub(crate) forked: Ktime,
    /// First exec inside its container.
    pub executed: Option<Ktime>,
    /// Where and when it executed last while nobody knew whose cgroup that was.
    pub(super) unplaced: Option<(CgroupId, Ktime)>,
    /// Where it was forked by a process that had executed there, while nobody knew whose cgroup that was.
    pub(super) unplaced_member: Option<CgroupId>,
    /// How it ended.
    pub ended: Option<Ended>,
    /// When it was reaped. Only a container's entrypoint stays in the state after that.
    pub(crate) reaped: Option<Ktime>,
    /// Whether it ended `Limits::zombie` ago without being reaped.
    pub overdue: bool,
    /// When a child of it was last seen to have been reaped.
    pub(crate) last_reap: Ktime,
    /// Chosen by the OOM killer.
    pub(crate) oom: Option<Ktime>,
    /// Signals that ask for or force its end, oldest first.
    pub signals: Vec<Received>,
    /// All other signals of a pause, and those of a container's process whose default action is fatal; by number.
    pub others: Vec<Other>,
    /// When it last sent another process a signal that asks for or forces its end.
    pub(crate) sent: Option<Ktime>,
    /// The session (exec or probe) it came with, for `Session` itself and its descendants.
    pub(crate) session: Option<ProcessId>,
    /// Of the runtime's processes only.
    pub(crate) joins: Joins,
    /// Of the runtime's processes, and of those that they fork: what is the node's to the runtime that they are of.
    pub(super) outside: Option<Namespaces>,
    /// Whether it was forked straight into a container's cgroup that its parent is not in (`CLONE_INTO_CGROUP`).
    pub(crate) born_inside: bool,
}

impl Process {
    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        self.ended.is_none() && self.reaped.is_none()
    }

    /// What it executed last, by the file's name; by its own where it did so before us.
    pub(crate) fn executable(&self) -> String {
        match self.file.0.is_empty() {
            true => self.comm.to_string(),
            false => self.file.to_string(),
        }
    }

    /// Whether it ended and waits to be reaped.
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

    /// Remembers the latest of each number: there are only 64.
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

/// All processes that are known, by identity, by pid and by parent.
#[derive(Debug, Default)]
pub struct Processes {
    by_id: HashMap<ProcessId, Process>,
    /// The latest process with this pid.
    by_pid: HashMap<u32, ProcessId>,
    /// (parent, child)
    children: BTreeSet<(ProcessId, ProcessId)>,
}

impl Processes {
    /// A process that is known.
    pub fn get(&self, id: ProcessId) -> Option<&Process> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ProcessId) -> Option<&mut Process> {
        self.by_id.get_mut(&id)
    }

    /// The latest process that had this pid.
    pub fn by_pid(&self, pid: u32) -> Option<&Process> {
        self.by_pid.get(&pid).and_then(|id| self.by_id.get(id))
    }

    /// The pids of a process and of those above it, as far as they are known, nearest first.
    pub fn lineage(&self, id: ProcessId) -> impl Iterator<Item = u32> {
        let parent = |id: &ProcessId| self.get(*id).map(|process| process.parent);
        let line = std::iter::successors(Some(id), parent).map(|id| id.pid);
        // Nobody knows who forked the first that is known.
        line.take_while(|pid| *pid > 0)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.by_id.values()
    }

    /// The processes that `parent` has to reap, by pid.
    pub fn children(&self, parent: ProcessId) -> impl Iterator<Item = &Process> {
        let first = (parent, ProcessId::default());
        let last = (
            parent,
            ProcessId {
                pid: u32::MAX,
                start: u64::MAX,
            },
        );
        self.children
            .range(first..=last)
            .filter_map(|(_, child)| self.by_id.get(child))
    }

    pub(super) fn insert(&mut self, process: Process) {
        self.children.insert((process.parent, process.id));
        self.by_pid.insert(process.id.pid, process.id);
        self.by_id.insert(process.id, process);
    }

    pub(super) fn remove(&mut self, id: ProcessId) -> Option<Process> {
        let process = self.by_id.remove(&id)?;
        self.children.remove(&(process.parent, id));
        if self.by_pid.get(&id.pid) == Some(&id) {
            self.by_pid.remove(&id.pid);
        }
        Some(process)
    }

    pub(super) fn set_parent(&mut self, id: ProcessId, parent: ProcessId) {
        if let Some(process) = self.by_id.get_mut(&id)
            && process.parent != parent
        {
            self.children.remove(&(process.parent, id));
            process.parent = parent;
            self.children.insert((parent, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::signal::{SIGCHLD, SIGHUP, SIGTERM};

    use super::*;

    fn received(signal: i32, time: Ktime) -> Received {
        Received {
            time,
            signal,
            result: SignalResult::Delivered,
            sender: None,
            sender_comm: Comm::default(),
            sender_role: Role::Stranger,
            sender_pod: None,
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
    fn a_handler_takes_the_latest_that_waits_of_its_number() {
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
