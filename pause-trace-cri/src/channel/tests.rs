//! Calls to sockets that misbehave.

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

use super::*;
use crate::{
    client::Client,
    messages::{PodSandbox, PodSandboxConfig},
};

/// The path of a socket, which is removed on drop.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("cri-{}-{number}.sock", std::process::id())))
    }

    fn client(&self) -> Client {
        let path = self.0.to_str().expect("a path of ASCII");
        with_timeout(
            &Client::connect(path.parse().expect("a socket")),
            Duration::from_secs(10),
        )
    }

    fn remove(&self) {
        fs::remove_file(&self.0).expect("the socket is there");
    }
}

/// The same client with this timeout.
fn with_timeout(client: &Client, limit: Duration) -> Client {
    client.clone().with_timeouts(Timeouts {
        query: limit,
        change: limit,
    })
}

/// The timeout of tests in which no answer arrives.
const SHORT: Duration = Duration::from_millis(300);

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Handles each connection with `handle` and counts the connections.
fn listen<F>(path: &Path, handle: impl Fn(UnixStream) -> F + Send + 'static) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = UnixListener::bind(path).expect("a socket");
    let connections = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&connections);
    let task = tokio::spawn(async move {
        let mut handlers = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            counted.fetch_add(1, Ordering::Relaxed);
            handlers.spawn(handle(stream));
        }
    });
    Server { connections, task }
}

struct Server {
    connections: Arc<AtomicU32>,
    /// Owns the listener and all connections.
    task: JoinHandle<()>,
}

impl Server {
    fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    async fn end(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }
}

/// The answer of an HTTP/2 server to one call.
struct Answer {
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
}

impl Answer {
    fn message(message: &impl Message) -> Self {
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).expect("a short message");
        Self::bytes(length, message)
    }

    /// `length` is the length in the frame's header.
    fn bytes(length: u32, message: Vec<u8>) -> Self {
        let mut body = vec![0];
        body.extend(length.to_be_bytes());
        body.extend(message);
        Self {
            headers: HeaderMap::new(),
            body,
            trailers: status("0"),
        }
    }

    fn error(code: &'static str) -> Self {
        Self {
            headers: status(code),
            body: Vec::new(),
            trailers: HeaderMap::new(),
        }
    }
}

fn status(code: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", code.parse().expect("a header"));
    headers
}

/// Serves one HTTP/2 connection.
async fn serve(stream: UnixStream, answer: impl Fn(&str) -> Answer) {
    let mut connection = h2::server::handshake(stream)
        .await
        .expect("an HTTP/2 client");
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let answer = answer(request.uri().path());
        let mut response = Response::new(());
        *response.headers_mut() = answer.headers;
        response.headers_mut().insert(
            "content-type",
            "application/grpc".parse().expect("a header"),
        );
        let last = answer.body.is_empty() && answer.trailers.is_empty();
        let mut stream = respond
            .send_response(response, last)
            .expect("the client waits");
        if !last {
            stream
                .send_data(Bytes::from(answer.body), false)
                .expect("the client waits");
            stream
                .send_trailers(answer.trailers)
                .expect("the client waits");
        }
    }
}

fn version() -> Answer {
    Answer::message(&Version {
        runtime_name: "test".into(),
        ..Version::default()
    })
}

