//! Looks up containers with the container runtime, through CRI.
//!
//! Each call asks once and never retries: a caller that gets [`Answer::Unknown`] or
//! [`Answer::Unavailable`] decides when to ask again.

mod backoff;
pub(crate) mod intent;

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use pause_trace_cri::{Client, CriError, Detail, messages::ContainerStatusResponse};

use crate::event::{ContainerFact, Grace};
use backoff::Backoff;
use intent::{IntentError, Sandbox};

/// A client of one runtime.
#[derive(Debug)]
pub(crate) struct CriNames {
    client: Client,
    backoff: RefCell<Backoff>,
}

/// The result of a query.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// The id belongs to a sandbox or a container.
    Known(Box<Known>),
    /// The runtime does not know the id, at least not yet: containerd lists a container before it
    /// starts it, but a sandbox only when `RunPodSandbox` ends, some 20 to 40 ms after its cgroup
    /// was created and its pause may have started.
    Unknown,
    /// The runtime knows the id, but its answer does not contain what is needed. Asking again does
    /// not help.
    Unclear(String),
    /// The runtime did not answer, or answered with an error. A runtime that did not answer is not
    /// queried again before `again` has passed.
    Unavailable {
        reason: String,
        again: Duration,
        /// Whether it answered: containerd without CRI, as Docker runs it, answers with an error.
        has_answered: bool,
    },
}

/// A sandbox, and the container with the requested id, unless that is the sandbox itself. Their
/// cgroups are not set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) sandbox: Sandbox,
    pub(crate) container: Option<ContainerFact>,
    /// The grace period of the container, as the kubelet wrote it down.
    pub(crate) grace: Option<Grace>,
    /// The pid of the container's first process while it runs.
    pub(crate) pid: Option<u32>,
}

enum Failure {
    Cri(CriError),
    Unclear(IntentError),
}

impl From<CriError> for Failure {
    fn from(error: CriError) -> Self {
        Self::Cri(error)
    }
}

impl From<IntentError> for Failure {
    fn from(error: IntentError) -> Self {
        Self::Unclear(error)
    }
}

impl CriNames {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            backoff: RefCell::default(),
        }
    }

    /// Queries a container or sandbox. Takes at most the time-outs of four calls
    /// ([`pause_trace_cri::Timeouts`]).
    pub(crate) async fn ask(&self, id: &str) -> Answer {
        self.ask_at(Instant::now(), id).await
    }

    async fn ask_at(&self, begun: Instant, id: &str) -> Answer {
        // The id comes from the name of a cgroup, which a pod may have chosen, and runtimes also
        // accept a prefix of an id.
        if !intent::is_id(id) {
            return Answer::Unknown;
        }
        if let Some((reason, again)) = self.backoff.borrow().wait(begun) {
            return Answer::Unavailable {
                reason: reason.to_owned(),
                again,
                has_answered: false,
            };
        }
        let looked_up = self.look_up(id).await;
        let mut backoff = self.backoff.borrow_mut();
        let lost = match looked_up {
            Err(Failure::Cri(error)) if !error.is_answer() => error,
            answered => {
                backoff.succeeded();
                return match answered {
                    Ok(Some(known)) => Answer::Known(Box::new(known)),
                    Ok(None) => Answer::Unknown,
                    Err(Failure::Unclear(error)) => Answer::Unclear(error.to_string()),
                    Err(Failure::Cri(error)) => Answer::Unavailable {
                        reason: error.to_string(),
                        again: backoff::FIRST,
                        has_answered: true,
                    },
                };
            }
        };
        let reason = format!("{:#}", anyhow::Error::from(lost));
        let again = backoff.failed(begun, Instant::now(), &reason);
        Answer::Unavailable {
            reason,
            again,
            has_answered: false,
        }
    }

    async fn look_up(&self, id: &str) -> Result<Option<Known>, Failure> {
        let Some(answer) = found(self.client.container_status(id, Detail::Verbose).await)? else {
            let sandbox = self.sandbox(id).await?;
            return Ok(sandbox.map(|sandbox| Known {
                sandbox,
                container: None,
                grace: None,
                pid: None,
            }));
        };
        if answer.status.as_ref().is_none_or(|status| status.id != id) {
            return Ok(None);
        }
        let info = answer
            .info()
            .map_err(IntentError::from)?
            .unwrap_or_default();
        let sandbox = match &info.sandbox_id {
            Some(sandbox) => Some(sandbox.clone()),
            None => self.sandbox_of(id).await?,
        };
        let sandbox = sandbox.ok_or(IntentError::Missing("the container's sandbox"))?;
        let Some(sandbox) = self.sandbox(&sandbox).await? else {
            // The sandbox is being removed.
            return Ok(None);
        };
        let image = match intent::declared_stop_signal(&answer, Some(&info)) {
            Some(_) => None,
            None => self.image(&answer).await?,
        };
        let container = intent::container(&sandbox.pod, &answer, image.as_ref())?;
        Ok(Some(Known {
            sandbox,
            container: Some(container),
            grace: intent::grace(&answer),
            pid: info.pid,
        }))
    }

    async fn sandbox(&self, id: &str) -> Result<Option<Sandbox>, Failure> {
        let answer = found(self.client.sandbox_status(id, Detail::Verbose).await)?;
        let is_it = |answer: &pause_trace_cri::messages::PodSandboxStatusResponse| {
            answer.status.as_ref().is_some_and(|status| status.id == id)
        };
        Ok(answer
            .filter(is_it)
            .as_ref()
            .map(intent::sandbox)
            .transpose()?)
    }

    /// The sandbox of a container, for when the container's status does not contain it.
    async fn sandbox_of(&self, id: &str) -> Result<Option<String>, Failure> {
        let containers = self.client.containers(None).await?;
        Ok(containers
            .into_iter()
            .find(|container| container.id == id)
            .map(|container| container.pod_sandbox_id))
    }

    /// The details of a container's image; `None` for an image that has been removed or that the
    /// runtime does not report. Runtimes stop such a container with SIGTERM.
    async fn image(
        &self,
        answer: &ContainerStatusResponse,
    ) -> Result<Option<pause_trace_cri::Info>, Failure> {
        let Some(status) = answer
            .status
            .as_ref()
            .filter(|status| !status.image_ref.is_empty())
        else {
            return Ok(None);
        };
        match self
            .client
            .image_status(&status.image_ref, Detail::Verbose)
            .await
        {
            Ok(image) => Ok(image.info().map_err(IntentError::from)?),
            Err(error) if error.is_answer() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Turns the error "not found" into `None`.
fn found<T>(answer: Result<T, CriError>) -> Result<Option<T>, CriError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
