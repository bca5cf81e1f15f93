//! Makes every call: selects the version of the interface, applies the timeout, and classifies
//! errors.

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
    error::{CriError, escaped},
    messages::{Version, VersionRequest},
    socket::Socket,
};

/// Maximum length of an answer in bytes, as in the kubelet (pkg/kubelet/cri/remote: `maxMsgSize`).
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

/// How long the client waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For calls that only read.
    pub query: Duration,
    /// For calls that create, start, stop or remove something, in addition to a grace period or a
    /// command's own time limit.
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

/// A method of a service.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    /// Whether the call may be repeated after its answer was lost.
    pub(crate) is_repeatable: bool,
}

const VERSION: Call = Call {
    service: "RuntimeService",
    name: "Version",
    is_repeatable: true,
};

/// A connection to a socket, made at the first call and again after the runtime was restarted.
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

    /// Makes a call. `limit` begins when the version of the interface is known.
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
        let answer = self.call_within(limit, api, call, request).await;
        if let Err(CriError::Refused {
            code: Code::Unimplemented,
            ..
        }) = &answer
        {
            // The socket may belong to another version of the runtime now, so the next call queries
            // the version again.
            self.state().api = None;
        }
        answer
    }

    /// Queries which version of the interface the runtime implements.
    pub(crate) async fn version(&self) -> Result<(Api, Version), CriError> {
        let request = VersionRequest {
            version: "0.1.0".into(),
        };
        for api in [Api::V1, Api::V1Alpha2] {
            let answer = self
                .call_within(self.timeouts.query, api, VERSION, request.clone())
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
            reason:
                "it offers neither runtime.v1 nor runtime.v1alpha2 (containerd offers none if its \
                     configuration has \"cri\" in disabled_plugins)"
                    .into(),
        })
    }

    async fn call_within<Q, A>(
        &self,
        limit: Duration,
        api: Api,
        call: Call,
        request: Q,
    ) -> Result<A, CriError>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let attempts = async {
            let first = self.attempt(api, call, request.clone()).await;
            match first {
                // The runtime was restarted since the last call, or is being restarted.
                Err(CriError::Lost { .. }) if call.is_repeatable => {
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
            // After an error on the connection, another process may listen on the socket now.
            self.state().connection = None;
        }
        answer
    }

    async fn attempt<Q, A>(&self, api: Api, call: Call, request: Q) -> Result<A, CriError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        // tonic panics on details that are not base64 (`Status::from_header_map`), and they are not
        // used.
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
            .expect("protobuf names are a valid path");
        let answer = grpc
            .unary(Request::new(request), path, ProstCodec::<Q, A>::default())
            .await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| failure(&status))
    }

    /// The connection, which may not be established yet.
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
        // An error of tonic has a source; an error that the runtime sent has none.
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
        let reason = escaped(&innermost.map(ToString::to_string).unwrap_or_default());
        match cause::<h2::Error>(status) {
            // The client itself rejected what it received.
            Some(error) if error.is_library() => CriError::NotCri {
                path,
                reason: format!("its server does not speak HTTP/2 ({reason})"),
            },
            _ => CriError::Lost { path, call, reason },
        }
    }
}

/// The first cause of type `T`.
fn cause<T: Error + 'static>(status: &Status) -> Option<&T> {
    causes(status).find_map(|error| error.downcast_ref())
}

/// The chain of causes, the innermost last.
fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |&error| error.source())
}

#[cfg(test)]
mod tests;
