//! Plans of pods and containers. Plans are data: a fault is a plan with one change.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::rc::Rc;

use crate::reference::broken_pause::Broken;
use crate::reference::protocol::{IdMap, Join, OnTerm, Plan};

/// The address of every pod, from the range of CNI's examples. Each pod has it on the loopback of
/// its own network namespace, so pods do not conflict.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);

/// The pause of a pod.
#[derive(Clone, Debug)]
pub(crate) enum Pause {
    /// The bytes of an executable.
    Image(&'static [u8]),
    /// A file on this machine.
    File(PathBuf),
    /// The name and bytes of a file on this machine that only root can access: other users run a
    /// copy, as they would from an image.
    Copy(String, Rc<[u8]>),
    /// This executable as a broken pause.
    Broken(Broken),
}

/// The plan of a pod. `sandbox` may be changed before use, to plant a fault.
#[derive(Clone, Debug)]
pub(crate) struct PodPlan {
    pub(crate) name: String,
    pub(crate) pause: Pause,
    pub(crate) sandbox: Plan,
}

impl PodPlan {
    /// A default pod: namespaces of its own, and a pid namespace for each container.
    pub(crate) fn new(name: impl Into<String>, pause: Pause) -> Self {
        let name = name.into();
        let sandbox = Plan {
            ipc: Join::New,
            uts: Join::New,
            net: Join::New,
            pid: Join::New,
            mount: Join::New,
            hostname: Some(name.clone()),
            address: Some(ADDRESS),
            // As kubelet and containerd configure a sandbox.
            credentials: Some((65535, 65535)),
            no_new_privs: true,
            oom_score_adj: Some(-998),
            argv: vec!["/pause".to_owned()],
            env: environment(),
            quiet: true,
            ..Plan::default()
        };
        Self {
            name,
            pause,
            sandbox,
        }
    }

    /// `hostNetwork: true`, which includes the host's uts namespace.
    pub(crate) fn host_network(mut self) -> Self {
        self.sandbox.net = Join::Host;
        self.sandbox.uts = Join::Host;
        self
    }

    /// `hostIPC: true`.
    pub(crate) fn host_ipc(mut self) -> Self {
        self.sandbox.ipc = Join::Host;
        self
    }

    /// `hostPID: true`.
    pub(crate) fn host_pid(mut self) -> Self {
        self.sandbox.pid = Join::Host;
        self
    }

    /// `hostUsers: false`.
    pub(crate) fn own_users(mut self, map: IdMap) -> Self {
        self.sandbox.user = Join::New;
        self.sandbox.id_map = Some(map);
        self
    }
}

/// The pid namespace of a container, in CRI's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PidMode {
    Container,
    Pod,
    Node,
    /// That of another container's init, for an ephemeral container.
    Target(i32),
}

/// The plan of a container or an exec session. `plan` may be changed before use.
#[derive(Clone, Debug)]
pub(crate) struct ContainerPlan {
    pub(crate) name: String,
    pub(crate) plan: Plan,
    pub(crate) term: OnTerm,
    pub(crate) reaps: bool,
}

impl ContainerPlan {
    pub(crate) fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets what the agent does on SIGTERM.
    pub(crate) fn on_term(mut self, term: OnTerm) -> Self {
        self.term = term;
        self
    }

    /// Sets whether the agent reaps.
    pub(crate) fn reaps(mut self, reaps: bool) -> Self {
        self.reaps = reaps;
        self
    }

    /// The plan to send to the runtime.
    pub(super) fn finished(mut self) -> Plan {
        if self.plan.agent {
            let term = serde_json::to_string(&self.term).unwrap_or_default();
            self.plan.argv = vec![
                "pause-trace".to_owned(),
                "__workload".to_owned(),
                format!("--term={}", term.trim_matches('"')),
                format!("--reap={}", if self.reaps { "yes" } else { "no" }),
            ];
        }
        self.plan
    }
}

pub(super) fn environment() -> Vec<String> {
    vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()]
}
