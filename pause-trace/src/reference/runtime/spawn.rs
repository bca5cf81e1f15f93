//! From a plan to a running process, in the order that runc takes.
//!
//! A first child is put into its cgroup, joins and makes namespaces, and forks a sibling when a pid namespace is among them:
//! a process never changes its own pid namespace, only that of the children it will have. The first child's last act is to
//! say that pid; the second one executes the program. runtime and children talk over one socket that exec closes: its end
//! after the word "executing" is how success looks.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};
use nix::sys::wait::waitpid;
use nix::unistd::{Gid, Pid, Uid};
use serde::{Deserialize, Serialize};

use crate::node::cgroup;
use crate::reference::patience::Patience;
use crate::reference::protocol::{
    self, AGENT_FD, EnterCgroup, Failure, IdMap, Join, Plan, Program, Step,
};
use crate::sys;

/// How long the way to the exec may take. Measured: 3 ms for a sandbox; a net namespace may have to wait for others to end.
const DEADLINE: Duration = Duration::from_secs(60);

/// What every child needs and the runtime opened when it started.
pub(super) struct Files {
    pub(super) null: OwnedFd,
    /// This executable.
    pub(super) workload: OwnedFd,
}

/// A process that has executed its program, or waits right before that.
pub(super) struct Spawned {
    pub(super) pid: Pid,
    pub(super) held: Option<Link>,
    pub(super) notes: Vec<Failure>,
}

/// What a child says on its way.
#[derive(Debug, Serialize, Deserialize)]
enum Word {
    /// It is in a new user namespace and wants its maps written.
    MapIds,
    /// The second child's pid; the first one ends.
    Forked(i32),
    /// It has joined everything.
    Joined,
    /// It waits, as the plan asked.
    Held,
    Note(Failure),
    Executing,
    Failed(Failure),
}

/// The runtime's answer, when a child waits for one.
#[derive(Debug, Serialize, Deserialize)]
struct Go;

/// The runtime's end of the socket to a child.
pub(super) struct Link {
    socket: OwnedFd,
    /// How long the way to the exec may take on this machine.
    deadline: Duration,
}

impl Link {
    /// Lets a held process go on, until its exec.
    pub(super) fn release(&self) -> Result<(), Failure> {
        self.go()?;
        let until = Instant::now() + self.deadline;
        let mut executing = false;
        loop {
            match self.hear(until)? {
                Some(Word::Executing) => executing = true,
                Some(Word::Failed(failure)) => return Err(failure),
                Some(_) => {}
                None if executing => return Ok(()),
                None => return Err(Failure::new("await the exec", Errno::ECHILD)),
            }
        }
    }

    fn go(&self) -> Result<(), Failure> {
        protocol::send(self.socket.as_fd(), &Go, &[], MsgFlags::empty()).step("answer the child")
    }

    fn hear(&self, until: Instant) -> Result<Option<Word>, Failure> {
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
        let word =
            protocol::receive(self.socket.as_fd(), MsgFlags::empty()).step("hear the child")?;
        Ok(word.map(|(word, _)| word))
    }
}

/// Builds the process of `plan`. `fds` are the program's file and the agent's socket, as far as the plan has them.
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
                // Neither has been reaped unless it is the first and the last has come: then both calls fail harmlessly.
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

/// Whether there is nothing left to kill: reaped now, or before.
fn waitpid_now(pid: Pid) -> bool {
    use nix::sys::wait::{WaitPidFlag, WaitStatus};
    !matches!(
        waitpid(pid, Some(WaitPidFlag::WNOHANG)),
        Ok(WaitStatus::StillAlive)
    )
}

/// The runtime's side: does what only the parent may, and follows the child to its exec. `last` becomes the process that
/// executes. Whether it is held.
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
        match link.hear(until)? {
            Some(Word::MapIds) => {
                let map = plan
                    .id_map
                    .ok_or(Errno::EINVAL)
                    .step("find the user namespace's map")?;
                write_maps(first, map)?;
                link.go()?;
            }
            Some(Word::Forked(pid)) => {
                *last = Pid::from_raw(pid);
                waitpid(first, None).step("reap the first child")?;
                link.go()?;
            }
            Some(Word::Joined) => {
                if plan.enter_cgroup == EnterCgroup::AfterJoins {
                    enter_cgroup(plan, *last)?;
                }
                link.go()?;
            }
            Some(Word::Held) => return Ok((notes, true)),
            Some(Word::Note(note)) => notes.push(note),
            Some(Word::Executing) => executing = true,
            Some(Word::Failed(failure)) => return Err(failure),
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

/// The children's side. Nothing here returns to the runtime's code.
struct Child<'a> {
    plan: &'a Plan,
    link: BorrowedFd<'a>,
    files: &'a Files,
    program: Option<&'a OwnedFd>,
    agent: Option<&'a OwnedFd>,
}

