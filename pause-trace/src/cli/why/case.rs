//! Makes a [`Case`] of what the node shows.

use pause_trace_cri::messages::{ContainerState, ContainerStatus, PodSandboxState};

use super::settle::Pending;
use crate::{
    cli::{inspect, pods::NodeSnapshot},
    event::{CniRequest, ContainerKind, Ktime, NamespaceKind, Text, run_container},
    node::{
        cgroup::Hierarchies,
        network::{Listening, Network, Protocol},
        procfs::{self, NS_PER_TICK},
        survey::process::{self, Link},
        work::{Outside, Program},
    },
    pods::{ContainerView, Listed, ListedPod, PodView, kind_of},
    verdict::{Outcome, Severity},
    why::{
        self, Case, Container, End, Ended, Limits, Listener, Process, Promise, Run, Sandbox, Step,
        StopSent, Work, WorkKind,
    },
};

/// Processes of a container that are described. The rest is counted.
const MAX_PROCESSES: usize = 256;

/// What is known of a pod.
pub(super) struct Seen<'a> {
    pub(super) node: &'a NodeSnapshot,
    pub(super) pod: &'a PodView,
    pub(super) listed: &'a ListedPod,
    pub(super) outside: &'a Outside,
    pub(super) hierarchies: &'a Hierarchies,
    /// The signals that were pending a moment ago.
    pub(super) pending: &'a Pending,
}

/// Adds the pods that only a running CNI plugin shows: their sandbox has no cgroup yet, or none any
/// more.
pub(super) fn add_starting(outside: &Outside, pods: &mut Vec<PodView>) {
    for plugin in outside
        .programs()
        .into_iter()
        .filter_map(|one| one.plugin.as_ref())
    {
        let CniRequest {
            uid,
            namespace,
            name,
            ..
        } = plugin;
        let uid = uid.to_string();
        if !uid.is_empty() && !pods.iter().any(|pod| *pod.id == *uid) {
            let words = [namespace, name].map(|text| String::from_utf8_lossy(&text.0).into_owned());
            pods.push(PodView::unseen(&uid, &words[0], &words[1]));
        }
    }
}

