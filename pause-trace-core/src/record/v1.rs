//! Version 1 of the format: what has changed since, and how it is read as what it is now.
//!
//! Version 2 embeds [`TaskInfo`] in the facts that speak of a task in full, and leaves out what no rule read: for which thread
//! a signal was, and the cgroup and the code of one that was taken.

use serde::Deserialize;

use super::Entry;
use crate::event::*;

/// An entry as version 1 has it: only events are another.
pub(super) type OldEntry = Entry<OldEvent>;

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct OldEvent {
    pub(super) time: Ktime,
    pub(super) fact: Old,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct OldSignal {
    sender: ProcessId,
    sender_comm: Comm,
    target: ProcessId,
    target_comm: Comm,
    cgroup: CgroupId,
    signal: i32,
    code: i32,
    result: SignalResult,
    #[cfg_attr(not(test), expect(dead_code, reason = "it is read past"))]
    group: bool,
}

/// A fact as version 1 has it, in the order of its numbers.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) enum Old {
    Fork {
        parent: ProcessId,
        process: ProcessId,
        cgroup: CgroupId,
        namespaces: Namespaces,
        ns_pid: u32,
        comm: Comm,
    },
    Exec {
        process: ProcessId,
        parent: ProcessId,
        cgroup: CgroupId,
        namespaces: Namespaces,
        ns_pid: u32,
        comm: Comm,
        file: Text,
    },
    Exit {
        process: ProcessId,
        parent: ProcessId,
        cgroup: CgroupId,
        namespaces: Namespaces,
        ns_pid: u32,
        status: WaitStatus,
        comm: Comm,
    },
    Found {
        process: ProcessId,
        parent: ProcessId,
        cgroup: CgroupId,
        namespaces: Namespaces,
        ns_pid: u32,
        ended: Option<WaitStatus>,
        comm: Comm,
    },
    Reaped {
        process: ProcessId,
    },
    NamespaceChange {
        process: ProcessId,
        tid: u32,
        cgroup: CgroupId,
        #[serde(with = "crate::event::call")]
        call: NamespaceCall,
        flags: u64,
        errno: i32,
        namespaces: Namespaces,
        ns_pid: u32,
        comm: Comm,
    },
    Signal(OldSignal),
    SignalDelivered {
        process: ProcessId,
        #[cfg_attr(not(test), expect(dead_code, reason = "it is read past"))]
        cgroup: CgroupId,
        signal: i32,
        #[cfg_attr(not(test), expect(dead_code, reason = "it is read past"))]
        code: i32,
        handled: bool,
    },
    SignalsSuppressed {
        cgroup: CgroupId,
        signal: i32,
        count: u64,
        first: Ktime,
        last: Ktime,
    },
    CgroupMade {
        cgroup: CgroupId,
        path: Text,
    },
    CgroupRemoved {
        cgroup: CgroupId,
        path: Text,
    },
    CgroupAttached {
        process: ProcessId,
        cgroup: CgroupId,
        namespaces: Namespaces,
        ns_pid: u32,
        comm: Comm,
    },
    OomVictim {
        pid: u32,
    },
    Host {
        namespaces: Namespaces,
    },
    Runtime {
        process: ProcessId,
    },
    RuntimeNames {
        names: Vec<Comm>,
    },
    Pod(PodFact),
    Container(ContainerFact),
    PodStopping {
        pod: PodId,
        grace: Ktime,
    },
    ContainerStopping {
        container: ContainerId,
        grace: Ktime,
    },
    PodRemoved {
        pod: PodId,
    },
    SandboxUnknown {
        container: ContainerId,
    },
    NotInPod {
        cgroup: CgroupId,
    },
    SandboxPinned {
        container: ContainerId,
        namespaces: Namespaces,
    },
    NamespacePinned {
        path: Text,
        namespace: u32,
        sandbox: Option<ContainerId>,
    },
    NamespaceUnpinned {
        path: Text,
    },
    Observed(Observation),
    PauseStatus(PauseStatus),
    HookMissing {
        #[serde(with = "crate::event::kind")]
        kind: Kind,
        reason: Text,
    },
    Lost {
        #[serde(with = "crate::event::kind")]
        kind: Kind,
        count: u64,
    },
    Tick,
}

impl From<OldEntry> for Entry {
    fn from(entry: OldEntry) -> Self {
        match entry {
            Entry::Event(OldEvent { time, fact }) => Self::Event(Event {
                time,
                fact: fact.into(),
            }),
            Entry::Mark(mark) => Self::Mark(mark),
            Entry::Opening(opening) => Self::Opening(opening),
            Entry::Begin(begin) => Self::Begin(begin),
            Entry::Settled => Self::Settled,
            Entry::End(end) => Self::End(end),
            Entry::Continued => Self::Continued,
            Entry::Closed => Self::Closed,
        }
    }
}

