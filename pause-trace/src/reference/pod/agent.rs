//! The loader's end of the socket to a workload's agent.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};
use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::PodError;
use super::client::Handle;
use crate::reference::patience::Patience;
use crate::reference::protocol::{self, Answer, Call, Owned, Reply, Request, ToRuntime};
use crate::sys;

/// The time limit for an answer. Ten thousand orphans take about two seconds on a slow machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The time limit until an agent is ready.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// The connection to a workload's agent.
#[derive(Debug)]
pub(crate) struct Agent {
    name: String,
    socket: AsyncFd<OwnedFd>,
    /// The number of the last request. The lock serialises requests.
    last: Mutex<u64>,
    /// The runtime, which removes ipc objects that outlive the agent.
    remover: Option<Arc<Handle>>,
    patience: Patience,
}

impl Agent {
    /// Creates a socket pair: the loader's end and the workload's.
    pub(super) fn pair() -> Result<(OwnedFd, OwnedFd), PodError> {
        let flags = SockFlag::SOCK_CLOEXEC;
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
            .map_err(|error| PodError::io("create a socket for the workload", error))
    }

    pub(super) fn new(
        name: String,
        socket: OwnedFd,
        remover: Option<Arc<Handle>>,
        patience: Patience,
    ) -> Result<Self, PodError> {
        let socket = sys::watched(socket)
            .map_err(|error| PodError::io("watch the workload's socket", error))?;
        Ok(Self {
            name,
            socket,
            last: Mutex::new(0),
            remover,
            patience,
        })
    }

    /// Waits until the agent is ready.
    pub(super) async fn ready(&self) -> Result<(), PodError> {
        self.answer(0, self.patience.of(START_DEADLINE), "await the start of")
            .await
            .map(drop)
    }

    pub(super) async fn ask(&self, request: Request) -> Result<Answer, PodError> {
        if let Some(remover) = &self.remover {
            let owned = match &request {
                Request::ShmPut { key, .. } => Some(Owned::SharedMemory(*key)),
                Request::MqPut { name, .. } => Some(Owned::Queue(name.clone())),
                _ => None,
            };
            if let Some(owned) = owned {
                remover.call(ToRuntime::Own(vec![owned]), &[]).await?;
            }
        }
        let mut last = self.last.lock().await;
        *last += 1;
        let call = Call {
            seq: *last,
            request,
        };
        let sent = protocol::send(
            self.socket.get_ref().as_fd(),
            &call,
            &[],
            MsgFlags::MSG_DONTWAIT,
        );
        sent.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => PodError::WorkloadGone {
                what: format!("send a request to {}", self.name),
            },
            _ => PodError::io(format!("send a request to {}", self.name), error),
        })?;
        self.answer(*last, self.patience.of(DEADLINE), "await an answer of")
            .await
    }

    /// Waits for the answer to a request. Answers to requests that were given up are skipped.
    async fn answer(&self, seq: u64, deadline: Duration, verb: &str) -> Result<Answer, PodError> {
        let what = || format!("{verb} {}", self.name);
        let receive = async {
            loop {
                match self.receive().await {
                    Ok(Some(reply)) if reply.seq == seq => return reply.result.map_err(Into::into),
                    Ok(Some(_)) => {}
                    Ok(None) => return Err(PodError::WorkloadGone { what: what() }),
                    Err(error) => return Err(PodError::io(what(), error)),
                }
            }
        };
        timeout(deadline, receive).await.unwrap_or_else(|_| {
            Err(PodError::TimedOut {
                what: what(),
                after: deadline,
            })
        })
    }

    async fn receive(&self) -> io::Result<Option<Reply>> {
        loop {
            let mut ready = self.socket.readable().await?;
            let read = |socket: &AsyncFd<OwnedFd>| {
                protocol::receive::<Reply>(socket.get_ref().as_fd(), MsgFlags::MSG_DONTWAIT)
            };
            if let Ok(result) = ready.try_io(read) {
                return Ok(result?.map(|(reply, _)| reply));
            }
        }
    }
}
