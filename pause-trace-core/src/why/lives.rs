//! The lives of pods, as events show them: which containers ended, how, and who ended them. They
//! outlast the pods, so that `why` can answer for a pod that the node no longer has.

use std::collections::{HashMap, HashSet};

use super::case::Promise;
use crate::{
    event::{
        Comm, ContainerId, ContainerKind, Kind, Ktime, NamespaceKind, Namespaces, PodId, Request,
        Text, WaitStatus, short_id, signal_name,
    },
    observer::Observer,
    rules::Ledger,
    signal::SIGKILL,
    state::{self, Change, Received, Role, State},
    verdict::{Outcome, Severity, Verdict},
};

/// Most pods whose lives are kept.
const MAX_PODS: usize = 4096;

/// Most runs of containers of one pod that are kept: the newest.
const MAX_RUNS: usize = 128;

/// Most failed starts, and most findings, of one pod that are kept.
const MAX_FAILED: usize = 32;

/// What a process that ran before the events began may have been sent before. A stop takes no
/// longer than this, unless its grace period is unusual.
const STOP: Ktime = 120_000_000_000;

/// The namespaces of a sandbox that a process outside the pod can keep.
pub const KEPT_NAMESPACES: [NamespaceKind; 3] =
    [NamespaceKind::Net, NamespaceKind::Ipc, NamespaceKind::Uts];

/// The records that the answer depends on.
const NEEDS: [Kind; 3] = [Kind::Exec, Kind::Exit, Kind::SignalGenerate];

/// Collects the lives of pods.
#[derive(Debug, Default)]
pub struct Lives {
    pods: HashMap<PodId, Life>,
    /// Whether there were more pods than are kept.
    is_cut: bool,
}

/// The life of a pod. Its text is escaped, except for the names.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// The Kubernetes namespace.
    pub namespace: Option<Text>,
    /// The name.
    pub name: Option<Text>,
    /// When it began, as far as is known.
    pub began: Option<Ktime>,
    /// When its last cgroup was removed.
    pub removed: Option<Ktime>,
    /// The runs of its containers, also of sandboxes, in the order of their declaration.
    pub runs: Vec<RunOf>,
    /// The paths that still pinned its network namespace.
    pub pins: Vec<String>,
    pub(super) failed_starts: Vec<FailedStart>,
    pub(super) findings: Vec<Finding>,
    /// Why something may be missing.
    pub(super) doubt: Option<String>,
    /// Since when the runtime has stopped the pod as a whole.
    pub(super) stopping: Option<Ktime>,
}

/// A run of a container.
#[derive(Clone, Debug)]
pub struct RunOf {
    /// The id of the container.
    pub id: ContainerId,
    /// The name of the container, or the beginning of its id; escaped.
    pub title: String,
    /// Whether it is a sandbox, whose entrypoint is the pause.
    pub is_sandbox: bool,
    /// The pid of its entrypoint.
    pub pid: Option<u32>,
    /// When its entrypoint executed, as far as is known.
    pub started: Option<Ktime>,
    /// Its end.
    pub end: End,
    /// Whether it was the OOM killer that ended its entrypoint.
    pub is_oom_killed: bool,
    /// How many of its processes the OOM killer has killed.
    pub oom_kills: u64,
    /// The memory limit in bytes that it was created with, if it is known.
    pub memory_limit: Option<u64>,
    /// The signals to its entrypoint that were to end it, oldest first.
    pub sent: Vec<Sent>,
    /// The namespaces that its entrypoint executed in.
    pub namespaces: Option<Namespaces>,
    /// The host's namespaces.
    pub host: Namespaces,
    /// Whether its stop was requested in another way than by a signal.
    pub(super) is_told: bool,
    /// Whether a stop signal may have been sent to it before the events began.
    pub(super) is_found: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its entrypoint has not been seen to execute.
    NotStarted,
    /// It runs, as far as is known.
    Running,
    /// It has ended, and how is not known.
    Unseen,
    /// It has ended.
    Ended {
        /// When.
        time: Ktime,
        /// What wait(2) reports.
        status: WaitStatus,
    },
}

