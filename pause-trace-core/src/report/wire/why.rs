//! The line of `why`.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Container, Pod, When};
use crate::{
    event::{Ktime, WaitStatus, short_id, signal_name},
    report::Clock,
    why::{self, End, Life, RunOf},
};

/// Why a pod is slow, stuck or dead.
#[derive(Serialize, JsonSchema)]
pub struct Why {
    /// When it was asked.
    #[serde(flatten)]
    pub when: When,
    /// The pod.
    pub pod: Pod,
    /// The phase of its life.
    #[schemars(extend("enum" = ["starting", "running", "restarting", "stopping", "completed", "ended", "empty", "removed"]))]
    pub phase: &'static str,
    /// Whether one of the reasons is a problem.
    pub is_problem: bool,
    /// Whether it is not known if something is wrong: only the pause runs, and no runtime says why,
    /// or the pod was removed and a part of its end was not observed.
    pub is_undecided: bool,
    /// The reasons, the most likely one first.
    pub reasons: Vec<Reason>,
    /// What could not be found out, in sentences.
    pub unknown: Vec<String>,
    /// How it ended, if the node no longer has it and the history of a `watch` does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<RemovedPod>,
    /// What happened to it before, from the history of a `watch` that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
}

/// How a pod ended that the node no longer has.
#[derive(Clone, Serialize, JsonSchema)]
pub struct RemovedPod {
    /// When its last cgroup was removed. Missing if that was not observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<When>,
    /// The time from its beginning to its removal, in ns, if both are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lived_ns: Option<Ktime>,
    /// The time from the first stop signal to the end of its last container, in ns, if it was
    /// stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_took_ns: Option<Ktime>,
    /// The runs of its containers, its sandboxes first.
    pub runs: Vec<RemovedRun>,
}

/// A run of a container of a pod that the node no longer has.
#[derive(Clone, Serialize, JsonSchema)]
pub struct RemovedRun {
    /// The container.
    pub container: Container,
    /// Whether it is a sandbox, whose entrypoint is the pause.
    pub is_sandbox: bool,
    /// When it ended. Missing if that was not observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<When>,
    /// The exit code, if it exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// The signal that killed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killed_by: Option<String>,
    /// Who sent that signal: a name and pid, or the kernel; escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killed_from: Option<String>,
    /// Whether the OOM killer killed it.
    pub oom_killed: bool,
    /// Whether the runtime stopped it, or perhaps did.
    pub stop_requested: bool,
    /// How it ended, in words.
    pub sentence: String,
}

impl RemovedPod {
    /// The end of a pod.
    pub fn new(life: &Life, clock: Clock) -> Self {
        let lived = life.removed.zip(life.began);
        Self {
            removed: life.removed.map(|time| When::new(clock, time)),
            lived_ns: lived.map(|(removed, began)| removed.saturating_sub(began)),
            stop_took_ns: life.stop_took(),
            runs: life
                .runs
                .iter()
                .map(|run| RemovedRun::new(run, clock))
                .collect(),
        }
    }
}

impl RemovedRun {
    fn new(run: &RunOf, clock: Clock) -> Self {
        let (time, status) = match run.end {
            End::Ended { time, status } => (Some(time), Some(status)),
            End::NotStarted | End::Running | End::Unseen => (None, None),
        };
        Self {
            container: Container::of_run(
                &run.id,
                Some(run.title.clone()).filter(|title| *title != short_id(&run.id)),
            ),
            is_sandbox: run.is_sandbox,
            ended: time.map(|time| When::new(clock, time)),
            exit_code: status.and_then(WaitStatus::code),
            killed_by: status
                .and_then(WaitStatus::signal)
                .map(|signal| signal_name(signal).to_string()),
            killed_from: run.killed_by().map(|sent| sent.by.clone()),
            oom_killed: run.is_oom_killed,
            stop_requested: run.is_stop_requested(),
            sentence: why::how_it_ended(run),
        }
    }
}

/// What a running `watch` has observed of a pod.
#[derive(Clone, Serialize, JsonSchema)]
pub struct History {
    /// The beginning of the history.
    pub since: When,
    /// The newest things that happened, oldest first.
    pub happened: Vec<Happened>,
}

/// Something that happened.
#[derive(Clone, Serialize, JsonSchema)]
pub struct Happened {
    /// When.
    #[serde(flatten)]
    pub when: When,
    /// The name of the container, or the beginning of its id, escaped. Missing for the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// What happened, in a sentence. Names in it are escaped.
    pub sentence: String,
}

/// A reason.
#[derive(Serialize, JsonSchema)]
pub struct Reason {
    /// The kind of reason, such as `pause_ended` or `oom_killed`.
    pub cause: &'static str,
    /// Whether something is wrong. Otherwise it is a notice: it may be intended.
    pub is_problem: bool,
    /// The name of the container, escaped. Missing if it is about the pod, or about several
    /// containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The names of the containers that it is about, escaped, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<String>,
    /// The reason in a sentence. Names in it are escaped.
    pub sentence: String,
    /// What shows it, in lines.
    pub evidence: Vec<String>,
    /// What to do or to look at next.
    pub next: String,
}

impl Reason {
    /// A reason as JSON.
    pub fn new(reason: &why::Reason) -> Self {
        Self {
            cause: reason.cause.name(),
            is_problem: reason.cause.is_problem(),
            container: match &reason.containers[..] {
                [only] => Some(only.clone()),
                _ => None,
            },
            containers: match reason.containers.len() {
                1 => Vec::new(),
                _ => reason.containers.clone(),
            },
            sentence: reason.sentence.clone(),
            evidence: reason.evidence.clone(),
            next: reason.next.clone(),
        }
    }
}
