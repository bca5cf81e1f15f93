//! A pod told as events, for the rules' tests: a scene is healthy unless the test spoils it.
//!
//! The file is long because a scene is one vocabulary: every rule's tests are written in it, and a
//! reader looks for a step in one place.

pub(crate) use crate::verdict::Outcome;
use foldhash::{HashMap, HashMapExt as _};

use crate::{
    event::{
        Comm, ContainerFact, ContainerKind, Event, Fact, Kind, Ktime, Mode, Modes, NamespaceCall,
        NamespaceKind, Namespaces, Observation, Observed, Outsider, PauseStatus, PodFact,
        ProcessId, Signal, SignalMasks, SignalResult, Source, TaskInfo, Text, WaitStatus,
    },
    rules::Ledger,
    state::{Limits, State},
    verdict::Verdict,
};

/// The host's namespaces in every scene.
pub(crate) const HOST: Namespaces = Namespaces {
    mnt: 1,
    uts: 2,
    ipc: 3,
    net: 4,
    pid: 5,
    pid_children: 5,
    user: 6,
    cgroup: 7,
    net_owner: 6,
    pid_level: 0,
};

/// `SI_KERNEL`: the kernel sent it.
pub(crate) const SI_KERNEL: i32 = 0x80;

#[derive(Clone, Debug)]
struct Actor {
    parent: ProcessId,
    cgroup: u64,
    namespaces: Namespaces,
    ns_pid: u32,
    comm: Comm,
}

/// Events of a node, made by telling what happens.
pub(crate) struct Scene {
    pub(crate) events: Vec<Event>,
    pub(crate) now: Ktime,
    /// The container runtime.
    pub(crate) runtime: ProcessId,
    /// A process that belongs to nobody.
    pub(crate) stranger: ProcessId,
    next: u32,
    actors: HashMap<ProcessId, Actor>,
    pauses: HashMap<String, ProcessId>,
    modes: HashMap<String, Modes>,
}

impl Scene {
    /// A node with a runtime and nothing else.
    pub(crate) fn new() -> Self {
        let mut scene = Self {
            events: Vec::new(),
            now: 1_000_000_000,
            runtime: ProcessId { pid: 100, start: 1 },
            stranger: ProcessId { pid: 200, start: 1 },
            next: 1_000,
            actors: HashMap::new(),
            pauses: HashMap::new(),
            modes: HashMap::new(),
        };
        for (id, comm) in [(scene.runtime, "shim"), (scene.stranger, "stranger")] {
            let actor = Actor {
                parent: ProcessId { pid: 1, start: 0 },
                cgroup: 1,
                namespaces: HOST,
                ns_pid: id.pid,
                comm: Comm::new(comm),
            };
            scene.actors.insert(id, actor);
        }
        scene.push(Fact::Host { namespaces: HOST });
        scene.push(Fact::Runtime {
            process: scene.runtime,
        });
        scene
    }

