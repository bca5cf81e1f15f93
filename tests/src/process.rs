//! Processes that a test runs without a runtime, as pid 1 of a pid namespace or not.
//!
//! A test never polls after a sleep. It waits on a pidfd until a process ends, or until the process
//! has handled all signals and is about to block in a given system call: [`Process::settle`]
//! follows it there with ptrace. After that, what `/proc` shows of the process does not change.

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

/// The time limit of every wait. On an idle machine each takes less than a thousandth of it.
const DEADLINE: Duration = Duration::from_secs(60);

/// The pid namespace of a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// The pid namespace of the tests.
    Ordinary,
    /// A new pid namespace, of which it is the first process.
    Pid1,
    /// The pid namespace of this process, with a parent outside, as in an exec session of a
    /// runtime.
    Beside(u32),
}

impl Place {
    /// The first two, or those of them that this user may use.
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

    /// Makes the next child of the calling thread start there. A pid namespace accepts no process
    /// after its first one has ended, so each call needs a thread of its own.
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

/// A command whose process inherits no files from the test harness. Its stdin, stdout and stderr
/// are /dev/null.
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

/// Runs `act` in the forked child, before exec. The test process has threads, so `act` may only
/// make system calls and must not allocate.
pub fn before_exec(
    command: &mut Command,
    act: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: every caller passes a closure that makes system calls only.
    unsafe { command.pre_exec(act) };
}

/// Closes the file descriptors from `first` on, or marks them as `flags` say.
///
/// # Errors
/// Those of close_range(2).
pub fn close_from(first: u32, flags: u32) -> io::Result<()> {
    // SAFETY: closes files (or marks them close-on-exec) in a forked child, which has a table of
    // files of its own.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A running process. Dropping it kills and reaps it.
pub struct Process {
    /// The standard library's handle.
    pub child: Child,
    /// The system call that it blocks in when it is idle.
    rest: c_long,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it was reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a process that will block in the system call `rest`, and does not wait for that.
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

    /// Starts a process and waits until it blocks in the system call `rest`.
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

    /// Waits until it has handled every pending signal that it can handle, and is about to block in
    /// its system call.
    ///
    /// # Panics
    /// When it ends or is stopped instead, or never makes the system call.
    pub fn settle(&self) {
        settle(self.pid(), self.rest);
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&self, signal: i32) {
        // SAFETY: only sends a signal; the process is a child that was not reaped, so the pid is
        // still its own.
        let result = unsafe { libc::kill(self.pid().cast_signed(), signal) };
        assert_eq!(
            result,
            0,
            "failed to send signal {signal}: {}",
            io::Error::last_os_error()
        );
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// When it does not end.
    pub fn exit(&mut self) -> ExitStatus {
        let handle = handle(self.pid()).expect("a process that was not reaped has a pid");
        assert!(ends(&handle), "it did not end within {DEADLINE:?}");
        self.child.wait().expect("failed to wait for the process")
    }

    /// Waits until each child ends, and checks that the process has reaped it when it blocks again.
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

    /// Waits until each child ends, and checks that the process has reaped none when it blocks
    /// again.
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
        // The child is reaped already, or was before the pidfd was opened. In that case the pidfd
        // may be that of another process.
        let Some(handle) = handle.filter(|_| self.children().contains(&child)) else {
            return;
        };
        assert!(ends(&handle), "{child} did not end within {DEADLINE:?}");
    }

    /// Its children, including zombies.
    ///
    /// # Panics
    /// When `/proc` can't be read.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        children(self.pid())
    }

    /// A line of its `/proc/PID/status`.
    #[must_use]
    pub fn status(&self, key: &str) -> String {
        status(self.pid(), key)
    }

    /// A set of signals in its `/proc/PID/status`.
    ///
    /// # Panics
    /// When the line is not a set of signals.
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
    /// When `/proc` can't be read.
    #[must_use]
    pub fn entries(&self, directory: &str) -> Vec<String> {
        entries(self.pid(), directory)
    }
}

/// How often a process that does not settle is woken up before it counts as stuck.
const NUDGES: u32 = 6;

/// Waits until a process has handled every pending signal that it can handle, and is about to block
/// in the system call `rest`.
///
/// The process is traced with ptrace. If it is in the system call already, the interruption makes
/// it call again. When a process enters a system call, it has handled all pending signals that are
/// not blocked.
///
/// # Panics
/// When it ends or is stopped instead, or never makes the system call.
pub fn settle(pid: u32, rest: c_long) {
    let pid = Pid::from_raw(pid.cast_signed());
    thread::scope(|scope| {
        let (settled, stuck) = mpsc::channel::<()>();
        scope.spawn(move || {
            let is_stuck = |long| stuck.recv_timeout(long) == Err(mpsc::RecvTimeoutError::Timeout);
            // Linux 6.18 was seen to leave a traced process in ppoll that was interrupted. It stops
            // for a signal, even for one that it ignores.
            if (0..NUDGES)
                .all(|_| is_stuck(DEADLINE / NUDGES) && kill(pid, Signal::SIGWINCH).is_ok())
            {
                eprintln!("{pid} did not settle within {DEADLINE:?}:");
                for file in ["status", "wchan", "syscall", "stack"] {
                    for thread in entries(pid.as_raw().cast_unsigned(), "task") {
                        let path = format!("/proc/{pid}/task/{thread}/{file}");
                        let text = fs::read_to_string(&path).unwrap_or_else(|e| e.to_string());
                        eprintln!("{path}:\n{text}");
                    }
                }
                // The kill makes the other thread stop waiting.
                let _ = kill(pid, Signal::SIGKILL);
            }
        });
        let result = follow(pid, rest);
        drop(settled);
        if let Err(why) = result {
            panic!("{pid} does not settle: {why}");
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
                let info = ptrace::syscall_info(pid).map_err(failed("read a system call"))?;
                // SAFETY: `op` says that the kernel filled in `entry`.
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
        ptrace::syscall(pid, deliver).map_err(failed("continue"))?;
    }
}

/// The children of a process, including zombies.
///
/// # Panics
/// When `/proc` can't be read.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let children = read(&format!("/proc/{pid}/task/{pid}/children"));
    let pids = children.split_whitespace();
    pids.map(|pid| pid.parse().expect("a pid is a number"))
        .collect()
}

/// A pidfd of a process; `None` if the process does not exist.
#[must_use]
pub fn handle(pid: u32) -> Option<OwnedFd> {
    // SAFETY: touches no memory.
    let handle = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: the descriptor is new, and nothing else owns it.
    (handle >= 0).then(|| unsafe { OwnedFd::from_raw_fd(handle as i32) })
}

/// Waits until the process of a pidfd ends. Returns false if it does not.
#[must_use]
pub fn ends(handle: &OwnedFd) -> bool {
    let timeout = PollTimeout::try_from(DEADLINE).expect("the timeout fits poll");
    let mut poll_fd = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    poll(&mut poll_fd, timeout).expect("failed to poll a pidfd") == 1
}

/// A line of a process's `/proc/PID/status`.
///
/// # Panics
/// When `/proc` can't be read.
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

/// The names in a directory of a process in `/proc`.
///
/// # Panics
/// When `/proc` can't be read.
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
