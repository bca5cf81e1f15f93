//! The thread that everything runs on, and the signals that end it.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs to the end on one thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the event loop")?;
    let result = runtime.block_on(future);
    // Nothing is left to wait for: dropping a thing removes it.
    runtime.shutdown_background();
    result
}

/// Ctrl-C, and what a service manager or a closed terminal sends.
pub(crate) struct Interrupt([Signal; 3]);

impl Interrupt {
    /// From now on these signals end no process by themselves.
    pub(crate) fn catch() -> Result<Self> {
        let catch = |kind, name| signal(kind).with_context(|| format!("failed to handle {name}"));
        Ok(Self([
            catch(SignalKind::interrupt(), "SIGINT")?,
            catch(SignalKind::terminate(), "SIGTERM")?,
            catch(SignalKind::hangup(), "SIGHUP")?,
        ]))
    }

    pub(crate) async fn received(&mut self) {
        let [interrupt, terminate, hang_up] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }

    /// Waits for `future`; `None` where a signal came first.
    pub(crate) async fn or<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            output = future => Some(output),
            () = self.received() => None,
        }
    }
}
