//! Which pod a namespace belongs to.
//!
//! A namespace belongs to a pod if a process of the pod executed in it, created it with unshare, or
//! was cloned into it. The kernel reuses inode numbers immediately, the lowest first
//! (`proc_alloc_inum`, fs/proc/generic.c), so a pod keeps a number only as long as one of its
//! processes is in the namespace.

use super::{Container, Process, Role, State};
use crate::event::{Ktime, NamespaceCall, NamespaceKind, Namespaces, PodId, ProcessId};

impl State {
    /// The namespaces of a pod's containers, without the host's.
    pub fn namespaces_of(&self, pod: &PodId) -> Vec<u32> {
        let containers = self
            .containers
            .values()
            .filter(|container| container.pod == *pod);
        let inodes = containers
            .filter_map(|container| container.namespaces)
            .flat_map(|namespaces| {
                [
                    namespaces.net,
                    namespaces.ipc,
                    namespaces.pid,
                    namespaces.mnt,
                ]
            });
        inodes.filter(|inode| !self.is_host(*inode)).collect()
    }

    /// The pod that created or holds a namespace; `None` for the host's and for unknown ones.
    pub(crate) fn owner_of(&self, namespace: u32) -> Option<&PodId> {
        self.namespaces.get(&namespace)
    }

    /// Whether a living process of the pod, or its next child, is in this namespace.
    pub(crate) fn is_held_by(&self, pod: &PodId, namespace: u32) -> bool {
        let is_in = |process: &Process| {
            let namespaces = &process.namespaces;
            namespaces.pid_children == namespace
                || NamespaceKind::ALL
                    .into_iter()
                    .any(|kind| namespaces.get(kind) == namespace)
        };
        self.processes.iter().any(|process| {
            process.is_alive() && process.pod.as_ref() == Some(pod) && is_in(process)
        })
    }

    /// The node's namespaces from the view of a container. For net, ipc and uts, Kubernetes means
    /// those of the runtime. The loader may have others if it runs in a pod, and so may the runtime
    /// on a node that is a container or a directory.
    pub fn host_of(&self, container: &Container) -> Namespaces {
        let Namespaces { net, ipc, uts, .. } = container.outside.unwrap_or(self.host);
        Namespaces {
            net,
            ipc,
            uts,
            ..self.host
        }
    }

    /// The same, if the runtime's are known.
    pub(crate) fn known_host_of(&self, container: &Container) -> Option<Namespaces> {
        container.outside.map(|_| self.host_of(container))
    }

    /// Passes the node's namespaces on to a child, starting at the first process of the runtime
    /// that was identified by its name.
    pub(super) fn inherit_outside(&mut self, parent: ProcessId, child: ProcessId) {
        let outside = self
            .processes
            .get(parent)
            .filter(|parent| parent.role == Role::Runtime)
            .and_then(|parent| {
                let is_named = self.is_runtime_name(parent.comm);
                parent
                    .outside
                    .or_else(|| is_named.then_some(parent.namespaces))
            });
        if let Some(child) = self.processes.get_mut(child) {
            child.outside = child.outside.or(outside);
        }
    }

    pub(super) fn is_host(&self, inode: u32) -> bool {
        let host = &self.host;
        [
            host.net,
            host.ipc,
            host.uts,
            host.pid,
            host.mnt,
            host.user,
            host.cgroup,
        ]
        .contains(&inode)
    }

    /// Assigns a namespace to a pod, unless it is the host's or a living process of another pod
    /// holds it.
    pub(super) fn claim(&mut self, pod: &PodId, inode: u32) {
        if inode == 0 || self.is_host(inode) {
            return;
        }
        match self.namespaces.get(&inode) {
            Some(owner) if owner == pod || self.is_held_by(owner, inode) => {}
            _ => {
                self.namespaces.insert(inode, pod.clone());
            }
        }
    }