impl Child<'_> {
    fn run(&self) -> ! {
        let Err(failure) = self.join().and_then(|()| self.execute());
        // The runtime may be gone; there is nobody else to tell.
        let _ = self.say(&Word::Failed(failure));
        sys::exit(1)
    }

    fn say(&self, word: &Word) -> Result<(), Failure> {
        protocol::send(self.link, word, &[], MsgFlags::empty()).step("speak to the runtime")
    }

    fn wait(&self) -> Result<(), Failure> {
        match protocol::receive::<Go>(self.link, MsgFlags::empty()).step("hear the runtime")? {
            Some(_) => Ok(()),
            None => sys::exit(1),
        }
    }

    fn try_to(&self, result: Result<(), Failure>) -> Result<(), Failure> {
        result.or_else(|failure| self.say(&Word::Note(failure)))
    }

    /// Into the namespaces; returns in the process that will execute the program.
    fn join(&self) -> Result<(), Failure> {
        let plan = self.plan;
        self.wait()?;
        if let Some(adjustment) = plan.oom_score_adj {
            let path = "/proc/self/oom_score_adj";
            self.try_to(
                fs::write(path, adjustment.to_string())
                    .step(format!("write {adjustment} to {path}")),
            )?;
        }

        // All files are opened before the first join: later, /proc/PID/ns may be closed to us. The order is runc's.
        let spaces = [
            (&plan.user, CloneFlags::CLONE_NEWUSER),
            (&plan.ipc, CloneFlags::CLONE_NEWIPC),
            (&plan.uts, CloneFlags::CLONE_NEWUTS),
            (&plan.net, CloneFlags::CLONE_NEWNET),
            (&plan.pid, CloneFlags::CLONE_NEWPID),
            (&plan.mount, CloneFlags::CLONE_NEWNS),
        ];
        let mut joins = Vec::new();
        let mut made = CloneFlags::empty();
        for (join, flag) in spaces {
            match join {
                Join::Host => {}
                Join::New => made |= flag,
                Join::Path(path) => {
                    let file = fs::File::open(path).step(format!("open {}", path.display()))?;
                    joins.push((file, flag, path));
                }
            }
        }
        for (file, flag, path) in &joins {
            setns(file, *flag).step(format!("setns to {}", path.display()))?;
            if *flag == CloneFlags::CLONE_NEWUSER {
                become_user(0, 0)?;
            }
        }
        if made.contains(CloneFlags::CLONE_NEWUSER) {
            // On its own: what is made after it belongs to it, and what was joined before it does not.
            made.remove(CloneFlags::CLONE_NEWUSER);
            unshare(CloneFlags::CLONE_NEWUSER).step("unshare the user namespace")?;
            self.say(&Word::MapIds)?;
            self.wait()?;
            become_user(0, 0)?;
        }
        if !made.is_empty() {
            unshare(made).step(format!("unshare {made:?}"))?;
        }
        self.furnish()?;
        if plan.pid != Join::Host
            && let Some(second) = sys::fork_sibling().step("fork into the pid namespace")?
        {
            self.say(&Word::Forked(second.as_raw()))?;
            sys::exit(0);
        }
        if plan.pid != Join::Host {
            // Until the first child has been reaped.
            self.wait()?;
        }
        Ok(())
    }

    /// Makes what is new usable.
    fn furnish(&self) -> Result<(), Failure> {
        let plan = self.plan;
        if plan.mount == Join::New {
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).step("make / private")?;
        }
        if plan.net == Join::New
            && let Some(address) = plan.address
        {
            sys::interface_up("lo").step("set lo up")?;
            sys::interface_address("lo:1", address).step("give lo an address")?;
        }
        if plan.uts == Join::New
            && let Some(hostname) = &plan.hostname
        {
            nix::unistd::sethostname(hostname).step("set the host name")?;
        }
        Ok(())
    }

    /// From the last fork to exec.
    fn execute(&self) -> Result<Infallible, Failure> {
        let plan = self.plan;
        nix::unistd::setsid().step("start a session")?;
        if plan.pid != Join::Host && plan.mount == Join::New {
            // Refused in a user namespace when the host's /proc is covered in part (mount_too_revealing).
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            self.try_to(
                mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).step("mount /proc"),
            )?;
        }
        let path = self.name_program()?;
        self.say(&Word::Joined)?;
        self.wait()?;
        if let Some((user, group)) = plan.credentials {
            become_user(user, group)?;
        }
        if plan.no_new_privs {
            nix::sys::prctl::set_no_new_privs().step("set no_new_privs")?;
        }
        // After the last change of credentials, which would clear it (commit_creds). The parent is the runtime's only
        // thread. It may have ended already: then it sends nothing any more, and the socket shows it.
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).step("set the parent-death signal")?;
        let mut fds = [PollFd::new(self.link, PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO).step("look for the runtime")?;
        if fds[0].revents().is_some_and(|events| !events.is_empty()) {
            sys::exit(1);
        }
        sys::reset_signals();
        if plan.hold {
            self.say(&Word::Held)?;
            self.wait()?;
        }
        self.place_files()?;
        let argv = strings(&plan.argv)?;
        let env = strings(&plan.env)?;
        self.say(&Word::Executing)?;
        if let Some(path) = path {
            let path = CString::new(path.into_os_string().into_encoded_bytes());
            let path = path
                .map_err(|_| Errno::EINVAL)
                .step("read the program's path")?;
            let error = nix::unistd::execve(&path, &argv, &env);
            // The name is a nicety; without it the file itself is executed.
            if self.file().is_none() {
                return error.step(format!("execute {}", path.to_string_lossy()));
            }
        }
        let file = self
            .file()
            .ok_or(Errno::EBADF)
            .step("find the program's file")?;
        let executed = nix::unistd::execveat(file, c"", &argv, &env, AtFlags::AT_EMPTY_PATH);
        // TOMOYO looks up the name that the kernel made up, /dev/fd/N, which a container and a node without udev need not have
        // (tomoyo_find_next_domain; it no longer insists since Linux 6.12, 6.1.113 and 5.10.227). These names are always there.
        if executed == Err(Errno::ENOENT) {
            let name = self.name_in_proc(file).step("name the program's file")?;
            let path = CString::new(name.as_str())
                .map_err(|_| Errno::EINVAL)
                .step("name the program's file")?;
            return nix::unistd::execve(&path, &argv, &env).step(format!("execute {name}"));
        }
        executed.step("execute the program")
    }

    /// A name of the program's file below /proc. A session that is in the node's pid namespace, and not in its container's, finds
    /// nothing of itself in the container's /proc, but the container's first process, which runs the same file.
    fn name_in_proc(&self, file: &OwnedFd) -> io::Result<String> {
        const FIRST: &str = "/proc/1/exe";
        let own = descriptor(file.as_fd());
        let wanted = nix::sys::stat::fstat(file)?;
        let runs_it = fs::metadata(FIRST)
            .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.st_dev, wanted.st_ino));
        let is_seen = fs::read_link("/proc/self").is_ok();
        Ok(match !is_seen && runs_it {
            true => FIRST.to_owned(),
            false => own,
        })
    }

    fn file(&self) -> Option<&OwnedFd> {
        match self.plan.program {
            Program::Workload => Some(&self.files.workload),
            Program::File(_) => self.program,
            Program::Path(_) => None,
        }
    }

    /// A path to execute. A program that came as a descriptor would be called by its number in `ps` and in every report, so
    /// it gets a name where this process has a file system of its own: a link in a fresh /dev/shm, which a pod has anyway.
    fn name_program(&self) -> Result<Option<PathBuf>, Failure> {
        let name = match &self.plan.program {
            Program::Path(path) => return Ok(Some(path.clone())),
            Program::File(name) => name,
            Program::Workload => "workload",
        };
        let Some(file) = self.file() else {
            return Ok(None);
        };
        if self.plan.mount != Join::New {
            return Ok(None);
        }
        let linked = link_program(name, file.as_fd());
        if let Err(failure) = &linked {
            self.say(&Word::Note(failure.clone()))?;
        }
        Ok(linked.ok())
    }

    fn place_files(&self) -> Result<(), Failure> {
        let null = self.files.null.as_fd();
        let quiet = if self.plan.quiet {
            &[0, 1, 2][..]
        } else {
            &[0, 1][..]
        };
        for number in quiet {
            sys::place(null, *number).step("open /dev/null")?;
        }
        if let Some(agent) = self.agent {
            sys::place(agent.as_fd(), AGENT_FD).step("pass the agent's socket on")?;
        }
        Ok(())
    }
}

fn link_program(name: &str, file: BorrowedFd<'_>) -> Result<PathBuf, Failure> {
    let directory = Path::new("/dev/shm");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("shm"),
        directory,
        Some("tmpfs"),
        flags,
        Some("mode=1777,size=65536k"),
    )
    .step("mount /dev/shm")?;
    let path = directory.join(name);
    std::os::unix::fs::symlink(descriptor(file), &path).step(format!("link {}", path.display()))?;
    Ok(path)
}

/// The path by which a process finds a file that it has open.
fn descriptor(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Takes over a user and group for good; the supplementary groups go.
fn become_user(user: u32, group: u32) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(group));
    nix::unistd::setgroups(&[]).step("drop the supplementary groups")?;
    nix::unistd::setresgid(gid, gid, gid).step(format!("become group {group}"))?;
    nix::unistd::setresuid(uid, uid, uid).step(format!("become user {user}"))
}

fn strings(texts: &[String]) -> Result<Vec<CString>, Failure> {
    texts
        .iter()
        .map(|text| CString::new(text.as_str()).map_err(|_| io::Error::from(Errno::EINVAL)))
        .collect::<io::Result<_>>()
        .step("read the arguments")
}
