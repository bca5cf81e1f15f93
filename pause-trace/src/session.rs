//! A session of the live pipeline: its start, the tasks that run beside it, and its end.
//!
//! Every command that loads the eBPF program starts a session with [`Session::start`]. Commands
//! that wait for events [`drive`] it: they provide a future that handles the events, and the
//! session reads them.

mod interrupt;
pub(crate) mod node_view;
pub(crate) mod privileges;
pub(crate) mod sandbox;

use std::{future, rc::Rc, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};

pub(crate) use self::interrupt::{Interrupt, MEMORY_MIB, block_on};
pub(crate) use self::sandbox::Confine;
use self::{interrupt::Caught, privileges::Job};
use crate::{
    live::Live,
    node::cgroup::Layout,
    observer::Observer,
    pipeline::Pipeline,
    pods::Follower,
    probe::{NamespaceHook, Options},
    record::{Recorder, Run},
    rules::Rule,
    state::Limits,
};

/// What is observed, and which rules judge it.
pub(crate) struct Setup<'a> {
    pub(crate) probe: Probe,
    pub(crate) run: Run,
    pub(crate) limits: Limits,
    pub(crate) selected: &'a dyn Fn(&Rule) -> bool,
    pub(crate) recorders: Vec<Rc<dyn Recorder>>,
    /// Observers of all events, from the first one on.
    pub(crate) observers: Vec<Box<dyn Observer>>,
}

impl Setup<'_> {
    /// Observes the node's pods, with every rule and without a recording.
    pub(crate) fn of_node(probe: Probe, limits: Limits) -> Self {
        Self {
            probe,
            run: Run::Node,
            limits,
            selected: &|_| true,
            recorders: Vec::new(),
            observers: Vec::new(),
        }
    }
}

/// The user's options of the eBPF program.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Probe {
    /// `None` for the best hook that the kernel allows.
    pub(crate) namespace_hook: Option<NamespaceHook>,
    /// Whether the log of the eBPF program is printed on stderr.
    pub(crate) kernel_log: bool,
}

impl Probe {
    /// These options, with the watched cgroup hierarchy.
    pub(crate) fn options(self, layout: &Layout, run: Run) -> Options {
        let watched = layout.watched();
        let mut controllers = watched.controllers.iter();
        let controller = controllers.find(|name| !name.starts_with("name="));
        Options {
            hierarchy: controller.map(|name| (name.clone(), watched.id)),
            namespace_hook: self.namespace_hook,
            kernel_log: self.kernel_log,
            limits_pods: !matches!(run, Run::Reference { .. }),
        }
    }
}

/// The eBPF program, the pipeline behind it, and the cgroups of the machine.
pub(crate) struct Session {
    pub(crate) live: Live,
    pub(crate) layout: Layout,
}

impl Session {
    /// Loads the eBPF program. Events are queued from now on until [`drive`] reads them.
    pub(crate) async fn start(setup: Setup<'_>) -> Result<Self> {
        let job = match setup.run {
            Run::Reference { .. } => Job::Build,
            Run::Node | Run::Conformance => Job::Observe,
        };
        node_view::require_time_namespace()?;
        privileges::require(job)?;
        let layout = Layout::discover().map_err(|error| anyhow!("failed to {error:#}"))?;
        if job == Job::Build {
            let writable = layout.require_writable();
            writable.map_err(|error| anyhow!("failed to {error:#}"))?;
        }
        let pipeline = Pipeline::new(setup.limits, setup.selected).recorded(setup.recorders);
        for observer in setup.observers {
            pipeline.observe(observer);
        }
        let live = Live::start(
            &setup.probe.options(&layout, setup.run),
            setup.run,
            pipeline,
        )
        .await?;
        Ok(Self { live, layout })
    }
}

/// What ends a session before the command is done.
#[derive(Default)]
pub(crate) struct Stop<'a> {
    /// Ctrl-C, and the signals of service managers and terminals.
    pub(crate) interrupt: Option<&'a mut Interrupt>,
    /// The time limit that the user gave.
    pub(crate) duration: Option<Duration>,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended<T> {
    /// The command is done.
    Done(T),
    TimeIsUp,
    Interrupted,
    /// SIGTERM.
    Terminated,
}

/// Reads the kernel's events and follows the node's pods while `command` runs.
///
/// Everything runs on one thread: `command` runs between two batches of events, so it observes
/// complete batches only.
pub(crate) async fn drive<T>(
    live: &Live,
    follower: Option<&mut Follower<'_>>,
    stop: Stop<'_>,
    command: impl Future<Output = Result<T>>,
) -> Result<Ended<T>> {
    let interrupted = async {
        match stop.interrupt {
            Some(interrupt) => interrupt.received().await,
            None => future::pending().await,
        }
    };
    let time_is_up = async {
        match stop.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => future::pending().await,
        }
    };
    let following = async {
        match follower {
            Some(follower) => follower.run().await,
            None => future::pending().await,
        }
    };
    tokio::select! {
        biased;
        caught = interrupted => Ok(match caught {
            Caught::Interrupt => Ended::Interrupted,
            Caught::Terminate => Ended::Terminated,
        }),
        result = live.pump() => {
            result.context("failed to read the kernel's events")?;
            bail!("failed to read the kernel's events: the stream ended");
        }
        result = following => {
            result.context("failed to follow the node's pods")?;
            bail!("failed to follow the node's pods: the follower ended");
        }
        () = time_is_up => Ok(Ended::TimeIsUp),
        result = command => Ok(Ended::Done(result?)),
    }
}