impl Seen<'_> {
    pub(super) fn case(&self) -> Case {
        let wall = self.node.clock.unix_ns(self.node.now);
        let sandboxes = self.listed.sandboxes.iter().map(|one| Sandbox {
            id: one.id.as_str().into(),
            is_ready: one.state == PodSandboxState::Ready as i32,
            age: span(one.created_at, wall),
        });
        let work = self.work();
        let guests = self.guests();
        Case {
            sandboxes: sandboxes.collect(),
            containers: self.containers(wall),
            work,
            network: self.network(),
            broken: self.broken(),
            guests,
            holders: Vec::new(),
            has_history: self.node.told.is_some(),
        }
    }

    /// What could not be found out, in sentences.
    pub(super) fn unknown(&self, listed: &Listed) -> Vec<String> {
        let mut unknown = Vec::new();
        if !listed.has_answer() {
            unknown.push(
                "no CRI socket answered: containers that have ended, and how, are not known"
                    .to_owned(),
            );
        } else if self.listed.sandboxes.is_empty() {
            unknown.push(
                "no CRI runtime lists the pod: containers that have ended, and how, are not known"
                    .to_owned(),
            );
        }
        if self.node.judged.is_none() {
            unknown.push("no rule was checked: the eBPF program did not run".to_owned());
        }
        unknown
    }

    /// The containers: those that the runtime lists, and those of which only processes show.
    fn containers(&self, wall: i64) -> Vec<Container> {
        let mut containers = Vec::new();
        let views = &self.pod.containers;
        let current = self.listed.sandboxes.first();
        for sandbox in views.iter().filter(|view| view.is_sandbox()) {
            let is_current = current.is_none_or(|current| *current.id == *sandbox.id);
            if is_current || !sandbox.processes.is_empty() {
                containers.push(self.container(sandbox, &[], wall));
            }
        }
        let mut names: Vec<&str> = Vec::new();
        for (listed, _) in &self.listed.containers {
            let Some(about) = &listed.metadata else {
                continue;
            };
            if names.contains(&about.name.as_str()) {
                continue;
            }
            names.push(&about.name);
            let has_name = |other: &&(_, ContainerStatus)| {
                let (other, _): &(pause_trace_cri::messages::Container, _) = other;
                other
                    .metadata
                    .as_ref()
                    .is_some_and(|other| other.name == about.name)
            };
            let runs: Vec<_> = self.listed.containers.iter().filter(has_name).collect();
            let statuses: Vec<_> = runs.iter().map(|(_, status)| status).collect();
            if let Some(view) = views.iter().find(|view| *view.id == *listed.id) {
                containers.push(self.container(view, &statuses, wall));
            }
        }
        // What no runtime lists.
        let is_new = |view: &&ContainerView| {
            !view.is_sandbox()
                && !view.processes.is_empty()
                && !containers.iter().any(|one| one.id == view.id)
        };
        let unlisted: Vec<_> = views.iter().filter(is_new).collect();
        for view in unlisted {
            containers.push(self.container(view, &[], wall));
        }
        // The oldest first, after the pause.
        containers.sort_by_key(|one| {
            let view = views.iter().position(|view| view.id == one.id);
            (one.kind != ContainerKind::Sandbox, view)
        });
        containers
    }

    /// `runs` are the runs of the container, the newest first.
    fn container(&self, view: &ContainerView, runs: &[&ContainerStatus], wall: i64) -> Container {
        let entrypoint = view.entrypoint();
        let is_alive = entrypoint.is_some_and(|first| !first.is_zombie());
        let newest = runs.first();
        let run = match newest.map(|status| (status, status.state)) {
            Some((status, state)) if state == ContainerState::Exited as i32 => {
                Run::Ended(ended(status, wall))
            }
            Some((status, state)) if state == ContainerState::Created as i32 && !is_alive => {
                Run::Created {
                    age: span(status.created_at, wall),
                }
            }
            Some((status, _)) if status.started_at > 0 => Run::Running {
                age: span(status.started_at, wall),
            },
            _ => match entrypoint.filter(|_| is_alive) {
                Some(first) => Run::Running {
                    age: self.age(first),
                },
                None => Run::Unknown,
            },
        };
        let asked = view.asked.as_ref();
        let limits = view.group.as_ref();
        let is_exited = |status: &&&ContainerStatus| status.state == ContainerState::Exited as i32;
        let mut limits = limits.map_or_else(Limits::default, |group| {
            self.hierarchies.limits(&group.path)
        });
        limits.memory_used = limits.memory_used.or(view.memory);
        Container {
            id: view.id.clone(),
            title: match view.is_sandbox() {
                true => "the pause".to_owned(),
                false => view.title(),
            },
            kind: kind_of(view),
            run,
            attempt: newest
                .and_then(|status| status.metadata.as_ref())
                .map_or(0, |about| about.attempt),
            earlier: runs
                .iter()
                .skip(1)
                .filter(is_exited)
                .map(|status| ended(status, wall))
                .collect(),
            processes: view
                .processes
                .iter()
                .take(MAX_PROCESSES)
                .map(|process| {
                    let mut shown = self.process(process);
                    // A stop is sent to the entrypoint.
                    if view.first == Some(process.pid) && !process.is_zombie() {
                        shown.signals = procfs::signals(process.pid);
                        if let Some(signals) = &mut shown.signals {
                            signals.pending &= self.pending.get(&process.pid).unwrap_or(&0);
                        }
                    }
                    shown
                })
                .collect(),
            entrypoint: view.first,
            stop_signal: asked.map_or(0, |asked| asked.stop_signal),
            limits,
            misfits: inspect::text::misfits(view, self.pod),
            grace: view.grace,
            stop_sent: self.stop_sent(view),
        }
    }

    /// The stop signal that the runtime sent to the run of a container that runs now.
    fn stop_sent(&self, view: &ContainerView) -> Option<StopSent> {
        let entrypoint = view.entrypoint().filter(|first| !first.is_zombie())?;
        let life = self.node.told.as_ref()?.life(&self.pod.id)?;
        let mut runs = life.runs.iter().rev();
        let run = runs.find(|run| *run_container(&run.id) == *view.id)?;
        if run.end != End::Running || run.pid != Some(entrypoint.pid) {
            return None;
        }
        let sent = run.stop_sent()?;
        let now = self.node.now;
        Some(StopSent {
            signal: sent.signal,
            ago: now.saturating_sub(sent.time),
            by: sent.by.clone(),
            killed: run.kill_sent().map(|kill| now.saturating_sub(kill.time)),
        })
    }

    fn age(&self, process: &process::Process) -> Ktime {
        self.node
            .now
            .saturating_sub(process.start_ticks * NS_PER_TICK)
    }

    pub(super) fn process(&self, process: &process::Process) -> Process {
        let is_alive = !process.is_zombie();
        Process {
            pid: process.pid,
            ns_pid: process.ns_pid,
            parent: process.parent,
            comm: process.comm,
            state: process.state,
            wait: is_alive
                .then(|| procfs::wait(process.pid))
                .flatten()
                .map(|wait| Text::new(&wait).to_string()),
            age: self.age(process),
            signals: None,
        }
    }

    /// The programs that work for the pod, each with what it waits for.
    fn work(&self) -> Vec<Work> {
        let mut found = Vec::new();
        for program in self.outside.programs() {
            let Some((kind, container)) = self.kind(program) else {
                continue;
            };
            // Programs that a plugin or a runtime starts inherit its environment, or belong to its
            // chain.
            let parent = self.outside.parent(program);
            let is_root = parent
                .and_then(|parent| self.kind(parent))
                .is_none_or(|(above, _)| above == WorkKind::Monitor);
            if is_root || kind == WorkKind::Monitor {
                found.push(Work {
                    chain: match kind {
                        WorkKind::Monitor => vec![self.step(program)],
                        _ => self
                            .outside
                            .chain(program)
                            .into_iter()
                            .map(|one| self.step(one))
                            .collect(),
                    },
                    kind,
                    container,
                });
            }
        }
        for view in &self.pod.containers {
            let entry = view.entrypoint().filter(|one| !one.is_zombie());
            // runc names the process that will execute the entrypoint so.
            if let Some(entry) = entry.filter(|one| one.comm.0.starts_with(b"runc:[")) {
                found.push(Work {
                    kind: WorkKind::Init,
                    container: Some(view.title()),
                    chain: vec![Step {
                        process: self.process(entry),
                        command: String::new(),
                    }],
                });
            }
        }
        found
    }

    fn step(&self, program: &Program) -> Step {
        Step {
            process: self.process(&program.process),
            command: program.command().to_string(),
        }
    }

    /// What a program does for this pod, and for which of its containers; `None` if it does not
    /// work for the pod.
    fn kind(&self, program: &Program) -> Option<(WorkKind, Option<String>)> {
        if let Some(plugin) = &program.plugin {
            let is_ours = *plugin.uid.to_string() == *self.pod.id || self.has_id(&plugin.sandbox);
            return is_ours.then(|| {
                let kind = WorkKind::Plugin {
                    command: plugin.command,
                    interface: plugin.interface.to_string(),
                };
                (kind, None)
            });
        }
        let views = self.pod.containers.iter();
        let view = views.clone().find(|view| program.mentions(&view.id))?;
        let container = (!view.is_sandbox()).then(|| view.title());
        if program.is_monitor() {
            return Some((WorkKind::Monitor, container));
        }
        let command = program.oci?;
        Some((WorkKind::Oci { command }, container))
    }

    fn has_id(&self, id: &Text) -> bool {
        let views = self.pod.containers.iter();
        let mut ids = views.map(|view| &*view.id);
        let listed = &mut self.listed.sandboxes.iter().map(|one| one.id.as_str());
        ids.any(|own| own.as_bytes() == &id.0[..]) || listed.any(|own| own.as_bytes() == &id.0[..])
    }

    /// The network of the current sandbox.
    fn network(&self) -> Option<why::Network> {
        let network = self.pause_network()?;
        let listeners = network.listening.iter();
        Some(why::Network {
            is_loopback_up: network.is_loopback_up(),
            addresses: network.outer_addresses().map(ToString::to_string).collect(),
            listeners: listeners
                .filter(|one| one.protocol == Protocol::Tcp)
                .map(|one| Listener {
                    address: std::net::SocketAddr::from((one.address, one.port)).to_string(),
                    is_loopback: one.address.is_loopback(),
                    by: self.holder_of(one),
                })
                .collect(),
        })
    }

    /// Who has a socket open: `nginx (pid 12) of app`.
    fn holder_of(&self, listening: &Listening) -> Option<String> {
        self.pod.containers.iter().find_map(|view| {
            let port = view
                .ports
                .iter()
                .find(|port| port.listening == *listening)?;
            Some(format!(
                "{} (pid {}) of {}",
                port.comm,
                port.pid,
                view.title()
            ))
        })
    }

    fn pause_network(&self) -> Option<&Network> {
        let sandbox = self.pod.containers.iter().find(|view| view.is_sandbox());
        let inode = match sandbox.and_then(|one| one.inode(NamespaceKind::Net)) {
            Some(inode) => inode,
            None => *self.pod.networks.keys().next()?,
        };
        self.pod.networks.get(&inode)
    }

    /// The processes outside the containers that are in the pod's network namespaces, except those
    /// that work for it.
    fn guests(&self) -> Vec<Process> {
        let is_inside = |program: &&Program| match program.process.namespace(NamespaceKind::Net) {
            Link::Inode(inode) => self.pod.networks.contains_key(&inode),
            Link::Gone | Link::Unknown => false,
        };
        let programs = self.outside.programs();
        let guests = programs.into_iter().filter(is_inside);
        guests
            .filter(|program| self.kind(program).is_none() && !program.is_runtime())
            .map(|program| self.process(&program.process))
            .collect()
    }

    fn broken(&self) -> Vec<Promise> {
        let failed = self
            .node
            .verdicts(&self.pod.id)
            .filter(|verdict| verdict.outcome == Outcome::Fail)
            .filter(|verdict| verdict.severity() >= Severity::Warning);
        let broken = failed.map(|verdict| {
            let id = verdict.subject.container.as_ref();
            let mut views = self.pod.containers.iter();
            let view = views.find(|view| Some(&view.id) == id);
            Promise {
                rule: verdict.rule.id,
                name: verdict.rule.name,
                container: view.map(ContainerView::title),
                is_of_pause: view.is_some_and(ContainerView::is_sandbox),
                sentence: verdict.details.message.clone(),
            }
        });
        broken.collect()
    }
}

/// The span from a time in ns since 1970 to another one. The wall clock may have been set since.
fn span(from: i64, to: i64) -> Ktime {
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}

fn ended(status: &ContainerStatus, wall: i64) -> Ended {
    Ended {
        code: status.exit_code,
        reason: Text::new(&status.reason).to_string(),
        message: Text::new(status.message.trim()).to_string(),
        ago: span(status.finished_at, wall),
        lived: (status.started_at > 0).then(|| span(status.started_at, status.finished_at)),
    }
}
