//! The reference pod as the scenarios see it: make one, start containers in it, ask them things, signal them, end it.
//!
//! Everything real happens in a runtime process ([`super::runtime`]); this side only asks. The loader's own namespaces, cgroup
//! and signal state stay as they are. Ids and cgroups exist *before* anything runs ([`Pod::prepare`], [`Pod::prepare_container`]),
//! so that what is meant can be told to the verifier first. Every wait has a deadline.

mod agent;
mod client;
mod plan;

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;

use super::patience::Patience;
use super::protocol::{
    EnterCgroup, Failure, Join, OnTerm, Owned, Plan, Program, Sender, Status, ToRuntime,
};
use crate::node::cgroup::{Cgroup, Layout};
pub(crate) use agent::Agent;
use client::Client;
use plan::environment;
pub(crate) use plan::{ContainerPlan, Pause, PidMode, PodPlan};

/// How long the end of a process is waited for, unless told otherwise.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why something about the reference pod did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodError {
    /// The kernel said no to the runtime or to an agent; a scenario may have wanted just that.
    #[error(transparent)]
    Refused(#[from] Failure),
    #[error("{what}: nothing within {after:?}")]
    TimedOut { what: String, after: Duration },
    /// Our own runtime, which judges nobody, was not given the processor in that time.
    #[error(
        "{what}: the reference pod's runtime has not answered within {after:?}; on a machine as busy as this, --patience waits longer"
    )]
    Unanswered { what: String, after: Duration },
    #[error("{what}: the reference pod's runtime has ended")]
    RuntimeGone { what: String },
    #[error("{what}: the workload has ended")]
    WorkloadGone { what: String },
    #[error("{what}: {source}")]
    Io {
        what: String,
        source: std::io::Error,
    },
    #[error("{0:#}")]
    Cgroup(anyhow::Error),
}

impl PodError {
    /// The kernel's answer, when there is one.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused(failure) => Some(failure.errno()),
            _ => None,
        }
    }

    fn io(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// A container that has its id and cgroup and does not run yet.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) name: String,
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// In the watched hierarchy.
    pub(crate) cgroup_id: u64,
    pub(crate) cgroup_path: String,
    plan: ContainerPlan,
}

/// A started container, or exec session (whose `id` is its container's).
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) id: String,
    /// As the host sees it.
    pub(crate) pid: i32,
    pub(crate) cgroup_id: u64,
    pub(crate) cgroup_path: String,
    /// With what it was built.
    pub(crate) plan: Plan,
    agent: Option<Agent>,
}

impl Container {
    /// Asks the agent.
    ///
    /// # Errors
    /// [`PodError::Refused`] with the errno when the kernel refused what was asked.
    pub(crate) async fn ask(
        &self,
        request: super::protocol::Request,
    ) -> Result<super::protocol::Answer, PodError> {
        match &self.agent {
            Some(agent) => agent.ask(request).await,
            None => Err(PodError::WorkloadGone {
                what: format!("ask {}, which runs no agent", self.name),
            }),
        }
    }
}

/// How one process ended when the pod was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopped {
    pub(crate) pid: i32,
    pub(crate) status: Status,
    /// Whether the grace was not enough.
    pub(crate) killed: bool,
}

/// A pod. Dropping it kills and removes everything; [`Pod::remove`] does so too and says what went wrong.
#[derive(Debug)]
pub(crate) struct Pod {
    // Dropped in this order: the runtime first, which takes the processes and cgroups; then what it may have left.
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
    /// Starts the pod's runtime, makes the cgroups and chooses the ids. Nothing of the pod runs yet.
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

    /// A new sandbox with a new id for the same pod, as after its pause died; [`Pod::start_sandbox`] starts it. The old one is
    /// not touched.
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

    /// Runs the pause. Returns what did not work and was not essential.
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

    /// A uuid, as of a pod from the API server.
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

    /// The pause, as the host sees it; 0 before [`Pod::start_sandbox`].
    pub(crate) fn pause_pid(&self) -> i32 {
        self.pause_pid.unwrap_or(0)
    }

    /// The process that plays the container runtime.
    pub(crate) fn runtime_pid(&self) -> i32 {
        self.client.pid()
    }

    /// The cgroup with this id, if the pod made it.
    pub(crate) fn cgroup(&self, id: u64) -> Option<&Cgroup> {
        self.cgroups.iter().find(|cgroup| cgroup.id() == id)
    }

