//! The TCP sockets on which a container's processes listen.

use std::{collections::VecDeque, net::IpAddr};

use super::{Change, Container, Deadline, State};
use crate::event::{CgroupId, Comm, ContainerId, Ktime, Listen, ProcessId};

/// Most addresses and ports that are kept of one container, and most that are reported of it.
const MAX_LISTENERS: usize = 16;

/// Most sockets that are kept of cgroups in which no container is declared yet. The latest are
/// kept.
const MAX_EARLY: usize = 256;

/// How long a socket has to listen to be reported, in ns. The kernel announces the state before it
/// looks whether the port is free (`inet_csk_listen_start`, net/ipv4/inet_connection_sock.c).
const SETTLED: Ktime = 100_000_000;

/// An address and port on which processes of a container listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The process that began to listen, its pid in its own pid namespace (0 if it is not known)
    /// and its name.
    pub(crate) process: ProcessId,
    pub(crate) ns_pid: u32,
    pub(crate) comm: Comm,
    /// The address; unspecified if it is every address.
    pub(crate) address: IpAddr,
    /// The port; 0 if the kernel has chosen one, which no record shows.
    pub(crate) port: u16,
    /// When it began to listen.
    pub(crate) since: Ktime,
    pub(crate) cgroup: CgroupId,
    namespace: u32,
    /// The sockets that listen there: processes can share a port (`SO_REUSEPORT`).
    sockets: u32,
}

/// The listeners of a container.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    now: Vec<Listener>,
    /// Those that have been reported, also if they have ended.
    reported: Vec<Listener>,
    /// Whether a deadline is armed for those that have not.
    is_awaited: bool,
}

impl Listeners {
    /// Those that listen now, in the order in which they began.
    pub fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.now.iter()
    }

    /// Those that have been reported, also if they have ended, in that order.
    pub(crate) fn reported(&self) -> &[Listener] {
        &self.reported
    }

    /// Whether some have not listened for long enough yet to be reported.
    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// When the next one is due to be reported.
    fn next(&self) -> Option<Ktime> {
        let fresh = self.now.iter().filter(|listener| self.is_fresh(listener));
        let due = fresh.map(|listener| listener.since.saturating_add(SETTLED));
        due.min().filter(|_| self.reported.len() < MAX_LISTENERS)
    }

    fn is_fresh(&self, listener: &Listener) -> bool {
        !self.reported.iter().any(|known| known.is_at(listener))
    }

    fn add(&mut self, new: Listener) {
        match self.now.iter().position(|known| known.is_at(&new)) {
            Some(at) => self.now[at].sockets = self.now[at].sockets.saturating_add(1),
            None if self.now.len() < MAX_LISTENERS => self.now.push(new),
            None => {}
        }
    }

    /// Removes a socket. Returns whether there is one like it.
    fn remove(&mut self, ended: &Listener) -> bool {
        let Some(at) = self.now.iter().position(|known| known.is_at(ended)) else {
            return false;
        };
        match self.now[at].sockets {
            0 | 1 => _ = self.now.remove(at),
            more => self.now[at].sockets = more - 1,
        }
        true
    }
}

impl Listener {
    fn new(time: Ktime, listen: &Listen, ns_pid: u32) -> Self {
        Self {
            process: listen.process,
            ns_pid,
            comm: listen.comm,
            address: listen.address,
            port: listen.port,
            since: time,
            cgroup: listen.cgroup,
            namespace: listen.namespace,
            sockets: 1,
        }
    }

    fn is_at(&self, other: &Self) -> bool {
        let at = |one: &Self| (one.namespace, one.address, one.port);
        at(self) == at(other)
    }
}

impl State {
    /// The container that the processes of a cgroup are in.
    pub(crate) fn container_at(&self, cgroup: CgroupId) -> Option<&ContainerId> {
        self.cgroups.container(cgroup)
    }

