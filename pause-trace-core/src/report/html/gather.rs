//! Collects the content of the page from events and from the state after each of them.

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::{
    listeners::{Awaited, Listens},
    model::{Container, Finding, Page, Pod, Process, ProcessState, Rule, Signal},
    spans::spans,
    starts::Starts,
    words::{called, escaped, named, result_name, role_name, shown},
};
use crate::{
    event::{ContainerId, ContainerKind, Event, Fact, Ktime, PodId, ProcessId, signal_name},
    report::{Clock, Names, Summary, wire},
    rules::{self, Counts},
    state::{Role, State},
    timeline::Journal,
    verdict::{Outcome, Verdict},
};

/// Most pods of a page. A browser can show as many as a node has, but not those of a year.
const MAX_PODS: usize = 5_000;
/// Most processes of a pod, and most entries in each other list of a pod.
const MAX_OF_POD: usize = 400;

/// The content collected so far.
pub struct PageBuilder {
    clock: Clock,
    /// The time 0 of the page.
    began: Option<Ktime>,
    pods: Vec<Pod>,
    by_id: HashMap<PodId, usize>,
    /// The index of the pod of each process, and of the process in that pod.
    processes: HashMap<ProcessId, (usize, usize)>,
    omitted: HashSet<PodId>,
    awaited: Awaited,
    starts: Starts,
    /// Findings that are not on a pod.
    findings: Vec<Finding>,
    passed: u64,
}

