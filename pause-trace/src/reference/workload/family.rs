//! The agent's children, orphans and zombies.

use std::fs;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigHandler, Signal};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getpid, pipe2};

use super::numbers;
use crate::reference::protocol::{ChildNote, Failure, Step};
use crate::sys;

/// Orphans that live at one time. The number stays below pid limits in the thousands, and forks
/// become slower with more processes.
const BATCH: u32 = 256;

/// Releases a child through its lifeline.
const RELEASE: &[u8] = b"r";

/// How long a child outlives its agent.
const AFTER_AGENT: Duration = Duration::from_secs(1);

/// The processes that the agent has created.
pub(super) struct Family {
    /// Whether a handler reaps.
    reaps: bool,
    children: Vec<Child>,
    /// The lifelines of orphans; closing a lifeline ends its orphan.
    orphans: Vec<OwnedFd>,
}

struct Child {
    pid: Pid,
    /// Written to and closed to end the child.
    lifeline: Option<OwnedFd>,
    /// The pipe to which it notes a SIGTERM.
    notes: OwnedFd,
    got_term: bool,
}

impl Family {
    pub(super) fn new(reaps: bool) -> Self {
        Self {
            reaps,
            children: Vec::new(),
            orphans: Vec::new(),
        }
    }

    /// Creates real orphans: they are alive when their parent dies, so that they are reparented.
    pub(super) fn orphans(&self, count: u32) -> Result<u32, Failure> {
        let mut made = 0;
        while made < count {
            let batch = BATCH.min(count - made);
            self.batch(batch)?;
            made += batch;
        }
        Ok(made)
    }

    fn batch(&self, count: u32) -> Result<(), Failure> {
        // Each orphan holds the write end, so the end of the stream means that all have exited.
        let (ends, alive) = pipe()?;
        let Some(parent) = sys::fork().step("fork the parent of orphans")? else {
            sys::close_all_but(&numbers([&alive]));
            let made = parent_of_orphans(count);
            sys::exit(made.err().map_or(0, |errno| errno as i32));
        };
        drop(alive);
        let made = self.await_child(parent);
        wait_for_end(ends);
        made.step(format!("fork {count} orphans"))
    }

    /// Creates an orphan that lives until it is released.
    pub(super) fn orphan(&mut self) -> Result<i32, Failure> {
        let (held, lifeline) = pipe()?;
        let (answer, tell) = pipe()?;
        let Some(parent) = sys::fork().step("fork the parent of an orphan")? else {
            sys::close_all_but(&numbers([&held, &tell]));
            match sys::fork() {
                Ok(None) => {
                    // Its pid in its own pid namespace, which the agent shares.
                    let _ = nix::unistd::write(&tell, &getpid().as_raw().to_ne_bytes());
                    drop(tell);
                    wait_for_end(held);
                    sys::exit(0)
                }
                Ok(Some(_)) => sys::exit(0),
                Err(errno) => sys::exit(errno as i32),
            }
        };
        drop((held, tell));
        self.await_child(parent).step("fork an orphan")?;
        let mut pid = [0; 4];
        fs::File::from(answer)
            .read_exact(&mut pid)
            .step("learn the orphan's pid")?;
        self.orphans.push(lifeline);
        Ok(i32::from_ne_bytes(pid))
    }

    /// Ends all orphans and children.
    pub(super) fn release(&mut self) {
        self.orphans.clear();
        for child in &mut self.children {
            if let Some(lifeline) = child.lifeline.take() {
                // A child that has ended cannot read it, and need not.
                let _ = fs::File::from(lifeline).write_all(RELEASE);
            }
        }
    }

