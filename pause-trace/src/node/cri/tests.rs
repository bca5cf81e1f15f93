//! Tests the client against a runtime that answers as containerd 1.6.20 did (see
//! `fixtures/README.md`).

use std::{collections::BTreeMap, fs, path::PathBuf, process};

use bytes::Bytes;
use http::{HeaderMap, Response};
use pause_trace_cri::{
    Timeouts,
    messages::{
        ContainerMetadata, ContainerStatus, Image, ImageStatusResponse, PodSandboxMetadata,
        PodSandboxStatus, PodSandboxStatusResponse, Version,
    },
};
use prost::Message;
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::event::{ContainerKind, Mode};

const SANDBOX: &str = "7e14bb639424af23f130a34206889a98413a9a09a835812947e842e0acba134c";
const CONTAINER: &str = "315af542c5eda27c6d61a80e096568000f4f88cfee566ddc890094d96213d1c8";
const NOT_FOUND: &str = "5";

/// The path of a socket, which is removed on drop.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("cri-names-{}-{name}.sock", process::id())))
    }

    fn names(&self) -> CriNames {
        let path = self.0.to_str().expect("a path of ASCII");
        let client = Client::connect(path.parse().expect("a socket"));
        CriNames::new(client.with_timeouts(Timeouts {
            query: Duration::from_secs(5),
            change: Duration::ZERO,
        }))
    }

    fn listen(&self, answer: fn(&str, &[u8]) -> Result<Vec<u8>, &'static str>) {
        let listener = UnixListener::bind(&self.0).expect("a socket");
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(serve(stream, answer));
            }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Serves one gRPC connection; each answer is a message or an error code.
async fn serve(stream: UnixStream, answer: fn(&str, &[u8]) -> Result<Vec<u8>, &'static str>) {
    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let path = request.uri().path().to_owned();
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut body = request.into_body();
        // The connection has to be polled to receive the body of the request.
        let mut request = Vec::new();
        let reading = async {
            while let Some(Ok(part)) = body.data().await {
                request.extend(part);
            }
        };
        tokio::select! {
            () = reading => {}
            _ = std::future::poll_fn(|context| connection.poll_closed(context)) => return,
        }
        let answer = answer(&name, request.get(5..).unwrap_or_default());
        let mut trailers = HeaderMap::new();
        let code = answer.as_ref().err().copied().unwrap_or("0");
        trailers.insert("grpc-status", code.parse().expect("a header"));
        let mut stream = respond
            .send_response(Response::new(()), false)
            .expect("the client waits");
        if let Ok(message) = answer {
            let length = u32::try_from(message.len()).expect("a short message");
            let frame = [&[0][..], &length.to_be_bytes(), &message].concat();
            stream
                .send_data(Bytes::from(frame), false)
                .expect("the client waits");
        }
        stream.send_trailers(trailers).expect("the client waits");
    }
}

/// A pod with one container, whose image declares SIGQUIT. Ids match by prefix, as in runtimes.
fn containerd(call: &str, request: &[u8]) -> Result<Vec<u8>, &'static str> {
    // Field 1 of each request: the id, or an image's name.
    let id = request
        .get(1)
        .and_then(|length| request.get(2..2 + usize::from(*length)))
        .unwrap_or_default();
    let is = |known: &str| known.as_bytes().starts_with(id);
    let info = |json: &str| BTreeMap::from([("info".to_owned(), json.to_owned())]);
    Ok(match call {
        "Version" => Version::default().encode_to_vec(),
        "ContainerStatus" if is(CONTAINER) => ContainerStatusResponse {
            status: Some(ContainerStatus {
                id: CONTAINER.into(),
                metadata: Some(ContainerMetadata {
                    name: "app".into(),
                    attempt: 0,
                }),
                image_ref: "sha256:5daaf4cd".into(),
                ..ContainerStatus::default()
            }),
            info: info(include_str!("fixtures/containerd-1.6-plain-container.json")),
        }
        .encode_to_vec(),
        "PodSandboxStatus" if is(SANDBOX) => PodSandboxStatusResponse {
            status: Some(PodSandboxStatus {
                id: SANDBOX.into(),
                metadata: Some(PodSandboxMetadata {
                    name: "plain".into(),
                    uid: "uid-plain".into(),
                    namespace: "default".into(),
                    attempt: 0,
                }),
                ..PodSandboxStatus::default()
            }),
            info: info(include_str!("fixtures/containerd-1.6-plain-sandbox.json")),
        }
        .encode_to_vec(),
        "ImageStatus" => ImageStatusResponse {
            image: Some(Image::default()),
            info: info(r#"{"imageSpec": {"config": {"StopSignal": "SIGQUIT"}}}"#),
        }
        .encode_to_vec(),
        _ => return Err(NOT_FOUND),
    })
}