impl From<OldSignal> for Signal {
    fn from(signal: OldSignal) -> Self {
        let OldSignal {
            sender,
            sender_comm,
            target,
            target_comm,
            cgroup,
            signal,
            code,
            result,
            group: _,
        } = signal;
        Self {
            sender,
            sender_comm,
            target,
            target_comm,
            cgroup,
            signal,
            code,
            result,
        }
    }
}

impl From<Old> for Fact {
    fn from(fact: Old) -> Self {
        match fact {
            Old::Fork {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
            } => {
                let task = TaskInfo {
                    process,
                    parent,
                    cgroup,
                    namespaces,
                    ns_pid,
                    comm,
                };
                Self::Fork { task }
            }
            Old::Exec {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
                file,
            } => {
                let task = TaskInfo {
                    process,
                    parent,
                    cgroup,
                    namespaces,
                    ns_pid,
                    comm,
                };
                Self::Exec { task, file }
            }
            Old::Exit {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
                status,
            } => {
                let task = TaskInfo {
                    process,
                    parent,
                    cgroup,
                    namespaces,
                    ns_pid,
                    comm,
                };
                Self::Exit { task, status }
            }
            Old::Found {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
                ended,
            } => {
                let task = TaskInfo {
                    process,
                    parent,
                    cgroup,
                    namespaces,
                    ns_pid,
                    comm,
                };
                Self::Found { task, ended }
            }
            Old::Reaped { process } => Self::Reaped { process },
            Old::NamespaceChange {
                process,
                tid,
                cgroup,
                call,
                flags,
                errno,
                namespaces,
                ns_pid,
                comm,
            } => Self::NamespaceChange {
                task: TaskInfo {
                    process,
                    parent: ProcessId::default(),
                    cgroup,
                    namespaces,
                    ns_pid,
                    comm,
                },
                tid,
                call,
                flags,
                errno,
            },
            Old::Signal(signal) => Self::Signal(signal.into()),
            Old::SignalDelivered {
                process,
                signal,
                handled,
                ..
            } => Self::SignalDelivered {
                process,
                signal,
                handled,
            },
            Old::SignalsSuppressed {
                cgroup,
                signal,
                count,
                first,
                last,
            } => Self::SignalsSuppressed {
                cgroup,
                signal,
                count,
                first,
                last,
            },
            Old::CgroupMade { cgroup, path } => Self::CgroupMade { cgroup, path },
            Old::CgroupRemoved { cgroup, path } => Self::CgroupRemoved { cgroup, path },
            Old::CgroupAttached {
                process,
                cgroup,
                namespaces,
                ns_pid,
                comm,
            } => Self::CgroupAttached {
                task: TaskInfo {
                    process,
                    parent: ProcessId::default(),
                    cgroup,
                    namespaces,
                    ns_pid,
                    comm,
                },
            },
            Old::OomVictim { pid } => Self::OomVictim { pid },
            Old::Host { namespaces } => Self::Host { namespaces },
            Old::Runtime { process } => Self::Runtime { process },
            Old::RuntimeNames { names } => Self::RuntimeNames { names },
            Old::Pod(it) => Self::Pod(it),
            Old::Container(it) => Self::Container(it),
            Old::PodStopping { pod, grace } => Self::PodStopping { pod, grace },
            Old::ContainerStopping { container, grace } => {
                Self::ContainerStopping { container, grace }
            }
            Old::PodRemoved { pod } => Self::PodRemoved { pod },
            Old::SandboxUnknown { container } => Self::SandboxUnknown { container },
            Old::NotInPod { cgroup } => Self::NotInPod { cgroup },
            Old::SandboxPinned {
                container,
                namespaces,
            } => Self::SandboxPinned {
                container,
                namespaces,
            },
            Old::NamespacePinned {
                path,
                namespace,
                sandbox,
            } => Self::NamespacePinned {
                path,
                namespace,
                sandbox,
            },
            Old::NamespaceUnpinned { path } => Self::NamespaceUnpinned { path },
            Old::Observed(it) => Self::Observed(it),
            Old::PauseStatus(it) => Self::PauseStatus(it),
            Old::HookMissing { kind, reason } => Self::HookMissing { kind, reason },
            Old::Lost { kind, count } => Self::Lost { kind, count },
            Old::Tick => Self::Tick,
        }
    }
}
