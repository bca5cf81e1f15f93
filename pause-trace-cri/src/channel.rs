//! The way of every call: which version of the interface, how long it may take, and what went wrong.

use std::{
    error::Error,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::BodyExt as _;
use prost::Message;
use tokio::time::timeout;
use tonic::{
    Code, ConnectError, Request, Status,
    body::Body,
    client::Grpc,
    transport::{Channel as Connection, Endpoint},
};
use tonic_prost::ProstCodec;
use tower::ServiceExt as _;

use crate::{
    error::{CriError, shown},
    messages::{Version, VersionRequest},
    socket::Socket,
};

/// How long an answer may be, in bytes: what the kubelet takes (pkg/kubelet/cri/remote: `maxMsgSize`).
const MAX_ANSWER: usize = 16 << 20;

/// A version of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `runtime.v1`: containerd since 1.6.
    V1,
    /// `runtime.v1alpha2`: containerd until 1.7.
    V1Alpha2,
}

impl Api {
    /// The protobuf package.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::V1 => "runtime.v1",
            Self::V1Alpha2 => "runtime.v1alpha2",
        }
    }
}

/// How long is waited for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To what only asks.
    pub query: Duration,
    /// To what makes, starts, stops or removes something; a grace period or a command's own time comes on top.
    pub change: Duration,
}

impl Default for Timeouts {
    /// 2 s and 120 s.
    fn default() -> Self {
        Self {
            query: Duration::from_secs(2),
            change: Duration::from_secs(120),
        }
    }
}

/// What is called.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    /// May it be tried again when its answer was lost?
    pub(crate) harmless: bool,
}

const VERSION: Call = Call {
    service: "RuntimeService",
    name: "Version",
    harmless: true,
};

/// A socket, connected to when it is needed, and again when the runtime has been restarted.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) socket: Socket,
    pub(crate) timeouts: Timeouts,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Connection>,
    api: Option<Api>,
}

impl Channel {
    pub(crate) fn new(socket: Socket) -> Self {
        Self {
            socket,
            timeouts: Timeouts::default(),
            state: Arc::default(),
        }
    }

    /// Calls, within `limit` from when it is known which version of the interface the runtime has.
    pub(crate) async fn call<Q, A>(
        &self,
        call: Call,
        request: Q,
        limit: Duration,
    ) -> Result<A, CriError>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let known = self.state().api;
        let api = match known {
            Some(api) => api,
            None => self.version().await?.0,
        };
        let answer = self.timed(api, call, request, limit).await;
        if let Err(CriError::Refused {
            code: Code::Unimplemented,
            ..
        }) = &answer
        {
            // Another version of the runtime may answer at this socket by now: the next call asks again.
            self.state().api = None;
        }
        answer
    }

    /// Asks which version of the interface the runtime has.
    pub(crate) async fn version(&self) -> Result<(Api, Version), CriError> {
        let request = VersionRequest {
            version: "0.1.0".into(),
        };
        for api in [Api::V1, Api::V1Alpha2] {
            let answer = self
                .timed(api, VERSION, request.clone(), self.timeouts.query)
                .await;
            match answer {
                Err(CriError::Refused {
                    code: Code::Unimplemented,
                    ..
                }) => {}
                Err(error) => return Err(error),
                Ok(version) => {
                    self.state().api = Some(api);
                    return Ok((api, version));
                }
            }
        }
        Err(CriError::NotCri {
            path: self.socket.path().into(),
            reason: "it offers neither runtime.v1 nor runtime.v1alpha2 (containerd does not where its configuration \
                     has \"cri\" in disabled_plugins)"
                .into(),
        })
    }

    async fn timed<Q, A>(
        &self,
        api: Api,
        call: Call,
        request: Q,
        limit: Duration,
    ) -> Result<A, CriError>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let attempts = async {
            let first = self.attempt(api, call, request.clone()).await;
            match first {
                // The runtime was restarted since the last call, or is being restarted.
                Err(CriError::Lost { .. }) if call.harmless => {
                    self.attempt(api, call, request).await
                }
                first => first,
            }
        };
        let answer = timeout(limit, attempts).await.unwrap_or_else(|_| {
            Err(CriError::Timeout {
                path: self.socket.path().into(),
                call: call.name,
                after: limit,
            })
        });
        if let Err(error) = &answer
            && !error.is_answer()
        {
            // Whoever holds the other end of a connection that went wrong may not be who listens now.
            self.state().connection = None;
        }
        answer
    }

    async fn attempt<Q, A>(&self, api: Api, call: Call, request: Q) -> Result<A, CriError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        // tonic panics over details that are no base64 (`Status::from_header_map`), and we have no use for them.
        const DETAILS: &str = "grpc-status-details-bin";
        let connection = self.connection()?.map_response(|mut response| {
            response.headers_mut().remove(DETAILS);
            response.map(|body: Body| {
                Body::new(body.map_frame(|mut frame| {
                    if let Some(trailers) = frame.trailers_mut() {
                        trailers.remove(DETAILS);
                    }
                    frame
                }))
            })
        });
        let mut grpc = Grpc::new(connection).max_decoding_message_size(MAX_ANSWER);
        let failure = |status: &Status| self.failure(call.name, status);
        grpc.ready()
            .await
            .map_err(|error| failure(&Status::from_error(error.into())))?;
        let path = format!("/{}.{}/{}", api.package(), call.service, call.name)
            .parse()
            .expect("names of protobuf make a path");
        let answer = grpc
            .unary(Request::new(request), path, ProstCodec::<Q, A>::default())
            .await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| failure(&status))
    }

    /// The connection, which need not be made yet.
    fn connection(&self) -> Result<Connection, CriError> {
        let mut state = self.state();
        if let Some(connection) = &state.connection {
            return Ok(connection.clone());
        }
        let endpoint =
            Endpoint::from_shared(format!("unix://{}", self.socket)).map_err(|error| {
                CriError::Unreachable {
                    path: self.socket.path().into(),
                    source: io::Error::other(error),
                }
            })?;
        Ok(state.connection.insert(endpoint.connect_lazy()).clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self, call: &'static str, status: &Status) -> CriError {
        let path = self.socket.path().to_owned();
        // What tonic met has a source; what the runtime sent has none.
        if status.source().is_none() {
            return CriError::Refused {
                call,
                code: status.code(),
                message: status.message().to_owned(),
            };
        }
        if cause::<ConnectError>(status).is_some()
            && let Some(error) = cause::<io::Error>(status)
        {
            return match error.kind() {
                io::ErrorKind::NotFound => CriError::NoSocket { path },
                kind => CriError::Unreachable {
                    path,
                    source: error
                        .raw_os_error()
                        .map_or_else(|| kind.into(), io::Error::from_raw_os_error),
                },
            };
        }
        let innermost = causes(status).last();
        let reason = shown(&innermost.map(ToString::to_string).unwrap_or_default());
        match cause::<h2::Error>(status) {
            // Our own side gave up on what it read.
            Some(error) if error.is_library() => CriError::NotCri {
                path,
                reason: format!("what answers there does not speak HTTP/2 ({reason})"),
            },
            _ => CriError::Lost { path, call, reason },
        }
    }
}

/// The first cause of that kind.
fn cause<T: Error + 'static>(status: &Status) -> Option<&T> {
    causes(status).find_map(|error| error.downcast_ref())
}

/// What it came from, the innermost last.
fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |&error| error.source())
}

#[cfg(test)]
mod tests;