/// A signal that an entrypoint was sent to end it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub time: Ktime,
    /// Its number.
    pub signal: i32,
    /// The sender: `runc (pid 12)`, or `the kernel`; escaped.
    pub by: String,
    /// Whether the runtime sent it, or perhaps did, to stop the container.
    pub is_stop: bool,
}

/// A program of the runtime that failed to start a pod or container.
#[derive(Clone, Debug)]
pub(super) struct FailedStart {
    pub(super) time: Ktime,
    pub(super) container: Option<ContainerId>,
    /// `portmap ADD`
    pub(super) step: String,
    pub(super) status: WaitStatus,
    pub(super) took: Ktime,
}

/// A violation.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    container: Option<ContainerId>,
    promise: Promise,
}

impl Lives {
    /// The lives of the pods that are kept.
    pub fn all(&self) -> impl Iterator<Item = (&PodId, &Life)> {
        self.pods.iter()
    }

    /// The life of a pod.
    pub fn of(&self, pod: &PodId) -> Option<&Life> {
        self.pods.get(pod)
    }

    /// The namespaces of the newest sandbox of a pod, by inode number, except for the host's and
    /// those whose numbers another pod had later: the kernel gives the numbers of namespaces that
    /// are gone again.
    pub fn namespaces_of(&self, pod: &PodId) -> HashMap<u32, NamespaceKind> {
        let runs = self.pods.get(pod).map_or(&[][..], |life| &life.runs);
        let sandbox = runs.iter().rev().find(|run| run.is_sandbox);
        let Some((sandbox, namespaces)) = sandbox.and_then(|run| Some((run, run.namespaces?)))
        else {
            return HashMap::new();
        };
        let others = self.pods.iter().filter(|(other, _)| *other != pod);
        let later: HashSet<u32> = others
            .flat_map(|(_, life)| &life.runs)
            // Of a run that began before the events it is not known when.
            .filter(|run| run.started.is_none() || run.started >= sandbox.started)
            .filter_map(|run| run.namespaces)
            .flat_map(|namespaces| KEPT_NAMESPACES.map(|kind| namespaces.get(kind)))
            .collect();
        KEPT_NAMESPACES
            .into_iter()
            .map(|kind| (namespaces.get(kind), kind))
            .filter(|(inode, kind)| *inode != 0 && *inode != sandbox.host.get(*kind))
            .filter(|(inode, _)| !later.contains(inode))
            .collect()
    }

    /// Whether the namespaces of the newest sandbox of a pod are known. If the kernel gave all of
    /// their numbers again, they are gone.
    pub fn knows_namespaces_of(&self, pod: &PodId) -> bool {
        let runs = self.pods.get(pod).map_or(&[][..], |life| &life.runs);
        let sandbox = runs.iter().rev().find(|run| run.is_sandbox);
        sandbox.is_some_and(|run| run.namespaces.is_some())
    }

    /// Whether pods were left out.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Adds a violation of at least a warning.
    pub fn verdict(&mut self, verdict: &Verdict) {
        let Some(pod) = &verdict.subject.pod else {
            return;
        };
        if verdict.outcome != Outcome::Fail || verdict.severity() < Severity::Warning {
            return;
        }
        let finding = Finding {
            container: verdict.subject.container.clone(),
            promise: Promise {
                rule: verdict.rule.id,
                name: verdict.rule.name,
                container: None,
                is_of_pause: false,
                sentence: verdict.details.message.clone(),
            },
        };
        if let Some(life) = self.life(pod)
            && life.findings.len() < MAX_FAILED
        {
            life.findings.push(finding);
        }
    }

    /// Adds what is known of the pods that have not been removed.
    pub fn finish(&mut self, state: &State) {
        for pod in state.pods.keys() {
            self.take(pod, state);
        }
    }

    fn life(&mut self, pod: &PodId) -> Option<&mut Life> {
        if self.pods.len() >= MAX_PODS && !self.pods.contains_key(pod) {
            self.is_cut = true;
            return None;
        }
        Some(self.pods.entry(pod.clone()).or_default())
    }

