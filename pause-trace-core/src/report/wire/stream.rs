//! The lines of `run`, `watch`, `check` and `replay` that are not about a verdict.

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::{Container, Namespaces, Pod, Process, When};
use crate::{
    event::{Kind, NamespaceKind},
    news::{LISTED_NAMESPACES, News, NewsKind},
    report::{Clock, Hook, Names},
    rules::Counts,
    verdict::Outcome,
};

/// The program, the kernel and the hooks of a run.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Hello<'a> {
    #[serde(flatten)]
    pub(crate) when: When,
    /// The version of pause-trace.
    pub(crate) version: &'a str,
    /// As in `uname -r`.
    pub(crate) kernel: &'a str,
    /// As in `uname -m`.
    pub(crate) arch: &'a str,
    /// The hooks that events come from.
    pub(crate) hooks: &'a [Hook],
}

/// The start or end of a pod or container, a kill by the OOM killer, a port on which a container
/// listens, or the verification of a pod.
#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct PodEvent {
    #[serde(flatten)]
    when: When,
    #[schemars(extend("enum" = ["started", "start_failed", "ended", "oom_killed", "listens", "removed", "verified"]))]
    event: &'static str,
    pod: Pod,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Container>,
    /// `started` and `ended`: the container's entrypoint. `oom_killed`: the killed process.
    /// `listens`: the process that began to listen.
    /// `start_failed`: the program that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
    /// `started` and `ended`: whether the process is the pod's pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pause: Option<bool>,
    /// `started`: whether it started before pause-trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<bool>,
    /// `started`: the namespaces of the process.
    #[serde(skip_serializing_if = "Namespaces::is_empty")]
    namespaces: Namespaces,
    /// `started`: the namespaces that are the pause's.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<Vec<NamespaceKind>>,
    /// `started`: the namespaces that are the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Vec<NamespaceKind>>,
    /// `started`: how many containers with this name started in the pod before, if there were some.
    #[serde(skip_serializing_if = "Option::is_none")]
    restart: Option<u32>,
    /// `started` with `restart`: the time since the last of them ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    after_last_end_ns: Option<u64>,
    /// `start_failed`: what the program was to do, such as `portmap ADD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    /// `start_failed`: how long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ns: Option<u64>,
    /// `ended` and `start_failed`: what wait(2) reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// `ended`: the process of the container that the OOM killer killed last, if it killed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_killed: Option<Process>,
    /// `oom_killed`: how many processes of the container the OOM killer has killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    /// `listens`: the address, which is `0.0.0.0` or `::` if it is every address.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    /// `listens`: the TCP port. Missing if the kernel chose it, which no record shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// `listens`: the time since the container's entrypoint executed. Missing if that was before
    /// pause-trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    after_ns: Option<u64>,
    /// `oom_killed`, and `ended` with `oom_killed`: the memory limit that the container was created
    /// with. Missing if there is none or it is not known. The limit of the pod or the memory of the
    /// node may have been used up instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_limit_bytes: Option<u64>,
    /// `ended` and `removed`: how long it lived.
    #[serde(skip_serializing_if = "Option::is_none")]
    lived_ns: Option<u64>,
    /// `removed`: whether the pause ended although the runtime did not stop it. The sandbox is
    /// removed then; the pod may get another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_sandbox: Option<bool>,
    /// `verified`: the number of final verdicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdicts: Option<Counts>,
}