    fn unique(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// Adds a fact, a microsecond after the last.
    pub(crate) fn push(&mut self, fact: Fact) {
        self.now += 1_000;
        self.events.push(Event {
            time: self.now,
            fact,
        });
    }

    /// Gives a process another parent, which only a late attach sees.
    pub(crate) fn reparent(&mut self, process: ProcessId, parent: ProcessId) {
        let actor = self.actors.get_mut(&process).expect("it was forked");
        actor.parent = parent;
    }

    /// Forgets what the kernel reported, as if pause-trace was started only now: the processes that
    /// run, and the zombies, are found, and then the pods are declared.
    pub(crate) fn attach_late(&mut self) {
        let events = std::mem::take(&mut self.events);
        let mut ended = HashMap::new();
        let mut reaped = Vec::new();
        let mut declared = Vec::new();
        for event in events {
            match event.fact {
                Fact::Exit { task, status } => {
                    _ = ended.insert(task.process, (status, task.parent))
                }
                Fact::Reaped { process } => reaped.push(process),
                fact @ (Fact::Pod(_) | Fact::Container(_)) => declared.push(fact),
                _ => {}
            }
        }
        self.push(Fact::Host { namespaces: HOST });
        self.push(Fact::Runtime {
            process: self.runtime,
        });
        let mut actors: Vec<_> = self.actors.clone().into_iter().collect();
        actors.sort_by_key(|(id, _)| *id);
        for (process, actor) in actors {
            if process == self.runtime || reaped.contains(&process) {
                continue;
            }
            let end = ended.get(&process);
            self.push(Fact::Found {
                task: TaskInfo {
                    process,
                    parent: end.map_or(actor.parent, |(_, parent)| *parent),
                    cgroup: actor.cgroup,
                    namespaces: actor.namespaces,
                    ns_pid: actor.ns_pid,
                    comm: actor.comm,
                },
                ended: end.map(|(status, _)| *status),
            });
        }
        for fact in declared {
            self.push(fact);
        }
    }

    /// The pause of a pod.
    pub(crate) fn pause_of(&self, pod: &str) -> ProcessId {
        self.pauses[pod]
    }

    /// Lets time pass.
    pub(crate) fn wait_ms(&mut self, ms: u64) {
        self.now += ms * 1_000_000;
        self.push(Fact::Tick);
    }

    /// A pod with its pause running; gives the pause. `edit` may spoil the namespaces the pause
    /// gets.
    pub(crate) fn pod_with(
        &mut self,
        pod: &str,
        modes: Modes,
        edit: impl FnOnce(&mut Namespaces),
    ) -> ProcessId {
        self.declare_pod(pod, &modes);
        self.sandbox(pod, edit)
    }

    /// A plain pod with its pause running.
    pub(crate) fn pod(&mut self, pod: &str) -> ProcessId {
        self.pod_with(pod, Modes::plain(), |_| {})
    }

    /// A pod whose containers share the sandbox' pid namespace.
    pub(crate) fn shared_pid_pod(&mut self, pod: &str) -> ProcessId {
        self.pod_with(
            pod,
            Modes {
                pid: Mode::Pod,
                ..Modes::plain()
            },
            |_| {},
        )
    }

    /// Declares a pod and nothing of it yet.
    pub(crate) fn declare_pod(&mut self, pod: &str, modes: &Modes) {
        self.modes.insert(pod.to_owned(), modes.clone());
        self.push(Fact::Pod(PodFact {
            pod: pod.into(),
            namespace: Text::new("default"),
            name: Text::new(pod),
            modes: modes.clone(),
            source: Source::Reference,
        }));
    }

    /// A (new) sandbox for a declared pod.
    pub(crate) fn sandbox(&mut self, pod: &str, edit: impl FnOnce(&mut Namespaces)) -> ProcessId {
        let modes = self.modes[pod].clone();
        let number = self.unique();
        let container = format!("{pod}-sandbox-{number}");
        let cgroup = self.declare_container(pod, &container, ContainerKind::Sandbox, &modes);
        let own = |scene: &mut Self, mode: &Mode, host: u32| match mode {
            Mode::Node => host,
            _ => scene.unique(),
        };
        let user = own(self, &modes.user, HOST.user);
        let pid = own(self, &modes.pid, HOST.pid);
        let mut namespaces = Namespaces {
            mnt: self.unique(),
            uts: own(self, &modes.uts, HOST.uts),
            ipc: own(self, &modes.ipc, HOST.ipc),
            net: own(self, &modes.net, HOST.net),
            pid,
            pid_children: pid,
            user,
            cgroup: HOST.cgroup,
            net_owner: if modes.net == Mode::Node {
                HOST.user
            } else {
                user
            },
            pid_level: u32::from(pid != HOST.pid),
        };
        edit(&mut namespaces);
        let ns_pid = if namespaces.pid == HOST.pid { 0 } else { 1 };
        let pause = self.enter(self.runtime, cgroup, namespaces, ns_pid, "pause");
        self.pauses.insert(pod.to_owned(), pause);
        self.exec(pause);
        pause
    }

    /// Declares a container; gives its cgroup.
    pub(crate) fn declare_container(
        &mut self,
        pod: &str,
        container: &str,
        what: ContainerKind,
        modes: &Modes,
    ) -> u64 {
        let cgroup = u64::from(self.unique());
        self.push(Fact::CgroupMade {
            cgroup,
            path: Text::new(&format!("/{pod}/{container}")),
        });
        self.push(Fact::Container(ContainerFact {
            container: container.into(),
            pod: pod.into(),
            name: Text::new(container),
            what,
            cgroup,
            modes: modes.clone(),
            stop_signal: 15,
            sandbox: None,
            file: None,
            source: Source::Reference,
        }));
        cgroup
    }

    /// Says of a container for which of its pod's sandboxes it was made, the first or a later one.
    pub(crate) fn made_for(&mut self, container: &str, nth: usize) {
        let mut facts: Vec<_> = self
            .events
            .iter_mut()
            .filter_map(|event| match &mut event.fact {
                Fact::Container(fact) => Some(fact),
                _ => None,
            })
            .collect();
        let mut sandboxes = facts
            .iter()
            .filter(|fact| fact.what == ContainerKind::Sandbox)
            .map(|fact| fact.container.clone());
        let sandbox = sandboxes.nth(nth);
        for fact in &mut facts {
            if *fact.container == *container {
                fact.sandbox.clone_from(&sandbox);
            }
        }
    }

    /// The namespaces that a container of the pod is to have.
    pub(crate) fn namespaces_for(&mut self, pod: &str, modes: &Modes) -> Namespaces {
        let pause = self.namespaces(self.pauses[pod]);
        let mut namespaces = Namespaces {
            mnt: self.unique(),
            cgroup: HOST.cgroup,
            ..pause
        };
        for (kind, slot) in [
            (NamespaceKind::Net, &mut namespaces.net),
            (NamespaceKind::Ipc, &mut namespaces.ipc),
            (NamespaceKind::Uts, &mut namespaces.uts),
            (NamespaceKind::User, &mut namespaces.user),
        ] {
            if *modes.get(kind) == Mode::Node {
                *slot = HOST.get(kind);
            }
        }
        namespaces.pid = match &modes.pid {
            Mode::Pod => pause.pid,
            Mode::Node => HOST.pid,
            Mode::Container => self.unique(),
            Mode::Unknown => panic!("a scene says what it asks for"),
            Mode::Target(container) => {
                let target = self
                    .actors
                    .values()
                    .find(|actor| actor.comm == Comm::new(container));
                target.map_or(0, |actor| actor.namespaces.pid)
            }
        };
        namespaces.pid_children = namespaces.pid;
        namespaces.pid_level = u32::from(namespaces.pid != HOST.pid);
        namespaces
    }

    /// Starts a container with these modes; `edit` may spoil the namespaces it gets. Gives its
    /// init.
    pub(crate) fn container_with(
        &mut self,
        pod: &str,
        container: &str,
        modes: Modes,
        edit: impl FnOnce(&mut Namespaces),
    ) -> ProcessId {
        let cgroup = self.declare_container(pod, container, ContainerKind::App, &modes);
        let mut namespaces = self.namespaces_for(pod, &modes);
        edit(&mut namespaces);
        let ns_pid = if modes.pid == Mode::Container {
            1
        } else {
            self.unique()
        };
        let init = self.enter(self.runtime, cgroup, namespaces, ns_pid, container);
        self.exec(init);
        init
    }

    /// Starts a container in the pod's own modes.
    pub(crate) fn container(&mut self, pod: &str, container: &str) -> ProcessId {
        let modes = self.modes[pod].clone();
        self.container_with(pod, container, modes, |_| {})
    }

    /// An exec session or probe in the container that `init` runs.
    pub(crate) fn session_with(
        &mut self,
        init: ProcessId,
        edit: impl FnOnce(&mut Namespaces),
    ) -> ProcessId {
        let Actor {
            mut namespaces,
            cgroup,
            ..
        } = self.actors[&init].clone();
        edit(&mut namespaces);
        let ns_pid = self.unique();
        let session = self.enter(self.runtime, cgroup, namespaces, ns_pid, "session");
        self.exec(session);
        session
    }

    /// Forks from `parent` into a cgroup and namespaces, without an exec.
    pub(crate) fn enter(
        &mut self,
        parent: ProcessId,
        cgroup: u64,
        namespaces: Namespaces,
        ns_pid: u32,
        comm: &str,
    ) -> ProcessId {
        let pid = self.unique();
        let process = ProcessId {
            pid,
            start: self.now,
        };
        let outside = self.actors[&parent].clone();
        let ns_pid = if ns_pid == 0 { pid } else { ns_pid };
        let actor = Actor {
            parent,
            cgroup,
            namespaces,
            ns_pid,
            comm: Comm::new(comm),
        };
        let setup = Namespaces {
            pid: namespaces.pid,
            pid_level: namespaces.pid_level,
            ..outside.namespaces
        };
        let comm = outside.comm;
        self.push(Fact::Fork {
            task: TaskInfo {
                process,
                parent,
                cgroup: outside.cgroup,
                namespaces: setup,
                ns_pid,
                comm,
            },
        });
        self.push(Fact::CgroupAttached {
            task: TaskInfo {
                process,
                parent: ProcessId::default(),
                cgroup,
                namespaces: setup,
                ns_pid,
                comm,
            },
        });
        self.actors.insert(process, actor);
        process
    }

    /// Moves a process to another cgroup.
    pub(crate) fn move_to(&mut self, process: ProcessId, cgroup: u64) {
        let actor = self.actors.get_mut(&process).expect("it was forked");
        actor.cgroup = cgroup;
        let Actor {
            namespaces,
            ns_pid,
            comm,
            ..
        } = *actor;
        self.push(Fact::CgroupAttached {
            task: TaskInfo {
                process,
                parent: ProcessId::default(),
                cgroup,
                namespaces,
                ns_pid,
                comm,
            },
        });
    }

    /// A child in the same container.
    pub(crate) fn fork(&mut self, parent: ProcessId) -> ProcessId {
        self.clone_with(parent, |_, _| {})
    }

    /// A child that is about to be forked.
    fn child_of(&mut self, parent: ProcessId) -> (ProcessId, Actor) {
        let process = ProcessId {
            pid: self.unique(),
            start: self.now,
        };
        let actor = Actor {
            parent,
            ns_pid: self.unique(),
            ..self.actors[&parent].clone()
        };
        (process, actor)
    }

    /// A child that is cloned into other namespaces or another cgroup.
    pub(crate) fn clone_with(
        &mut self,
        parent: ProcessId,
        edit: impl FnOnce(&mut Namespaces, &mut u64),
    ) -> ProcessId {
        let (process, mut actor) = self.child_of(parent);
        let before = actor.namespaces;
        edit(&mut actor.namespaces, &mut actor.cgroup);
        let made = NamespaceKind::ALL
            .into_iter()
            .filter(|kind| actor.namespaces.get(*kind) != before.get(*kind))
            .fold(0, |made, kind| made | kind.flag());
        if made != 0 {
            // As the kernel's program reports it.
            let flags = NamespaceKind::ALL.map(NamespaceKind::flag);
            let flags = flags.into_iter().fold(0, |all, flag| all | flag);
            self.push(Fact::Cloned { process, flags });
        }
        self.fork_of(process, actor);
        process
    }

    /// A child that a thread in other namespaces forks: it inherits them, and its clone creates
    /// none.
    pub(crate) fn fork_in(
        &mut self,
        parent: ProcessId,
        edit: impl FnOnce(&mut Namespaces),
    ) -> ProcessId {
        let (process, mut actor) = self.child_of(parent);
        edit(&mut actor.namespaces);
        self.fork_of(process, actor);
        process
    }

    /// A child that is cloned into another cgroup (`CLONE_INTO_CGROUP`).
    pub(crate) fn fork_into(&mut self, parent: ProcessId, cgroup: u64) -> ProcessId {
        let (process, mut actor) = self.child_of(parent);
        actor.cgroup = cgroup;
        self.fork_of(process, actor);
        process
    }

    fn fork_of(&mut self, process: ProcessId, actor: Actor) {
        let Actor {
            parent,
            cgroup,
            namespaces,
            ns_pid,
            comm,
            ..
        } = actor.clone();
        self.actors.insert(process, actor);
        self.push(Fact::Fork {
            task: TaskInfo {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
            },
        });
    }

    /// The process, or the thread that executes next, is in other namespaces, and no record shows
    /// how it came there.
    pub(crate) fn move_unseen(&mut self, process: ProcessId, edit: impl FnOnce(&mut Namespaces)) {
        let actor = self.actors.get_mut(&process).expect("a known process");
        edit(&mut actor.namespaces);
    }

    /// The process executes.
    pub(crate) fn exec(&mut self, process: ProcessId) {
        let Actor {
            parent,
            cgroup,
            namespaces,
            ns_pid,
            comm,
        } = self.actors[&process].clone();
        let file = Text::new(&format!("/bin/{comm}"));
        self.push(Fact::Exec {
            task: TaskInfo {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
            },
            file,
        });
    }

    /// The process executes this file, which gives it its name.
    pub(crate) fn exec_as(&mut self, process: ProcessId, file: &str) {
        let name = file.rsplit('/').next().unwrap_or_default();
        self.rename(process, name);
        self.exec_file(process, file);
    }

    /// The process names itself, of which there is no event.
    pub(crate) fn rename(&mut self, process: ProcessId, name: &str) {
        let actor = self.actors.get_mut(&process).expect("a known process");
        actor.comm = Comm::new(name);
    }

    /// The task iterator finds a process.
    pub(crate) fn find(&mut self, process: ProcessId) {
        let Actor {
            parent,
            cgroup,
            namespaces,
            ns_pid,
            comm,
        } = self.actors[&process];
        self.push(Fact::Found {
            task: TaskInfo {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
            },
            ended: None,
        });
    }

    /// A process is in another pid namespace from the start.
    pub(crate) fn move_to_pid_namespace(&mut self, process: ProcessId, pid: u32) {
        let actor = self.actors.get_mut(&process).expect("a known process");
        let namespaces = &mut actor.namespaces;
        (
            namespaces.pid,
            namespaces.pid_children,
            namespaces.pid_level,
        ) = (pid, pid, 1);
    }

    /// `/proc` is read of a process outside the pods, which is a child of a script.
    pub(crate) fn outsider(&mut self, process: ProcessId, command: &str) {
        self.push(Fact::Outsider(Outsider {
            process,
            comm: self.actors[&process].comm,
            parent: 199,
            parent_comm: Comm::new("script.sh"),
            command: Text::new(command),
        }));
    }

    /// The process executes this file.
    pub(crate) fn exec_file(&mut self, process: ProcessId, file: &str) {
        let Actor {
            parent,
            cgroup,
            namespaces,
            ns_pid,
            comm,
        } = self.actors[&process].clone();
        let file = Text::new(file);
        self.push(Fact::Exec {
            task: TaskInfo {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
            },
            file,
        });
    }

    /// The process calls setns or unshare, with this outcome.
    pub(crate) fn change_namespaces(
        &mut self,
        process: ProcessId,
        call: NamespaceCall,
        flags: u64,
        errno: i32,
        edit: impl FnOnce(&mut Namespaces),
    ) {
        let actor = self
            .actors
            .get_mut(&process)
            .expect("the process is in the scene");
        edit(&mut actor.namespaces);
        let Actor {
            cgroup,
            namespaces,
            ns_pid,
            comm,
            ..
        } = actor.clone();
        let tid = process.pid;
        self.push(Fact::NamespaceChange {
            task: TaskInfo {
                process,
                parent: ProcessId::default(),
                cgroup,
                namespaces,
                ns_pid,
                comm,
            },
            tid,
            call,
            flags,
            errno,
        });
    }

    /// A thread other than the process' first calls setns or unshare, with success.
    pub(crate) fn change_thread(
        &mut self,
        process: ProcessId,
        call: NamespaceCall,
        flags: u64,
        edit: impl FnOnce(&mut Namespaces),
    ) {
        let Actor {
            cgroup,
            mut namespaces,
            ns_pid,
            comm,
            ..
        } = self.actors[&process].clone();
        edit(&mut namespaces);
        let tid = self.unique();
        self.push(Fact::NamespaceChange {
            task: TaskInfo {
                process,
                parent: ProcessId::default(),
                cgroup,
                namespaces,
                ns_pid,
                comm,
            },
            tid,
            call,
            flags,
            errno: 0,
        });
    }

    /// The process ends; `parent` is who has to reap it, if not who forked it.
    pub(crate) fn exit_to(&mut self, process: ProcessId, parent: ProcessId, status: WaitStatus) {
        let Actor {
            cgroup,
            namespaces,
            ns_pid,
            comm,
            ..
        } = self.actors[&process].clone();
        self.push(Fact::Exit {
            task: TaskInfo {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
            },
            status,
        });
    }

    /// The process ends and waits for who forked it.
    pub(crate) fn exit(&mut self, process: ProcessId, status: WaitStatus) {
        self.exit_to(process, self.actors[&process].parent, status);
    }

    /// The process is reaped.
    pub(crate) fn reap(&mut self, process: ProcessId) {
        self.push(Fact::Reaped { process });
    }

    /// The process ends and is reaped at once.
    pub(crate) fn end(&mut self, process: ProcessId, status: WaitStatus) {
        self.exit(process, status);
        self.reap(process);
    }

    /// A process sends a signal.
    pub(crate) fn signal(
        &mut self,
        sender: ProcessId,
        target: ProcessId,
        signal: i32,
        result: SignalResult,
    ) {
        self.signal_with_code(sender, target, signal, result, 0);
    }

    /// A signal with an `si_code` of its own.
    pub(crate) fn signal_with_code(
        &mut self,
        sender: ProcessId,
        target: ProcessId,
        signal: i32,
        result: SignalResult,
        code: i32,
    ) {
        let (from, to) = (self.actors[&sender].clone(), self.actors[&target].clone());
        self.push(Fact::Signal(Signal {
            sender,
            sender_comm: from.comm,
            target,
            target_comm: to.comm,
            cgroup: to.cgroup,
            signal,
            code,
            result,
        }));
    }

    /// The process' handler takes a signal.
    pub(crate) fn handle(&mut self, process: ProcessId, signal: i32) {
        self.push(Fact::SignalDelivered {
            process,
            signal,
            handled: true,
        });
    }

    /// SIGKILL is about to end a process that has handlers for these signals, some of them its own.
    pub(crate) fn handlers(&mut self, process: ProcessId, caught: &[i32], own: &[i32]) {
        let set = |signals: &[i32]| {
            signals
                .iter()
                .fold(0, |set, signal| set | 1 << (signal - 1))
        };
        let (caught, own) = (set(caught), set(own));
        self.push(Fact::Handlers {
            process,
            caught,
            own,
        });
    }

    /// The kernel kills a process because the init of its pid namespace has ended.
    pub(crate) fn cut_off(
        &mut self,
        init: ProcessId,
        process: ProcessId,
        caught: &[i32],
        own: &[i32],
    ) {
        let (kill, result) = (crate::signal::SIGKILL, SignalResult::Delivered);
        self.signal_with_code(init, process, kill, result, SI_KERNEL);
        self.handlers(process, caught, own);
        self.exit_to(process, init, WaitStatus::killed(kill));
        self.reap(process);
    }

    /// Whether the scene has told the end of a process.
    pub(crate) fn has_ended(&self, process: ProcessId) -> bool {
        self.events
            .iter()
            .any(|event| matches!(&event.fact, Fact::Exit { task, .. } if task.process == process))
    }

    /// No source says what the containers' stop signals are.
    pub(crate) fn forget_stop_signals(&mut self) {
        for event in &mut self.events {
            if let Fact::Container(fact) = &mut event.fact {
                fact.stop_signal = 0;
            }
        }
    }

    /// An orderly stop of the pod begins.
    pub(crate) fn stop_pod(&mut self, pod: &str, grace_ms: u64) {
        self.push(Fact::PodStopping {
            pod: pod.into(),
            grace: grace_ms * 1_000_000,
        });
    }

    /// The pod's owner is done with it.
    pub(crate) fn remove_pod(&mut self, pod: &str) {
        self.push(Fact::PodRemoved { pod: pod.into() });
    }

    /// Something was tried from inside a container.
    pub(crate) fn observe(
        &mut self,
        pod: &str,
        container: &str,
        what: Observed,
        holds: bool,
        detail: &str,
    ) {
        self.push(Fact::Observed(Observation {
            pod: pod.into(),
            container: container.into(),
            what,
            holds,
            detail: Text::new(detail),
        }));
    }

    /// The pause is looked at: a healthy one, unless `edit` spoils it.
    pub(crate) fn pause_status(&mut self, pod: &str, edit: impl FnOnce(&mut PauseStatus)) {
        let status = self.measured(pod, edit);
        self.push(Fact::PauseStatus(status));
    }

    /// The same as soon as the pause has executed.
    pub(crate) fn pause_started(&mut self, pod: &str, edit: impl FnOnce(&mut PauseStatus)) {
        let status = self.measured(pod, edit);
        self.push(Fact::PauseStarted(status));
    }

    fn measured(&self, pod: &str, edit: impl FnOnce(&mut PauseStatus)) -> PauseStatus {
        let mut status = PauseStatus {
            pod: pod.into(),
            process: self.pauses[pod],
            pss_bytes: 20_480,
            anonymous_bytes: 12_288,
            threads: 1,
            descriptors: 3,
            sockets: 0,
            children: 0,
            cpu_ns: 1_000_000,
            age_ns: 10_000_000_000,
            uid: 65_535,
            capabilities: 0,
            no_new_privs: true,
            oom_score_adj: -998,
            oom_adjustable: true,
            blocked: 0,
            ignored: 0,
            caught: 0x14002,
        };
        edit(&mut status);
        status
    }

    /// How a process treats signals is read.
    pub(crate) fn signal_masks(&mut self, process: ProcessId, masks: SignalMasks) {
        self.push(Fact::SignalMasks { process, masks });
    }

    /// A look at a process shows that it has a handler for this signal, and no other one.
    pub(crate) fn handles(&mut self, process: ProcessId, signal: i32) {
        let caught = 1 << (signal - 1);
        self.signal_masks(
            process,
            SignalMasks {
                caught,
                ..SignalMasks::default()
            },
        );
    }

    /// Events of a kind are lost.
    pub(crate) fn lose(&mut self, kind: Kind, count: u64) {
        self.push(Fact::Lost { kind, count });
    }

    /// The cgroup of a process of the scene.
    pub(crate) fn cgroup(&self, process: ProcessId) -> u64 {
        self.actors[&process].cgroup
    }

    /// The namespaces of a process of the scene.
    pub(crate) fn namespaces(&self, process: ProcessId) -> Namespaces {
        self.actors[&process].namespaces
    }

    /// What one rule says of the whole scene, in order.
    pub(crate) fn verdicts(&self, rule: &str) -> Vec<Verdict> {
        let mut state = State::new(Limits::REFERENCE);
        let mut ledger = Ledger::new(|known| known.id == rule);
        for event in &self.events {
            ledger.judge(&mut state, event, |_, _, _| ());
        }
        ledger.take()
    }

    /// Demands that a rule comes to exactly these outcomes, in this order, and gives the verdicts.
    #[track_caller]
    pub(crate) fn expect(&self, rule: &str, outcomes: &[Outcome]) -> Vec<Verdict> {
        let verdicts = self.verdicts(rule);
        let seen: Vec<_> = verdicts.iter().map(|verdict| verdict.outcome).collect();
        assert_eq!(seen, outcomes, "{rule} said: {verdicts:#?}");
        verdicts
    }
}
