//! The reference pod for scenarios: creates a pod, starts containers, sends them requests and
//! signals, and stops it.
//!
//! A runtime process ([`super::runtime`]) does the work, and this side sends it requests. The
//! loader's own namespaces, cgroup and signal state do not change. Ids and cgroups exist *before*
//! anything runs ([`Pod::prepare`], [`Pod::prepare_container`]), so that a container can be
//! declared to the verifier first. Every wait has a deadline.

mod agent;
mod client;
mod container;
mod error;
mod files;
mod plan;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::patience::Patience;
use super::protocol::{
    EnterCgroup, Failure, Join, OnTerm, Owned, Plan, Program, Sender, Status, ToRuntime,
};
use crate::node::cgroup::{Cgroup, Layout};
pub(crate) use agent::Agent;
use client::Client;
pub(crate) use container::{Container, Prepared, Stopped};
pub(crate) use error::PodError;
use files::{own_file, program_file, random_id, random_uuid};
use plan::environment;
pub(crate) use plan::{ContainerPlan, Pause, PidMode, PodPlan};

/// The default time limit for the end of a process.
const DEADLINE: Duration = Duration::from_secs(5);

/// A pod. Dropping it kills its processes and removes its cgroups; [`Pod::remove`] also reports
/// errors.
#[derive(Debug)]
pub(crate) struct Pod {
    // Dropped in this order: the runtime first, which removes the processes and cgroups; then the
    // cgroups that it may have left.
    client: Client,
    cgroups: Vec<Cgroup>,
    patience: Patience,
    layout: Layout,
    plan: PodPlan,
    uid: String,
    pause_file: Option<OwnedFd>,
    /// `pause-trace-…/pod<uid>`.
    cgroup_name: String,
    sandbox: Prepared,
    pause_pid: Option<i32>,
    containers: Vec<i32>,
}

impl Pod {
    /// Starts the pod's runtime, creates the cgroups and generates the ids. No process of the pod
    /// runs yet.
    pub(crate) async fn prepare(
        layout: &Layout,
        plan: PodPlan,
        patience: Patience,
    ) -> Result<Self, PodError> {
        let client = Client::start(patience)?;
        let uid = random_uuid()?;
        let top = Layout::unique_name().map_err(PodError::Cgroup)?;
        let cgroup_name = format!("{top}/pod{uid}");
        let pause_file = match &plan.pause {
            Pause::Image(bytes) => Some(program_file(bytes)?),
            Pause::Copy(_, bytes) => Some(program_file(bytes)?),
            Pause::File(_) => None,
            Pause::Broken(_) => Some(own_file()?),
        };
        let nothing = ContainerPlan {
            name: String::new(),
            plan: Plan::default(),
            term: OnTerm::default(),
            reaps: true,
        };
        let mut pod = Self {
            client,
            patience,
            cgroups: Vec::new(),
            layout: layout.clone(),
            plan,
            uid,
            pause_file,
            sandbox: Prepared {
                name: String::new(),
                id: String::new(),
                cgroup_id: 0,
                cgroup_path: String::new(),
                plan: nothing,
            },
            pause_pid: None,
            containers: Vec::new(),
            cgroup_name,
        };
        pod.make_cgroup(&top).await?;
        pod.make_cgroup(&pod.cgroup_name.clone()).await?;
        pod.prepare_sandbox().await?;
        Ok(pod)
    }

    /// Prepares a new sandbox with a new id for the same pod, as after the death of its pause.
    /// [`Pod::start_sandbox`] starts it. The old sandbox is not changed.
    pub(crate) async fn prepare_sandbox(&mut self) -> Result<&Prepared, PodError> {
        let mut plan = self.plan.sandbox.clone();
        plan.program = match &self.plan.pause {
            Pause::Image(_) => Program::File("pause".to_owned()),
            Pause::File(path) => Program::Path(path.clone()),
            Pause::Copy(name, _) => Program::File(name.clone()),
            Pause::Broken(kind) => {
                plan.argv = kind.argv();
                Program::File("pause".to_owned())
            }
        };
        let name = self.plan.name.clone();
        let plan = ContainerPlan {
            name,
            plan,
            term: OnTerm::default(),
            reaps: true,
        };
        self.sandbox = self.prepare_container(plan).await?;
        Ok(&self.sandbox)
    }

