//! The lines of `ls` and `inspect`.

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::Serialize;

use super::{Container, Finding, Namespaces, Pod, Process, When};
use crate::{
    event::{ContainerKind, Ktime, Mode, NamespaceKind, SignalResult, Source},
    report::Clock,
    rules::Counts,
    verdict::{Outcome, Severity},
};

/// When somebody looked, and what then cannot be known.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Head {
    #[serde(flatten)]
    when: When,
    /// Whether the eBPF program ran.
    ebpf: bool,
    /// What nobody can say without it.
    unknown: &'static [&'static str],
}

impl Head {
    /// At a moment.
    pub fn new(clock: Clock, now: Ktime, ebpf: bool, unknown: &'static [&'static str]) -> Self {
        Self {
            when: When::new(clock, now),
            ebpf,
            unknown,
        }
    }
}

/// A pod's pause, and what surrounds it.
#[derive(Serialize, JsonSchema)]
pub struct ListedPod {
    /// When it was looked at.
    #[serde(flatten)]
    pub head: Head,
    /// The pod.
    pub pod: Pod,
    /// The id of the sandbox; none where the pause is gone or the runtime has no sandboxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// The pause itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<RunningProcess>,
    /// Of the pause.
    pub namespaces: Namespaces,
    /// Those of the pause that are the host's.
    pub host: Vec<NamespaceKind>,
    /// Namespaces that are not as they were asked for.
    pub misfits: Vec<Misfit>,
    /// How many containers it has beside the sandbox.
    pub containers: usize,
    /// How many processes live beside the pause.
    pub members: usize,
    /// How many of them wait to be reaped.
    pub zombies: usize,
    /// The memory of the pause (PSS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pss_bytes: Option<u64>,
    /// What the pod's cgroups are charged with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Of its network.
    pub addresses: Vec<IpAddr>,
    /// None without the eBPF program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<VerdictCounts>,
}

/// A namespace that is not as it was asked for.
#[derive(Serialize, JsonSchema)]
pub struct Misfit {
    /// The name of the container.
    pub container: String,
    /// Which one.
    pub namespace: NamespaceKind,
    /// What was asked for.
    pub asked: Mode,
    /// Whose it is.
    #[schemars(extend("enum" = ["same", "own", "host", "other", "unknown"]))]
    pub is: &'static str,
}

/// All verdicts on a pod in short.
#[derive(Default, Serialize, JsonSchema)]
pub struct VerdictCounts {
    /// The worst of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<Outcome>,
    /// Of the worst, where that is a violation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// The ids of the rules that gave the worst.
    pub rules: Vec<&'static str>,
    /// How many there are.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A process that runs now.
#[derive(Serialize, JsonSchema)]
pub struct RunningProcess {
    /// Which one.
    #[serde(flatten)]
    pub process: Process,
    /// How long ago it was started.
    pub age_ns: Ktime,
    /// The pid of its parent.
    pub parent: u32,
    /// A letter of proc_pid_stat(5).
    pub state: char,
}

/// All that can be seen of a pod.
#[derive(Serialize, JsonSchema)]
pub struct Inspect<'a> {
    /// When it was looked at.
    #[serde(flatten)]
    pub head: Head,
    /// What else is not known and why, in sentences.
    pub gaps: &'a [String],
    /// The pod.
    pub pod: Pod,
    /// The host's namespaces.
    pub host: Namespaces,
    /// Its containers, the sandbox among them.
    pub containers: Vec<InspectedContainer>,
    /// The networks of its containers.
    pub networks: Vec<Network>,
    /// The newest signals to its processes; none without the eBPF program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signals: Option<Vec<Signal>>,
    /// All verdicts on it, passes included; none without the eBPF program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<Vec<Finding<'a>>>,
}

/// A container and its processes.
#[derive(Serialize, JsonSchema)]
pub struct InspectedContainer {
    /// Which one.
    #[serde(flatten)]
    pub container: Container,
    /// What it is to its pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ContainerKind>,
    /// The id of its sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Who said what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Its first process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What its cgroup is charged with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// By name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// What a pause is measured by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// By name.
    pub namespaces: BTreeMap<&'static str, ComparedNamespace>,
    /// In the order of the tree.
    pub processes: Vec<RunningProcess>,
    /// How many more processes it has.
    pub left_out: usize,
}

/// What a pause takes and may do.
#[derive(Serialize, JsonSchema)]
pub struct Pause {
    /// Its memory (PSS).
    pub pss_bytes: u64,
    /// How many threads it has.
    pub threads: u32,
    /// How many file descriptors it has open.
    pub descriptors: u32,
    /// Of whom it runs as.
    pub uid: u32,
    /// How the OOM killer sees it.
    pub oom_score_adj: i32,
}

/// A container's namespace, compared with the pause's and the host's.
#[derive(Serialize, JsonSchema)]
pub struct ComparedNamespace {
    /// None where it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u32>,
    /// Whose it is: the same as the pause's, the container's own, the host's, or another container's.
    #[schemars(extend("enum" = ["same", "own", "host", "other", "unknown"]))]
    pub is: &'static str,
    /// The id of the container that it belongs to, for `other`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// CRI's mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Mode>,
    /// Whether it is as it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fits: Option<bool>,
}

/// A network namespace, from within.
#[derive(Serialize, JsonSchema)]
pub struct Network {
    /// Of the namespace.
    pub inode: u32,
    /// The ids of the containers in it.
    pub containers: Vec<String>,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// All of them, the loopback's included.
    pub addresses: Vec<IpAddr>,
    /// Default routes.
    pub ways_out: Vec<Route>,
    /// Open ports.
    pub listening: Vec<Listening>,
    /// It has an interface that is up, an address and a way out.
    pub ready: bool,
}

/// An interface.
#[derive(Serialize, JsonSchema)]
pub struct Interface {
    /// Escaped.
    pub name: String,
    /// None where nobody could say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
}

/// A default route.
#[derive(Serialize, JsonSchema)]
pub struct Route {
    /// By name, escaped.
    pub interface: String,
    /// None where the interface leads to everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// An open port.
#[derive(Serialize, JsonSchema)]
pub struct Listening {
    /// The protocol.
    #[schemars(extend("enum" = ["tcp", "udp"]))]
    pub protocol: &'static str,
    /// Where it listens.
    pub address: IpAddr,
    /// Its number.
    pub port: u16,
}

/// A signal to a process of the pod.
#[derive(Serialize, JsonSchema)]
pub struct Signal {
    /// When it was sent.
    #[serde(flatten)]
    pub when: When,
    /// By name.
    pub signal: String,
    /// The pid of the target.
    pub to: u32,
    /// The name of the target, escaped.
    pub comm: String,
    /// The id of the target's container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Who sent it; none: the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Sender>,
    /// What became of it.
    pub result: SignalResult,
    /// A handler of the target ran.
    pub handled: bool,
    /// How many of them there were.
    pub count: u64,
}

/// Who sent a signal.
#[derive(Serialize, JsonSchema)]
pub struct Sender {
    /// In the pid namespace of the node.
    pub pid: u32,
    /// Escaped.
    pub comm: String,
}