    fn take(&mut self, id: &PodId, state: &State) {
        let (Some(pod), Some(life)) = (state.pods.get(id), self.life(id)) else {
            return;
        };
        life.namespace = Some(pod.namespace.clone());
        life.name = Some(pod.name.clone());
        // A pod that is older than the events is told by the start times of its processes.
        let starts = state
            .inits_of(id)
            .filter_map(|init| Some(state.processes.get(init)?.id.start));
        let began = starts.fold(state.exists_since(pod), Ktime::min);
        life.began = Some(life.began.map_or(began, |known| known.min(began)));
        life.removed = pod.removed;
        life.stopping = pod.stopping.map(|stop| stop.since);
        let pins = state.pins.iter();
        life.pins = pins
            .filter(|(_, pin)| pin.pod.as_ref() == Some(id))
            .map(|(path, _)| path.to_string())
            .collect();
        life.pins.sort_unstable();
        for container in pod.sandboxes.iter().chain(&pod.containers) {
            let Some(known) = state.containers.get(container) else {
                continue;
            };
            let run = RunOf::of(known, pod, state);
            match life.runs.iter_mut().find(|run| run.id == *container) {
                Some(before) => *before = run,
                None => life.runs.push(run),
            }
            if life.runs.len() > MAX_RUNS {
                life.runs.remove(0);
                life.doubt("it had more containers than are kept");
            }
        }
        if let Some(gap) = state.gap(&NEEDS, began) {
            life.doubt(&gap);
        }
    }
}

impl Life {
    fn doubt(&mut self, why: &str) {
        self.doubt.get_or_insert_with(|| why.to_owned());
    }

    /// The violations, each with the name of its container.
    pub(super) fn broken(&self) -> impl Iterator<Item = Promise> {
        self.findings.iter().map(|finding| {
            let id = finding.container.as_ref();
            let run = self.runs.iter().find(|run| Some(&run.id) == id);
            Promise {
                container: self.title(id),
                is_of_pause: run.is_some_and(|run| run.is_sandbox),
                ..finding.promise.clone()
            }
        })
    }

    /// The name of a container.
    pub(super) fn title(&self, id: Option<&ContainerId>) -> Option<String> {
        let id = id?;
        let known = self.runs.iter().find(|run| run.id == *id);
        Some(known.map_or_else(|| short_id(id), |run| run.title.clone()))
    }

    /// When its stop began: the first stop signal that no start of a container followed.
    pub fn stop_began(&self) -> Option<Ktime> {
        let last_start = self.runs.iter().filter_map(|run| run.started).max();
        let sent = self.runs.iter().flat_map(|run| &run.sent);
        sent.filter(|sent| sent.is_stop)
            .map(|sent| sent.time)
            .chain(self.stopping)
            .filter(|time| last_start.is_none_or(|start| *time >= start))
            .min()
    }

    /// How long its stop took, in ns: from the first stop signal to the last end of a container.
    pub fn stop_took(&self) -> Option<Ktime> {
        let began = self.stop_began()?;
        let mut last = began;
        for run in &self.runs {
            match run.end {
                End::Ended { time, .. } => last = last.max(time),
                End::NotStarted => {}
                End::Running | End::Unseen => return None,
            }
        }
        Some(last - began)
    }
}

impl RunOf {
    fn of(container: &state::Container, pod: &state::Pod, state: &State) -> Self {
        let init = container.init.and_then(|init| state.processes.get(init));
        let ended = container.ended.or(init.and_then(|init| init.ended));
        let end = match (ended, init) {
            (Some(_), Some(init)) if init.ended_unseen() => End::Unseen,
            (Some(ended), _) => End::Ended {
                time: ended.time,
                status: ended.status,
            },
            (None, Some(init)) if init.reaped.is_some() => End::Unseen,
            (None, Some(_)) => End::Running,
            (None, None) if container.started.is_some() => End::Unseen,
            (None, None) => End::NotStarted,
        };
        let mut sent = Vec::new();
        if let Some(init) = init {
            let others = init.others.iter().map(|other| &other.last);
            let all = init.signals.iter().chain(others);
            sent.extend(all.map(|one| Sent::of(one, container.stop_signal)));
            sent.sort_by_key(|sent| sent.time);
        }
        let told = container.stopping.or(pod.stopping).map(|stop| stop.since);
        let is_before_end = |since: Ktime| match end {
            End::Ended { time, .. } => since <= time,
            _ => true,
        };
        let is_found = init.is_some_and(|init| {
            let last = ended.map_or(Ktime::MAX, |ended| ended.time);
            init.found && last.saturating_sub(init.seen) < STOP
        });
        Self {
            id: container.id.clone(),
            title: match container.name.0.is_empty() {
                true => short_id(&container.id),
                false => container.name.to_string(),
            },
            is_sandbox: container.what == ContainerKind::Sandbox,
            pid: container.init.map(|init| init.pid),
            started: container.started,
            end,
            is_oom_killed: init.is_some_and(|init| init.is_oom_killed()),
            oom_kills: container.oom.map_or(0, |oom| oom.count),
            memory_limit: container.memory_limit,
            sent,
            namespaces: container.namespaces,
            host: state.host_of(container),
            is_told: told.is_some_and(is_before_end),
            is_found,
        }
    }

