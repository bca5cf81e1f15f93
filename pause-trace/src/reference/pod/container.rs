//! A container of the reference pod, before, during and after its life.

use super::{Agent, ContainerPlan, PodError};
use crate::reference::protocol::{Answer, Plan, Request, Status};

/// A container with an id and a cgroup that has not been started.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) name: String,
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// The id of its cgroup in the watched hierarchy.
    pub(crate) cgroup_id: u64,
    pub(crate) cgroup_path: String,
    pub(super) plan: ContainerPlan,
}

/// A started container or exec session. The `id` of a session is that of its container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) id: String,
    /// The pid in the host's pid namespace.
    pub(crate) pid: i32,
    pub(crate) cgroup_id: u64,
    pub(crate) cgroup_path: String,
    /// The plan that it was built from.
    pub(crate) plan: Plan,
    pub(super) agent: Option<Agent>,
}

impl Container {
    /// Sends a request to the agent.
    ///
    /// # Errors
    /// [`PodError::Refused`] with the errno if the kernel refused the request.
    pub(crate) async fn ask(&self, request: Request) -> Result<Answer, PodError> {
        match &self.agent {
            Some(agent) => agent.ask(request).await,
            None => Err(PodError::WorkloadGone {
                what: format!("send a request to {}, which runs no agent", self.name),
            }),
        }
    }
}

/// How one process ended when the pod was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopped {
    pub(crate) pid: i32,
    pub(crate) status: Status,
    /// Whether it did not end within the grace period.
    pub(crate) killed: bool,
}
