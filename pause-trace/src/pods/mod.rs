//! The node's real pods: who they are, as they come and go.
//!
//! The kernel reports cgroups and processes at once; whose they are is asked of the path, the OCI bundle and the runtime's
//! CRI, in that order, and enters the state as facts. Nothing waits for an answer: what happened meanwhile is kept, and
//! judged when the answer is there.

mod roster;
mod runtimes;
mod tree;

use std::{cell::Cell, collections::HashSet, path::Path, pin::Pin, rc::Rc, time::Duration};

use anyhow::Result;
use futures::{StreamExt as _, stream::FuturesUnordered};
use pause_trace_cri::Socket;
use tokio::sync::Notify;

use self::{
    roster::Roster,
    runtimes::{Question, Runtimes},
};
use crate::{
    event::{CgroupId, Comm, ContainerId, Fact, Text},
    live::{Arrival, Live},
    node::{
        bundle::{self, Bundle, BundleError, Location},
        cgroup::{Hierarchy, Layout},
        cri::Answer,
        identity,
    },
};

/// The names of processes that make containers: daemons, what stays with a container, and what builds it. The kernel keeps
/// 15 bytes of a name.
const NAMES: [&str; 13] = [
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

/// How long a bundle may take to be read. It lies in memory; a file system that hangs must not stop the verifier.
const BUNDLE_TIME: Duration = Duration::from_secs(2);

/// How many directories with bundles are remembered: one a runtime.
const MOST_LOCATIONS: usize = 8;

/// Something that takes its time.
type Pending<'a> = Pin<Box<dyn Future<Output = Answered> + 'a>>;

/// What came of asking a runtime about a container.
struct Answered {
    question: Question,
    answer: Answer,
}

/// Follows the pods.
pub(crate) struct Follower<'a> {
    live: &'a Live,
    hierarchy: &'a Hierarchy,
    roster: Roster,
    runtimes: Rc<Runtimes>,
    asking: FuturesUnordered<Pending<'a>>,
    /// Where bundles were found: where others are, too.
    locations: Vec<Location>,
    /// Containers' cgroups that are there: what is answered of another comes too late.
    present: HashSet<CgroupId>,
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
        Ok(Self {
            live,
            hierarchy,
            roster: Roster::default(),
            runtimes: Rc::new(Runtimes::new(socket)),
            asking: FuturesUnordered::new(),
            locations: Vec::new(),
            present: HashSet::new(),
            settled: Rc::default(),
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
            if self.asking.is_empty() && !self.settled.is.replace(true) {
                self.settled.now.notify_waiters();
            }
            tokio::select! {
                arrivals = self.live.arrivals() => {
                    for arrival in arrivals {
                        self.take(arrival).await;
                    }
                }
                Some(answered) = self.asking.next() => self.answered(answered),
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
                self.present.remove(&cgroup);
                if let Some(fact) = self.roster.removed(cgroup) {
                    self.live.inject(fact);
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
        self.present.insert(cgroup);
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
            let who = |other| tree::container_of(self.hierarchy, other, pid);
            for fact in self.roster.bundle(cgroup, &identity, bundle, who) {
                self.live.inject(fact);
            }
        }
        self.ask(
            Question::new(cgroup, identity.container, socket),
            Duration::ZERO,
        );
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

    fn ask(&self, question: Question, after: Duration) {
        let runtimes = Rc::clone(&self.runtimes);
        self.asking.push(Box::pin(async move {
            tokio::time::sleep(after).await;
            let answer = runtimes.ask(&question).await;
            Answered { question, answer }
        }));
    }

    fn answered(&mut self, answered: Answered) {
        let Answered { question, answer } = answered;
        let again = match answer {
            // Its pod is gone, or would seem to live on with a member that never leaves.
            Answer::Known(_) if !self.present.contains(&question.cgroup) => return,
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
            Answer::Unavailable { again, .. } => Some(again),
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