    /// Starts the pause. Returns the steps that failed and were not essential.
    pub(crate) async fn start_sandbox(&mut self) -> Result<Vec<Failure>, PodError> {
        let plan = self.sandbox.plan.clone().finished();
        let file = self.pause_file.as_ref().map(AsFd::as_fd);
        let done = self.client.spawn(plan, file.into_iter().collect()).await?;
        self.pause_pid = Some(done.pid);
        Ok(done.notes)
    }

    pub(crate) fn name(&self) -> &str {
        &self.plan.name
    }

    /// A UUID, like those from the API server.
    pub(crate) fn uid(&self) -> &str {
        &self.uid
    }

    /// The sandbox's id and cgroup.
    pub(crate) fn sandbox(&self) -> &Prepared {
        &self.sandbox
    }

    /// The sandbox's cgroup, in the watched hierarchy.
    pub(crate) fn cgroup_id(&self) -> u64 {
        self.sandbox.cgroup_id
    }

    /// The pause's pid in the host's pid namespace; 0 before [`Pod::start_sandbox`].
    pub(crate) fn pause_pid(&self) -> i32 {
        self.pause_pid.unwrap_or(0)
    }

    /// The process that acts as the container runtime.
    pub(crate) fn runtime_pid(&self) -> i32 {
        self.client.pid()
    }

    /// The pod's cgroup with this id.
    pub(crate) fn cgroup(&self, id: u64) -> Option<&Cgroup> {
        self.cgroups.iter().find(|cgroup| cgroup.id() == id)
    }

    /// The plan of a container of this pod. It joins every namespace of the sandbox by path, as
    /// containerd's bundles do, even if that is the host's.
    pub(crate) fn container(&self, pid: PidMode) -> ContainerPlan {
        let pause = self.pause_pid();
        let user = match self.plan.sandbox.user {
            Join::Host => Join::Host,
            _ => Join::of(pause, "user"),
        };
        let plan = Plan {
            user,
            ipc: Join::of(pause, "ipc"),
            uts: Join::of(pause, "uts"),
            net: Join::of(pause, "net"),
            pid: match pid {
                PidMode::Container => Join::New,
                PidMode::Pod => Join::of(pause, "pid"),
                PidMode::Node => Join::Host,
                PidMode::Target(init) => Join::of(init, "pid"),
            },
            mount: Join::New,
            env: environment(),
            agent: true,
            ..Plan::default()
        };
        let name = format!("container-{}", self.containers.len());
        ContainerPlan {
            name,
            plan,
            term: OnTerm::default(),
            reaps: true,
        }
    }

    /// The plan of an exec session in a container. It joins the namespaces of the container's init,
    /// and the cgroup last.
    pub(crate) fn session(&self, container: &Container) -> ContainerPlan {
        let of = |join: &Join, kind| match join {
            Join::Host => Join::Host,
            _ => Join::of(container.pid, kind),
        };
        let built = &container.plan;
        let plan = Plan {
            user: of(&built.user, "user"),
            ipc: of(&built.ipc, "ipc"),
            uts: of(&built.uts, "uts"),
            net: of(&built.net, "net"),
            pid: of(&built.pid, "pid"),
            mount: of(&built.mount, "mnt"),
            cgroup: built.cgroup.clone(),
            enter_cgroup: EnterCgroup::AfterJoins,
            env: environment(),
            agent: true,
            ..Plan::default()
        };
        let name = format!("exec in {}", container.name);
        ContainerPlan {
            name,
            plan,
            term: OnTerm::default(),
            reaps: true,
        }
    }