    /// A TCP socket began or ceased to listen.
    pub(super) fn listened(&mut self, now: Ktime, listen: &Listen) {
        let process = self.processes.get(listen.process);
        let ns_pid = process.map_or(0, |process| process.ns_pid);
        let listener = Listener::new(now, listen, ns_pid);
        let container = self.cgroups.container(listen.cgroup).cloned();
        match (listen.ended, container) {
            (true, container) => self.ceased(&listener, container.as_ref()),
            (false, Some(container)) => self.listens(&container, listener),
            (false, None) if self.cgroups.is_outside(listen.cgroup) => {}
            (false, None) => {
                if self.early_listeners.len() == MAX_EARLY {
                    self.early_listeners.pop_front();
                }
                self.early_listeners.push_back(listener);
            }
        }
    }

    /// Adds a listener to its container, if it is in the network namespace that the container is
    /// to have.
    fn listens(&mut self, id: &ContainerId, listener: Listener) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let home = container.namespaces.map(|namespaces| namespaces.net);
        if home.is_some_and(|home| home != listener.namespace) {
            return;
        }
        container.listeners.add(listener);
        self.await_listeners(id);
    }

    /// A process closed the socket: usually one of the container, but any process can have it.
    fn ceased(&mut self, ended: &Listener, own: Option<&ContainerId>) {
        let own = own.and_then(|id| self.containers.get_mut(id));
        if own.is_some_and(|container| container.listeners.remove(ended)) {
            return;
        }
        let early = &mut self.early_listeners;
        if let Some(at) = early.iter().position(|known| known.is_at(ended)) {
            early.remove(at);
            return;
        }
        let has = |container: &&mut Container| {
            let mut listeners = container.listeners.iter();
            listeners.any(|known| known.is_at(ended))
        };
        let others = self.containers.values_mut().filter(has);
        if let Some(container) = others.min_by(|one, other| one.id.cmp(&other.id)) {
            container.listeners.remove(ended);
        }
    }

    /// Gives a container the listeners from before its declaration.
    pub(super) fn place_listeners(&mut self, container: &ContainerId) {
        let early = std::mem::take(&mut self.early_listeners);
        let is_its =
            |listener: &Listener| self.cgroups.container(listener.cgroup) == Some(container);
        let (its, rest): (VecDeque<_>, _) = early.into_iter().partition(is_its);
        self.early_listeners = rest;
        for listener in its {
            self.listens(container, listener);
        }
    }

    /// A cgroup was removed, so nothing in it listens.
    pub(super) fn forget_listeners(&mut self, cgroup: CgroupId) {
        self.early_listeners
            .retain(|listener| listener.cgroup != cgroup);
        let container = self.cgroups.container(cgroup);
        if let Some(container) = container.and_then(|id| self.containers.get_mut(id)) {
            container
                .listeners
                .now
                .retain(|listener| listener.cgroup != cgroup);
        }
    }

    fn await_listeners(&mut self, id: &ContainerId) {
        if let Some(container) = self.containers.get_mut(id)
            && !container.listeners.is_awaited
            && let Some(next) = container.listeners.next()
        {
            container.listeners.is_awaited = true;
            self.deadlines.arm(next, Deadline::Listen(id.clone()));
        }
    }

    /// Reports the listeners of a container that have listened for long enough.
    pub(super) fn report_listeners(
        &mut self,
        now: Ktime,
        id: &ContainerId,
        changes: &mut Vec<Change>,
    ) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let listeners = &mut container.listeners;
        listeners.is_awaited = false;
        for listener in listeners.now.clone() {
            let is_settled = listener.since.saturating_add(SETTLED) <= now;
            if is_settled
                && listeners.is_fresh(&listener)
                && listeners.reported.len() < MAX_LISTENERS
            {
                listeners.reported.push(listener);
                changes.push(Change::Listens {
                    container: id.clone(),
                    listener,
                });
            }
        }
        self.await_listeners(id);
    }
}
