//! Follows the node's pods, and identifies them as they start and end.
//!
//! The kernel reports cgroups and processes at once. Their containers and pods are identified by
//! the cgroup path, the OCI bundle and the runtime's CRI, in that order, and enter the state as
//! facts. Nothing waits for an answer: events that arrive before it are kept, and judged when the
//! answer is there.

mod bundles;
mod described;
mod judge;
mod listed;
mod observe;
mod pins;
mod read;
mod roster;
mod runs;
mod runtimes;
mod snapshot;
mod stops;
mod surveys;
#[cfg(test)]
pub(crate) mod testing;
mod tree;
mod view;

use std::{cell::Cell, collections::HashSet, path::Path, pin::Pin, rc::Rc, time::Duration};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, stream::FuturesUnordered};
use pause_trace_cri::Socket;
use tokio::sync::Notify;

use self::{
    bundles::Bundles,
    pins::{Pinned, Pins},
    read::Read,
    roster::Roster,
    runtimes::{Next, Question, Runtimes},
    stops::{Entrypoint, Stops},
    surveys::Surveys,
};
pub(crate) use self::{
    judge::{Judged, ObservedSignal, standing},
    listed::{Listed, ListedPod, kind_of},
    snapshot::{Snapshot, collect},
    view::{Compared, ContainerView, NamespaceOwner, PodView, SandboxView},
};
use crate::{
    event::{CgroupId, Comm, ContainerId, Fact, NamespaceKind, PodId, ProcessId, Text},
    live::{Arrival, Live},
    node::{
        bundle::{Entry, Kind},
        cgroup::{Hierarchy, Layout},
        cri::Answer,
        identity::{self, Identity},
        procfs,
        survey::process,
    },
    pipeline::Core,
    probe,
    runtimes::{daemons, programs},
    state::Role,
};

/// How long to wait after the start of a daemon before calling it.
const RESTART: Duration = Duration::from_secs(1);

/// A running lookup.
type Pending<'a> = Pin<Box<dyn Future<Output = Completed> + 'a>>;

/// The result of a lookup.
enum Completed {
    /// A runtime's answer about a container.
    Answer { question: Question, answer: Answer },
    /// A fact that was read from the node, if any.
    Fact(Option<Fact>),
    /// It is time to read how an entrypoint treats signals. Nothing waits for it.
    StopDue(Entrypoint),
}

/// Follows the pods.
pub(crate) struct Follower<'a> {
    live: &'a Live,
    hierarchy: &'a Hierarchy,
    roster: Roster,
    runtimes: Rc<Runtimes>,
    pending: FuturesUnordered<Pending<'a>>,
    bundles: Bundles,
    pins: Pins,
    /// Lookups about what ran at the start that have not finished.
    unsettled: usize,
    /// The containers' cgroups that exist. An answer about any other cgroup is too late.
    present: HashSet<CgroupId>,
    settled: Rc<Settled>,
    surveys: Surveys,
    stops: Stops,
}

/// Whether everything that ran at the start has been looked up.
#[derive(Default)]
struct Settled {
    is: Cell<bool>,
    now: Notify,
}

impl<'a> Follower<'a> {
    /// Begins to watch. It finds the containers that run already; [`Follower::run`] looks them up.
    /// `socket`: the CRI socket to use instead of each container's own runtime.
    pub(crate) fn start(
        live: &'a Live,
        layout: &'a Layout,
        socket: Option<Socket>,
    ) -> Result<Self> {
        let hierarchy = layout.watched();
        let names: Vec<_> = programs().map(Comm::new).collect();
        live.follow(&names, || {
            let mut cgroups = tree::walk(hierarchy)?;
            cgroups.retain(|(_, path)| tree::is_of_pods(&path.0));
            Ok(cgroups)
        })?;
        let mut pins = Pins::new().context("failed to watch the pinned network namespaces")?;
        for path in pins.watch(Path::new(pins::USUAL)) {
            if let Some(fact) = pins::pinned(&path, None) {
                live.inject(fact);
            }
        }
        Ok(Self {
            live,
            pins,
            unsettled: 0,
            hierarchy,
            roster: Roster::default(),
            runtimes: Rc::new(Runtimes::new(socket)),
            pending: FuturesUnordered::new(),
            bundles: Bundles::default(),
            present: HashSet::new(),
            settled: Rc::default(),
            surveys: Surveys::new(live.lost()),
            stops: Stops::default(),
        })
    }