#[tokio::test]
async fn a_container_is_found_with_its_pod_and_the_stop_signal_of_its_image() {
    let place = Place::new("container");
    place.listen(containerd);
    let Answer::Known(known) = place.names().ask(CONTAINER).await else {
        panic!("it is known");
    };
    assert_eq!(&*known.sandbox.pod.pod, "uid-plain");
    assert_eq!(known.pid, Some(7609));
    let container = known.container.expect("it is a container's id");
    assert_eq!(container.name.to_string(), "app");
    assert_eq!(container.modes.pid, Mode::Container);
    assert_eq!(container.stop_signal, 3);
}

#[tokio::test]
async fn a_sandbox_is_found_by_its_own_id() {
    let place = Place::new("sandbox");
    place.listen(containerd);
    let Answer::Known(known) = place.names().ask(SANDBOX).await else {
        panic!("it is known");
    };
    assert_eq!((known.container, known.pid), (None, None));
    let pause = known.sandbox.pause.expect("a pause");
    assert_eq!(pause.what, ContainerKind::Sandbox);
    assert_eq!(known.sandbox.pid, Some(7579));
}

#[tokio::test]
async fn unknown_ids_and_prefixes_of_ids_are_unknown() {
    let place = Place::new("unknown");
    place.listen(containerd);
    let names = place.names();
    for id in ["0123", &CONTAINER[..12], &SANDBOX[..12], "", "a/b", "a\n"] {
        assert_eq!(names.ask(id).await, Answer::Unknown, "{id:?}");
    }
}

#[tokio::test]
async fn an_error_for_one_container_does_not_delay_the_next_query() {
    let place = Place::new("refused");
    place.listen(|call, request| match call {
        "ContainerStatus" if request.ends_with(b"broken\x10\x01") => Err("2"),
        _ => containerd(call, request),
    });
    let names = place.names();
    let answer = names.ask("broken").await;
    let has_answered = |answer: &Answer| match answer {
        Answer::Unavailable { has_answered, .. } => *has_answered,
        _ => false,
    };
    assert!(has_answered(&answer), "{answer:?}");
    let answer = names.ask(CONTAINER).await;
    assert!(matches!(answer, Answer::Known(_)), "{answer:?}");
}

#[tokio::test]
async fn a_socket_that_failed_is_not_tried_again_before_the_backoff() {
    let place = Place::new("gone");
    let names = place.names();
    let begun = Instant::now();
    let Answer::Unavailable { reason, again, .. } = names.ask_at(begun, CONTAINER).await else {
        panic!("no runtime listens");
    };
    assert!(reason.contains("there is no socket"), "{reason}");
    assert_eq!(again, backoff::FIRST);
    // A runtime listens now, but is not queried yet.
    place.listen(containerd);
    let answer = names.ask_at(begun, CONTAINER).await;
    let Answer::Unavailable { again: left, .. } = answer else {
        panic!("it was queried: {answer:?}");
    };
    let answer = names.ask_at(begun + left, CONTAINER).await;
    assert!(matches!(answer, Answer::Known(_)), "{answer:?}");
}
