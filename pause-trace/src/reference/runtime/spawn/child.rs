//! The child's side of a spawn: joins, creates and configures the namespaces, then executes the
//! program.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::sys::socket::MsgFlags;
use nix::unistd::{Gid, Uid};

use super::{Files, Go, Message};
use crate::reference::protocol::{self, AGENT_FD, Failure, Join, Plan, Program, Step};
use crate::sys;

/// The children's side, which never returns to the runtime's code.
pub(super) struct Child<'a> {
    pub(super) plan: &'a Plan,
    pub(super) link: BorrowedFd<'a>,
    pub(super) files: &'a Files,
    pub(super) program: Option<&'a OwnedFd>,
    pub(super) agent: Option<&'a OwnedFd>,
}

impl Child<'_> {
    pub(super) fn run(&self) -> ! {
        let Err(failure) = self.join().and_then(|()| self.execute());
        // If this fails, the runtime has ended, and nothing else can be done.
        let _ = self.send(&Message::Failed(failure));
        sys::exit(1)
    }

    fn send(&self, message: &Message) -> Result<(), Failure> {
        protocol::send(self.link, message, &[], MsgFlags::empty()).step("write to the runtime")
    }

    fn wait(&self) -> Result<(), Failure> {
        match protocol::receive::<Go>(self.link, MsgFlags::empty()).step("read from the runtime")? {
            Some(_) => Ok(()),
            None => sys::exit(1),
        }
    }

    fn try_to(&self, result: Result<(), Failure>) -> Result<(), Failure> {
        result.or_else(|failure| self.send(&Message::Note(failure)))
    }

    /// Joins and creates the namespaces; returns in the process that will execute the program.
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

        // All files are opened before the first join, because /proc/PID/ns may not be accessible
        // later. The order is runc's.
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
            // Separately, so that the namespaces created after it are owned by it; those joined
            // before are not.
            made.remove(CloneFlags::CLONE_NEWUSER);
            unshare(CloneFlags::CLONE_NEWUSER).step("unshare the user namespace")?;
            self.send(&Message::MapIds)?;
            self.wait()?;
            become_user(0, 0)?;
        }
        if !made.is_empty() {
            unshare(made).step(format!("unshare {made:?}"))?;
        }
        self.configure_namespaces()?;
        if plan.pid != Join::Host
            && let Some(second) = sys::fork_sibling().step("fork into the pid namespace")?
        {
            self.send(&Message::Forked(second.as_raw()))?;
            sys::exit(0);
        }
        if plan.pid != Join::Host {
            // Waits until the first child has been reaped.
            self.wait()?;
        }
        Ok(())
    }

    /// Configures the new namespaces.
    fn configure_namespaces(&self) -> Result<(), Failure> {
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

    /// The steps from the last fork to exec.
    fn execute(&self) -> Result<Infallible, Failure> {
        let plan = self.plan;
        nix::unistd::setsid().step("start a session")?;
        if plan.pid != Join::Host && plan.mount == Join::New {
            // Refused in a user namespace if parts of the host's /proc are masked
            // (mount_too_revealing).
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            self.try_to(
                mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).step("mount /proc"),
            )?;
        }
        let path = self.name_program()?;
        self.send(&Message::Joined)?;
        self.wait()?;
        if let Some((user, group)) = plan.credentials {
            become_user(user, group)?;
        }
        if plan.no_new_privs {
            nix::sys::prctl::set_no_new_privs().step("set no_new_privs")?;
        }
        // After the last change of credentials, which would clear it (commit_creds). The parent is
        // the runtime's only thread. If it has already ended, no signal is sent, but the socket is
        // closed.
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).step("set the parent-death signal")?;
        let mut fds = [PollFd::new(self.link, PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO).step("look for the runtime")?;
        if fds[0].revents().is_some_and(|events| !events.is_empty()) {
            sys::exit(1);
        }
        sys::reset_signals();
        if plan.hold {
            self.send(&Message::Held)?;
            self.wait()?;
        }
        self.place_files()?;
        let argv = c_strings(&plan.argv)?;
        let env = c_strings(&plan.env)?;
        self.send(&Message::Executing)?;
        if let Some(path) = path {
            let path = CString::new(path.into_os_string().into_encoded_bytes());
            let path = path
                .map_err(|_| Errno::EINVAL)
                .step("read the program's path")?;
            let error = nix::unistd::execve(&path, &argv, &env);
            // The name is optional; without it the file itself is executed.
            if self.file().is_none() {
                return error.step(format!("execute {}", path.to_string_lossy()));
            }
        }
        let file = self
            .file()
            .ok_or(Errno::EBADF)
            .step("find the program's file")?;
        let executed = nix::unistd::execveat(file, c"", &argv, &env, AtFlags::AT_EMPTY_PATH);
        // TOMOYO looks up the kernel's name for the file, /dev/fd/N, which may not exist in a
        // container or on a node without udev (tomoyo_find_next_domain; no longer required since
        // Linux 6.12, 6.1.113 and 5.10.227). Names in /proc always exist.
        if executed == Err(Errno::ENOENT) {
            let name = self.name_in_proc(file).step("name the program's file")?;
            let path = CString::new(name.as_str())
                .map_err(|_| Errno::EINVAL)
                .step("name the program's file")?;
            return nix::unistd::execve(&path, &argv, &env).step(format!("execute {name}"));
        }
        executed.step("execute the program")
    }

    /// A name of the program's file in /proc. A session that is in the node's pid namespace instead
    /// of its container's does not find itself in the container's /proc, but it finds the
    /// container's first process, which runs the same file.
    fn name_in_proc(&self, file: &OwnedFd) -> io::Result<String> {
        const FIRST: &str = "/proc/1/exe";
        let own = descriptor(file.as_fd());
        let wanted = nix::sys::stat::fstat(file)?;
        let runs_it = fs::metadata(FIRST)
            .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.st_dev, wanted.st_ino));
        let is_visible = fs::read_link("/proc/self").is_ok();
        Ok(match !is_visible && runs_it {
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

    /// The path to execute. A program that was passed as a descriptor would have the descriptor's
    /// number as its name in `ps` and in reports. If this process has a mount namespace of its own,
    /// the program therefore gets a name: a link in a new /dev/shm, which a pod has anyway.
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
            self.send(&Message::Note(failure.clone()))?;
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

/// The path of a file that this process has open.
fn descriptor(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Changes to a user and group permanently, and drops the supplementary groups.
fn become_user(user: u32, group: u32) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(group));
    nix::unistd::setgroups(&[]).step("drop the supplementary groups")?;
    nix::unistd::setresgid(gid, gid, gid).step(format!("become group {group}"))?;
    nix::unistd::setresuid(uid, uid, uid).step(format!("become user {user}"))
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>, Failure> {
    texts
        .iter()
        .map(|text| CString::new(text.as_str()).map_err(|_| io::Error::from(Errno::EINVAL)))
        .collect::<io::Result<_>>()
        .step("read the arguments")
}