    /// Whether a container runtime runs on this node.
    pub(crate) fn has_runtime(&self) -> bool {
        self.live.read(|core| {
            let mut processes = core.state.processes.iter();
            processes.any(|process| process.role == Role::Runtime && process.is_alive())
        })
    }

    /// Resolves when everything that ran at the start has been looked up, including the runtimes'
    /// answers.
    pub(crate) fn settled(&self) -> impl Future<Output = ()> + use<> {
        let settled = Rc::clone(&self.settled);
        async move {
            while !settled.is.get() {
                settled.now.notified().await;
            }
        }
    }

    /// Resolves when it is known of every zombie that was found whether it is overdue. When it
    /// ended is unknown, so this takes the whole limit if there is one.
    pub(crate) fn zombies_judged(&self) -> impl Future<Output = ()> + use<'a> {
        let live = self.live;
        async move {
            let is_known = |core: &Core| {
                let is_known = !core.state.awaits_found_zombies(probe::now());
                is_known.then_some(())
            };
            live.until(is_known).await;
        }
    }

    /// Identifies the container and pod of each cgroup.
    pub(crate) async fn run(&mut self) -> Result<()> {
        self.live.answers_arrivals();
        for arrival in oldest_first(self.live.take_arrivals()) {
            self.take(arrival).await?;
        }
        loop {
            if self.unsettled == 0 && !self.settled.is.replace(true) {
                self.settled.now.notify_waiters();
            }
            self.live.answered();
            // Whatever else is found out is about now, after the events that wait.
            let waits = self.live.waits();
            tokio::select! {
                biased;
                arrivals = self.live.arrivals() => {
                    for arrival in arrivals {
                        self.take(arrival).await?;
                    }
                }
                () = self.live.changed(), if waits => {}
                changed = self.pins.changed(), if !waits => {
                    for pinned in changed.context("failed to watch the pinned network namespaces")? {
                        match pinned {
                            Pinned::Added(path) => {
                                self.unsettled += 1;
                                self.pending.push(Box::pin(pins::added(path)));
                            }
                            Pinned::Removed(path) => self.live.inject(pins::removed(&path)),
                        }
                    }
                }
                () = self.surveys.due(self.live), if !waits => self.survey_again()?,
                Some(result) = self.pending.next(), if !waits => match result {
                    Completed::Answer { question, answer } => self.answered(question, answer),
                    Completed::Fact(fact) => {
                        if let Some(fact) = fact {
                            self.looked(fact);
                        }
                        self.unsettled = self.unsettled.saturating_sub(1);
                    }
                    Completed::StopDue(entrypoint) => self.read_signals(entrypoint),
                },
            }
        }
    }

    /// Finds out after a loss of records what runs.
    fn survey_again(&mut self) -> Result<()> {
        self.surveys.taken(self.live.lost());
        let hierarchy = self.hierarchy;
        self.live
            .survey_again(|| tree::walk(hierarchy), tree::is_of_pods)
    }

    async fn take(&mut self, arrival: Arrival) -> Result<()> {
        match arrival {
            Arrival::Entered { cgroup, path, pids } => {
                let path = match path {
                    Some(path) => Some(path),
                    None => self.learn_path(cgroup, &pids)?,
                };
                if let Some(path) = path {
                    self.entered(cgroup, path, pids).await?;
                }
            }
            Arrival::NotAContainer { cgroup } => self.live.declare(Fact::NotInPod { cgroup }),
            Arrival::Removed { cgroup } => {
                self.present.remove(&cgroup);
                self.stops.removed(cgroup);
                let has_ended = |container: &ContainerId| {
                    self.live.read(|core| {
                        let container = core.state.containers.get(container);
                        container.is_some_and(|container| container.ended.is_some())
                    })
                };
                if let Some(fact) = self.roster.removed(cgroup, has_ended) {
                    self.live.declare(fact);
                }
            }
            Arrival::Started {
                pod,
                container,
                process,
                is_pause,
            } => self.started(&pod, &container, process, is_pause),
            Arrival::Executed { process, comm } => {
                // Otherwise a container could have the runtimes asked again and again.
                let is_runtime = || self.live.read(|core| core.state.is_proven_runtime(process));
                if daemons().any(|name| Comm::new(name) == comm) && is_runtime() {
                    self.ask_all();
                }
            }
        }
        Ok(())
    }

    /// Finds the path of a cgroup that an unwatched process created, as systemd does for the
    /// systemd cgroup driver.
    fn learn_path(&self, cgroup: CgroupId, pids: &[u32]) -> Result<Option<Text>> {
        let pid = pids.first().copied().unwrap_or_default();
        let Some(path) = tree::path_of_cgroup(self.hierarchy, cgroup, pid) else {
            return Ok(None);
        };
        self.live.discover_cgroup(cgroup, &path)?;
        Ok(Some(path))
    }

    /// Handles the first process of a container: reads its bundle for what the container should be,
    /// and asks its runtime for the pod.
    async fn entered(&mut self, cgroup: CgroupId, path: Text, pids: Vec<u32>) -> Result<()> {
        let Some(identity) = identity::of_container(&path.0) else {
            return Ok(());
        };
        self.present.insert(cgroup);
        if identity.node.is_some() {
            // Another container made the cgroup, as a node does that is a container. What its pods
            // do is not counted as its own.
            self.live.watch_cgroup(cgroup)?;
        }
        let pid = pids.first().copied().unwrap_or_default();
        let mut socket = None;
        // If the bundle cannot be read, only the runtime can describe the container. If it does not
        // either, PT903 reports that.
        if let Ok(Read {
            bundle,
            location,
            pinned,
        }) = self.bundles.read(&identity, pids).await
        {
            socket = location.socket;
            if let Some(pinned) = pinned {
                self.sandbox_without_pause(&path, &identity, pinned)?;
            }
            let pin = match bundle.namespaces.get(NamespaceKind::Net) {
                Entry::Path(path) if bundle.kind == Some(Kind::Sandbox) => Some(path.clone()),
                _ => None,
            };
            let who = |other| tree::container_of(self.hierarchy, other, pid);
            let facts = self.roster.bundle(cgroup, &identity, bundle, who);
            self.inject(facts);
            if let Some(path) = pin {
                self.pinned(&path, &identity.container);
            }
        }
        let question = Question::new(cgroup, identity.container, socket);
        self.roster.remember(question.clone());
        self.ask(question, Duration::ZERO);
        Ok(())
    }

    /// Reads from `/proc` whether a running container's pod has a network, and what its pause
    /// costs. Sandboxes of Docker and Podman pods promise neither. Reads how an entrypoint treats
    /// signals, of every pod.
    fn started(
        &mut self,
        pod: &PodId,
        container: &ContainerId,
        process: ProcessId,
        is_pause: bool,
    ) {
        if !is_pause {
            self.read_signals(Entrypoint::new(container.clone(), process));
        }
        if !self.roster.is_of_kubernetes(container) {
            return;
        }
        self.unsettled += 1 + 2 * usize::from(is_pause);
        self.pending.push(Box::pin(observe::network(
            pod.clone(),
            container.clone(),
            process,
        )));
        if is_pause {
            self.pending
                .push(Box::pin(observe::pause_at_start(pod.clone(), process)));
            self.pending
                .push(Box::pin(observe::pause(pod.clone(), process)));
        }
    }

    /// Takes in what a look has shown. If a pod's network was there and is missing now, one more
    /// look has to confirm it.
    fn looked(&mut self, fact: Fact) {
        let pod = match &fact {
            Fact::Observed(observation) if !observation.holds => Some(observation.pod.clone()),
            _ => None,
        };
        self.live.inject(fact);
        let doubtful = pod.and_then(|pod| {
            let through = self.live.read(|core| core.state.network_in_doubt(&pod))?;
            Some((pod, through))
        });
        if let Some((pod, (container, process))) = doubtful {
            self.unsettled += 1;
            self.pending
                .push(Box::pin(observe::network_again(pod, container, process)));
        }
    }

    /// Reads how an entrypoint treats signals, when its stop signal is known and it has had the
    /// time to install its handlers.
    fn read_signals(&mut self, entrypoint: Entrypoint) {
        let (container, id) = (&entrypoint.container, entrypoint.process);
        let found = self.live.read(|core| {
            let process = core.state.processes.get(id)?;
            let cgroup = core.state.containers.get(container)?.cgroup;
            process.is_alive().then(|| (process.runs_since(), cgroup))
        });
        let Some((since, cgroup)) = found else {
            return;
        };
        if !self.roster.knows_stop_signal(container) {
            return self.stops.wait(cgroup, entrypoint);
        }
        match entrypoint.wait(probe::now().saturating_sub(since)) {
            Some(Duration::ZERO) => {
                self.unsettled += 1;
                self.pending.push(Box::pin(observe::signals(id)));
            }
            Some(wait) => self.pending.push(Box::pin(async move {
                tokio::time::sleep(wait).await;
                Completed::StopDue(entrypoint.again())
            })),
            None => {}
        }
    }

    /// Asks about every container again: a runtime that was restarted may no longer know the
    /// containers that it created.
    fn ask_all(&mut self) {
        let questions: Vec<_> = self.roster.questions().collect();
        for question in questions {
            self.ask(question, RESTART);
        }
    }

    fn inject(&self, facts: impl IntoIterator<Item = Fact>) {
        facts.into_iter().for_each(|fact| self.live.declare(fact));
    }

    /// Handles a container whose sandbox has no pause process. CRI-O runs one only if the pod
    /// shares its pid namespace.
    fn sandbox_without_pause(
        &mut self,
        path: &Text,
        identity: &Identity,
        pinned: read::Pinned,
    ) -> Result<()> {
        if self.roster.is_sandbox(&pinned.sandbox) {
            return Ok(());
        }
        // Containers start and end, but their parent cgroup exists as long as the pod.
        let Some(pod) = tree::above(self.hierarchy, path) else {
            return Ok(());
        };
        let uid = identity.pod.as_ref().map(|(uid, _)| uid.clone());
        let facts = self
            .roster
            .pinned(pod, &pinned.sandbox, uid, pinned.bundle, pinned.namespaces);
        self.live.watch_cgroup(pod)?;
        self.inject(facts);
        Ok(())
    }

    /// Records that a sandbox uses the network namespace that is pinned at this path.
    fn pinned(&mut self, path: &Path, sandbox: &ContainerId) {
        let others = path.parent().map(|directory| self.pins.watch(directory));
        let others = others.unwrap_or_default();
        let facts = others
            .iter()
            .filter_map(|path| pins::pinned(path, None))
            .chain(pins::pinned(path, Some(sandbox)));
        let facts: Vec<_> = facts.collect();
        self.inject(facts);
    }

    fn ask(&mut self, question: Question, after: Duration) {
        self.unsettled += usize::from(question.is_first());
        let runtimes = Rc::clone(&self.runtimes);
        self.pending.push(Box::pin(async move {
            tokio::time::sleep(after).await;
            let answer = runtimes.ask(&question).await;
            Completed::Answer { question, answer }
        }));
    }

    fn answered(&mut self, question: Question, answer: Answer) {
        if question.is_first() {
            self.unsettled = self.unsettled.saturating_sub(1);
        }
        let next = question.after(&answer);
        let is_there = self.present.contains(&question.cgroup);
        let Question {
            cgroup, container, ..
        } = &question;
        match (answer, next) {
            // Of a container that has ended nothing is declared: it would seem to live on in its
            // pod for ever.
            (Answer::Known(known), _) if is_there => {
                for fact in self.roster.asked(*cgroup, container, *known) {
                    self.live.inject(fact);
                }
                if let Some(entrypoint) = self.stops.known(*cgroup) {
                    self.read_signals(entrypoint);
                }
            }
            // Also if the bundle could not be read: it may be visible only in another mount
            // namespace.
            (_, Next::Ask(after)) if is_there => self.ask(question.next(), after),
            (_, Next::NotKnown)
                if is_there
                    && self.roster.is_sandbox_of_cri(container)
                    && self.is_of_asked_runtime(&question) =>
            {
                let container = question.container;
                self.live.inject(Fact::SandboxUnknown { container });
            }
            _ => {}
        }
    }

    /// Whether the runtime that was asked about a sandbox may have made it. A runtime in another
    /// mount namespace, such as that of a node inside a container, has a socket of its own at the
    /// same path.
    fn is_of_asked_runtime(&self, question: &Question) -> bool {
        let pause = self.live.read(|core| {
            let sandbox = core.state.containers.get(&question.container)?;
            sandbox.init
        });
        let monitor = pause.and_then(|pause| Some(process::read(pause.pid)?.parent));
        monitor.is_some_and(|monitor| self.runtimes.shares_mounts(question, monitor))
    }
}

/// Moves the containers that run to the front, sorted by the start of their processes: one that
/// joined another's namespaces is younger than that one, or is left over from a former run of it.
fn oldest_first(arrivals: Vec<Arrival>) -> Vec<Arrival> {
    let (mut entered, others): (Vec<_>, Vec<_>) = arrivals
        .into_iter()
        .partition(|arrival| matches!(arrival, Arrival::Entered { .. }));
    entered.sort_by_cached_key(|arrival| match arrival {
        Arrival::Entered { pids, .. } => pids.first().and_then(|pid| procfs::start_ticks(*pid)),
        _ => None,
    });
    entered.extend(others);
    entered
}
