//! Emptying and removing cgroups, of our own only.

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

/// The first component of every cgroup that this program makes. Nothing else is ever killed in or removed.
pub(super) const PREFIX: &str = "pause-trace-";

/// How long a killed cgroup may take to empty.
const EMPTYING: Duration = Duration::from_secs(5);

/// Kills everything in a cgroup of ours and below it, and removes it.
///
/// # Errors
/// When it is not one of ours, or has not emptied within five seconds.
pub(crate) fn remove(directory: &Path) -> io::Result<()> {
    if !is_ours(directory) {
        let text = format!("{} was not made by this program", directory.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let until = Instant::now() + EMPTYING;
    loop {
        match fs::remove_dir(directory) {
            Err(error)
                if error.raw_os_error() == Some(Errno::EBUSY as i32) && Instant::now() < until => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
        // What a pod's process made below its own cgroup.
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
    // 0 stands for a process that this pid namespace cannot see.
    let pids = text.lines().filter_map(|line| line.parse().ok());
    Ok(pids.filter(|pid| *pid > 0).map(Pid::from_raw).collect())
}

/// Kills everything in a cgroup of ours and below it, without waiting for its end. No error when it is gone.
pub(crate) fn kill(directory: &Path) -> io::Result<()> {
    for child in children(directory) {
        kill(&child)?;
    }
    if !is_ours(directory) || !directory.exists() {
        return Ok(());
    }
    send_kill(directory).map(drop)
}

/// Sends SIGKILL to what is in the cgroup now; returns what that was.
fn send_kill(directory: &Path) -> io::Result<Vec<OwnedFd>> {
    // A pidfd may be opened only after a pid has been used again: so the list is read once more, and only who is in both
    // is killed. Whoever is listed then is in our cgroup.
    let listed = processes(directory)?;
    let mut open: Vec<(Pid, OwnedFd)> = listed
        .into_iter()
        .filter_map(|pid| Some((pid, sys::pidfd_open(pid).ok()?)))
        .collect();
    let still = processes(directory)?;
    open.retain(|(pid, _)| still.contains(pid));

    // Since 5.14, cgroup2: takes also what forks meanwhile.
    if fs::write(directory.join("cgroup.kill"), "1").is_err() {
        for (_, pidfd) in &open {
            // ESRCH: it has ended by itself.
            let _ = sys::pidfd_send_signal(pidfd.as_fd(), Signal::SIGKILL as i32);
        }
    }
    Ok(open.into_iter().map(|(_, pidfd)| pidfd).collect())
}

/// Kills what is in the cgroup now and waits for its end.
fn empty(directory: &Path, until: Instant) -> io::Result<()> {
    let killed = send_kill(directory)?;
    match fs::File::open(directory.join("cgroup.events")) {
        Ok(events) => wait_unpopulated(events, until),
        Err(_) => wait_ended(&killed, until),
    }
}

/// cgroup2 says when the last process has left.
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

/// Version 1 says nothing, but the processes do.
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
