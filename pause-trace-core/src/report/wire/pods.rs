//! The lines of `ls` and `inspect`.

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::Serialize;

use super::{Container, Finding, History, Namespaces, Pod, Process, When};
use crate::{
    event::{ContainerKind, Ktime, Mode, NamespaceKind, SignalResult, Source},
    report::Clock,
    rules::Counts,
    verdict::{Outcome, Severity},
};

/// The time of the query, and what it could not determine.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Head {
    #[serde(flatten)]
    when: When,
    /// Whether the eBPF program was running.
    ebpf: bool,
    /// The fields that are unknown without the eBPF program.
    unknown: &'static [&'static str],
}

impl Head {
    /// A query at a time.
    pub fn new(clock: Clock, now: Ktime, ebpf: bool, unknown: &'static [&'static str]) -> Self {
        Self {
            when: When::new(clock, now),
            ebpf,
            unknown,
        }
    }
}

/// A pod, its pause and its containers in short.
#[derive(Serialize, JsonSchema)]
pub struct ListedPod {
    /// The time of the query.
    #[serde(flatten)]
    pub head: Head,
    /// The pod.
    pub pod: Pod,
    /// The id of the sandbox. It is missing if the pause is gone or the runtime has no sandboxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// The pause process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<RunningProcess>,
    /// The namespaces of the pause.
    pub namespaces: Namespaces,
    /// The namespaces of the pause that are the host's.
    pub host: Vec<NamespaceKind>,
    /// Namespaces that differ from the requested ones.
    pub misfits: Vec<Misfit>,
    /// The number of its containers without the sandbox.
    pub containers: usize,
    /// The number of its processes without the pause.
    pub members: usize,
    /// The number of them that wait to be reaped.
    pub zombies: usize,
    /// The memory of the pause (PSS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pss_bytes: Option<u64>,
    /// The memory that its cgroups are charged with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The addresses in its network namespace.
    pub addresses: Vec<IpAddr>,
    /// The names of its containers whose stop will take the whole grace period, because their first
    /// process does not take their stop signal.
    pub slow_stops: Vec<String>,
    /// The ports that its containers listen on or are bound to.
    pub ports: Vec<Port>,
    /// The verdicts on it. Missing without the eBPF program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<VerdictCounts>,
}

/// A namespace that differs from the requested one.
#[derive(Serialize, JsonSchema)]
pub struct Misfit {
    /// The name of the container.
    pub container: String,
    /// The namespace.
    pub namespace: NamespaceKind,
    /// The requested mode.
    pub asked: Mode,
    /// The owner: the same as the pause's, the container's own, the host's, or another container's.
    #[schemars(extend("enum" = ["same", "own", "host", "other", "unknown"]))]
    pub is: &'static str,
}

/// A summary of the verdicts on a pod.
#[derive(Default, Serialize, JsonSchema)]
pub struct VerdictCounts {
    /// The worst outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<Outcome>,
    /// The highest severity, if the worst outcome is a violation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// The ids of the rules with the worst outcome.
    pub rules: Vec<&'static str>,
    /// The number of verdicts by outcome.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A running process.
#[derive(Serialize, JsonSchema)]
pub struct RunningProcess {
    /// The process.
    #[serde(flatten)]
    pub process: Process,
    /// The time since it started.
    pub age_ns: Ktime,
    /// The pid of its parent.
    pub parent: u32,
    /// Its state, a letter of proc_pid_stat(5).
    pub state: char,
}

/// Everything that can be observed about a pod.
#[derive(Serialize, JsonSchema)]
pub struct Inspect<'a> {
    /// The time of the query.
    #[serde(flatten)]
    pub head: Head,
    /// What else is unknown and why, in sentences.
    pub gaps: &'a [String],
    /// The pod.
    pub pod: Pod,
    /// The host's namespaces.
    pub host: Namespaces,
    /// Its containers, including the sandbox.
    pub containers: Vec<InspectedContainer>,
    /// The network namespaces of its containers.
    pub networks: Vec<Network>,
    /// The newest signals to its processes. Missing without the eBPF program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signals: Option<Vec<Signal>>,
    /// All verdicts on it, including those that passed. Missing without the eBPF program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<Vec<Finding<'a>>>,
    /// What happened to it before, from the history of a `watch` that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
}

