//! Starts a process from a plan, in the same order as runc.
//!
//! A first child is moved to its cgroup, joins and creates namespaces, and forks a sibling if there
//! is a pid namespace among them, because setns and unshare change the pid namespace of a process's
//! children only. The first child then reports the pid of the second and exits, and the second
//! executes the program. Runtime and children exchange messages over one socket, which exec closes:
//! the spawn has succeeded when the socket is closed after [`Message::Executing`].

mod child;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::node::cgroup;
use crate::reference::patience::Patience;
use crate::reference::protocol::{self, EnterCgroup, Failure, IdMap, Plan, Program, Step};
use crate::sys;
use child::Child;

/// The time limit until the exec. Measured: 3 ms for a sandbox; the creation of a network namespace
/// may have to wait for the removal of others.
const DEADLINE: Duration = Duration::from_secs(60);

/// Files for every child, which the runtime opened when it started.
pub(super) struct Files {
    pub(super) null: OwnedFd,
    /// This executable.
    pub(super) workload: OwnedFd,
}

/// A process that has executed its program, or is held before that.
pub(super) struct Spawned {
    pub(super) pid: Pid,
    pub(super) held: Option<Link>,
    pub(super) notes: Vec<Failure>,
}

/// A message from a child to the runtime.
#[derive(Debug, Serialize, Deserialize)]
enum Message {
    /// It is in a new user namespace and needs its id maps written.
    MapIds,
    /// The pid of the second child; the first one exits.
    Forked(i32),
    /// It has joined all namespaces.
    Joined,
    /// It is held, as the plan requires.
    Held,
    Note(Failure),
    Executing,
    Failed(Failure),
}

/// The message from the runtime that lets a child continue.
#[derive(Debug, Serialize, Deserialize)]
struct Go;

/// The runtime's end of the socket to a child.
pub(super) struct Link {
    socket: OwnedFd,
    /// The time limit until the exec on this machine.
    deadline: Duration,
}

impl Link {
    /// Lets a held process continue, and waits for its exec.
    pub(super) fn release(&self) -> Result<(), Failure> {
        self.go()?;
        let until = Instant::now() + self.deadline;
        let mut executing = false;
        loop {
            match self.receive(until)? {
                Some(Message::Executing) => executing = true,
                Some(Message::Failed(failure)) => return Err(failure),
                Some(_) => {}
                None if executing => return Ok(()),
                None => return Err(Failure::new("await the exec", Errno::ECHILD)),
            }
        }
    }

    fn go(&self) -> Result<(), Failure> {
        protocol::send(self.socket.as_fd(), &Go, &[], MsgFlags::empty()).step("answer the child")
    }

    fn receive(&self, until: Instant) -> Result<Option<Message>, Failure> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(
                &mut fds,
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
            ) {
                Ok(0) => return Err(Failure::new("await the exec", Errno::ETIMEDOUT)),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Failure::new("await the exec", errno)),
            }
        }
        let message = protocol::receive(self.socket.as_fd(), MsgFlags::empty())
            .step("read from the child")?;
        Ok(message.map(|(message, _)| message))
    }
}

/// Starts the process of `plan`. `fds` are the program's file and the agent's socket, if the plan
/// has them.
pub(super) fn spawn(
    plan: &Plan,
    fds: Vec<OwnedFd>,
    files: &Files,
    patience: Patience,
) -> Result<Spawned, Failure> {
    let mut fds = fds.into_iter();
    let mut next = |wanted: bool| {
        wanted
            .then(|| fds.next().ok_or(Errno::EBADF).and_then(sys::out_of_the_way))
            .transpose()
    };
    let program = next(matches!(plan.program, Program::File(_))).step("take the program's file")?;
    let agent = next(plan.agent).step("take the agent's socket")?;

    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .step("make a socket pair")?;
    let theirs = sys::out_of_the_way(theirs).step("make a socket pair")?;
    let link = Link {
        socket: ours,
        deadline: patience.of(DEADLINE),
    };
    let Some(first) = sys::fork().step("fork")? else {
        drop(link);
        let child = Child {
            plan,
            link: theirs.as_fd(),
            files,
            program: program.as_ref(),
            agent: agent.as_ref(),
        };
        child.run()
    };
    drop(theirs);

    let mut last = first;
    match lead(plan, &link, first, &mut last) {
        Ok((notes, held)) => Ok(Spawned {
            pid: last,
            held: held.then_some(link),
            notes,
        }),
        Err(failure) => {
            for pid in [first, last] {
                // The first child may have been reaped already; the calls then fail without effect.
                if waitpid_now(pid) {
                    continue;
                }
                let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
                let _ = waitpid(pid, None);
            }
            Err(failure)
        }
    }
}

/// Whether a child has ended: it has been reaped, by this call or before.
fn waitpid_now(pid: Pid) -> bool {
    use nix::sys::wait::{WaitPidFlag, WaitStatus};
    !matches!(
        waitpid(pid, Some(WaitPidFlag::WNOHANG)),
        Ok(WaitStatus::StillAlive)
    )
}

/// The runtime's side: performs the steps that only the parent can do, and waits for the exec. Sets
/// `last` to the process that executes, and returns its notes and whether it is held.
fn lead(
    plan: &Plan,
    link: &Link,
    first: Pid,
    last: &mut Pid,
) -> Result<(Vec<Failure>, bool), Failure> {
    let until = Instant::now() + link.deadline;
    let mut notes = Vec::new();
    let mut executing = false;
    if plan.enter_cgroup == EnterCgroup::First {
        enter_cgroup(plan, first)?;
    }
    link.go()?;
    loop {
        match link.receive(until)? {
            Some(Message::MapIds) => {
                let map = plan
                    .id_map
                    .ok_or(Errno::EINVAL)
                    .step("find the user namespace's map")?;
                write_maps(first, map)?;
                link.go()?;
            }
            Some(Message::Forked(pid)) => {
                *last = Pid::from_raw(pid);
                waitpid(first, None).step("reap the first child")?;
                link.go()?;
            }
            Some(Message::Joined) => {
                if plan.enter_cgroup == EnterCgroup::AfterJoins {
                    enter_cgroup(plan, *last)?;
                }
                link.go()?;
            }
            Some(Message::Held) => return Ok((notes, true)),
            Some(Message::Note(note)) => notes.push(note),
            Some(Message::Executing) => executing = true,
            Some(Message::Failed(failure)) => return Err(failure),
            None if executing => return Ok((notes, false)),
            None => return Err(Failure::new("await the exec", Errno::ECHILD)),
        }
    }
}

fn enter_cgroup(plan: &Plan, pid: Pid) -> Result<(), Failure> {
    plan.cgroup.iter().try_for_each(|directory| {
        cgroup::attach(directory, pid).step(format!("enter {}", directory.display()))
    })
}

fn write_maps(pid: Pid, map: IdMap) -> Result<(), Failure> {
    let line = format!("0 {} {}", map.outside, map.count);
    for file in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{pid}/{file}"), &line).step(format!("write {file}"))?;
    }
    Ok(())
}
