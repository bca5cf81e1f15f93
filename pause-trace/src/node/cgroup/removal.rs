//! Empties and removes cgroups that this program created.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::sys;

/// The prefix of every cgroup that this program creates. Other cgroups are never emptied or
/// removed.
pub(super) const PREFIX: &str = "pause-trace-";

/// How long the killed processes of a cgroup may take to exit.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(5);

/// Kills the processes in a cgroup of this program and its descendants, and removes them.
///
/// # Errors
/// Fails when the cgroup was not created by this program, or is not empty within five seconds.
pub(crate) fn remove(directory: &Path) -> io::Result<()> {
    if !is_ours(directory) {
        let text = format!("{} was not created by this program", directory.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let until = Instant::now() + EMPTY_TIMEOUT;
    loop {
        match fs::remove_dir(directory) {
            Err(error)
                if error.raw_os_error() == Some(Errno::EBUSY as i32) && Instant::now() < until => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
        // A process of a pod may have created cgroups below its own.
        for child in children(directory) {
            remove(&child)?;
        }
        empty(directory, until)?;
    }
}

pub(super) fn is_ours(directory: &Path) -> bool {
    directory.components().any(|part| {
        part.as_os_str()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX))
    })
}

pub(super) fn children(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

pub(super) fn processes(directory: &Path) -> io::Result<Vec<Pid>> {
    let text = fs::read_to_string(directory.join("cgroup.procs"))?;
    // 0 stands for a process outside this pid namespace.
    let pids = text.lines().filter_map(|line| line.parse().ok());
    Ok(pids.filter(|pid| *pid > 0).map(Pid::from_raw).collect())
}

/// Kills the processes in a cgroup of this program and its descendants, without waiting for their
/// end. No error if the cgroup does not exist.
pub(crate) fn kill(directory: &Path) -> io::Result<()> {
    for child in children(directory) {
        kill(&child)?;
    }
    if !is_ours(directory) || !directory.exists() {
        return Ok(());
    }
    send_kill(directory).map(drop)
}

/// Sends SIGKILL to the processes in the cgroup; returns their pidfds.
fn send_kill(directory: &Path) -> io::Result<Vec<OwnedFd>> {
    // A pid may be reused between reading the list and opening the pidfd. The list is therefore
    // read again, and only processes in both lists are killed: a pid that is listed again while its
    // pidfd is open is in the cgroup.
    let listed = processes(directory)?;
    let mut open: Vec<(Pid, OwnedFd)> = listed
        .into_iter()
        .filter_map(|pid| Some((pid, sys::pidfd_open(pid).ok()?)))
        .collect();
    let still = processes(directory)?;
    open.retain(|(pid, _)| still.contains(pid));

    // cgroup2 since 5.14: also kills processes that are forked meanwhile.
    if fs::write(directory.join("cgroup.kill"), "1").is_err() {
        for (_, pidfd) in &open {
            // ESRCH: it has already ended.
            let _ = sys::pidfd_send_signal(pidfd.as_fd(), Signal::SIGKILL as i32);
        }
    }
    Ok(open.into_iter().map(|(_, pidfd)| pidfd).collect())
}

/// Kills the processes in the cgroup and waits for their end.
fn empty(directory: &Path, until: Instant) -> io::Result<()> {
    let killed = send_kill(directory)?;
    match fs::File::open(directory.join("cgroup.events")) {
        Ok(events) => wait_unpopulated(events, until),
        Err(_) => wait_ended(&killed, until),
    }
}

/// Waits until cgroup2 reports that the last process has left.
fn wait_unpopulated(mut events: fs::File, until: Instant) -> io::Result<()> {
    let mut text = String::new();
    loop {
        text.clear();
        events.seek(SeekFrom::Start(0))?;
        events.read_to_string(&mut text)?;
        if text.lines().any(|line| line == "populated 0") {
            return Ok(());
        }
        let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        if poll(&mut fds, left(until))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// Waits for the end of each process, because version 1 does not notify.
fn wait_ended(processes: &[OwnedFd], until: Instant) -> io::Result<()> {
    for pidfd in processes {
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, left(until))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

fn left(until: Instant) -> PollTimeout {
    let left = until.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}
