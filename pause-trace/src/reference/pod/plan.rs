//! What pods and containers to make. Plans are data: a fault is a plan with one thing changed.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::rc::Rc;

use crate::reference::broken_pause::Broken;
use crate::reference::protocol::{IdMap, Join, OnTerm, Plan};

/// Every pod's address, out of what CNI's examples use. Each sits on the loopback of its own net namespace: they never meet.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);

/// The pause to hold the pod with.
#[derive(Clone, Debug)]
pub(crate) enum Pause {
    /// An executable's bytes.
    Image(&'static [u8]),
    /// A file on this machine.
    File(PathBuf),
    /// The bytes of a file on this machine that only root may reach, and the name it has: other users run a copy, as they would out
    /// of an image.
    Copy(String, Rc<[u8]>),
    /// This executable, as one that breaks a promise.
    Broken(Broken),
}

/// What kind of pod. `sandbox` may be changed before use: that is how a fault is planted.
#[derive(Clone, Debug)]
pub(crate) struct PodPlan {
    pub(crate) name: String,
    pub(crate) pause: Pause,
    pub(crate) sandbox: Plan,
}

impl PodPlan {
    /// A pod as most are: namespaces of its own, pid namespaces per container.
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
            // As kubelet and containerd want it of a sandbox.
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

    /// `hostNetwork: true`; the host's name comes with it.
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

/// Which pid namespace a container gets, in the CRI's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PidMode {
    Container,
    Pod,
    Node,
    /// That of another container's init (an ephemeral container).
    Target(i32),
}

/// What to run in a container or an exec session. `plan` may be changed before use.
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

    /// What the agent does about SIGTERM.
    pub(crate) fn on_term(mut self, term: OnTerm) -> Self {
        self.term = term;
        self
    }

    /// Whether the agent reaps.
    pub(crate) fn reaps(mut self, reaps: bool) -> Self {
        self.reaps = reaps;
        self
    }

    /// The plan as the runtime gets it.
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
