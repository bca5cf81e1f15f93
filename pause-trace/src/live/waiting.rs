//! Events that wait until it is known of which container they are.
//!
//! The reader may be late: it was stopped, or had no CPU time. It then reads the beginnings of
//! containers together with all that happened in them since.

use std::time::Duration;

use tokio::time::Instant;

use super::Live;
use crate::event::Fact;

/// How long the events of one round may wait for answers about the containers that they begin with.
/// The rings hold the kernel's records meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

impl Live {
    /// Judges the events that were read. When a container begins, the rest waits until it is
    /// declared: what is read late is then judged as if it had been read in time.
    pub(super) async fn judge_round(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let is_patient = self.is_followed.get() && Instant::now() < until;
            let is_asked = || is_patient && self.arrivals.borrow().has_entered();
            {
                let mut kernel = self.kernel.borrow_mut();
                kernel.judge_round(&self.pipeline, is_asked)?;
                if !kernel.is_behind() {
                    return Ok(());
                }
            }
            self.waits.set(true);
            self.changed.notify_waiters();
            let answered = async {
                while self.waits.get() {
                    self.changed.notified().await;
                }
            };
            _ = tokio::time::timeout_at(until, answered).await;
            self.waits.set(false);
        }
    }

    /// Arrivals are answered from now on.
    pub(crate) fn answers_arrivals(&self) {
        self.is_followed.set(true);
    }

    /// Whether events wait for answers about arrivals.
    pub(crate) fn waits(&self) -> bool {
        self.waits.get()
    }

    /// Lets events go on that waited for answers, if there is nothing more to answer.
    pub(crate) fn answered(&self) {
        if self.waits.get() && self.arrivals.borrow().is_empty() {
            self.waits.set(false);
            self.changed.notify_waiters();
        }
    }

    /// Takes in what is found out about a container that has begun, before the events that wait for
    /// it, if there are some.
    pub(crate) fn declare(&self, fact: Fact) {
        if !self.waits.get() {
            return self.inject(fact);
        }
        let mut kernel = self.kernel.borrow_mut();
        if let Err(error) = kernel.insert(fact, &self.pipeline) {
            kernel.failure = Some(error);
        }
        drop(kernel);
        self.changed.notify_waiters();
    }
}