impl PageBuilder {
    /// No content.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            began: None,
            pods: Vec::new(),
            by_id: HashMap::new(),
            processes: HashMap::new(),
            omitted: HashSet::new(),
            awaited: Awaited::default(),
            starts: Starts::default(),
            findings: Vec::new(),
            passed: 0,
        }
    }

    fn since(&self, time: Ktime) -> i64 {
        let since = i128::from(time) - i128::from(self.began.unwrap_or_default());
        i64::try_from(since).unwrap_or(i64::MAX)
    }

    /// Notes the beginning of a part of the run. The first is time 0.
    pub fn begin(&mut self, time: Ktime) {
        self.began.get_or_insert(time);
    }

    /// Takes the starts of pods from the journal before the next event makes it forget them.
    pub fn save_starts(&mut self, journal: &Journal) {
        self.starts.save(journal, &self.by_id);
    }

    /// Takes the starts of all pods of a part of the run.
    pub fn end_part(&mut self, journal: &Journal) {
        self.starts.end_part(journal, &self.by_id);
    }

    /// Adds an event, with the state after it.
    pub fn see(&mut self, event: &Event, state: &State) {
        let at = self.since(event.time);
        match &event.fact {
            Fact::Pod(fact) => self.pod(&fact.pod, at, state),
            Fact::Container(fact) => {
                self.container(&fact.container, state);
                // Processes that started before the container was declared.
                let mut early: Vec<_> = state.processes.iter().collect();
                early.retain(|process| process.container.as_ref() == Some(&fact.container));
                early.sort_unstable_by_key(|process| (process.forked, process.id));
                for process in early {
                    self.process(process.id, state);
                }
            }
            Fact::Fork { task } | Fact::Found { task, .. } => {
                let process = task.process;
                self.process(process, state);
                let pod = state.processes.get(process).and_then(|it| it.pod.as_ref());
                if let Some(pod) = pod.and_then(|pod| self.by_id.get(pod))
                    && !self.processes.contains_key(&process)
                {
                    self.pods[*pod].omitted += 1;
                }
            }
            Fact::Exec { task, .. } | Fact::CgroupAttached { task } => {
                self.process(task.process, state);
            }
            Fact::Exit { task, status } => {
                self.ended(task.process, at, status.to_string(), state);
            }
            Fact::Reaped { process } => self.reaped(*process, at, state),
            Fact::Signal(signal) => {
                if let Some((pod, target)) = self.processes.get(&signal.target).copied() {
                    let pod = &mut self.pods[pod];
                    if pod.signals.len() == MAX_OF_POD {
                        pod.omitted += 1;
                        return;
                    }
                    let from = match signal.is_from_process() {
                        true => format!("{} (pid {})", signal.sender_comm, signal.sender.pid),
                        false => "the kernel".to_owned(),
                    };
                    let to = &pod.processes[target];
                    pod.signals.push(Signal {
                        at,
                        signal: signal_name(signal.signal),
                        from,
                        to: called(&to.process),
                        result: result_name(signal.result),
                        handled: false,
                        number: signal.signal,
                        target: signal.target.pid,
                    });
                }
            }
            Fact::SignalDelivered {
                process,
                signal,
                handled: true,
                ..
            } => {
                if let Some((pod, _)) = self.processes.get(process) {
                    let mut last = self.pods[*pod].signals.iter_mut().rev();
                    let last = last.find(|it| it.number == *signal && it.target == process.pid);
                    if let Some(last) = last {
                        last.handled = true;
                    }
                }
            }
            Fact::Listen(listen) => {
                if let Some(container) = state.container_at(listen.cgroup) {
                    self.awaited.add(container);
                }
            }
            Fact::PodRemoved { pod } => {
                if let Some(pod) = self.by_id.get(pod) {
                    self.pods[*pod].removed = Some(at);
                }
                self.starts.removed(pod);
            }
            _ => {}
        }
        for container in self.awaited.take(state) {
            self.listeners(&container, state);
        }
    }

    /// Adds the listeners of a container that have been reported since the last call.
    fn listeners(&mut self, id: &ContainerId, state: &State) {
        let Some(container) = state.containers.get(id) else {
            return;
        };
        let Some(pod) = self.by_id.get(&container.pod).copied() else {
            return;
        };
        let id = escaped(id);
        let of_it = |one: &&Listens| one.container == id;
        let known = self.pods[pod].listens.iter().filter(of_it).count();
        for listener in container.listeners.reported().iter().skip(known) {
            let listens = Listens {
                at: self.since(listener.since),
                container: id.clone(),
                address: listener.address,
                port: (listener.port != 0).then_some(listener.port),
                by: format!("{} (pid {})", listener.comm, listener.process.pid),
            };
            let pod = &mut self.pods[pod];
            if pod.listens.len() < MAX_OF_POD {
                pod.listens.push(listens);
            }
        }
    }

    fn pod(&mut self, id: &PodId, at: i64, state: &State) {
        let Some(known) = state.pods.get(id) else {
            return;
        };
        if !self.by_id.contains_key(id) {
            if self.pods.len() == MAX_PODS {
                self.omitted.insert(id.clone());
                return;
            }
            self.by_id.insert(id.clone(), self.pods.len());
            self.pods.push(Pod {
                pod: wire::Pod {
                    uid: escaped(id),
                    ..wire::Pod::default()
                },
                since: at,
                ..Pod::default()
            });
        }
        let pod = &mut self.pods[self.by_id[id]].pod;
        pod.namespace = Some(known.namespace.to_string());
        pod.name = Some(known.name.to_string());
    }

    fn container(&mut self, id: &ContainerId, state: &State) {
        let Some(known) = state.containers.get(id) else {
            return;
        };
        let (started, ended) = (
            known.started.map(|time| self.since(time)),
            known.ended.map(|ended| self.since(ended.time)),
        );
        let Some(pod) = self.by_id.get(&known.pod) else {
            return;
        };
        // Its first container may have started before it was declared.
        let since = state.pods.get(&known.pod);
        let since = since.map(|pod| self.since(state.exists_since(pod)));
        let pod = &mut self.pods[*pod];
        if known.what == ContainerKind::Sandbox || pod.host.is_empty() {
            pod.host = named(&state.host_of(known));
        }
        pod.since = since.map_or(pod.since, |since| since.min(pod.since));
        let containers = &mut pod.containers;
        let container = Container {
            container: wire::Container {
                name: Some(known.name.to_string()),
                id: escaped(id),
                run: None,
            },
            is_pause: known.what == ContainerKind::Sandbox,
            started,
            ended,
            status: known.ended.map(|ended| ended.status.to_string()),
            namespaces: known.namespaces.map(|it| named(&it)).unwrap_or_default(),
        };
        let is_same = |it: &Container| it.container.id == container.container.id;
        match containers.iter().position(is_same) {
            Some(known) => containers[known] = container,
            None if containers.len() < MAX_OF_POD => containers.push(container),
            None => {}
        }
    }

    /// Updates a process, or adds it.
    fn process(&mut self, id: ProcessId, state: &State) {
        let Some(process) = state.processes.get(id) else {
            return;
        };
        let (Some(pod), Some(container)) = (&process.pod, &process.container) else {
            return;
        };
        let Some(&place) = self.by_id.get(pod) else {
            return;
        };
        if matches!(process.role, Role::Pause | Role::Init) {
            self.container(container, state);
        }
        let forked = self.since(process.forked);
        let parent = self.processes.get(&process.parent).copied();
        let pod = &mut self.pods[place];
        let index = match self.processes.get(&id) {
            Some((_, index)) => *index,
            None if pod.processes.len() == MAX_OF_POD => return,
            None => {
                self.processes.insert(id, (place, pod.processes.len()));
                pod.processes.push(Process {
                    process: wire::Process {
                        pid: id.pid,
                        start_ns: id.start,
                        ns_pid: process.ns_pid,
                        comm: String::new(),
                    },
                    parent: parent.filter(|(of, _)| *of == place).map(|(_, at)| at),
                    file: String::new(),
                    role: "",
                    container: escaped(container),
                    forked,
                    ended: None,
                    status: None,
                    reaped: None,
                    state: ProcessState::default(),
                });
                pod.processes.len() - 1
            }
        };
        let shown = &mut pod.processes[index];
        shown.process.comm = process.comm.to_string();
        shown.file = process.file.to_string();
        shown.role = role_name(process.role);
    }

    fn ended(&mut self, id: ProcessId, at: i64, status: String, state: &State) {
        self.process(id, state);
        if let Some(&(pod, index)) = self.processes.get(&id) {
            let process = &mut self.pods[pod].processes[index];
            (process.ended, process.status) = (Some(at), Some(status));
            self.count_zombies(pod, at, 1);
        }
    }

    fn reaped(&mut self, id: ProcessId, at: i64, state: &State) {
        // The end of an entrypoint is that of its container, also if only the reaping was seen.
        self.process(id, state);
        if let Some(&(pod, index)) = self.processes.get(&id) {
            let process = &mut self.pods[pod].processes[index];
            process.reaped = Some(at);
            if process.ended.is_some() {
                self.count_zombies(pod, at, -1);
            }
            // The state keeps an entrypoint, so only other processes are removed here.
            if state.processes.get(id).is_none() {
                self.processes.remove(&id);
            }
        }
    }

    fn count_zombies(&mut self, pod: usize, at: i64, by: i32) {
        let zombies = &mut self.pods[pod].zombies;
        let count = zombies.last().map_or(0, |(_, count)| *count);
        let count = count.saturating_add_signed(by);
        // Above the limit, the last count is replaced, so that it stays correct.
        if zombies.len() == 2 * MAX_OF_POD {
            zombies.pop();
        }
        zombies.push((at, count));
    }

    /// Notes the scenario that these pods were created for.
    pub fn scenario(&mut self, name: &str, pods: &[PodId]) {
        for pod in pods {
            if let Some(pod) = self.by_id.get(pod) {
                self.pods[*pod].scenario = Some(name.to_owned());
            }
        }
    }

    /// Adds a verdict. `planted` says that a scenario planted the violation.
    pub fn verdict(&mut self, verdict: &Verdict, names: &Names, planted: bool) {
        let pod = verdict.subject.pod.as_ref();
        let pod = pod.and_then(|pod| self.by_id.get(pod)).copied();
        if verdict.outcome == Outcome::Pass {
            self.passed += 1;
            if let Some(pod) = pod {
                let pod = &mut self.pods[pod];
                pod.verdicts.pass += 1;
                *pod.passed.entry(verdict.rule.id).or_default() += 1;
            }
            return;
        }
        let evidence = verdict.details.evidence.iter();
        let finding = Finding {
            at: self.since(verdict.time),
            rule: verdict.rule.id,
            verdict: verdict.outcome,
            severity: verdict.severity(),
            planted,
            subject: names.subject(&verdict.subject),
            message: verdict.details.message.clone(),
            expected: shown(&verdict.details.expected),
            observed: shown(&verdict.details.observed),
            evidence: evidence
                .map(|step| (self.since(step.time), step.what.clone()))
                .collect(),
        };
        let Some(pod) = pod else {
            self.findings.push(finding);
            return;
        };
        let pod = &mut self.pods[pod];
        match verdict.outcome {
            _ if planted => {}
            Outcome::Fail => pod.verdicts.fail += 1,
            _ => pod.verdicts.inconclusive += 1,
        }
        pod.findings.push(finding);
    }

    /// The content of the page.
    pub fn into_page(mut self, summary: &Summary) -> Page {
        let ended = self.since(summary.time);
        for pod in &mut self.pods {
            let removed = pod.removed;
            for process in &mut pod.processes {
                process.state = ProcessState::of(process, removed);
            }
            pod.spans = spans(pod);
        }
        let began = self.began.unwrap_or_default();
        self.starts.add_to(&mut self.pods, &self.by_id, |time| {
            let since = i128::from(time) - i128::from(began);
            i64::try_from(since).unwrap_or(i64::MAX)
        });
        let found = self.pods.iter().flat_map(|pod| &pod.findings);
        let rules = found
            .chain(&self.findings)
            .filter_map(|finding| rules::find(finding.rule))
            .map(|rule| {
                let shown = Rule {
                    name: rule.name,
                    summary: rule.summary,
                    doc: rule.doc,
                };
                (rule.id, shown)
            })
            .collect();
        let of_none = self.findings.iter().map(|finding| Counts {
            fail: u64::from(finding.verdict == Outcome::Fail && !finding.planted),
            inconclusive: u64::from(finding.verdict == Outcome::Inconclusive),
            pass: 0,
        });
        let of_pods = self.pods.iter().map(|pod| pod.verdicts);
        let mut verdicts = of_pods.chain(of_none).sum::<Counts>();
        verdicts.pass = self.passed;
        let began_ms = self.clock.offset.saturating_add(began.into()) / 1_000_000;
        Page {
            version: String::new(),
            kernel: String::new(),
            arch: String::new(),
            began: self.clock.utc(began),
            began_ms: i64::try_from(began_ms).unwrap_or_default(),
            ended,
            verdicts,
            lost: summary
                .lost
                .iter()
                .map(|(_, count)| *count)
                .fold(0, u64::saturating_add),
            notes: Vec::new(),
            rules,
            pods: self.pods,
            findings: self.findings,
            omitted: self.omitted.len(),
        }
    }
}
