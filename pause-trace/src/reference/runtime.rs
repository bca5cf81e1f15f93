//! The runtime process, which does the work of containerd's shim and runc.
//!
//! `pause-trace __runtime` runs this executable with one thread, so that it may fork, change
//! namespaces and be the parent of a pod's processes. It reads requests from the socket on stdin
//! and answers them in order; between requests it reaps. Each pod has its own runtime.
//!
//! **Nothing is left behind.** When the socket is closed, because the loader has finished or was
//! killed, the runtime kills the processes in the pod's cgroups, removes the cgroups, and exits. It
//! has no parent-death signal, which would depend on the *thread* of the loader that started it and
//! would leave the cgroups. The pod's processes have one ([`spawn`]), for the case that the runtime
//! is killed; the loader then removes the cgroups.

mod spawn;

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::MsgFlags;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::patience::Patience;
use super::protocol::{
    self, Call, Done, Exit, Failure, FromRuntime, Owned, Sender, Status, Step, ToRuntime,
};
use crate::node::cgroup;
use crate::sys;
use spawn::Link;

/// The most exits in one message.
const MAX_EXITS_PER_MESSAGE: usize = 500;

/// The time limit for the end of the pod's killed processes.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs until the loader closes the socket.
///
/// The only argument is the patience of the check.
pub(crate) fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let patience = args
        .into_iter()
        .next()
        .and_then(|text| text.to_str()?.parse().ok())
        .unwrap_or_default();
    match Runtime::start(patience).and_then(Runtime::serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pause-trace: the reference pod's runtime failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Runtime {
    control: OwnedFd,
    signals: SignalFd,
    patience: Patience,
    files: spawn::Files,
    /// Processes that it started and has not reaped. Their pids cannot be reused.
    children: HashSet<Pid>,
    /// Processes that are held before their exec.
    held: HashMap<Pid, Link>,
    /// Processes that it must leave as zombies.
    unreaped: HashSet<Pid>,
    owned: Vec<Owned>,
    /// Messages that do not fit into the socket yet. The runtime must continue to reap meanwhile.
    outbox: VecDeque<Vec<u8>>,
}

