//! The node's real pods: who they are, as they come and go.
//!
//! The kernel reports cgroups and processes at once; whose they are is asked of the path, the OCI bundle and the runtime's
//! CRI, in that order, and enters the state as facts. Nothing waits for an answer: what happened meanwhile is kept, and
//! judged when the answer is there.

mod look;
mod pins;
mod roster;
mod runtimes;
mod tree;

use std::{cell::Cell, path::Path, pin::Pin, rc::Rc, time::Duration};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, stream::FuturesUnordered};
use pause_trace_cri::Socket;
use tokio::sync::Notify;

use self::{
    pins::{Pinned, Pins},
    roster::Roster,
    runtimes::{Question, Runtimes},
};
use crate::{
    event::{CgroupId, Comm, ContainerId, Fact, NamespaceKind, PodId, ProcessId, Text},
    live::{Arrival, Live},
    node::{
        bundle::{self, Bundle, BundleError, Entry, Location},
        cgroup::{Hierarchy, Layout},
        cri::Answer,
        identity,
    },
    state::Role,
};

/// The names of processes that make containers: daemons, what stays with a container, and what builds it. The kubelet is one
/// of them, for it kills what it finds in the cgroup of a pod that is to go (`tryKillingCgroupProcesses`,
/// pkg/kubelet/cm/pod_container_manager_linux.go). The kernel keeps 15 bytes of a name.
const NAMES: [&str; 14] = [
    "kubelet",
    "containerd",
    "containerd-shim",
    "dockerd",
    "cri-dockerd",
    "crio",
    "conmon",
    "conmonrs",
    "podman",
    "runc",
    "crun",
    "youki",
    "kata-runtime",
    "runsc",
];

/// Which of these know what they made.
const DAEMONS: [&str; 4] = ["containerd", "dockerd", "cri-dockerd", "crio"];

/// How long a daemon that was started may take to answer before it is asked.
const RESTART: Duration = Duration::from_secs(1);

/// How long a bundle may take to be read. It lies in memory; a file system that hangs must not stop the verifier.
const BUNDLE_TIME: Duration = Duration::from_secs(2);

/// How many directories with bundles are remembered: one a runtime.
const MOST_LOCATIONS: usize = 8;

/// Something that takes its time.
type Pending<'a> = Pin<Box<dyn Future<Output = Told> + 'a>>;

/// What came of it.
enum Told {
    /// A runtime was asked about a container.
    Answer { question: Question, answer: Answer },
    /// Something was looked at.
    Fact(Option<Fact>),
}

/// Follows the pods.
pub(crate) struct Follower<'a> {
    live: &'a Live,
    hierarchy: &'a Hierarchy,
    roster: Roster,
    runtimes: Rc<Runtimes>,
    pending: FuturesUnordered<Pending<'a>>,
    /// Where bundles were found: where others are, too.
    locations: Vec<Location>,
    pins: Pins,
    /// How much of what was there has not been looked at yet.
    unsettled: usize,
    settled: Rc<Settled>,
}

/// Whether those that were there have been looked at.
#[derive(Default)]
struct Settled {
    is: Cell<bool>,
    now: Notify,
}

