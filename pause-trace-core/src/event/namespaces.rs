//! The namespaces of a process.

use pause_trace_common::Namespaces as KernelNamespaces;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The namespaces of a process, by inode number. 0 means that the process has none (any more).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Mounts.
    pub mnt: u32,
    /// Host name.
    pub uts: u32,
    /// System V IPC and POSIX message queues.
    pub ipc: u32,
    /// Network.
    pub net: u32,
    /// Process ids: the namespace of the process itself.
    pub pid: u32,
    /// Process ids: the namespace of the children that it will fork.
    pub pid_children: u32,
    /// User and group ids.
    pub user: u32,
    /// The root of cgroup paths.
    pub cgroup: u32,
    /// The user namespace that owns the network namespace.
    pub net_owner: u32,
    /// Depth of the pid namespace. The initial one has depth 0.
    pub pid_level: u32,
}

impl From<KernelNamespaces> for Namespaces {
    fn from(ns: KernelNamespaces) -> Self {
        let KernelNamespaces {
            mnt,
            uts,
            ipc,
            net,
            pid,
            pid_children,
            user,
            cgroup,
            net_owner,
            pid_level,
        } = ns;
        Self {
            mnt,
            uts,
            ipc,
            net,
            pid,
            pid_children,
            user,
            cgroup,
            net_owner,
            pid_level,
        }
    }
}

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// Mounts.
    Mnt,
    /// Host name.
    Uts,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Network.
    Net,
    /// Process ids.
    Pid,
    /// User and group ids.
    User,
    /// The root of cgroup paths.
    Cgroup,
}

impl NamespaceKind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::Net,
        Self::Ipc,
        Self::Uts,
        Self::Pid,
        Self::Mnt,
        Self::User,
        Self::Cgroup,
    ];

    /// As in `/proc/PID/ns/NAME`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mnt => "mnt",
            Self::Uts => "uts",
            Self::Ipc => "ipc",
            Self::Net => "net",
            Self::Pid => "pid",
            Self::User => "user",
            Self::Cgroup => "cgroup",
        }
    }

    /// The `CLONE_NEW*` flag (include/uapi/linux/sched.h).
    pub(crate) const fn flag(self) -> u64 {
        match self {
            Self::Mnt => 0x0002_0000,
            Self::Cgroup => 0x0200_0000,
            Self::Uts => 0x0400_0000,
            Self::Ipc => 0x0800_0000,
            Self::User => 0x1000_0000,
            Self::Pid => 0x2000_0000,
            Self::Net => 0x4000_0000,
        }
    }
}

impl Namespaces {
    /// The inode number of one namespace.
    pub fn get(&self, kind: NamespaceKind) -> u32 {
        match kind {
            NamespaceKind::Mnt => self.mnt,
            NamespaceKind::Uts => self.uts,
            NamespaceKind::Ipc => self.ipc,
            NamespaceKind::Net => self.net,
            NamespaceKind::Pid => self.pid,
            NamespaceKind::User => self.user,
            NamespaceKind::Cgroup => self.cgroup,
        }
    }

    /// Whether they could be read. A zombie and a first thread that has exited are in no namespace
    /// but those of pid and user.
    pub(crate) fn are_known(&self) -> bool {
        (self.mnt, self.net, self.ipc, self.uts) != (0, 0, 0, 0)
    }

    /// The namespace of its next children. It differs from [`Namespaces::get`] after a setns or
    /// unshare of `pid`, which does not move the caller itself.
    pub(crate) fn of_children(&self, kind: NamespaceKind) -> u32 {
        match kind {
            NamespaceKind::Pid => self.pid_children,
            _ => self.get(kind),
        }
    }
}
