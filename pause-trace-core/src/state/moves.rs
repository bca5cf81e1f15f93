//! Moves into other namespaces that no call of the process shows.
//!
//! A hook can miss a setns or unshare: the tracepoints of system calls do not report the 32-bit
//! entry of the kernel (`ARCH_TRACE_IGNORE_COMPAT_SYSCALLS`, kernel/trace/trace_syscalls.c), and a
//! record can be lost. clone(2) with `CLONE_NEW*` and the exec of a thread in other namespaces move
//! a process without such a call. But every record of a fork, an exec and an exit has the
//! namespaces at that moment, so they are compared with the last known ones.

use super::{Change, Process, State};
use crate::event::{Kind, Ktime, NamespaceCall, NamespaceKind, Namespaces, ProcessId, TaskInfo};

/// How a process came into another namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A call, which was reported.
    Call(NamespaceCall),
    /// The reported call of a thread other than the first one. It moved only this thread, until the
    /// thread executed, which ends the others, or forked the process.
    Thread(ThreadCall, Seen),
    /// It was cloned into a namespace that the clone created.
    Cloned,
    /// A call that was not reported, or not one of this process: see [`Seen`].
    Unseen(Seen),
}

impl Door {
    /// Whether it may lead into a namespace that existed before. `clone` and `unshare` create one.
    pub(crate) fn enters(&self) -> bool {
        match self {
            Self::Call(call) | Self::Thread(ThreadCall { call, .. }, _) => {
                *call == NamespaceCall::Setns
            }
            Self::Cloned => false,
            Self::Unseen(_) => true,
        }
    }
}

/// The record in which a process turned out to be in another namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Its fork.
    Fork,
    /// Its exec.
    Exec,
    /// Its exit.
    Exit,
    /// A later call of setns or unshare.
    Call,
}

/// A successful setns or unshare of a thread that is not the first one of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadCall {
    pub(crate) time: Ktime,
    pub(crate) tid: u32,
    pub(crate) call: NamespaceCall,
    flags: u64,
    after: Namespaces,
}

impl ThreadCall {
    /// Whether the thread is in a namespace since this call.
    fn led_to(&self, kind: NamespaceKind, inode: u32) -> bool {
        (self.flags == 0 || self.flags & kind.flag() != 0) && self.after.of_children(kind) == inode
    }
}

/// Most calls of threads that are kept of one process, the latest ones.
const MAX_THREAD_CALLS: usize = 8;

/// How long after a loss of records it is known again who lives in which namespaces: what runs is
/// surveyed by then.
pub const SURVEYED: Ktime = 330_000_000_000;

/// Two views of the namespaces of a process, or of a process and the one that forked it.
struct Compared<'a> {
    process: ProcessId,
    before: &'a Namespaces,
    after: &'a Namespaces,
    /// The calls of the threads that may explain a difference.
    threads: &'a [ThreadCall],
    /// The kinds of namespaces that a clone created.
    made: u64,
    /// The kinds that are compared.
    kinds: u64,
    seen: Seen,
}

impl Process {
    /// Notes what a thread other than the first one called. A thread that goes back and forth
    /// replaces its former call.
    pub(super) fn note_thread(
        &mut self,
        time: Ktime,
        tid: u32,
        call: NamespaceCall,
        flags: u64,
        after: &Namespaces,
    ) {
        let calls = &mut self.thread_calls;
        calls.retain(|known| (known.tid, known.flags) != (tid, flags));
        if calls.len() == MAX_THREAD_CALLS {
            calls.remove(0);
        }
        let after = *after;
        calls.push(ThreadCall {
            time,
            tid,
            call,
            flags,
            after,
        });
    }
}

impl State {
    /// The namespaces that a container's process was last known to be in. Until it has executed
    /// there, the runtime moves it.
    pub(super) fn last_namespaces(&self, id: ProcessId) -> Option<Namespaces> {
        let process = self.processes.get(id)?;
        let is_inside = process.role.is_inside() && process.is_alive();
        Some(process.namespaces).filter(|known| is_inside && known.are_known())
    }

    /// Updates a process by the record of its exec or exit, and reports the namespaces that it
    /// turned out to be in. Comes before an exec assigns them to its pod.
    pub(super) fn update_and_compare(
        &mut self,
        now: Ktime,
        task: &TaskInfo,
        seen: Seen,
        changes: &mut Vec<Change>,
    ) {
        let id = task.process;
        let (before, undeclared) = (self.last_namespaces(id), self.undeclared_namespaces(id));
        self.update_process(now, task);
        self.moved(id, before, seen, changes);
        self.unjudged_move(id, before.or(undeclared));
    }

