//! What one pod may fill of a recording of bounded size, so that a pod that forks without pause
//! does not push out what happened to the others.
//!
//! Each pod has an account, which its records draw on and which time fills. If it is empty, those
//! records of the pod are left out that are worth the least, and a [`Fact::RecordsSuppressed`] says
//! so, as of those that the kernel only counted. A replay then treats the pod like one that the
//! kernel did not report in full: no verdict that depends on such records passes, and none of
//! another pod changes.
//!
//! A process is left out as a whole: if its fork is, so are its other records and its children, as
//! if it had not been watched. So no zombie stays in a replay because its reaping was left out.
//! What tells how a pod and its containers live is kept: their cgroups and declarations, the ends
//! of known processes, what comes from outside of the pod, and the stop signals of entrypoints.

use std::{cmp::Reverse, mem};

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use crate::{
    event::{CgroupId, Event, Fact, Kind, Ktime, NamespaceCall, PodId, ProcessId, Text},
    signal::SIGKILL,
    state::{Process, Role, State},
};

const SECOND: Ktime = 1_000_000_000;

/// The bytes that a record of a process takes before it is packed, roughly.
const RECORD: u64 = 160;

/// The seconds in which a pod may fill as much as the limit, before it is packed: to a quarter of
/// that or less.
const FILLED_IN: u64 = 128;

/// The seconds of which a pod may use its share at once, as when its containers start.
const SAVED: Ktime = 8 * SECOND;

/// The time between two facts about what was left out of a pod.
const NOTED: Ktime = SECOND / 10;

/// The shares of the pods in a recording.
#[derive(Debug, Default)]
pub struct Shares {
    /// What a record costs, in ns of the time that fills an account.
    cost: Ktime,
    /// What an account holds when it is full, in ns.
    saved: Ktime,
    accounts: HashMap<PodId, Account>,
    /// The accounts that were empty in this segment: they divide one share.
    exhausted: u64,
    /// The processes that are left out and have not been reaped.
    unseen: HashSet<ProcessId>,
    /// A clone, of which only the fork that follows says whose child it made.
    held: Option<Event>,
    left_out: HashMap<PodId, LeftOut>,
}

/// What a pod may still write.
#[derive(Debug, Default)]
struct Account {
    /// Until when what it wrote is paid for. It may be before the machine started.
    paid: i64,
    is_exhausted: bool,
    /// What was left out and not yet said.
    pending: Vec<(CgroupId, Kind, u64)>,
    /// When that was said last.
    noted: Ktime,
}

/// The records of a pod that were left out of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The Kubernetes namespace of the pod.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
    /// How many.
    pub records: u64,
}

