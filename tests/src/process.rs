//! Processes that a test runs without a runtime, as pid 1 of a pid namespace or not.
//!
//! A test never sleeps and looks again. It waits for a process to end (a pidfd says so), or until it has done all that it was
//! asked and rests in the system call that it rests in: [`Process::settle`] follows it there with ptrace. Then what `/proc` says
//! of it is what it says for good.

use std::{
    collections::HashSet,
    fs, io,
    os::{
        fd::{AsFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    libc::{self, c_long},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, setns, unshare},
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// How long anything may take. Nothing here takes a thousandth of it on an idle machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Where a process runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// In the pid namespace of the tests.
    Ordinary,
    /// As the first process of a new pid namespace.
    Pid1,
    /// In the pid namespace of this process, with a parent outside: where a runtime puts an exec session.
    Beside(u32),
}

impl Place {
    /// The first two, or as many of them as this user may put a process in.
    pub fn each() -> impl Iterator<Item = Self> {
        let allowed = |place: &Self| match thread::scope(|scope| {
            scope.spawn(|| place.enter()).join()
        }) {
            Ok(Ok(())) => true,
            Ok(Err(errno)) => {
                eprintln!("skipped: as pid 1 of a pid namespace: unshare: {errno} (needs root)");
                false
            }
            Err(panic) => std::panic::resume_unwind(panic),
        };
        [Self::Ordinary, Self::Pid1].into_iter().filter(allowed)
    }

    /// Has the next child of the calling thread be born there. A pid namespace takes no process after its first has ended,
    /// so each wants a thread of its own.
    fn enter(self) -> io::Result<()> {
        match self {
            Self::Ordinary => Ok(()),
            Self::Pid1 => Ok(unshare(CloneFlags::CLONE_NEWPID)?),
            Self::Beside(pid) => {
                let namespace = fs::File::open(format!("/proc/{pid}/ns/pid"))?;
                Ok(setns(namespace, CloneFlags::CLONE_NEWPID)?)
            }
        }
    }
}

/// Has the process keep no file of the test harness but the first three, which go nowhere.
#[must_use]
pub fn command(program: &std::path::Path) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    before_exec(&mut command, || close_from(3, libc::CLOSE_RANGE_CLOEXEC));
    command
}

/// Runs `act` in the forked child of a test process with threads: it may make system calls only, and allocate nothing.
pub fn before_exec(
    command: &mut Command,
    act: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: every caller passes a closure that makes system calls only.
    unsafe { command.pre_exec(act) };
}