impl<'a> Follower<'a> {
    /// Begins to watch. What runs already is found, and looked at by [`Follower::run`]. `socket`: the CRI to ask, instead of
    /// each container's own runtime.
    pub(crate) fn start(
        live: &'a Live,
        layout: &'a Layout,
        socket: Option<Socket>,
    ) -> Result<Self> {
        let hierarchy = layout.watched();
        let cgroups = tree::walk(hierarchy)?.into_iter();
        let names: Vec<_> = NAMES.iter().map(|name| Comm::new(name)).collect();
        live.follow(
            &names,
            cgroups.filter(|(_, path)| tree::is_of_pods(&path.0)),
        )?;
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
            locations: Vec::new(),
            settled: Rc::default(),
        })
    }

    /// Whether a container runtime runs on this node.
    pub(crate) fn sees_runtime(&self) -> bool {
        self.live.look(|core| {
            let mut processes = core.state.processes.iter();
            processes.any(|process| process.role == Role::Runtime && process.is_alive())
        })
    }

    /// Resolves when all that ran at the start has been looked at, and the runtime asked about it.
    pub(crate) fn settled(&self) -> impl Future<Output = ()> + use<> {
        let settled = Rc::clone(&self.settled);
        async move {
            while !settled.is.get() {
                settled.now.notified().await;
            }
        }
    }

    /// Finds out whose each cgroup is.
    pub(crate) async fn run(&mut self) -> Result<()> {
        for arrival in self.live.take_arrivals() {
            self.take(arrival).await;
        }
        loop {
            if self.unsettled == 0 && !self.settled.is.replace(true) {
                self.settled.now.notify_waiters();
            }
            tokio::select! {
                arrivals = self.live.arrivals() => {
                    for arrival in arrivals {
                        self.take(arrival).await;
                    }
                }
                changed = self.pins.changed() => {
                    for pinned in changed.context("failed to hear of pinned network namespaces")? {
                        match pinned {
                            Pinned::Came(path) => {
                                self.unsettled += 1;
                                self.pending.push(Box::pin(pins::came(path)));
                            }
                            Pinned::Went(path) => self.live.inject(pins::went(&path)),
                        }
                    }
                }
                Some(told) = self.pending.next() => match told {
                    Told::Answer { question, answer } => self.answered(question, answer),
                    Told::Fact(fact) => {
                        fact.into_iter().for_each(|fact| self.live.inject(fact));
                        self.unsettled = self.unsettled.saturating_sub(1);
                    }
                },
            }
        }
    }

    async fn take(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Entered { cgroup, path, pid } => {
                if let Some(path) = path.or_else(|| self.learn_path(cgroup, pid)) {
                    self.entered(cgroup, path, pid).await;
                }
            }
            Arrival::Removed { cgroup } => {
                if let Some(fact) = self.roster.removed(cgroup) {
                    self.live.inject(fact);
                }
            }
            Arrival::Started {
                pod,
                container,
                process,
                is_pause,
            } => self.started(&pod, &container, process, is_pause),
            Arrival::Executed { comm } => {
                if DAEMONS.iter().any(|name| Comm::new(name) == comm) {
                    self.ask_all();
                }
            }
        }
    }

    /// The path of a cgroup that was made by somebody who is not watched, as systemd makes those of its driver.
    fn learn_path(&self, cgroup: CgroupId, pid: u32) -> Option<Text> {
        let path = tree::path_of(self.hierarchy, pid)?;
        self.live.inject(Fact::CgroupMade {
            cgroup,
            path: path.clone(),
        });
        Some(path)
    }

    /// A container's first process is there: its bundle says what was asked for, and its runtime who did.
    async fn entered(&mut self, cgroup: CgroupId, path: Text, pid: u32) {
        let Some(identity) = identity::of_container(&path.0) else {
            return;
        };
        let reading = tokio::task::spawn_blocking({
            let (path, known) = (path.clone(), self.locations.clone());
            move || read_bundle(&path, pid, &known)
        });
        // One that can't be read is told of by the runtime, or by nobody: PT903 says so.
        let read = match tokio::time::timeout(BUNDLE_TIME, reading).await {
            Ok(Ok(Some(Ok(read)))) => Some(read),
            _ => None,
        };
        let mut socket = None;
        if let Some((bundle, location)) = read {
            socket.clone_from(&location.socket);
            self.remember(location);
            let pin = match bundle.namespaces.get(NamespaceKind::Net) {
                Entry::Path(path) if bundle.kind == Some(bundle::Kind::Sandbox) => {
                    Some(path.clone())
                }
                _ => None,
            };
            let who = |other| tree::container_of(self.hierarchy, other, pid);
            for fact in self.roster.bundle(cgroup, &identity, bundle, who) {
                self.live.inject(fact);
            }
            if let Some(path) = pin {
                self.pinned(&path, &identity.container);
            }
        }
        let question = Question::new(cgroup, identity.container, socket);
        self.roster.remember(question.clone());
        self.ask(question, Duration::ZERO);
    }

    /// What can be seen of a container that runs: whether its pod has a network, and what its pause takes. Docker's and
    /// Podman's containers that play a sandbox promise neither.
    fn started(
        &mut self,
        pod: &PodId,
        container: &ContainerId,
        process: ProcessId,
        is_pause: bool,
    ) {
        if !self.roster.is_of_kubernetes(container) {
            return;
        }
        self.unsettled += 1 + usize::from(is_pause);
        self.pending.push(Box::pin(look::network(
            pod.clone(),
            container.clone(),
            process,
        )));
        if is_pause {
            self.pending
                .push(Box::pin(look::pause(pod.clone(), process)));
        }
    }

    /// A runtime that was started anew may have forgotten what it made.
    fn ask_all(&mut self) {
        let questions: Vec<_> = self.roster.questions().collect();
        for question in questions {
            self.ask(question, RESTART);
        }
    }

    /// A sandbox has the network namespace that this path pins.
    fn pinned(&mut self, path: &Path, sandbox: &ContainerId) {
        let others = path.parent().map(|directory| self.pins.watch(directory));
        let others = others.unwrap_or_default();
        let facts = others
            .iter()
            .filter_map(|path| pins::pinned(path, None))
            .chain(pins::pinned(path, Some(sandbox)));
        for fact in facts {
            self.live.inject(fact);
        }
    }

    fn remember(&mut self, location: Location) {
        let is_known = self
            .locations
            .iter()
            .any(|known| known.directory.parent() == location.directory.parent());
        if !is_known && self.locations.len() < MOST_LOCATIONS {
            self.locations.push(location);
        }
    }

    fn ask(&mut self, question: Question, after: Duration) {
        self.unsettled += usize::from(question.is_first());
        let runtimes = Rc::clone(&self.runtimes);
        self.pending.push(Box::pin(async move {
            tokio::time::sleep(after).await;
            let answer = runtimes.ask(&question).await;
            Told::Answer { question, answer }
        }));
    }

    fn answered(&mut self, question: Question, answer: Answer) {
        if question.is_first() {
            self.unsettled = self.unsettled.saturating_sub(1);
        }
        let again = match answer {
            Answer::Known(known) => {
                for fact in self
                    .roster
                    .asked(question.cgroup, &question.container, *known)
                {
                    self.live.inject(fact);
                }
                return;
            }
            // Nobody will know more of it than its bundle.
            Answer::Unclear(_) => return,
            Answer::Unknown => question.again(),
            Answer::Unavailable { again, .. } => question.is_worth_it().then_some(again),
        };
        let is_there = self.roster.has(question.cgroup, &question.container);
        match again {
            Some(after) if is_there => self.ask(question.next(), after),
            // It has a runtime, and that has been asked long enough.
            None if is_there
                && question.is_of_its_runtime()
                && self.roster.is_sandbox(&question.container) =>
            {
                let container = question.container;
                self.live.inject(Fact::SandboxUnknown { container });
            }
            _ => {}
        }
    }
}

/// Reads the bundle of the container in a cgroup: where its shim says that it is, else beside known ones.
fn read_bundle(
    path: &Text,
    pid: u32,
    known: &[Location],
) -> Option<Result<(Bundle, Location), BundleError>> {
    let identity = identity::of_container(&path.0)?;
    let id: &ContainerId = &identity.container;
    let location = bundle::find::find(&identity, pid, Path::new("/proc"), Path::new("/"))
        .or_else(|error| known.iter().find_map(|known| known.beside(id)).ok_or(error));
    Some(location.and_then(|location| Ok((bundle::read(&location)?, location))))
}