impl Runtime {
    fn start(patience: Patience) -> Result<Self, Failure> {
        sys::close_others_on_exec().step("mark open files")?;
        let null = fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .step("open /dev/null")?;
        let null = sys::out_of_the_way(null).step("open /dev/null")?;
        let control = sys::out_of_the_way(io::stdin()).step("take the control socket")?;
        nix::unistd::dup2_stdin(&null).step("replace stdin")?;
        let workload = fs::File::open("/proc/self/exe").step("open /proc/self/exe")?;
        let workload = sys::out_of_the_way(workload).step("open /proc/self/exe")?;

        // The name in `ps` and in reports, instead of "exe".
        nix::sys::prctl::set_name(c"pause-trace-rt").step("set the name")?;
        // A session of its own, so that only the loader receives Ctrl-C; the loader then closes the
        // socket. EPERM: it is already a process group leader.
        let _ = nix::unistd::setsid();
        // Orphans of pods without a pid namespace of their own are reparented to the runtime, as
        // they are to a shim.
        nix::sys::prctl::set_child_subreaper(true).step("become a subreaper")?;

        let mut mask = SigSet::empty();
        for signal in [
            Signal::SIGCHLD,
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
        ] {
            mask.add(signal);
        }
        mask.thread_block().step("block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).step("open a signalfd")?;
        Ok(Self {
            control,
            signals,
            patience,
            files: spawn::Files { null, workload },
            children: HashSet::new(),
            held: HashMap::new(),
            unreaped: HashSet::new(),
            owned: Vec::new(),
            outbox: VecDeque::new(),
        })
    }

    fn serve(mut self) -> Result<(), Failure> {
        let served = self.serve_until_closed();
        self.clean_up();
        served
    }

    fn serve_until_closed(&mut self) -> Result<(), Failure> {
        loop {
            let mut wanted = PollFlags::POLLIN;
            wanted.set(PollFlags::POLLOUT, !self.outbox.is_empty());
            let mut fds = [
                PollFd::new(self.control.as_fd(), wanted),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Failure::new("wait", errno)),
            }
            let events = fds[0].revents().unwrap_or(PollFlags::empty());
            // Requests first, so that the answer to a spawn is sent before the exit of that
            // process.
            if events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                let flags = MsgFlags::MSG_DONTWAIT;
                match protocol::receive::<Call<ToRuntime>>(self.control.as_fd(), flags) {
                    Ok(Some((call, fds))) => {
                        let result = self.handle(call.request, fds);
                        self.push(&FromRuntime::Answer {
                            seq: call.seq,
                            result,
                        });
                    }
                    Ok(None) => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error).step("read a request"),
                }
            }
            while let Ok(Some(signal)) = self.signals.read_signal() {
                if signal.ssi_signo != Signal::SIGCHLD as u32 {
                    return Ok(());
                }
            }
            self.reap();
            if self.flush().is_err() {
                return Ok(());
            }
        }
    }

    fn handle(&mut self, request: ToRuntime, fds: Vec<OwnedFd>) -> Result<Done, Failure> {
        match request {
            ToRuntime::Own(what) => {
                self.owned.extend(what);
                Ok(Done::default())
            }
            ToRuntime::Spawn(plan) => {
                let spawned = spawn::spawn(&plan, fds, &self.files, self.patience)?;
                self.children.insert(spawned.pid);
                if let Some(link) = spawned.held {
                    self.held.insert(spawned.pid, link);
                }
                Ok(Done {
                    pid: spawned.pid.as_raw(),
                    notes: spawned.notes,
                })
            }
            ToRuntime::Kill {
                pid,
                signal,
                sender,
            } => {
                self.kill(Pid::from_raw(pid), signal, sender)?;
                Ok(Done::default())
            }
            ToRuntime::Release { pid } => {
                let link = self.held.remove(&Pid::from_raw(pid));
                link.ok_or(Errno::ESRCH)
                    .step(format!("release pid {pid}"))?
                    .release()?;
                Ok(Done::default())
            }
            ToRuntime::LeaveUnreaped { pid } => {
                self.unreaped.insert(Pid::from_raw(pid));
                Ok(Done::default())
            }
            ToRuntime::ReapAgain { pid } => {
                self.unreaped.remove(&Pid::from_raw(pid));
                Ok(Done::default())
            }
        }
    }

    /// Sends a signal. The pidfd is opened before the check, so that the signal goes to the checked
    /// process.
    fn kill(&self, pid: Pid, signal: i32, sender: Sender) -> Result<(), Failure> {
        let pidfd = sys::pidfd_open(pid).step(format!("open a pidfd of pid {pid}"))?;
        if !self.children.contains(&pid) && !self.is_ours(pid) {
            return Err(Failure::new(
                format!("signal pid {pid}, which is not in this pod"),
                Errno::EPERM,
            ));
        }
        let send = || sys::pidfd_send_signal(pidfd.as_fd(), signal);
        match sender {
            Sender::Runtime => send(),
            Sender::Helper => match sys::fork().step("fork a sender")? {
                None => sys::exit(send().err().map_or(0, |errno| errno as i32)),
                Some(helper) => match waitpid(helper, None) {
                    Ok(WaitStatus::Exited(_, 0)) => Ok(()),
                    Ok(WaitStatus::Exited(_, errno)) => Err(Errno::from_raw(errno)),
                    Ok(_) => Err(Errno::EIO),
                    Err(errno) => Err(errno),
                },
            },
        }
        .step(format!("send signal {signal} to pid {pid}"))
    }

    /// Whether a process is in one of this pod's cgroups.
    fn is_ours(&self, pid: Pid) -> bool {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        self.owned.iter().any(|owned| match owned {
            Owned::Cgroup(directory) => is_within(&text, directory),
            _ => false,
        })
    }

    fn reap(&mut self) {
        let exits: Vec<Exit> = if self.unreaped.is_empty() {
            std::iter::from_fn(|| exit_of(None)).collect()
        } else {
            // Waiting for any child would also reap those that must remain, so each pid is waited
            // for.
            self.waiting()
                .into_iter()
                .filter(|pid| !self.unreaped.contains(pid))
                .filter_map(|pid| exit_of(Some(pid)))
                .collect()
        };
        for exit in &exits {
            let pid = Pid::from_raw(exit.pid);
            self.children.remove(&pid);
            self.held.remove(&pid);
        }
        for some in exits.chunks(MAX_EXITS_PER_MESSAGE) {
            self.push(&FromRuntime::Exited(some.to_vec()));
        }
    }

    /// Its children, including reparented ones if the kernel lists them (CONFIG_PROC_CHILDREN).
    fn waiting(&self) -> Vec<Pid> {
        let own = std::process::id();
        match fs::read_to_string(format!("/proc/self/task/{own}/children")) {
            Ok(text) => text
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .map(Pid::from_raw)
                .collect(),
            Err(_) => self.children.iter().copied().collect(),
        }
    }

    fn push(&mut self, message: &FromRuntime) {
        match protocol::line(message) {
            Ok(line) => self.outbox.push_back(line),
            Err(error) => {
                eprintln!("pause-trace: the reference pod's runtime failed to answer: {error}")
            }
        }
    }

    fn flush(&mut self) -> nix::Result<()> {
        while let Some(line) = self.outbox.front() {
            match sys::send_packet(self.control.as_fd(), line, &[], MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                other => other?,
            }
            self.outbox.pop_front();
        }
        Ok(())
    }

    /// Kills, then reaps, then removes. The init of a pid namespace does not exit before the other
    /// processes of its namespace have been reaped (`zap_pid_ns_processes`), and some of these are
    /// children of the runtime: waiting for an empty cgroup without reaping would deadlock.
    fn clean_up(mut self) {
        let until = Instant::now() + self.patience.of(END_TIMEOUT);
        for owned in &self.owned {
            if let Owned::Cgroup(directory) = owned
                && let Err(error) = cgroup::kill(directory)
            {
                eprintln!(
                    "pause-trace: failed to kill the processes in {}: {error}",
                    directory.display()
                );
            }
        }
        while !matches!(self.reap_quietly(), Err(Errno::ECHILD)) && Instant::now() < until {
            // Processes that never entered a cgroup, and orphans that are reparented to the
            // runtime.
            for pid in self.waiting() {
                // The pid cannot have been reused, because the process has not been reaped. Errors
                // are ignored.
                let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
            }
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let _ = poll(
                &mut fds,
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
            );
            while let Ok(Some(_)) = self.signals.read_signal() {}
        }
        for owned in self.owned.drain(..).rev() {
            if let Err(error) = discard(&owned) {
                eprintln!("pause-trace: failed to remove {owned:?}: {error}");
            }
        }
    }

    /// Reaps all zombies, including those that were to remain, without reporting their exits.
    fn reap_quietly(&self) -> nix::Result<()> {
        while sys::reap(None)?.is_some() {}
        Ok(())
    }
}

/// Removes an object of the pod. No error if it has already been removed.
pub(super) fn discard(owned: &Owned) -> io::Result<()> {
    match owned {
        Owned::Cgroup(directory) => cgroup::remove(directory),
        Owned::SharedMemory(key) => Ok(sys::shm_remove(*key).or_else(absent)?),
        Owned::Queue(name) => Ok(nix::mqueue::mq_unlink(name.as_str()).or_else(absent)?),
    }
}

fn absent(errno: Errno) -> nix::Result<()> {
    if errno == Errno::ENOENT {
        Ok(())
    } else {
        Err(errno)
    }
}

/// Whether a line of /proc/PID/cgroup names this cgroup or one below it. Only the unique last
/// component is compared, because the path above it depends on the mount point of the hierarchy.
fn is_within(memberships: &str, directory: &Path) -> bool {
    let Some(name) = directory.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    memberships
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .any(|path| path.split('/').any(|part| part == name))
}

fn exit_of(pid: Option<Pid>) -> Option<Exit> {
    let (pid, how) = sys::reap(pid).ok()??;
    let status = how.map_or_else(Status::Signaled, Status::Exited);
    Some(Exit {
        pid: pid.as_raw(),
        status,
    })
}
