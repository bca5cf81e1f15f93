//! The steps of a start that a runtime takes by executing a program: CNI plugins, OCI runtimes, and
//! shims. Their ends decide whether the start goes on.

use std::collections::VecDeque;

use foldhash::HashMap;

use super::{Change, Process, State};
use crate::event::{
    Asked, Called, CniRequest, Comm, ContainerId, ContainerKind, Ktime, OciCommand, PodId,
    ProcessId, Request, Text, WaitStatus, run_container,
};

/// Most steps that are kept. If more are known, the ends of some were lost.
const MAX_STEPS: usize = 4096;
/// Most sandboxes of which it is kept which pod they were made for. The latest are kept.
const MAX_SANDBOXES: usize = 1024;
/// Most generations between a step and a program that it started.
const MAX_GENERATIONS: usize = 8;

/// The steps that have not ended.
#[derive(Debug, Default)]
pub(super) struct Steps {
    open: HashMap<ProcessId, Step>,
    /// The sandboxes that CNI plugins were asked about, and their pods.
    sandboxes: VecDeque<(Text, PodId)>,
}

/// A program that was asked to do something.
#[derive(Debug)]
struct Step {
    request: Request,
    /// When it was forked.
    began: Ktime,
    /// Whether another step started it, such as the plugin that delegates to this one.
    is_part: bool,
    cause: Option<Cause>,
}

/// A program that a step started, and that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// When it ended.
    pub(crate) time: Ktime,
    /// What it is, such as `OCI hook /bin/check`.
    pub(crate) what: String,
    pub(crate) pid: u32,
    pub(crate) status: WaitStatus,
}

/// The end of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepEnd {
    pub(crate) process: ProcessId,
    pub(crate) ns_pid: u32,
    pub(crate) comm: Comm,
    /// The file that it executed.
    pub(crate) file: Text,
    pub(crate) request: Request,
    pub(crate) began: Ktime,
    pub(crate) ended: Ktime,
    pub(crate) status: WaitStatus,
    /// What it started that failed last.
    pub(crate) cause: Option<Cause>,
    /// The pod that it is for, if that is known. It may not be declared.
    pub(crate) pod: Option<PodId>,
    /// The container that it is for, if it is declared and not the sandbox.
    pub(crate) container: Option<ContainerId>,
    /// Whether the process is perhaps not the runtime's.
    pub(crate) is_doubtful: bool,
}

impl StepEnd {
    /// Whether it did what it was asked for.
    pub(crate) fn has_succeeded(&self) -> bool {
        self.status == WaitStatus::exited(0)
    }

    /// `portmap ADD`, `runc create`
    pub(crate) fn name(&self) -> String {
        match self.file.0.is_empty() || self.file.names_itself() {
            true => format!("{} {}", self.comm, self.request.command()),
            false => Asked(&self.file, &self.request).to_string(),
        }
    }

    /// How long it took.
    pub(crate) fn took(&self) -> Ktime {
        self.ended.saturating_sub(self.began)
    }
}

impl Steps {
    /// The nearest step that started a process.
    fn above<'a>(&self, state: &'a State, of: ProcessId) -> Option<&'a Process> {
        let mut process = state.processes.get(of)?;
        for _ in 0..MAX_GENERATIONS {
            process = state.processes.get(process.born_of)?;
            let step = self.open.get(&process.id);
            if step.is_some_and(|step| !step.request.is_serve()) {
                return Some(process);
            }
        }
        None
    }

    /// The pod that a sandbox was made for.
    fn pod_of_sandbox(&self, sandbox: &Text) -> Option<&PodId> {
        let mut sandboxes = self.sandboxes.iter().rev();
        let (_, pod) = sandboxes.find(|(known, _)| known == sandbox)?;
        Some(pod)
    }

    fn note_sandbox(&mut self, request: &CniRequest) {
        let Some(pod) = request.pod().filter(|_| !request.sandbox.0.is_empty()) else {
            return;
        };
        if self.pod_of_sandbox(&request.sandbox) == Some(&pod) {
            return;
        }
        if self.sandboxes.len() == MAX_SANDBOXES {
            self.sandboxes.pop_front();
        }
        self.sandboxes.push_back((request.sandbox.clone(), pod));
    }
}

impl Request {
    fn is_serve(&self) -> bool {
        matches!(self, Self::Oci(request) if request.command == OciCommand::Serve)
    }
}

impl State {
    /// Notes what the program is asked to do that a process is about to be reported as executing.
    pub(super) fn called(&mut self, now: Ktime, called: &Called) {
        let Called { process, request } = called;
        if let Request::Cni(request) = request {
            self.steps.note_sandbox(request);
        }
        let known = self.processes.get(*process);
        let began = known.map_or(now, |known| known.forked);
        let is_part = self.steps.above(self, *process).is_some();
        if self.steps.open.len() >= MAX_STEPS {
            let processes = &self.processes;
            let is_alive = |id| processes.get(id).is_some_and(Process::is_alive);
            self.steps.open.retain(|id, _| is_alive(*id));
        }
        // What a script started before it executed the program itself says nothing of this one.
        let step = Step {
            request: request.clone(),
            began,
            is_part,
            cause: None,
        };
        self.steps.open.insert(*process, step);
    }

