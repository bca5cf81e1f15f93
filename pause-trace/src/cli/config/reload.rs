//! SIGHUP: reads the configuration file again while the node is watched.

use std::future;

use tokio::signal::unix::Signal;

use super::Config;
use crate::{
    cli::{Console, Global},
    probe,
    session::Interrupt,
    sink::Failed,
};

/// The file that is in use, and the signal that says that it has changed.
pub(crate) struct Reload {
    /// The file as it was read last, if that was not at the start.
    again: Option<Config>,
    first: Option<&'static Config>,
    hang_up: Option<Signal>,
}

impl Reload {
    /// Without a file, SIGHUP keeps its meaning, that the terminal was closed; but a service has
    /// none.
    pub(crate) fn new(global: &Global, interrupt: &mut Interrupt, is_service: bool) -> Self {
        let is_used = global.config.is_some() || is_service;
        let hang_up = is_used.then(|| interrupt.take_hang_up()).flatten();
        Self {
            again: None,
            first: global.config,
            hang_up,
        }
    }

    /// Waits for SIGHUP.
    pub(crate) async fn requested(&mut self) {
        match &mut self.hang_up {
            Some(hang_up) => {
                hang_up.recv().await;
            }
            None => future::pending().await,
        }
    }

    /// Reads the file. A wrong one changes nothing, and what needs a restart is said.
    pub(crate) fn read(&mut self, console: &mut Console) -> Result<(), Failed> {
        let Some(current) = self.again.as_ref().or(self.first) else {
            return console
                .note("no configuration file was there at the start: restart to use one");
        };
        let path = current.path().display().to_string();
        match current.read_again() {
            Err(error) => console.note(&format!("not reloaded: {error}")),
            Ok((again, changed)) => {
                console.set_policy(again.policy.clone());
                console.note(&match &changed[..] {
                    [] => format!("{path} is reloaded"),
                    changed => format!(
                        "{path} is reloaded; restart to change {}",
                        changed.join(", ")
                    ),
                })?;
                console.note_expired(probe::now())?;
                // What needs a restart is said again at the next reload.
                self.again = Some(Config {
                    options: current.options.clone(),
                    limits: current.limits,
                    ..again
                });
                Ok(())
            }
        }
    }
}