    /// Generates a container's id and creates its cgroup.
    pub(crate) async fn prepare_container(
        &mut self,
        mut plan: ContainerPlan,
    ) -> Result<Prepared, PodError> {
        let id = random_id()?;
        let cgroup = self
            .make_cgroup(&format!("{}/{id}", self.cgroup_name))
            .await?;
        plan.plan.cgroup = cgroup.directories().to_vec();
        Ok(Prepared {
            name: plan.name.clone(),
            id,
            cgroup_id: cgroup.id(),
            cgroup_path: cgroup.path().to_owned(),
            plan,
        })
    }

    /// Starts a prepared container and waits until its agent is ready.
    pub(crate) async fn launch(&mut self, prepared: Prepared) -> Result<Container, PodError> {
        let Prepared {
            name,
            id,
            cgroup_id,
            cgroup_path,
            plan,
        } = prepared;
        let (pid, plan, agent) = self.run(plan).await?;
        self.containers.push(pid);
        Ok(Container {
            name,
            id,
            pid,
            cgroup_id,
            cgroup_path,
            plan,
            agent,
        })
    }

    /// Starts an exec session or probe in a container; `plan` is from [`Pod::session`].
    pub(crate) async fn exec(
        &self,
        container: &Container,
        plan: ContainerPlan,
    ) -> Result<Container, PodError> {
        let name = plan.name.clone();
        let (pid, plan, agent) = self.run(plan).await?;
        Ok(Container {
            name,
            id: container.id.clone(),
            pid,
            cgroup_id: container.cgroup_id,
            cgroup_path: container.cgroup_path.clone(),
            plan,
            agent,
        })
    }

    async fn run(&self, plan: ContainerPlan) -> Result<(i32, Plan, Option<Agent>), PodError> {
        let name = plan.name.clone();
        let plan = plan.finished();
        let (agent, theirs) = plan.agent.then(Agent::pair).transpose()?.unzip();
        let done = self
            .client
            .spawn(plan.clone(), theirs.iter().map(AsFd::as_fd).collect())
            .await?;
        drop(theirs);
        let agent = match agent {
            None => None,
            Some(agent) => {
                // Segments and queues in the host's ipc namespace would outlive the pod.
                let host_ipc = self.plan.sandbox.ipc == Join::Host || plan.ipc == Join::Host;
                let remover = host_ipc.then(|| self.client.handle());
                let agent = Agent::new(name, agent, remover, self.patience)?;
                if !plan.hold {
                    agent.ready().await?;
                }
                Some(agent)
            }
        };
        Ok((done.pid, plan, agent))
    }

    /// Sends a signal from the runtime.
    pub(crate) async fn signal(&self, pid: i32, signal: Signal) -> Result<(), PodError> {
        self.signal_from(Sender::Runtime, pid, signal as i32).await
    }

    /// Sends a signal with any number from a sender.
    pub(crate) async fn signal_from(
        &self,
        sender: Sender,
        pid: i32,
        signal: i32,
    ) -> Result<(), PodError> {
        self.client
            .call(
                ToRuntime::Kill {
                    pid,
                    signal,
                    sender,
                },
                Vec::new(),
            )
            .await
            .map(drop)
    }

    /// Lets a process that was started with `hold` execute its program, and waits until its agent
    /// is ready.
    pub(crate) async fn release(&self, container: &Container) -> Result<(), PodError> {
        self.client
            .call(ToRuntime::Release { pid: container.pid }, Vec::new())
            .await?;
        match &container.agent {
            Some(agent) => agent.ready().await,
            None => Ok(()),
        }
    }

    /// Makes the runtime leave a process unreaped, or reap it again.
    pub(crate) async fn leave_unreaped(&self, pid: i32, leave: bool) -> Result<(), PodError> {
        let request = if leave {
            ToRuntime::LeaveUnreaped { pid }
        } else {
            ToRuntime::ReapAgain { pid }
        };
        self.client.call(request, Vec::new()).await.map(drop)
    }