#[tokio::test]
async fn a_missing_socket_is_reported() {
    let socket = SocketPath::new();
    let error = socket.client().version().await.expect_err("no socket");
    assert!(
        matches!(&error, CriError::NoSocket { path } if *path == socket.0),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_file_and_a_socket_without_listener_are_unreachable() {
    let socket = SocketPath::new();
    fs::write(&socket.0, "").expect("a file");
    let refused = |error: &CriError| matches!(error, CriError::Unreachable { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused);
    let error = socket.client().version().await.expect_err("it is a file");
    assert!(refused(&error), "{error:?}");
    socket.remove();

    drop(std::os::unix::net::UnixListener::bind(&socket.0).expect("a socket"));
    let error = socket.client().version().await.expect_err("no listener");
    assert!(refused(&error), "{error:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_times_out() {
    let socket = SocketPath::new();
    let _server = listen(&socket.0, |stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    });
    let started = Instant::now();
    let client = with_timeout(&socket.client(), SHORT);
    let error = client.sandboxes().await.expect_err("no answer");
    let took = started.elapsed();
    assert!(
        matches!(
            error,
            CriError::Timeout {
                call: "Version",
                ..
            }
        ),
        "{error:?}"
    );
    assert!(took >= SHORT, "{took:?}");
}

#[tokio::test]
async fn a_server_that_never_accepts_times_out() {
    let socket = SocketPath::new();
    let _listener = std::os::unix::net::UnixListener::bind(&socket.0).expect("a socket");
    let client = with_timeout(&socket.client(), SHORT);
    let error = client.version().await.expect_err("no answer");
    assert!(matches!(error, CriError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_with_another_protocol_is_reported() {
    let socket = SocketPath::new();
    // The answer of an HTTP/1 server to the preface of HTTP/2.
    let server = listen(&socket.0, |mut stream| async move {
        let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
        stream.write_all(answer).await.expect("the client reads");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    let error = socket.client().version().await.expect_err("no HTTP/2");
    assert!(matches!(error, CriError::NotCri { .. }), "{error:?}");
    assert!(
        error.to_string().contains("does not speak HTTP/2"),
        "{error}"
    );
    assert_eq!(server.connections(), 1, "a second call would also fail");
}

#[tokio::test]
async fn a_query_whose_connection_is_closed_is_repeated_once() {
    let socket = SocketPath::new();
    let server = listen(&socket.0, |stream| async move { drop(stream) });
    let error = socket.client().version().await.expect_err("no answer");
    assert!(
        matches!(
            error,
            CriError::Lost {
                call: "Version",
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn half_a_frame_is_a_lost_connection() {
    let socket = SocketPath::new();
    let _server = listen(&socket.0, |mut stream| async move {
        // A SETTINGS frame of 6 bytes, of which only 2 are sent.
        let half = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3];
        stream.write_all(&half).await.expect("the client reads");
    });
    let error = socket.client().version().await.expect_err("no answer");
    assert!(matches!(error, CriError::Lost { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_without_the_services_is_not_cri() {
    let socket = SocketPath::new();
    let _server = listen(&socket.0, |stream| serve(stream, |_| Answer::error("12")));
    let error = socket.client().version().await.expect_err("no CRI");
    assert!(error.to_string().contains("disabled_plugins"), "{error}");
    assert!(matches!(error, CriError::NotCri { .. }));
}

#[tokio::test]
async fn an_older_runtime_is_called_with_v1alpha2() {
    let socket = SocketPath::new();
    let _server = listen(&socket.0, |stream| {
        serve(stream, |path| match path {
            "/runtime.v1alpha2.RuntimeService/Version" => version(),
            "/runtime.v1alpha2.RuntimeService/ListPodSandbox" => {
                Answer::message(&crate::messages::ListPodSandboxResponse {
                    items: vec![PodSandbox {
                        id: "one".into(),
                        ..PodSandbox::default()
                    }],
                })
            }
            _ => Answer::error("12"),
        })
    });
    let client = socket.client();
    let sandboxes = client.sandboxes().await.expect("an answer");
    assert_eq!(sandboxes[0].id, "one");
    let (api, version) = client.version().await.expect("an answer");
    assert_eq!((api, &*version.runtime_name), (Api::V1Alpha2, "test"));
}

#[tokio::test]
async fn the_version_is_queried_again_after_a_newer_runtime_took_over() {
    let socket = SocketPath::new();
    let only = |package: &'static str| {
        move |path: &str| match path.split_once(".RuntimeService/") {
            Some((requested, _)) if requested != package => Answer::error("12"),
            Some((_, "Version")) => version(),
            _ => Answer::bytes(0, Vec::new()),
        }
    };
    let client = socket.client();
    let older = listen(&socket.0, move |stream| {
        serve(stream, only("/runtime.v1alpha2"))
    });
    client.sandboxes().await.expect("the older one answers");
    older.end().await;
    socket.remove();
    let _newer = listen(&socket.0, move |stream| serve(stream, only("/runtime.v1")));
    let error = client
        .sandboxes()
        .await
        .expect_err("the newer one does not offer v1alpha2");
    assert!(error.is_answer(), "{error:?}");
    client.sandboxes().await.expect("the newer one answers");
}

#[tokio::test]
async fn the_client_reconnects_to_a_restarted_runtime() {
    let socket = SocketPath::new();
    let client = socket.client();
    let first = listen(&socket.0, |stream| serve(stream, |_| version()));
    client.version().await.expect("an answer");
    first.end().await;
    let error = client.version().await.expect_err("no listener");
    assert!(matches!(error, CriError::Unreachable { .. }), "{error:?}");
    socket.remove();
    let error = client.version().await.expect_err("no socket");
    assert!(matches!(error, CriError::NoSocket { .. }), "{error:?}");
    let second = listen(&socket.0, |stream| serve(stream, |_| version()));
    client.version().await.expect("an answer");
    // The server is replaced without a call in between, so the client must not use the old
    // connection.
    second.end().await;
    socket.remove();
    let third = listen(&socket.0, |stream| serve(stream, |_| version()));
    client.version().await.expect("an answer");
    client.version().await.expect("an answer");
    assert_eq!(third.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_never_answered_is_not_used_again() {
    let socket = SocketPath::new();
    let first = std::sync::atomic::AtomicBool::new(true);
    let _server = listen(&socket.0, move |stream| {
        let silent = first.swap(false, Ordering::Relaxed);
        async move {
            if silent {
                let _open = stream;
                std::future::pending::<()>().await;
            } else {
                serve(stream, |_| version()).await;
            }
        }
    });
    let client = socket.client();
    let hasty = with_timeout(&client, SHORT);
    let error = hasty.version().await.expect_err("no answer");
    assert!(matches!(error, CriError::Timeout { .. }), "{error:?}");
    client.version().await.expect("an answer");
}

#[tokio::test]
async fn a_call_that_changes_something_is_never_repeated() {
    let socket = SocketPath::new();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let _server = listen(&socket.0, move |stream| {
        let counted = Arc::clone(&counted);
        async move {
            let mut connection = h2::server::handshake(stream)
                .await
                .expect("an HTTP/2 client");
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                if request.uri().path().ends_with("/RunPodSandbox") {
                    counted.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                let body = version().body;
                let mut stream = respond
                    .send_response(Response::new(()), false)
                    .expect("the client waits");
                stream.send_data(body.into(), false).expect("it waits");
                stream.send_trailers(status("0")).expect("it waits");
            }
        }
    });
    let answer = socket
        .client()
        .run_sandbox(&PodSandboxConfig::default(), "")
        .await;
    let error = answer.expect_err("the connection ended");
    assert!(
        matches!(
            error,
            CriError::Lost {
                call: "RunPodSandbox",
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn details_that_are_not_base64_are_ignored() {
    let socket = SocketPath::new();
    let _server = listen(&socket.0, |stream| {
        serve(stream, |path| {
            let mut answer = version();
            if path.ends_with("/ListPodSandbox") {
                answer = Answer::error("5");
                answer
                    .headers
                    .insert("grpc-status-details-bin", "%".parse().expect("a header"));
            } else if path.ends_with("/ListContainers") {
                answer.trailers = status("5");
                answer
                    .trailers
                    .insert("grpc-status-details-bin", "%".parse().expect("a header"));
            }
            answer
        })
    });
    let client = socket.client();
    let error = client.sandboxes().await.expect_err("an error in headers");
    assert!(error.is_not_found(), "{error:?}");
    let error = client
        .containers(None)
        .await
        .expect_err("an error in trailers");
    assert!(error.is_not_found(), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_refused() {
    let socket = SocketPath::new();
    let _server = listen(&socket.0, |stream| {
        serve(stream, |_| Answer::bytes(u32::MAX, vec![0; 64]))
    });
    let error = socket.client().version().await.expect_err("it is too long");
    assert!(
        matches!(
            &error,
            CriError::Refused {
                code: Code::OutOfRange,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_answer_that_is_not_a_message_is_an_error() {
    let socket = SocketPath::new();
    let _server = listen(&socket.0, |stream| {
        serve(stream, |_| Answer::bytes(2, vec![0xff, 0xff]))
    });
    let error = socket.client().version().await.expect_err("no message");
    assert!(
        matches!(
            &error,
            CriError::Refused {
                code: Code::Internal,
                ..
            }
        ),
        "{error:?}"
    );
}