/// What to do with an event.
enum Admission<'a> {
    /// It is written. The account, if a pod has to pay for it.
    Kept(Option<&'a mut Account>),
    LeftOut(Option<&'a mut Account>),
}

impl Shares {
    /// The shares in a recording of so many bytes.
    pub fn new(limit: u64) -> Self {
        let per_second = (limit / FILLED_IN / RECORD).max(1);
        Self {
            cost: (SECOND / per_second).max(1),
            saved: SAVED,
            accounts: HashMap::new(),
            exhausted: 0,
            unseen: HashSet::new(),
            held: None,
            left_out: HashMap::new(),
        }
    }

    /// Decides about an event, and calls `write` with what is to be written in its place. `state`:
    /// before the event.
    pub fn admit(&mut self, event: &Event, state: &State, mut write: impl FnMut(&Event)) {
        let held = self.held.take();
        if let Fact::Cloned { .. } = event.fact {
            held.iter().for_each(&mut write);
            self.held = Some(event.clone());
            return;
        }
        let of_fork = match (&held, &event.fact) {
            (Some(held), Fact::Fork { task }) => {
                matches!(held.fact, Fact::Cloned { process, .. } if process == task.process)
            }
            _ => false,
        };
        let time = event.time;
        match self.judge(event, state) {
            Admission::Kept(account) => {
                // What is kept is judged by what is known to be missing by then.
                if let Some(account) = account {
                    account.note(time, &mut write);
                }
                held.iter().for_each(&mut write);
                write(event);
            }
            Admission::LeftOut(account) => {
                held.iter().filter(|_| !of_fork).for_each(&mut write);
                if let Some(account) = account
                    && time.saturating_sub(account.noted) >= NOTED
                {
                    account.note(time, &mut write);
                }
            }
        }
    }

    /// Facts about what was left out and not yet written: the end of what is recorded.
    pub fn pending(&self, time: Ktime) -> Vec<Event> {
        let accounts = self.accounts.iter();
        let mut accounts: Vec<_> = accounts
            .filter(|(_, account)| !account.pending.is_empty())
            .collect();
        accounts.sort_unstable_by_key(|(pod, _)| *pod);
        let facts = accounts.into_iter().map(|(_, account)| account.facts(time));
        facts.flatten().collect()
    }

    /// Begins a segment with a snapshot of all processes, and returns what was left out of the one
    /// before, the most first.
    pub fn begin_segment(&mut self) -> Vec<LeftOut> {
        // The snapshot has them, so how they end must be written.
        self.unseen.clear();
        self.accounts.clear();
        self.exhausted = 0;
        let left_out = self.left_out();
        self.left_out.clear();
        left_out
    }

    /// What was left out of this segment, the most first.
    pub fn left_out(&self) -> Vec<LeftOut> {
        let mut left_out: Vec<_> = self.left_out.values().cloned().collect();
        left_out.sort_unstable_by(|one, other| {
            let by = |it: &LeftOut| (Reverse(it.records), it.namespace.clone(), it.name.clone());
            by(one).cmp(&by(other))
        });
        left_out
    }

    /// Accounts that hold so many records, and that time does not fill.
    #[cfg(test)]
    pub(crate) fn strict(records: u64) -> Self {
        let cost = 1 << 50;
        Self {
            cost,
            saved: cost * records,
            ..Self::new(0)
        }
    }

    fn judge(&mut self, event: &Event, state: &State) -> Admission<'_> {
        let fact = &event.fact;
        match fact {
            // It is known again.
            Fact::Found { task, .. } => {
                self.unseen.remove(&task.process);
            }
            Fact::PodRemoved { pod } => {
                let account = self.accounts.get_mut(pod);
                return Admission::Kept(account);
            }
            _ => {}
        }
        let Some(subject) = subject(fact) else {
            return Admission::Kept(None);
        };
        let is_unseen = !self.unseen.is_empty() && self.unseen.contains(&subject);
        if is_unseen && !matches!(fact, Fact::Fork { .. }) {
            if let Fact::Reaped { process } = fact {
                self.unseen.remove(process);
            }
            return Admission::LeftOut(None);
        }
        let Some((process, pod, cgroup)) = inside(subject, state) else {
            return Admission::Kept(None);
        };
        if !self.accounts.contains_key(pod) {
            let account = Account {
                paid: i64::MIN,
                ..Account::default()
            };
            self.accounts.insert(pod.clone(), account);
        }
        let cost = self.cost.saturating_mul(self.exhausted.max(1));
        let Some(account) = self.accounts.get_mut(pod) else {
            return Admission::Kept(None);
        };
        let can_pay = account.can_pay(event.time, cost, self.saved);
        if !is_unseen && (can_pay || !is_cheap(fact, process, state)) {
            account.pay(event.time, cost, self.saved);
            return Admission::Kept(Some(account));
        }
        if !mem::replace(&mut account.is_exhausted, true) {
            self.exhausted += 1;
        }
        if let Fact::Fork { task } = fact {
            self.unseen.insert(task.process);
        }
        if let Some(kind) = fact.record() {
            account.leave_out(cgroup, kind);
        }
        let left_out = self.left_out.entry(pod.clone()).or_default();
        if left_out.records == 0
            && let Some(pod) = state.pods.get(pod)
        {
            left_out.namespace = pod.namespace.clone();
            left_out.name = pod.name.clone();
        }
        left_out.records += 1;
        Admission::LeftOut(Some(account))
    }
}