impl PodEvent {
    pub(crate) fn new(news: &News, names: &Names, clock: Clock) -> Self {
        let common = Self {
            when: When::new(clock, news.time),
            event: news.what.name(),
            pod: names.pod(&news.pod),
            container: news.container.as_ref().map(|id| names.container(id)),
            ..Self::default()
        };
        match &news.what {
            NewsKind::Started {
                process,
                is_pause,
                found,
                namespaces,
                shared,
                host,
                restart,
            } => Self {
                restart: restart.map(|restart| restart.count),
                after_last_end_ns: restart.and_then(|restart| restart.after),
                process: Some((*process).into()),
                pause: Some(*is_pause),
                found: Some(*found),
                namespaces: LISTED_NAMESPACES
                    .into_iter()
                    .map(|kind| (kind, namespaces.get(kind)))
                    .collect(),
                shared: Some(shared.clone()),
                host: Some(host.clone()),
                ..common
            },
            NewsKind::StartFailed {
                process,
                step,
                status,
                took,
            } => Self {
                process: Some((*process).into()),
                step: Some(step.clone()),
                status: Some(status.to_string()),
                took_ns: Some(*took),
                ..common
            },
            NewsKind::Ended {
                process,
                is_pause,
                status,
                lived,
                oom_killed,
                memory_limit,
            } => Self {
                memory_limit_bytes: *memory_limit,
                process: Some((*process).into()),
                pause: Some(*is_pause),
                status: Some(status.to_string()),
                lived_ns: Some(*lived),
                oom_killed: oom_killed.map(Into::into),
                ..common
            },
            NewsKind::OomKilled {
                process,
                count,
                memory_limit,
            } => Self {
                memory_limit_bytes: *memory_limit,
                process: Some((*process).into()),
                count: Some(*count),
                ..common
            },
            NewsKind::Listens {
                process,
                address,
                port,
                after,
            } => Self {
                process: Some((*process).into()),
                address: Some(*address),
                port: *port,
                after_ns: *after,
                ..common
            },
            NewsKind::Removed {
                lived,
                lost_sandbox,
            } => Self {
                lived_ns: Some(*lived),
                lost_sandbox: Some(*lost_sandbox),
                ..common
            },
            NewsKind::Verified { verdicts } => Self {
                verdicts: Some(*verdicts),
                ..common
            },
        }
    }
}

/// The result of a scenario.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Scenario<'a> {
    #[serde(flatten)]
    pub(crate) when: When,
    pub(crate) family: &'a str,
    pub(crate) name: &'a str,
    /// What it shows, in a sentence.
    pub(crate) title: &'a str,
    pub(crate) verdict: Outcome,
    /// The values that prove it; may be empty.
    pub(crate) proof: &'a str,
    /// Why it failed or is inconclusive; empty for a pass.
    pub(crate) reason: &'a str,
    /// The ids of the rules that found a violation. For an injected fault, a violation is expected.
    pub(crate) found: &'a [&'static str],
    pub(crate) duration_ns: u64,
}

/// Kernel events that were dropped.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Loss {
    /// When the loss was noticed.
    #[serde(flatten)]
    pub(crate) when: When,
    /// The kind of the events; `output` for lines of this report that were dropped, because its
    /// reader was too slow.
    pub(crate) kind: &'static str,
    /// The number of dropped events.
    pub(crate) lost: u64,
}

/// The result of a run.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Summary<'a> {
    #[serde(flatten)]
    pub(crate) when: When,
    /// The scenarios; all zero if none were played.
    pub(crate) scenarios: Counts,
    /// The node's pods that were reported; absent if the node was not observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pods: Option<u64>,
    /// All final verdicts.
    pub(crate) verdicts: Counts,
    /// Findings that a configured exception accepts.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) excepted: u64,
    /// The final verdicts by the id of the rule.
    #[serde(serialize_with = "by_rule")]
    #[schemars(with = "BTreeMap<String, Counts>")]
    pub(crate) rules: &'a [(&'static str, Counts)],
    /// Kernel events that arrived, by kind.
    #[serde(serialize_with = "by_kind")]
    #[schemars(with = "BTreeMap<String, u64>")]
    pub(crate) events: &'a [(Kind, u64)],
    /// Kernel events that were dropped, by kind.
    #[serde(serialize_with = "by_kind")]
    #[schemars(with = "BTreeMap<String, u64>")]
    pub(crate) lost: &'a [(Kind, u64)],
    pub(crate) duration_ns: u64,
    /// Whether Ctrl-C ended the run.
    pub(crate) interrupted: bool,
}

/// An exception is rare, and programs that know none should not see one.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn by_rule<S: Serializer>(
    rules: &[(&'static str, Counts)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(rules.iter().map(|(id, counts)| (id, counts)))
}

fn by_kind<S: Serializer>(kinds: &[(Kind, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(kinds.iter().map(|(kind, count)| (kind.name(), count)))
}