/// A container and its processes.
#[derive(Serialize, JsonSchema)]
pub struct InspectedContainer {
    /// The container.
    #[serde(flatten)]
    pub container: Container,
    /// Its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ContainerKind>,
    /// The id of its sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// The source of the requested modes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The pid of its first process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The memory that its cgroup is charged with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The name of its stop signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// What this signal would do to its first process now: it takes the signal; it ignores it; it
    /// blocks it, and nobody sees whether it will read it; it will take it later, because it blocks
    /// it now and has a handler; the kernel drops it, because the process is pid 1 of its pid
    /// namespace and has no handler; or it has started too recently to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["stops", "ignores", "blocks", "later", "drops", "too_young", "unknown"]))]
    pub stop: Option<&'static str>,
    /// The measurements of a pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Its namespaces, by name.
    pub namespaces: BTreeMap<&'static str, ComparedNamespace>,
    /// The ports that its processes listen on or are bound to. Many are cut off.
    pub ports: Vec<Port>,
    /// Its processes, in the order of the process tree.
    pub processes: Vec<RunningProcess>,
    /// The number of processes that are left out.
    pub left_out: usize,
}

/// The resources and the user of a pause.
#[derive(Serialize, JsonSchema)]
pub struct Pause {
    /// Its memory (PSS).
    pub pss_bytes: u64,
    /// The number of its threads.
    pub threads: u32,
    /// The number of its open file descriptors.
    pub descriptors: u32,
    /// Its user id.
    pub uid: u32,
    /// Its OOM score adjustment.
    pub oom_score_adj: i32,
}

/// A container's namespace, compared with the pause's and the host's.
#[derive(Serialize, JsonSchema)]
pub struct ComparedNamespace {
    /// Its inode number. Missing if it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u32>,
    /// The owner: the same as the pause's, the container's own, the host's, or another container's.
    #[schemars(extend("enum" = ["same", "own", "host", "other", "unknown"]))]
    pub is: &'static str,
    /// For `other`, the id of the container that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The requested CRI mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Mode>,
    /// Whether it is as requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fits: Option<bool>,
}

/// The content of a network namespace.
#[derive(Serialize, JsonSchema)]
pub struct Network {
    /// Its inode number.
    pub inode: u32,
    /// The ids of the containers in it.
    pub containers: Vec<String>,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// All addresses, including the loopback's.
    pub addresses: Vec<IpAddr>,
    /// Default routes.
    pub ways_out: Vec<Route>,
    /// Open ports.
    pub listening: Vec<Listening>,
    /// Whether it has an interface that is up, an address and a default route.
    pub ready: bool,
}

/// An interface.
#[derive(Serialize, JsonSchema)]
pub struct Interface {
    /// Its name, escaped.
    pub name: String,
    /// Whether it is up. Missing if that is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
}

/// A default route.
#[derive(Serialize, JsonSchema)]
pub struct Route {
    /// The name of the interface, escaped.
    pub interface: String,
    /// The gateway. Missing if the route has only an interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// A listening socket.
#[derive(Serialize, JsonSchema)]
pub struct Listening {
    /// The protocol.
    #[schemars(extend("enum" = ["tcp", "udp"]))]
    pub protocol: &'static str,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

/// A port and the process that has its socket open: of several, the one with the lowest pid.
#[derive(Serialize, JsonSchema)]
pub struct Port {
    /// The name of the container, or the beginning of its id; escaped.
    pub container: String,
    /// The socket.
    #[serde(flatten)]
    pub socket: Listening,
    /// The pid of the process.
    pub pid: u32,
    /// The name of the process, escaped.
    pub comm: String,
}

/// A signal to a process of the pod.
#[derive(Serialize, JsonSchema)]
pub struct Signal {
    /// When it was sent.
    #[serde(flatten)]
    pub when: When,
    /// The name of the signal.
    pub signal: String,
    /// The pid of the target.
    pub to: u32,
    /// The name of the target, escaped.
    pub comm: String,
    /// The id of the target's container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The sender. Missing if the kernel sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Sender>,
    /// What the kernel did with it.
    pub result: SignalResult,
    /// Whether a handler of the target ran.
    pub handled: bool,
    /// The number of such signals.
    pub count: u64,
}

/// The sender of a signal.
#[derive(Serialize, JsonSchema)]
pub struct Sender {
    /// Its pid in the node's pid namespace.
    pub pid: u32,
    /// Its name, escaped.
    pub comm: String,
}