    /// Assigns to a pod the namespaces that the clone of a child created, by their `CLONE_NEW*`
    /// flags.
    pub(super) fn claim_cloned(&mut self, made: u64, child: ProcessId) {
        let Some(child) = self
            .processes
            .get(child)
            .filter(|child| child.role.is_inside())
        else {
            return;
        };
        let (Some(pod), namespaces) = (child.pod.clone(), child.namespaces) else {
            return;
        };
        for kind in NamespaceKind::ALL {
            if made & kind.flag() != 0 {
                self.claim(&pod, namespaces.get(kind));
            }
        }
    }

    /// Applies a setns or unshare, apart from the namespaces of the caller itself.
    #[expect(
        clippy::too_many_arguments,
        reason = "these are the fields of the record"
    )]
    pub(super) fn namespaces_changed(
        &mut self,
        now: Ktime,
        process: ProcessId,
        call: NamespaceCall,
        flags: u64,
        errno: i32,
        before: &Namespaces,
        after: &Namespaces,
    ) {
        let Some(process) = self.processes.get_mut(process) else {
            return;
        };
        match call {
            NamespaceCall::Setns if process.role == Role::Runtime => {
                process.joins.record(now, flags, errno)
            }
            NamespaceCall::Unshare if errno == 0 && process.role.is_inside() => {
                let Some(pod) = process.pod.clone() else {
                    return;
                };
                for kind in NamespaceKind::ALL {
                    if flags & kind.flag() != 0
                        && before.of_children(kind) != after.of_children(kind)
                    {
                        self.claim(&pod, after.of_children(kind));
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether a process that executed in a container's cgroup is still the runtime's own.
    pub(super) fn is_of_runtime(&self, process: &Process) -> bool {
        self.is_self_exec(process) || self.is_hook(process)
    }

    /// Whether a process is an OCI hook, or was started by one. The runtime's init forks the
    /// createContainer and startContainer hooks inside the container's cgroup, waits for them, and
    /// executes the entrypoint itself. (Intermediate processes of crun and youki also fork in the
    /// cgroup, but have exited when the entrypoint executes.)
    pub(super) fn is_hook(&self, process: &Process) -> bool {
        let (role, cgroup) = (process.role, process.cgroup);
        let is_starting = |parent: &Process| {
            let executed = parent.unplaced.map(|(place, _)| place);
            parent.role == Role::Runtime
                && parent.is_alive()
                && parent.cgroup == cgroup
                && executed != Some(cgroup)
                && parent.unplaced_member != Some(cgroup)
        };
        let is_ours = role == Role::Runtime && process.unplaced_member != Some(cgroup);
        // What a hook leaves behind has another parent when the hook has ended.
        let is_left_behind = process.hook_in == Some(cgroup);
        let is_started = || self.processes.get(process.parent).is_some_and(is_starting);
        is_ours && (is_left_behind || is_started())
    }

    /// Whether a process of the runtime executes itself again inside the cgroup of the container
    /// that it is about to enter. It executes `/proc/self/…` or a descriptor, and it is still in
    /// the runtime's mount namespace. runc ≥ 1.4 does so for an exec session: it clones `runc init`
    /// into the cgroup (runc#4812). Since runc 1.0, `runc init` executes a copy of itself before it
    /// joins or creates any namespace (CVE-2019-5736), while its parent moves it into the cgroup.
    /// On a busy machine the move comes first.
    pub(super) fn is_self_exec(&self, process: &Process) -> bool {
        let names_itself = process.file.names_itself();
        let own = &process.namespaces;
        let parent = self.processes.get(process.born_of);
        let is_outside = own.mnt == self.host.mnt
            || parent.is_some_and(|parent| parent.namespaces.mnt == own.mnt);
        let is_of_runc = parent
            .is_some_and(|parent| parent.namespaces == *own && self.is_runtime_name(parent.comm));
        let is_at_start = process.born_inside || is_of_runc;
        process.role == Role::Runtime && names_itself && is_outside && is_at_start
    }
}

#[cfg(test)]
mod tests {
    use super::super::process::{Joins, Refused};
    use super::*;
    use crate::{
        event::{Comm, Event, Fact, TaskInfo},
        state::{Limits, Process},
    };

    const NET: u64 = NamespaceKind::Net.flag();

    fn id(pid: u32) -> ProcessId {
        ProcessId { pid, start: 1 }
    }

    fn state_with(pods: &[(&str, u32, u32)]) -> State {
        let mut state = State::new(Limits::REFERENCE);
        state.host = Namespaces {
            net: 4,
            mnt: 1,
            ..Namespaces::default()
        };
        for (pod, pid, net) in pods {
            let namespaces = Namespaces {
                net: *net,
                pid_children: 9,
                ..Namespaces::default()
            };
            state.processes.insert(Process {
                id: id(*pid),
                pod: Some((*pod).into()),
                role: Role::Init,
                namespaces,
                ..Process::default()
            });
            state.claim(&(*pod).into(), *net);
        }
        state
    }

    fn call(state: &mut State, pid: u32, tid: u32, namespaces: Namespaces) {
        let fact = Fact::NamespaceChange {
            task: TaskInfo {
                process: id(pid),
                parent: ProcessId::default(),
                cgroup: 0,
                namespaces,
                ns_pid: pid,
                comm: Comm::new("x"),
            },
            tid,
            call: NamespaceCall::Setns,
            flags: NET,
            errno: 0,
        };
        state.apply(&Event { time: 2, fact }, &mut Vec::new());
    }

    #[test]
    fn the_hosts_namespaces_belong_to_no_pod() {
        let mut state = state_with(&[]);
        state.claim(&"p".into(), 4);
        state.claim(&"p".into(), 0);
        assert_eq!((state.owner_of(4), state.owner_of(0)), (None, None));
    }

    #[test]
    fn a_namespace_belongs_to_its_pod_as_long_as_a_process_of_the_pod_is_in_it() {
        let mut state = state_with(&[("p", 10, 70)]);
        state.claim(&"q".into(), 70);
        assert_eq!(state.owner_of(70).map(|pod| &**pod), Some("p"));
        state.processes.remove(id(10));
        state.claim(&"q".into(), 70);
        assert_eq!(state.owner_of(70).map(|pod| &**pod), Some("q"));
    }

    #[test]
    fn the_pid_namespace_of_the_next_children_is_held() {
        let state = state_with(&[("p", 10, 70)]);
        assert!(state.is_held_by(&"p".into(), 9));
        assert!(!state.is_held_by(&"q".into(), 9));
    }

    #[test]
    fn a_process_namespaces_are_its_first_threads() {
        let mut state = state_with(&[("p", 10, 70)]);
        call(
            &mut state,
            10,
            11,
            Namespaces {
                net: 71,
                ..Namespaces::default()
            },
        );
        assert_eq!(
            state
                .processes
                .get(id(10))
                .map(|process| process.namespaces.net),
            Some(70)
        );
        call(
            &mut state,
            10,
            10,
            Namespaces {
                net: 71,
                ..Namespaces::default()
            },
        );
        assert_eq!(
            state
                .processes
                .get(id(10))
                .map(|process| process.namespaces.net),
            Some(71)
        );
    }

    #[test]
    fn only_the_same_call_clears_a_refusal() {
        let mut joins = Joins::default();
        joins.record(1, NET, 1);
        joins.record(2, NET, 22);
        joins.record(3, NamespaceKind::Ipc.flag(), 0);
        assert_eq!(
            joins.refused,
            [Refused {
                time: 1,
                flags: NET,
                errno: 1
            }]
        );
        joins.record(4, NET, 0);
        assert_eq!(
            joins,
            Joins {
                made: 2,
                refused: Vec::new()
            }
        );
    }
}
