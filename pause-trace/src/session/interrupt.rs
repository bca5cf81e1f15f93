//! The event loop, and the signals that end it.

use std::future;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::node_view;
use crate::{confine, sys};

/// What loading the eBPF program needs for a moment (most of it for parsing BTF), and room for the
/// node's pods.
pub(crate) const MEMORY_MIB: usize = 256;

/// Most files that are read at once. At the start of a run all pods are read, and each reader is a
/// thread. There are more than a few, because the files of a pod may keep a reader waiting for
/// ever.
const MAX_READERS: usize = 64;

/// The stack of a reader in bytes, of which there are 2 MiB otherwise. The deepest recursion is
/// that of the JSON parser, which has a limit of its own.
const READER_STACK: usize = 512 << 10;

/// Runs a future that reads the node to completion on one thread.
///
/// # Errors
/// Fails at once in a pid namespace in which the node's processes are not visible, if the node's
/// cgroups cannot be seen by their paths, and if the limits of this process leave it too little
/// memory.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    node_view::require_pid_namespace()?;
    node_view::enter_cgroup_namespace()?;
    sys::require_memory(MEMORY_MIB)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_READERS)
        .thread_stack_size(READER_STACK)
        .on_thread_start(confine::reader)
        .build()
        .context("failed to start the event loop")?;
    let result = runtime.block_on(future);
    // The result is complete, so no task is waited for.
    runtime.shutdown_background();
    result
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caught {
    /// Ctrl-C, or the terminal was closed: stop before the work is done.
    Interrupt,
    /// SIGTERM: a service manager ends a service that has no end of its own.
    Terminate,
}

/// Ctrl-C, and the signals that service managers and closed terminals send.
pub(crate) struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
    /// `None` once it means something else.
    hang_up: Option<Signal>,
}

impl Interrupt {
    /// Installs the handlers. From now on these signals do not end the process by themselves.
    pub(crate) fn catch() -> Result<Self> {
        let catch = |kind, name| signal(kind).with_context(|| format!("failed to handle {name}"));
        Ok(Self {
            interrupt: catch(SignalKind::interrupt(), "SIGINT")?,
            terminate: catch(SignalKind::terminate(), "SIGTERM")?,
            hang_up: Some(catch(SignalKind::hangup(), "SIGHUP")?),
        })
    }

    pub(crate) async fn received(&mut self) -> Caught {
        let Self {
            interrupt,
            terminate,
            hang_up,
        } = self;
        let hung_up = async {
            match hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => Caught::Interrupt,
            _ = terminate.recv() => Caught::Terminate,
            _ = hung_up => Caught::Interrupt,
        }
    }

    /// From now on SIGHUP ends nothing: the caller acts on it. `None` if another caller does.
    pub(crate) fn take_hang_up(&mut self) -> Option<Signal> {
        self.hang_up.take()
    }

    /// Waits for `future`; `None` if a signal came first.
    pub(crate) async fn or<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            output = future => Some(output),
            _ = self.received() => None,
        }
    }
}