    /// Whether the runtime stopped it, or perhaps did, before it ended.
    pub fn is_stop_requested(&self) -> bool {
        let End::Ended { time, .. } = self.end else {
            return self.is_told || self.sent.iter().any(|sent| sent.is_stop);
        };
        let mut sent = self.sent.iter();
        self.is_told || sent.any(|sent| sent.is_stop && sent.time <= time)
    }

    /// The signal that ended it.
    pub fn killed_by(&self) -> Option<&Sent> {
        let End::Ended { time, status } = self.end else {
            return None;
        };
        let signal = status.signal()?;
        let mut sent = self.sent.iter().rev();
        sent.find(|sent| sent.signal == signal && sent.time <= time)
    }

    /// The first signal that the runtime sent to stop it, other than SIGKILL.
    pub fn stop_sent(&self) -> Option<&Sent> {
        let mut sent = self.sent.iter();
        sent.find(|sent| sent.is_stop && sent.signal != SIGKILL)
    }

    /// The last SIGKILL to it.
    pub fn kill_sent(&self) -> Option<&Sent> {
        let mut sent = self.sent.iter().rev();
        sent.find(|sent| sent.signal == SIGKILL)
    }
}

impl Sent {
    fn of(received: &Received, stop_signal: Option<i32>) -> Self {
        let is_runtimes = received.sender_role == Role::Runtime
            // A kubelet kills what is left in the cgroup of a pod that it removes.
            || received.sender_comm == Comm::new("kubelet") && received.sender_pod.is_none();
        Self {
            time: received.time,
            signal: received.signal,
            by: match received.sender {
                Some(sender) => format!("{} (pid {})", received.sender_comm, sender.pid),
                None => "the kernel".to_owned(),
            },
            is_stop: received.sender.is_some()
                && is_runtimes
                && (received.signal == SIGKILL
                    || stop_signal.is_none_or(|stop_signal| received.signal == stop_signal)),
        }
    }

    /// `runc (pid 12) sent SIGTERM`
    pub fn sentence(&self) -> String {
        format!("{} sent {}", self.by, signal_name(self.signal))
    }
}

impl Observer for Lives {
    fn change(&mut self, _: Ktime, change: &Change, state: &State, _: &Ledger) {
        match change {
            Change::PodRemoved(pod) => self.take(pod, state),
            // Its records of the time after the removal do not count.
            Change::RecordsSuppressed { pod, kind } => {
                if NEEDS.contains(kind)
                    && let Some(life) = self.life(pod)
                {
                    life.doubt("its processes did too much, so not all of it was recorded");
                }
            }
            Change::StepEnded(step) if !step.has_succeeded() && !step.is_doubtful => {
                let Some(life) = step.pod.as_ref().and_then(|pod| self.life(pod)) else {
                    return;
                };
                // The sandbox may never get a cgroup, and then no pod is declared.
                if let Request::Cni(request) = &step.request
                    && life.name.is_none()
                {
                    life.namespace = Some(request.namespace.clone());
                    life.name = Some(request.name.clone());
                }
                if life.failed_starts.len() == MAX_FAILED {
                    life.failed_starts.remove(0);
                }
                life.failed_starts.push(FailedStart {
                    time: step.ended,
                    container: step.container.clone(),
                    step: step.name(),
                    status: step.status,
                    took: step.took(),
                });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
