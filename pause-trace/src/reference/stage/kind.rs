//! The kinds of pod of Kubernetes: the modes that each one requests, and how it is built.

use crate::{
    event::{Mode, Modes},
    reference::{
        pod::{Pause, PodPlan},
        protocol::IdMap,
    },
};

/// The kinds of pod that Kubernetes knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodKind {
    /// Its own net, ipc and uts namespaces; a pid namespace for each container.
    Plain,
    /// `shareProcessNamespace: true`.
    SharedPid,
    /// `hostPID: true`.
    HostPid,
    /// `hostNetwork: true`.
    HostNetwork,
    /// `hostIPC: true`.
    HostIpc,
    /// `hostUsers: false`.
    OwnUsers,
}

impl PodKind {
    /// The modes that Kubernetes requests for it.
    pub(crate) fn modes(self) -> Modes {
        let plain = Modes::plain();
        match self {
            Self::Plain => plain,
            Self::SharedPid => Modes {
                pid: Mode::Pod,
                ..plain
            },
            Self::HostPid => Modes {
                pid: Mode::Node,
                ..plain
            },
            Self::HostNetwork => Modes {
                net: Mode::Node,
                uts: Mode::Node,
                ..plain
            },
            Self::HostIpc => Modes {
                ipc: Mode::Node,
                ..plain
            },
            Self::OwnUsers => Modes {
                user: Mode::Pod,
                ..plain
            },
        }
    }

    /// How the reference runtime builds it.
    pub(crate) fn plan(self, pause: Pause) -> PodPlan {
        let plan = PodPlan::new("reference", pause);
        match self {
            Self::Plain | Self::SharedPid => plan,
            Self::HostPid => plan.host_pid(),
            Self::HostNetwork => plan.host_network(),
            Self::HostIpc => plan.host_ipc(),
            Self::OwnUsers => plan.own_users(IdMap {
                outside: 1_000_000,
                count: 65_536,
            }),
        }
    }
}