    fn moved(
        &mut self,
        id: ProcessId,
        before: Option<Namespaces>,
        seen: Seen,
        changes: &mut Vec<Change>,
    ) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        // An exec ends the other threads. At an exit, the record is about the first one.
        let threads = std::mem::take(&mut process.thread_calls);
        let (after, Some(before)) = (process.namespaces, before) else {
            return;
        };
        let threads: &[_] = if seen == Seen::Exec { &threads } else { &[] };
        let compared = Compared {
            process: id,
            before: &before,
            after: &after,
            threads,
            made: 0,
            kinds: u64::MAX,
            seen,
        };
        self.compare(&compared, changes);
    }

    /// Compares the namespaces of a child with its parent's. `made` are those that its clone may
    /// have created.
    pub(super) fn forked_in(
        &mut self,
        now: Ktime,
        parent: ProcessId,
        child: ProcessId,
        made: u64,
        changes: &mut Vec<Change>,
    ) {
        let made = self.created(made, parent, child);
        // Otherwise somebody of whom a record was lost may live there: it remains without an owner.
        let kinds = [Kind::Fork, Kind::Exec, Kind::Watch];
        if self.gap(&kinds, now.saturating_sub(SURVEYED)).is_none() {
            self.claim_cloned(made, child);
        }
        self.forked_elsewhere(parent, child, made, changes);
        let before = self.last_namespaces(parent);
        let before = before.or_else(|| self.undeclared_namespaces(parent));
        self.unjudged_move(child, before);
    }

    /// Which of the namespaces that a clone may have created are new: those that its parent's
    /// children do not get, and that nobody is known to have lived in before.
    fn created(&self, made: u64, parent: ProcessId, child: ProcessId) -> u64 {
        let (Some(parent), Some(process)) = (self.processes.get(parent), self.processes.get(child))
        else {
            return made;
        };
        // Also in a container that is not declared, or whose first records were lost.
        let is_inhabited = |kind: NamespaceKind, inode: u32| {
            let mut others = self.processes.iter().filter(|other| other.id != child);
            others.any(|other| other.is_alive() && other.namespaces.get(kind) == inode)
        };
        let is_new = |kind: &NamespaceKind| {
            let to = process.namespaces.of_children(*kind);
            made & kind.flag() != 0
                && to != parent.namespaces.of_children(*kind)
                && !self.is_owned(child, to)
                && !is_inhabited(*kind, to)
        };
        let kinds = NamespaceKind::ALL.into_iter().filter(is_new);
        kinds.fold(0, |kinds, kind| kinds | kind.flag())
    }

    /// Reports the namespaces in which the child of a container's process starts, if they are not
    /// those that its parent's children get.
    fn forked_elsewhere(
        &self,
        parent: ProcessId,
        child: ProcessId,
        made: u64,
        changes: &mut Vec<Change>,
    ) {
        let (Some(parent), Some(child)) = (self.processes.get(parent), self.processes.get(child))
        else {
            return;
        };
        if parent.role.is_inside() && parent.namespaces.are_known() {
            let compared = Compared {
                process: child.id,
                before: &parent.namespaces,
                after: &child.namespaces,
                threads: &parent.thread_calls,
                made,
                kinds: u64::MAX,
                seen: Seen::Fork,
            };
            self.compare(&compared, changes);
        }
    }

    /// Reports the namespaces that differ at a call of the first thread although the call has not
    /// changed them: those of kinds that it did not name, or all if it failed.
    pub(super) fn moved_before_call(
        &self,
        id: ProcessId,
        (flags, errno): (u64, i32),
        before: &Namespaces,
        after: &Namespaces,
        changes: &mut Vec<Change>,
    ) {
        let kinds = match (errno, flags) {
            // It may have changed any kind.
            (0, 0) => return,
            (0, flags) => !flags,
            _ => u64::MAX,
        };
        let compared = Compared {
            process: id,
            before,
            after,
            threads: &[],
            made: 0,
            kinds,
            seen: Seen::Call,
        };
        self.compare(&compared, changes);
    }

    fn compare(&self, compared: &Compared<'_>, changes: &mut Vec<Change>) {
        let Compared {
            process,
            before,
            after,
            seen,
            ..
        } = *compared;
        let first = changes.len();
        for kind in NamespaceKind::ALL {
            let (from, to, flag) = (
                before.of_children(kind),
                after.of_children(kind),
                kind.flag(),
            );
            // 0 is a namespace that could not be read.
            if from == to || from == 0 || to == 0 || compared.kinds & flag == 0 {
                continue;
            }
            let calls = compared.threads.iter().rev();
            let call = calls.copied().find(|call| call.led_to(kind, to));
            let door = match call {
                Some(call) => Door::Thread(call, seen),
                None if compared.made & flag != 0 => Door::Cloned,
                None => Door::Unseen(seen),
            };
            let unknown = if self.is_owned(process, to) { 0 } else { flag };
            let same = changes[first..].iter_mut().find_map(|change| match change {
                Change::NamespaceChanged {
                    door: known,
                    flags,
                    unowned,
                    ..
                } if *known == door => Some((flags, unowned)),
                _ => None,
            });
            if let Some((flags, known)) = same {
                *flags |= flag;
                *known |= unknown;
                continue;
            }
            changes.push(Change::NamespaceChanged {
                process,
                thread: None,
                door,
                flags: flag,
                errno: 0,
                before: *before,
                after: *after,
                unowned: unknown,
            });
        }
    }

    /// Whether it is known whose namespace this is: the host's, that of the process' pod, or of
    /// another pod that lives in it.
    fn is_owned(&self, process: ProcessId, inode: u32) -> bool {
        let pod = self
            .processes
            .get(process)
            .and_then(|process| process.pod.as_ref());
        self.is_host(inode)
            || self
                .owner_of(inode)
                .is_some_and(|owner| Some(owner) == pod || self.is_held_by(owner, inode))
    }
}