    /// Waits until the runtime has reaped a process, for five seconds times the patience.
    pub(crate) async fn exited(&self, pid: i32) -> Result<Status, PodError> {
        self.exited_within(pid, self.patience.of(DEADLINE)).await
    }

    /// Waits until the runtime has reaped a process.
    pub(crate) async fn exited_within(
        &self,
        pid: i32,
        deadline: Duration,
    ) -> Result<Status, PodError> {
        self.client.handle().exited(pid, deadline).await
    }

    /// Removes the cgroup of a container that has ended, and kills remaining processes in it.
    pub(crate) fn delete(&mut self, container: Container) -> Result<(), PodError> {
        self.containers.retain(|pid| *pid != container.pid);
        let Some(at) = self
            .cgroups
            .iter()
            .position(|cgroup| cgroup.id() == container.cgroup_id)
        else {
            return Ok(());
        };
        let mut cgroup = self.cgroups.remove(at);
        let what = format!("remove the cgroup {}", cgroup.path());
        cgroup.remove().map_err(|error| PodError::io(what, error))
    }

    /// Stops the pod in the kubelet's order: SIGTERM to all containers, SIGKILL after the grace
    /// period, then the same for the pause. The results are in start order, with the pause last.
    pub(crate) async fn stop(&mut self, grace: Duration) -> Result<Vec<Stopped>, PodError> {
        let mut stopped = Vec::new();
        let containers = std::mem::take(&mut self.containers);
        let pause: Vec<i32> = self.pause_pid.take().into_iter().collect();
        for group in [containers, pause] {
            for pid in &group {
                self.signal_if_running(*pid, Signal::SIGTERM).await?;
            }
            let until = tokio::time::Instant::now() + grace;
            for pid in group {
                let left = until.saturating_duration_since(tokio::time::Instant::now());
                let (status, killed) = match self.exited_within(pid, left).await {
                    Ok(status) => (status, false),
                    Err(PodError::TimedOut { .. }) => {
                        self.signal_if_running(pid, Signal::SIGKILL).await?;
                        (self.exited(pid).await?, true)
                    }
                    Err(error) => return Err(error),
                };
                stopped.push(Stopped {
                    pid,
                    status,
                    killed,
                });
            }
        }
        Ok(stopped)
    }

    /// The process may have been reaped, and its pid may be unused or belong to another process.
    async fn signal_if_running(&self, pid: i32, signal: Signal) -> Result<(), PodError> {
        if self.exited_within(pid, Duration::ZERO).await.is_ok() {
            return Ok(());
        }
        match self.signal(pid, signal).await {
            Err(PodError::Refused(failure)) if failure.errno() == Errno::ESRCH => Ok(()),
            other => other,
        }
    }

    /// Ends the remaining processes and removes the cgroups.
    pub(crate) async fn remove(mut self) -> Result<(), PodError> {
        self.client.end().await?;
        for mut cgroup in self.cgroups.drain(..).rev() {
            let what = format!("remove the cgroup {}", cgroup.path());
            cgroup.remove().map_err(|error| PodError::io(what, error))?;
        }
        Ok(())
    }

    async fn make_cgroup(&mut self, name: &str) -> Result<&Cgroup, PodError> {
        let mut cgroup = self.layout.cgroup(name);
        // The runtime is notified first: if the loader is killed after creating the cgroup, the
        // runtime removes it.
        let owned = cgroup
            .directories()
            .iter()
            .cloned()
            .map(Owned::Cgroup)
            .collect();
        self.client.call(ToRuntime::Own(owned), Vec::new()).await?;
        cgroup.create().map_err(PodError::Cgroup)?;
        self.cgroups.push(cgroup);
        Ok(&self.cgroups[self.cgroups.len() - 1])
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.client.end_now();
        // Children before parents.
        while self.cgroups.pop().is_some() {}
    }
}