    /// How a container of this pod is built: every namespace of the sandbox by path, as containerd writes it, also where
    /// that is the host's.
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

    /// How an exec session in a container is built: by joining its init's namespaces, and its cgroup last.
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

    /// Gives a container its id and cgroup.
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

    /// Runs a prepared container; its agent is ready.
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

    /// Runs an exec session or probe in a container; `plan` is that of [`Pod::session`].
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
                // Segments and queues of the host's ipc namespace would outlive the pod.
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

    /// Sends a signal as the runtime.
    pub(crate) async fn signal(&self, pid: i32, signal: Signal) -> Result<(), PodError> {
        self.signal_from(Sender::Runtime, pid, signal as i32).await
    }

    /// Sends a signal, any number, as someone.
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

    /// Lets a process that was started with `hold` execute its program, and waits for its agent.
    pub(crate) async fn release(&self, container: &Container) -> Result<(), PodError> {
        self.client
            .call(ToRuntime::Release { pid: container.pid }, Vec::new())
            .await?;
        match &container.agent {
            Some(agent) => agent.ready().await,
            None => Ok(()),
        }
    }

    /// Makes the runtime leave a process unreaped, or reap it after all.
    pub(crate) async fn leave_unreaped(&self, pid: i32, leave: bool) -> Result<(), PodError> {
        let request = if leave {
            ToRuntime::LeaveUnreaped { pid }
        } else {
            ToRuntime::ReapAgain { pid }
        };
        self.client.call(request, Vec::new()).await.map(drop)
    }

    /// Waits until the runtime has reaped a process, for five seconds of patience.
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

    /// Removes the cgroup of a container that has ended, and kills what may be left in it.
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

    /// Stops the pod in the order that a kubelet keeps: SIGTERM to all containers, SIGKILL after the grace, then the same for
    /// the pause. In the order of their start, the pause last.
    pub(crate) async fn stop(&mut self, grace: Duration) -> Result<Vec<Stopped>, PodError> {
        let mut stopped = Vec::new();
        let containers = std::mem::take(&mut self.containers);
        let pause: Vec<i32> = self.pause_pid.take().into_iter().collect();
        for group in [containers, pause] {
            for pid in &group {
                self.signal_if_there(*pid, Signal::SIGTERM).await?;
            }
            let until = tokio::time::Instant::now() + grace;
            for pid in group {
                let left = until.saturating_duration_since(tokio::time::Instant::now());
                let (status, killed) = match self.exited_within(pid, left).await {
                    Ok(status) => (status, false),
                    Err(PodError::TimedOut { .. }) => {
                        self.signal_if_there(pid, Signal::SIGKILL).await?;
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

    /// It may have been reaped already, and its pid belong to nobody or to someone else.
    async fn signal_if_there(&self, pid: i32, signal: Signal) -> Result<(), PodError> {
        if self.exited_within(pid, Duration::ZERO).await.is_ok() {
            return Ok(());
        }
        match self.signal(pid, signal).await {
            Err(PodError::Refused(failure)) if failure.errno() == Errno::ESRCH => Ok(()),
            other => other,
        }
    }

    /// Ends whatever still runs and removes the cgroups.
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
        // The runtime learns of it first: should the loader be killed right after, the runtime removes it.
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

/// This executable.
fn own_file() -> Result<OwnedFd, PodError> {
    let path = "/proc/self/exe";
    fs::File::open(path)
        .map(Into::into)
        .map_err(|error| PodError::io(format!("open {path}"), error))
}

/// An executable file in memory.
fn program_file(bytes: &[u8]) -> Result<OwnedFd, PodError> {
    let what = "put the pause into memory";
    let written =
        memfd_create(c"pause", MFdFlags::MFD_CLOEXEC).map_err(|error| PodError::io(what, error))?;
    let mut file = fs::File::from(written);
    file.write_all(bytes)
        .map_err(|error| PodError::io(what, error))?;
    // Read-only: a file that is open for writing cannot be executed (ETXTBSY).
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    fs::File::open(path)
        .map(Into::into)
        .map_err(|error| PodError::io(what, error))
}

fn random_uuid() -> Result<String, PodError> {
    let path = "/proc/sys/kernel/random/uuid";
    let text =
        fs::read_to_string(path).map_err(|error| PodError::io(format!("read {path}"), error))?;
    Ok(text.trim().to_owned())
}

fn random_id() -> Result<String, PodError> {
    Ok(format!("{}{}", random_uuid()?, random_uuid()?).replace('-', ""))
}
