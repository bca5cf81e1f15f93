//! The loader's end of the socket to the runtime, and the runtime's life.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, shutdown, socketpair,
};
use nix::unistd::Pid;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::PodError;
use crate::reference::patience::Patience;
use crate::reference::protocol::{
    self, Call, Done, Failure, FromRuntime, Owned, Plan, Status, ToRuntime,
};
use crate::reference::runtime::discard;
use crate::sys;

/// How long the runtime may take to answer; it gives a spawn a minute itself. To put a process into a cgroup the kernel waits until
/// no fork is under way anywhere: on a busy machine that is seconds, for each of many pods.
const ANSWER: Duration = Duration::from_secs(70);

/// How long it may take to end; it gives each cgroup a minute to empty.
const END: Duration = Duration::from_secs(70);

/// A runtime process and the connection to it.
#[derive(Debug)]
pub(super) struct Client {
    process: std::process::Child,
    pidfd: OwnedFd,
    handle: Arc<Handle>,
    reader: JoinHandle<()>,
    ended: bool,
}

/// What may ask the runtime.
#[derive(Debug)]
pub(super) struct Handle {
    socket: AsyncFd<OwnedFd>,
    patience: Patience,
    last: AtomicU64,
    heard: Mutex<Heard>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Heard {
    answers: HashMap<u64, Result<Done, Failure>>,
    /// The last end of each pid, until the pid is used again.
    exits: HashMap<i32, Status>,
    /// What the runtime removes, and we when it was killed. The cgroups are the pod's.
    owned: Vec<Owned>,
    closed: bool,
}

impl Client {
    /// Starts a runtime process.
    pub(super) fn start(patience: Patience) -> Result<Self, PodError> {
        let what = "start the reference pod's runtime";
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
            .map_err(|error| PodError::io(what, error))?;
        let process = Command::new("/proc/self/exe")
            .arg0("pause-trace")
            .arg("__runtime")
            .arg(patience.to_string())
            .stdin(theirs)
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| PodError::io(what, error))?;
        // Nobody else reaps our children, so the pid is still the process's.
        let pidfd = sys::pidfd_open(Pid::from_raw(process.id().cast_signed()))
            .map_err(|error| PodError::io(what, error))?;
        let handle = Arc::new(Handle {
            socket: sys::watched(ours).map_err(|error| PodError::io(what, error))?,
            patience,
            last: AtomicU64::new(0),
            heard: Mutex::default(),
            changed: Notify::new(),
        });
        let reader = tokio::spawn(Arc::clone(&handle).read());
        Ok(Self {
            process,
            pidfd,
            handle,
            reader,
            ended: false,
        })
    }

    pub(super) fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    pub(super) fn handle(&self) -> Arc<Handle> {
        Arc::clone(&self.handle)
    }

    pub(super) async fn call(
        &self,
        request: ToRuntime,
        fds: Vec<BorrowedFd<'_>>,
    ) -> Result<Done, PodError> {
        self.handle.call(request, &fds).await
    }

    pub(super) async fn spawn(
        &self,
        plan: Plan,
        fds: Vec<BorrowedFd<'_>>,
    ) -> Result<Done, PodError> {
        self.call(ToRuntime::Spawn(Box::new(plan)), fds).await
    }

    /// Lets the runtime clean up and end.
    pub(super) async fn end(&mut self) -> Result<(), PodError> {
        let what = || "end the reference pod's runtime".to_owned();
        self.hang_up();
        let pidfd = self
            .pidfd
            .try_clone()
            .and_then(sys::watched)
            .map_err(|error| PodError::io(what(), error))?;
        let limit = self.handle.patience.of(END);
        let readable = timeout(limit, pidfd.readable()).await;
        let ended = matches!(readable, Ok(Ok(_)));
        drop(readable);
        self.finish(ended);
        if ended {
            Ok(())
        } else {
            Err(PodError::Unanswered {
                what: what(),
                after: limit,
            })
        }
    }

    /// The same without waiting for others: for `Drop`.
    pub(super) fn end_now(&mut self) {
        if self.ended {
            return;
        }
        self.hang_up();
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(self.handle.patience.of(END)).unwrap_or(PollTimeout::MAX);
        let ended = loop {
            match poll(&mut fds, limit) {
                Err(nix::errno::Errno::EINTR) => {}
                other => break other.is_ok_and(|count| count > 0),
            }
        };
        self.finish(ended);
    }

