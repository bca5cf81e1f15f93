//! Version 1 of the format, and its conversion to the current types.
//!
//! Version 2 embeds [`TaskInfo`] in facts that describe a task in full. It drops fields that no
//! rule read: whether a signal was for a process or a thread, and the cgroup and code of a
//! delivered signal. It adds the anonymous memory of a pause.

use serde::Deserialize;

use super::Entry;
use crate::event::*;

/// An entry of version 1. Only its events differ.
pub(super) type EntryV1 = Entry<EventV1>;

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct EventV1 {
    pub(super) time: Ktime,
    pub(super) fact: FactV1,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct SignalV1 {
    sender: ProcessId,
    sender_comm: Comm,
    target: ProcessId,
    target_comm: Comm,
    cgroup: CgroupId,
    signal: i32,
    code: i32,
    result: SignalResult,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the field is part of the format")
    )]
    group: bool,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct PauseStatusV1 {
    pod: PodId,
    process: ProcessId,
    pss_bytes: u64,
    threads: u32,
    descriptors: u32,
    sockets: u32,
    children: u32,
    cpu_ns: u64,
    age_ns: u64,
    uid: u32,
    capabilities: u64,
    no_new_privs: bool,
    oom_score_adj: i32,
    oom_adjustable: bool,
    blocked: u64,
    ignored: u64,
    caught: u64,
}

impl From<PauseStatusV1> for PauseStatus {
    fn from(it: PauseStatusV1) -> Self {
        Self {
            pod: it.pod,
            process: it.process,
            pss_bytes: it.pss_bytes,
            anonymous_bytes: 0,
            threads: it.threads,
            descriptors: it.descriptors,
            sockets: it.sockets,
            children: it.children,
            cpu_ns: it.cpu_ns,
            age_ns: it.age_ns,
            uid: it.uid,
            capabilities: it.capabilities,
            no_new_privs: it.no_new_privs,
            oom_score_adj: it.oom_score_adj,
            oom_adjustable: it.oom_adjustable,
            blocked: it.blocked,
            ignored: it.ignored,
            caught: it.caught,
        }
    }
}

/// A fact of version 1. The order of the variants is part of the format.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) enum FactV1 {
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
    Signal(SignalV1),
    SignalDelivered {
        process: ProcessId,
        #[cfg_attr(
            not(test),
            expect(dead_code, reason = "the field is part of the format")
        )]
        cgroup: CgroupId,
        signal: i32,
        #[cfg_attr(
            not(test),
            expect(dead_code, reason = "the field is part of the format")
        )]
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
    PauseStatus(PauseStatusV1),
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

impl From<EntryV1> for Entry {
    fn from(entry: EntryV1) -> Self {
        match entry {
            Entry::Event(EventV1 { time, fact }) => Self::Event(Event {
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

impl From<SignalV1> for Signal {
    fn from(signal: SignalV1) -> Self {
        let SignalV1 {
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

impl From<FactV1> for Fact {
    fn from(fact: FactV1) -> Self {
        match fact {
            FactV1::Fork {
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
            FactV1::Exec {
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
            FactV1::Exit {
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
            FactV1::Found {
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
            FactV1::Reaped { process } => Self::Reaped { process },
            FactV1::NamespaceChange {
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
            FactV1::Signal(signal) => Self::Signal(signal.into()),
            FactV1::SignalDelivered {
                process,
                signal,
                handled,
                ..
            } => Self::SignalDelivered {
                process,
                signal,
                handled,
            },
            FactV1::SignalsSuppressed {
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
            FactV1::CgroupMade { cgroup, path } => Self::CgroupMade { cgroup, path },
            FactV1::CgroupRemoved { cgroup, path } => Self::CgroupRemoved { cgroup, path },
            FactV1::CgroupAttached {
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
            FactV1::OomVictim { pid } => Self::OomVictim { pid },
            FactV1::Host { namespaces } => Self::Host { namespaces },
            FactV1::Runtime { process } => Self::Runtime { process },
            FactV1::RuntimeNames { names } => Self::RuntimeNames { names },
            FactV1::Pod(it) => Self::Pod(it),
            FactV1::Container(it) => Self::Container(it),
            FactV1::PodStopping { pod, grace } => Self::PodStopping { pod, grace },
            FactV1::ContainerStopping { container, grace } => {
                Self::ContainerStopping { container, grace }
            }
            FactV1::PodRemoved { pod } => Self::PodRemoved { pod },
            FactV1::SandboxUnknown { container } => Self::SandboxUnknown { container },
            FactV1::NotInPod { cgroup } => Self::NotInPod { cgroup },
            FactV1::SandboxPinned {
                container,
                namespaces,
            } => Self::SandboxPinned {
                container,
                namespaces,
            },
            FactV1::NamespacePinned {
                path,
                namespace,
                sandbox,
            } => Self::NamespacePinned {
                path,
                namespace,
                sandbox,
            },
            FactV1::NamespaceUnpinned { path } => Self::NamespaceUnpinned { path },
            FactV1::Observed(it) => Self::Observed(it),
            FactV1::PauseStatus(it) => Self::PauseStatus(it.into()),
            FactV1::HookMissing { kind, reason } => Self::HookMissing { kind, reason },
            FactV1::Lost { kind, count } => Self::Lost { kind, count },
            FactV1::Tick => Self::Tick,
        }
    }
}