    /// What the process of a step that has not ended is asked to do. Only snapshots ask.
    pub(super) fn called_again(&self, process: ProcessId) -> Option<Called> {
        let request = self.steps.open.get(&process)?.request.clone();
        Some(Called { process, request })
    }

    /// Notes the end of a process, which may be a step, or what a step started.
    pub(super) fn step_ended(
        &mut self,
        now: Ktime,
        id: ProcessId,
        status: WaitStatus,
        changes: &mut Vec<Change>,
    ) {
        if self.steps.open.is_empty() {
            return;
        }
        let step = self.steps.open.remove(&id);
        if let Some(step) = step.as_ref().filter(|step| !step.is_part) {
            if step.request.is_start() {
                changes.extend(self.end_of(now, id, status, step));
            }
            return;
        }
        if status == WaitStatus::exited(0) {
            return;
        }
        let Some(cause) = self.cause(now, id, status, step.as_ref()) else {
            return;
        };
        let above = self.steps.above(self, id).map(|above| above.id);
        if let Some(above) = above.and_then(|above| self.steps.open.get_mut(&above)) {
            // Of what a part failed for, the part itself says nothing new.
            let deeper = step.and_then(|step| step.cause);
            above.cause = Some(deeper.unwrap_or(cause));
        }
    }

    /// What failed, if a process says something by its end: the copies of itself that an OCI
    /// runtime executes end as it does.
    fn cause(
        &self,
        now: Ktime,
        id: ProcessId,
        status: WaitStatus,
        step: Option<&Step>,
    ) -> Option<Cause> {
        let process = self.processes.get(id)?;
        let has_executed = process.last_exec.is_some_and(|at| at >= process.forked);
        if !has_executed || process.file.names_itself() {
            return None;
        }
        let above = self.steps.above(self, id)?;
        let is_of_plugin = matches!(self.steps.open.get(&above.id)?.request, Request::Cni(_));
        let what = match step {
            Some(step) => Asked(&process.file, &step.request).to_string(),
            None if is_of_plugin => process.file.base_name().to_string(),
            None => format!("OCI hook {}", process.file),
        };
        Some(Cause {
            time: now,
            what,
            pid: id.pid,
            status,
        })
    }

    fn end_of(&self, now: Ktime, id: ProcessId, status: WaitStatus, step: &Step) -> Option<Change> {
        let process = self.processes.get(id)?;
        let (pod, container) = match &step.request {
            Request::Cni(request) => (self.pod_of_request(request), None),
            Request::Oci(request) => self.pod_of_container(id, &request.container),
        };
        Some(Change::StepEnded(Box::new(StepEnd {
            process: id,
            ns_pid: process.ns_pid,
            comm: process.comm,
            file: process.file.clone(),
            request: step.request.clone(),
            began: step.began,
            ended: now,
            status,
            cause: step.cause.clone(),
            pod,
            container,
            is_doubtful: !self.is_proven_runtime(id),
        })))
    }

    /// The pod that a plugin works for.
    fn pod_of_request(&self, request: &CniRequest) -> Option<PodId> {
        let declared = self.declared(&request.sandbox);
        declared.map(|(pod, _)| pod).or_else(|| request.pod())
    }

    /// The pod and the container that an OCI runtime works for. Of a container that is not
    /// declared, the shim that started the runtime says which sandbox it is for.
    fn pod_of_container(
        &self,
        id: ProcessId,
        container: &Text,
    ) -> (Option<PodId>, Option<ContainerId>) {
        if let Some((pod, container)) = self.declared(container) {
            return (Some(pod), container);
        }
        let of_sandbox = |sandbox: &Text| {
            let declared = self.declared(sandbox).map(|(pod, _)| pod);
            declared.or_else(|| self.steps.pod_of_sandbox(sandbox).cloned())
        };
        let mut pod = of_sandbox(container);
        let mut process = self.processes.get(id);
        for _ in 0..MAX_GENERATIONS {
            let above = process.and_then(|process| self.processes.get(process.born_of));
            let Some(above) = above.filter(|_| pod.is_none()) else {
                break;
            };
            if let Some(Step {
                request: Request::Oci(request),
                ..
            }) = self.steps.open.get(&above.id)
            {
                pod = of_sandbox(&request.container);
            }
            process = Some(above);
        }
        (pod, None)
    }

    /// The pod of the last run of a container, and the container if it is not a sandbox.
    fn declared(&self, id: &Text) -> Option<(PodId, Option<ContainerId>)> {
        let id = std::str::from_utf8(&id.0)
            .ok()
            .filter(|id| !id.is_empty())?;
        let mut runs = self.containers.values();
        let known = match self.containers.get(id) {
            // Most containers run once.
            Some(known) if known.ended.is_none() => known,
            first => runs
                .by_ref()
                .filter(|known| run_container(&known.id) == id)
                .max_by_key(|known| known.declared)
                .or(first)?,
        };
        let container = Some(known.id.clone()).filter(|_| known.what != ContainerKind::Sandbox);
        Some((known.pod.clone(), container))
    }
}