    fn hang_up(&self) {
        self.reader.abort();
        // The runtime reads the end, whoever else still holds this socket.
        let _ = shutdown(
            std::os::fd::AsRawFd::as_raw_fd(self.handle.socket.get_ref()),
            Shutdown::Both,
        );
        self.handle.close();
    }

    fn finish(&mut self, ended: bool) {
        self.ended = true;
        if !ended {
            // Its processes follow by their parent-death signal, its cgroups with the `Cgroup`s of the pod.
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
        for owned in self.handle.heard().owned.drain(..) {
            if let Err(error) = discard(&owned) {
                eprintln!("pause-trace: failed to remove {owned:?}: {error}");
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.end_now();
    }
}

impl Handle {
    pub(super) async fn call(
        &self,
        request: ToRuntime,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Done, PodError> {
        if let ToRuntime::Own(owned) = &request {
            let ours = owned
                .iter()
                .filter(|owned| !matches!(owned, Owned::Cgroup(_)));
            self.heard().owned.extend(ours.cloned());
        }
        let seq = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let what = format!("{request:.60?}");
        let call = Call { seq, request };
        // The runtime reads each request before the next comes, so a full socket means that it hangs.
        let sent = protocol::send(
            self.socket.get_ref().as_fd(),
            &call,
            fds,
            MsgFlags::MSG_DONTWAIT,
        );
        sent.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => PodError::RuntimeGone { what: what.clone() },
            _ => PodError::io(&what, error),
        })?;
        let result = self
            .until(&what, self.patience.of(ANSWER), |heard| {
                heard.answers.remove(&seq)
            })
            .await
            .map_err(|error| match error {
                PodError::TimedOut { what, after } => PodError::Unanswered { what, after },
                other => other,
            })?;
        Ok(result?)
    }

    pub(super) async fn exited(&self, pid: i32, deadline: Duration) -> Result<Status, PodError> {
        let what = format!("await the end of pid {pid}");
        self.until(&what, deadline, |heard| heard.exits.get(&pid).copied())
            .await
    }

    async fn until<T>(
        &self,
        what: &str,
        deadline: Duration,
        mut pick: impl FnMut(&mut Heard) -> Option<T>,
    ) -> Result<T, PodError> {
        let wait = async {
            loop {
                // Registered before looking: what comes in between wakes it.
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                {
                    let mut heard = self.heard();
                    if let Some(picked) = pick(&mut heard) {
                        return Ok(picked);
                    }
                    if heard.closed {
                        return Err(PodError::RuntimeGone {
                            what: what.to_owned(),
                        });
                    }
                }
                changed.await;
            }
        };
        timeout(deadline, wait).await.unwrap_or_else(|_| {
            Err(PodError::TimedOut {
                what: what.to_owned(),
                after: deadline,
            })
        })
    }

    /// Takes in all that the runtime says. A task of its own: the runtime must not wait for a loader that is busy.
    async fn read(self: Arc<Self>) {
        while let Ok(mut ready) = self.socket.readable().await {
            let read = |socket: &AsyncFd<OwnedFd>| {
                protocol::receive::<FromRuntime>(socket.get_ref().as_fd(), MsgFlags::MSG_DONTWAIT)
            };
            match ready.try_io(read) {
                Err(_would_block) => {}
                Ok(Ok(Some((message, _)))) => self.take(message),
                Ok(_) => break,
            }
        }
        self.close();
    }

    fn take(&self, message: FromRuntime) {
        let mut heard = self.heard();
        match message {
            FromRuntime::Answer { seq, result } => {
                if let Ok(done) = &result {
                    // A new process: what is known of this pid is about an older one.
                    heard.exits.remove(&done.pid);
                }
                heard.answers.insert(seq, result);
            }
            FromRuntime::Exited(exits) => {
                heard
                    .exits
                    .extend(exits.into_iter().map(|exit| (exit.pid, exit.status)));
            }
        }
        drop(heard);
        self.changed.notify_waiters();
    }

    fn close(&self) {
        self.heard().closed = true;
        self.changed.notify_waiters();
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
