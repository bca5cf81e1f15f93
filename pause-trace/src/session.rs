//! A session of the live pipeline: how it starts, what runs beside it, and what ends it.
//!
//! Every command that loads the program into the kernel starts one with [`Session::start`]. Those that wait for events
//! [`drive`] it: they say what they do with what comes, and nothing of how it comes.

mod interrupt;

use std::{future, rc::Rc, time::Duration};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::interrupt::{Interrupt, block_on};
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

/// What is observed, and by which rules it is judged.
pub(crate) struct Setup<'a> {
    pub(crate) probe: Probe,
    pub(crate) run: Run,
    pub(crate) limits: Limits,
    pub(crate) selected: &'a dyn Fn(&Rule) -> bool,
    pub(crate) recorder: Option<Rc<dyn Recorder>>,
    /// Who follows the events from the first one on.
    pub(crate) observers: Vec<Box<dyn Observer>>,
}

impl Setup<'_> {
    /// The node's pods, judged by every rule and not recorded.
    pub(crate) fn of_node(probe: Probe) -> Self {
        Self {
            probe,
            run: Run::Node,
            limits: Limits::NODE,
            selected: &|_| true,
            recorder: None,
            observers: Vec::new(),
        }
    }
}

/// What a user chooses of the program in the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Probe {
    /// `None` for the best way that the kernel allows.
    pub(crate) namespace_hook: Option<NamespaceHook>,
    /// Whether the log of the eBPF program goes to stderr.
    pub(crate) kernel_log: bool,
}

impl Probe {
    /// The same, with the cgroup hierarchy that is watched.
    pub(crate) fn options(self, layout: &Layout) -> Options {
        let watched = layout.watched();
        let mut controllers = watched.controllers.iter();
        let controller = controllers.find(|name| !name.starts_with("name="));
        Options {
            hierarchy: controller.map(|name| (name.clone(), watched.id)),
            namespace_hook: self.namespace_hook,
            kernel_log: self.kernel_log,
        }
    }
}

/// The program in the kernel, the pipeline behind it, and the cgroups of the machine.
pub(crate) struct Session {
    pub(crate) live: Live,
    pub(crate) layout: Layout,
}

impl Session {
    /// Loads the program into the kernel. What happens from now on waits for [`drive`].
    pub(crate) async fn start(setup: Setup<'_>) -> Result<Self> {
        let layout = Layout::discover()?;
        let pipeline = Pipeline::new(setup.limits, setup.selected).recorded(setup.recorder);
        for observer in setup.observers {
            pipeline.observe(observer);
        }
        let live = Live::start(&setup.probe.options(&layout), setup.run, pipeline).await?;
        Ok(Self { live, layout })
    }
}

/// What ends a session beside its own end.
#[derive(Default)]
pub(crate) struct Stop<'a> {
    /// Ctrl-C, and what a service manager sends.
    pub(crate) interrupt: Option<&'a mut Interrupt>,
    /// The time that the user gave.
    pub(crate) duration: Option<Duration>,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended<T> {
    /// The command has what it wanted.
    Done(T),
    TimeIsUp,
    Interrupted,
}

/// Reads the kernel's events and follows the node's pods while `command` does with them what it is for.
///
/// One thread does all of it: `command` runs between two batches of events, and sees each batch whole.
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
        () = interrupted => Ok(Ended::Interrupted),
        result = live.pump() => {
            result.context("failed to read the kernel's events")?;
            bail!("failed to read the kernel's events: they ended");
        }
        result = following => {
            result.context("failed to follow the node's pods")?;
            bail!("failed to follow the node's pods: they ended");
        }
        () = time_is_up => Ok(Ended::TimeIsUp),
        result = command => Ok(Ended::Done(result?)),
    }
}