impl Account {
    /// Whether it can pay for a record. `saved`: what it holds when it is full.
    fn can_pay(&self, now: Ktime, cost: Ktime, saved: Ktime) -> bool {
        self.after(now, cost, saved) <= signed(now)
    }

    /// Pays for a record. Who writes all the same does not owe for ever.
    fn pay(&mut self, now: Ktime, cost: Ktime, saved: Ktime) {
        let most = signed(now).saturating_add(signed(saved));
        self.paid = self.after(now, cost, saved).min(most);
    }

    fn after(&self, now: Ktime, cost: Ktime, saved: Ktime) -> i64 {
        let full = signed(now).saturating_sub(signed(saved));
        self.paid.max(full).saturating_add(signed(cost))
    }

    fn leave_out(&mut self, cgroup: CgroupId, kind: Kind) {
        let mut pending = self.pending.iter_mut();
        match pending.find(|(of, known, _)| (*of, *known) == (cgroup, kind)) {
            Some((_, _, count)) => *count += 1,
            None => self.pending.push((cgroup, kind, 1)),
        }
    }

    fn note(&mut self, time: Ktime, write: &mut impl FnMut(&Event)) {
        if self.pending.is_empty() {
            return;
        }
        self.facts(time).for_each(|event| write(&event));
        self.pending.clear();
        self.noted = time;
    }

    fn facts(&self, time: Ktime) -> impl Iterator<Item = Event> {
        self.pending.iter().map(move |(cgroup, kind, count)| Event {
            time,
            fact: Fact::RecordsSuppressed {
                cgroup: *cgroup,
                kind: *kind,
                count: *count,
            },
        })
    }
}

fn signed(time: Ktime) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// The process whose pod pays for a record, and without which the record says nothing.
fn subject(fact: &Fact) -> Option<ProcessId> {
    Some(match fact {
        Fact::Fork { task } => task.parent,
        Fact::Exec { task, .. }
        | Fact::Exit { task, .. }
        | Fact::NamespaceChange { task, .. }
        | Fact::CgroupAttached { task } => task.process,
        Fact::Reaped { process }
        | Fact::SignalDelivered { process, .. }
        | Fact::Handlers { process, .. }
        | Fact::Named { process, .. }
        | Fact::SignalMasks { process, .. } => *process,
        Fact::Signal(signal) => signal.target,
        Fact::Listen(listen) => listen.process,
        _ => return None,
    })
}

/// A process in a container, with its pod and the cgroup of the container.
fn inside(id: ProcessId, state: &State) -> Option<(&Process, &PodId, CgroupId)> {
    let process = state.processes.get(id)?;
    if !process.role.is_inside() {
        return None;
    }
    let cgroup = state.container_of(process)?.cgroup;
    (cgroup != 0).then_some((process, process.pod.as_ref()?, cgroup))
}

/// Whether a record can be left out of a pod that has written its share.
fn is_cheap(fact: &Fact, process: &Process, state: &State) -> bool {
    let is_stop = |signal: i32| {
        let container = state.container_of(process);
        let stop = container.and_then(|container| container.stop_signal);
        matches!(process.role, Role::Init | Role::Pause)
            && (signal == SIGKILL || Some(signal) == stop)
    };
    match fact {
        Fact::Fork { .. } | Fact::Listen(_) => true,
        Fact::Exec { .. } => process.execs > 0,
        Fact::SignalDelivered { signal, .. } => !is_stop(*signal),
        Fact::Signal(signal) => {
            let sender = state.processes.get(signal.sender);
            let is_own =
                sender.is_some_and(|sender| sender.role.is_inside() && sender.pod == process.pod);
            is_own && !is_stop(signal.signal)
        }
        // It may lead into a neighbour's namespace.
        Fact::NamespaceChange {
            task,
            tid,
            call,
            errno,
            ..
        } => {
            let is_first = *tid == task.process.pid;
            let changes_nothing = is_first && task.namespaces == process.namespaces;
            *errno != 0 || changes_nothing || !matches!(call, NamespaceCall::Setns)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