    pub(super) fn zombie(&self) -> Result<i32, Failure> {
        let Some(child) = sys::fork().step("fork")? else {
            sys::exit(0)
        };
        // Waits until it has exited, without reaping it.
        match waitid(Id::Pid(child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            // Reaped by the handler.
            Err(Errno::ECHILD) if self.reaps => {}
            other => drop(other.step("await the zombie")?),
        }
        Ok(child.as_raw())
    }

    pub(super) fn reap(&self) -> u32 {
        std::iter::from_fn(|| sys::reap(None).ok()?).fold(0, |count, _| count + 1)
    }

    /// Creates a child that enters a namespace through the 32-bit entry of the kernel and exits.
    /// ENOSYS if there is none.
    pub(super) fn join_unseen(&self, path: &Path) -> Result<i32, Failure> {
        let file = fs::File::open(path).step(format!("open {}", path.display()))?;
        let (result, say) = pipe()?;
        let Some(child) = sys::fork().step("fork")? else {
            // Without such an entry, the call crashes this child.
            let errno = sys::compat::setns(file.as_fd()).map_or_else(|errno| errno as i32, |()| 0);
            sys::note(say.as_raw_fd(), errno as u8);
            sys::exit(0)
        };
        drop(say);
        let mut errno = [0];
        let read = fs::File::from(result).read(&mut errno).step("read")?;
        let result = match (read, errno) {
            (0, _) => Err(Errno::ENOSYS),
            (_, [0]) => Ok(()),
            (_, [errno]) => Err(Errno::from_raw(errno.into())),
        };
        result
            .step("enter a namespace through the 32-bit entry of the kernel")
            .map(|()| child.as_raw())
    }

    /// Creates a child, a thread of which enters a namespace and executes this program, which ends
    /// at once because its argument is wrong.
    pub(super) fn join_in_thread_and_execute(&self, path: &Path) -> Result<i32, Failure> {
        let file = fs::File::open(path).step(format!("open {}", path.display()))?;
        let Some(child) = sys::fork().step("fork")? else {
            let thread = thread::spawn(move || {
                if setns(file, CloneFlags::empty()).is_ok() {
                    // It returns only if it fails.
                    let _ = Command::new("/proc/self/exe")
                        .args(["__workload", "--wrong"])
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .exec();
                }
            });
            let _ = thread.join();
            sys::exit(1)
        };
        Ok(child.as_raw())
    }

    /// Clones a child into new namespaces, where it exits.
    pub(super) fn clone_into(&self, flags: CloneFlags) -> nix::Result<i32> {
        match sys::clone_into(flags)? {
            Some(child) => Ok(child.as_raw()),
            None => sys::exit(0),
        }
    }

    /// Creates a child that lives until it is released, or receives SIGTERM and does not ignore it.
    pub(super) fn child(&mut self, ignores_term: bool) -> Result<i32, Failure> {
        let (held, lifeline) = pipe()?;
        let (notes, write) = pipe()?;
        // The child closes its end when it has set its disposition.
        let (ready, say_ready) = pipe()?;
        let Some(pid) = sys::fork().step("fork a child")? else {
            sys::close_all_but(&numbers([&held, &write, &say_ready]));
            live(ignores_term, held, &write, say_ready)
        };
        drop((held, write, say_ready));
        wait_for_end(ready);
        self.children.push(Child {
            pid,
            lifeline: Some(lifeline),
            notes,
            got_term: false,
        });
        Ok(pid.as_raw())
    }

    /// Creates a child that lives on when the agent has ended.
    pub(super) fn stray(&self) -> Result<i32, Failure> {
        let Some(child) = sys::fork().step("fork a stray")? else {
            sys::close_all_but(&[]);
            loop {
                nix::unistd::pause();
            }
        };
        Ok(child.as_raw())
    }

    /// Creates a child that allocates memory until it is killed, or has allocated more than any
    /// limit of a test.
    pub(super) fn hungry(&self) -> Result<i32, Failure> {
        let Some(child) = sys::fork().step("fork a child")? else {
            sys::eat_memory();
            sys::exit(0)
        };
        match waitid(Id::Pid(child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Err(Errno::ECHILD) if self.reaps => {}
            other => drop(other.step("await the child")?),
        }
        Ok(child.as_raw())
    }

    pub(super) fn children(&mut self) -> Vec<ChildNote> {
        for child in &mut self.children {
            let mut fds = [PollFd::new(child.notes.as_fd(), PollFlags::POLLIN)];
            let written = poll(&mut fds, PollTimeout::ZERO).is_ok()
                && fds[0]
                    .revents()
                    .is_some_and(|events| events.contains(PollFlags::POLLIN));
            child.got_term |= written;
        }
        self.children
            .iter()
            .map(|child| ChildNote {
                pid: child.pid.as_raw(),
                got_term: child.got_term,
            })
            .collect()
    }

    /// Waits for a child that exits with an errno, or 0.
    fn await_child(&self, pid: Pid) -> nix::Result<()> {
        use nix::sys::wait::{WaitStatus, waitpid};
        loop {
            return match waitpid(pid, None) {
                Err(Errno::EINTR) => continue,
                // The SIGCHLD handler has reaped it.
                Err(Errno::ECHILD) if self.reaps => Ok(()),
                Err(errno) => Err(errno),
                Ok(WaitStatus::Exited(_, 0)) => Ok(()),
                Ok(WaitStatus::Exited(_, errno)) => Err(Errno::from_raw(errno)),
                Ok(_) => Err(Errno::ECHILD),
            };
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    pipe2(OFlag::O_CLOEXEC).step("make a pipe")
}

/// Reads until the write end is closed everywhere. Returns whether anything was written.
fn wait_for_end(read: OwnedFd) -> bool {
    let mut written = Vec::new();
    // Interrupted reads are repeated by the library.
    let _ = fs::File::from(read).read_to_end(&mut written);
    !written.is_empty()
}

/// Runs in the parent that is about to die. Its children poll *its* pidfd, which becomes readable
/// only after they have been reparented (`exit_notify`: first `forget_original_parent`, then the
/// notification). The end of a pipe would come too early, when the exiting process closes its
/// files.
fn parent_of_orphans(count: u32) -> nix::Result<()> {
    // Without a handler, a SIGCHLD does not interrupt the orphans' poll.
    sys::on_signal(Signal::SIGCHLD, SigHandler::SigDfl)?;
    let own = sys::pidfd_open(getpid())?;
    for _ in 0..count {
        if sys::fork()?.is_none() {
            let mut fds = [PollFd::new(own.as_fd(), PollFlags::POLLIN)];
            while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
            sys::exit(0);
        }
    }
    Ok(())
}

/// The descriptor to which the handler of [`live`] writes.
static NOTES: AtomicI32 = AtomicI32::new(-1);

fn live(ignores_term: bool, held: OwnedFd, notes: &OwnedFd, say_ready: OwnedFd) -> ! {
    extern "C" fn note_and_exit(_signal: i32) {
        sys::note(NOTES.load(Ordering::Relaxed), b'T');
        sys::exit(0)
    }
    NOTES.store(notes.as_raw_fd(), Ordering::Relaxed);
    let handler = if ignores_term {
        SigHandler::SigIgn
    } else {
        SigHandler::Handler(note_and_exit)
    };
    if sys::on_signal(Signal::SIGTERM, handler).is_err() {
        sys::exit(1);
    }
    // The child inherited a blocked SIGTERM if the agent blocks it.
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
    drop(say_ready);
    if !wait_for_end(held) {
        // The agent has died. If it was pid 1, the kernel kills its children next: a child that
        // exited at the same time would sometimes be faster.
        thread::sleep(AFTER_AGENT);
    }
    sys::exit(0)
}