/// Closes the files from `first` on, or does to them what `flags` say.
///
/// # Errors
/// What the kernel says.
pub fn close_from(first: u32, flags: u32) -> io::Result<()> {
    // SAFETY: closes files (or marks them for it) in a forked child that owns its table of files.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A running process; killed and waited for when the test ends, however it does.
pub struct Process {
    /// What the standard library knows of it.
    pub child: Child,
    /// The system call that it rests in.
    rest: c_long,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts one that is going to rest in the system call `rest`, and does not wait for that.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn spawn(place: Place, mut command: Command, rest: c_long) -> Self {
        let spawn = move || {
            place.enter().expect("failed to enter a pid namespace");
            command.spawn().expect("failed to start the process")
        };
        let child = thread::spawn(spawn)
            .join()
            .expect("failed to start the process");
        Self { child, rest }
    }

    /// Starts one and waits until it rests.
    ///
    /// # Panics
    /// When it can't be started, or ends instead.
    #[must_use]
    pub fn start(place: Place, command: Command, rest: c_long) -> Self {
        let process = Self::spawn(place, command, rest);
        process.settle();
        process
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has handled every signal that it can handle and is about to rest.
    ///
    /// # Panics
    /// When it ends or is stopped instead, or does not rest.
    pub fn settle(&self) {
        settle(self.pid(), self.rest);
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&self, signal: i32) {
        // SAFETY: only sends a signal; the process is our child and not waited for, so the pid is still its own.
        let result = unsafe { libc::kill(self.pid().cast_signed(), signal) };
        assert_eq!(
            result,
            0,
            "failed to send signal {signal}: {}",
            io::Error::last_os_error()
        );
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn exit(&mut self) -> ExitStatus {
        let handle = handle(self.pid()).expect("a process that was not waited for has a pid");
        assert!(ends(&handle), "it did not end within {DEADLINE:?}");
        self.child.wait().expect("failed to wait for the process")
    }

    /// Waits for the end of each child, and sees that it was reaped as soon as the process rests again.
    ///
    /// # Panics
    /// When a child does not end, or is not reaped.
    pub fn reaps_all(&self) {
        while let Some(child) = self.children().first().copied() {
            self.child_ends(child);
            self.settle();
            assert!(!self.children().contains(&child), "{child} is not reaped");
        }
    }

    /// Waits for the end of each child, and sees that none was reaped when the process rests again.
    ///
    /// # Panics
    /// When a child does not end, or was reaped.
    pub fn reaps_none(&self) {
        let children = self.children();
        for child in &children {
            self.child_ends(*child);
        }
        self.settle();
        assert_eq!(self.children(), children, "some were reaped");
        for child in children {
            let state = status(child, "State");
            assert!(state.starts_with('Z'), "{child} is {state}");
        }
    }

    fn child_ends(&self, child: u32) {
        let handle = handle(child);
        // It is reaped already; or it was before its handle was opened, which may be some other process' then.
        let Some(handle) = handle.filter(|_| self.children().contains(&child)) else {
            return;
        };
        assert!(ends(&handle), "{child} did not end within {DEADLINE:?}");
    }

    /// Its children, zombies included.
    ///
    /// # Panics
    /// When `/proc` does not tell.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        let pid = self.pid();
        let children = read(&format!("/proc/{pid}/task/{pid}/children"));
        let pids = children.split_whitespace();
        pids.map(|pid| pid.parse().expect("a pid is a number"))
            .collect()
    }

    /// A line of its `/proc/PID/status`.
    #[must_use]
    pub fn status(&self, key: &str) -> String {
        status(self.pid(), key)
    }

    /// A set of signals in its `/proc/PID/status`.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn signals(&self, key: &str) -> HashSet<i32> {
        let set = u64::from_str_radix(&self.status(key), 16).expect("a set is hexadecimal");
        (1..=64)
            .filter(|signal| set >> (signal - 1) & 1 != 0)
            .collect()
    }

    /// The names in one of its directories in `/proc`.
    ///
    /// # Panics
    /// When `/proc` does not tell.
    #[must_use]
    pub fn entries(&self, directory: &str) -> Vec<String> {
        entries(self.pid(), directory)
    }
}

/// Waits until any process has handled every signal that it can handle and is about to rest in the system call `rest`.
///
/// It is followed with ptrace from wherever it is: if it rests already, being interrupted makes it begin again. On its way
/// into a system call it has taken all signals that were pending and are not blocked.
///
/// # Panics
/// When it ends or is stopped instead, or does not rest.
pub fn settle(pid: u32, rest: c_long) {
    let pid = Pid::from_raw(pid.cast_signed());
    thread::scope(|scope| {
        let (settled, stuck) = mpsc::channel::<()>();
        scope.spawn(move || {
            if stuck.recv_timeout(DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{pid} did not settle within {DEADLINE:?}");
                // That makes the other thread stop waiting.
                let _ = kill(pid, Signal::SIGKILL);
            }
        });
        let result = follow(pid, rest);
        drop(settled);
        if let Err(why) = result {
            panic!("{pid} is not going to rest: {why}");
        }
    });
}

fn follow(pid: Pid, rest: c_long) -> Result<(), String> {
    let failed = |what: &'static str| move |errno: nix::Error| format!("{what}: {errno}");
    ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD).map_err(failed("seize"))?;
    ptrace::interrupt(pid).map_err(failed("interrupt"))?;
    loop {
        let deliver = match waitpid(pid, None).map_err(failed("wait"))? {
            WaitStatus::PtraceSyscall(_) => {
                let info = ptrace::syscall_info(pid).map_err(failed("look at a system call"))?;
                // SAFETY: `entry` is what the kernel filled in when it says so in `op`.
                let enters = info.op == libc::PTRACE_SYSCALL_INFO_ENTRY
                    && unsafe { info.u.entry.nr } == rest.cast_unsigned();
                if enters {
                    return ptrace::detach(pid, None).map_err(failed("detach"));
                }
                None
            }
            WaitStatus::PtraceEvent(_, Signal::SIGTRAP, libc::PTRACE_EVENT_STOP) => None,
            WaitStatus::Stopped(_, signal) => Some(signal),
            other => return Err(format!("{other:?}")),
        };
        ptrace::syscall(pid, deliver).map_err(failed("go on"))?;
    }
}

/// A pidfd, if there is such a process.
#[must_use]
pub fn handle(pid: u32) -> Option<OwnedFd> {
    // SAFETY: touches no memory.
    let handle = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: a descriptor that was just made, and is nobody else's.
    (handle >= 0).then(|| unsafe { OwnedFd::from_raw_fd(handle as i32) })
}

/// Waits for the end of the process that `handle` is a pidfd of. False when it does not come.
#[must_use]
pub fn ends(handle: &OwnedFd) -> bool {
    let timeout = PollTimeout::try_from(DEADLINE).expect("poll takes ten seconds");
    let mut poll_fd = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    poll(&mut poll_fd, timeout).expect("failed to poll a pidfd") == 1
}

/// A line of any process' `/proc/PID/status`.
///
/// # Panics
/// When `/proc` does not tell.
#[must_use]
pub fn status(pid: u32, key: &str) -> String {
    let status = read(&format!("/proc/{pid}/status"));
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
    value
        .unwrap_or_else(|| panic!("no {key} in:\n{status}"))
        .to_owned()
}

/// The names in one of any process' directories in `/proc`.
///
/// # Panics
/// When `/proc` does not tell.
#[must_use]
pub fn entries(pid: u32, directory: &str) -> Vec<String> {
    let path = format!("/proc/{pid}/{directory}");
    let entries =
        fs::read_dir(&path).unwrap_or_else(|error| panic!("failed to list {path}: {error}"));
    let name = |entry: io::Result<fs::DirEntry>| entry.expect("failed to list").file_name();
    entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("failed to read {path}: {error}"))
}
