//! The loader's connection to the runtime, and the lifetime of the runtime process.

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

/// The time limit for an answer. The runtime itself allows a minute for a spawn. Before it moves a
/// process to a cgroup, the kernel waits for all forks in progress: on a busy machine this takes
/// seconds, for each of many pods.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(70);

/// The time limit for its end. The runtime allows a minute for the pod's processes to end.
const END_TIMEOUT: Duration = Duration::from_secs(70);

/// A runtime process and the connection to it.
#[derive(Debug)]
pub(super) struct Client {
    process: std::process::Child,
    pidfd: OwnedFd,
    handle: Arc<Handle>,
    reader: JoinHandle<()>,
    ended: bool,
}

/// The connection to the runtime, for sending requests.
#[derive(Debug)]
pub(super) struct Handle {
    socket: AsyncFd<OwnedFd>,
    patience: Patience,
    last: AtomicU64,
    received: Mutex<Received>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Received {
    answers: HashMap<u64, Result<Done, Failure>>,
    /// The last exit status of each pid, until the pid is reused.
    exits: HashMap<i32, Status>,
    /// Objects that the runtime removes, or the loader if the runtime was killed. `Pod` owns the
    /// cgroups.
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
        // Only this process reaps its children, so the pid cannot have been reused.
        let pidfd = sys::pidfd_open(Pid::from_raw(process.id().cast_signed()))
            .map_err(|error| PodError::io(what, error))?;
        let handle = Arc::new(Handle {
            socket: sys::watched(ours).map_err(|error| PodError::io(what, error))?,
            patience,
            last: AtomicU64::new(0),
            received: Mutex::default(),
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

    /// Closes the connection and waits until the runtime has cleaned up and exited.
    pub(super) async fn end(&mut self) -> Result<(), PodError> {
        let what = || "end the reference pod's runtime".to_owned();
        self.hang_up();
        let pidfd = self
            .pidfd
            .try_clone()
            .and_then(sys::watched)
            .map_err(|error| PodError::io(what(), error))?;
        let limit = self.handle.patience.of(END_TIMEOUT);
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

    /// The same with a blocking wait, for `Drop`.
    pub(super) fn end_now(&mut self) {
        if self.ended {
            return;
        }
        self.hang_up();
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        let limit =
            PollTimeout::try_from(self.handle.patience.of(END_TIMEOUT)).unwrap_or(PollTimeout::MAX);
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
        // After the shutdown the runtime reads the end of the stream, even if another process has a
        // copy of this socket.
        let _ = shutdown(
            std::os::fd::AsRawFd::as_raw_fd(self.handle.socket.get_ref()),
            Shutdown::Both,
        );
        self.handle.close();
    }

    fn finish(&mut self, ended: bool) {
        self.ended = true;
        if !ended {
            // Its processes are killed by their parent-death signal, and the `Cgroup`s of the pod
            // remove its cgroups.
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
        for owned in self.handle.received().owned.drain(..) {
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
            self.received().owned.extend(ours.cloned());
        }
        let seq = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let what = format!("{request:.60?}");
        let call = Call { seq, request };
        // The runtime reads each request before the next is sent, so a full socket means that it
        // hangs.
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
            .until(&what, self.patience.of(ANSWER_TIMEOUT), |received| {
                received.answers.remove(&seq)
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
        self.until(&what, deadline, |received| {
            received.exits.get(&pid).copied()
        })
        .await
    }

    async fn until<T>(
        &self,
        what: &str,
        deadline: Duration,
        mut pick: impl FnMut(&mut Received) -> Option<T>,
    ) -> Result<T, PodError> {
        let wait = async {
            loop {
                // Registered before the check, so that no message in between is missed.
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                {
                    let mut received = self.received();
                    if let Some(picked) = pick(&mut received) {
                        return Ok(picked);
                    }
                    if received.closed {
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

    /// Reads all messages of the runtime, in a separate task: the runtime must not wait for a busy
    /// loader.
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
        let mut received = self.received();
        match message {
            FromRuntime::Answer { seq, result } => {
                if let Ok(done) = &result {
                    // A new process: a known exit status belongs to an older process with this pid.
                    received.exits.remove(&done.pid);
                }
                received.answers.insert(seq, result);
            }
            FromRuntime::Exited(exits) => {
                received
                    .exits
                    .extend(exits.into_iter().map(|exit| (exit.pid, exit.status)));
            }
        }
        drop(received);
        self.changed.notify_waiters();
    }

    fn close(&self) {
        self.received().closed = true;
        self.changed.notify_waiters();
    }

    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
