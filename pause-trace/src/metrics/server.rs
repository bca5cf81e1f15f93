//! The HTTP server of `--metrics`: read-only, bounded, and without authentication.
//!
//! Connections are tasks of the event loop that also judges, so none of them may hold it up: each
//! has a time limit for its request and for its life, and their number is limited. What only the
//! command knows, such as the state, is asked of it through a channel ([`Ask`]).

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{
        ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue,
        X_CONTENT_TYPE_OPTIONS,
    },
    http::uri::Authority,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::libc;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{Format, Metrics};

/// Most connections at a time. Others wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 64;
/// Most connections of one client, so that it does not keep others out. Others are closed.
const MOST_OF_ONE: usize = 8;
/// How long a client may take for the head of a request, also of the next one on its connection.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may live. A client that reads slowly is cut off.
const LIFE: Duration = Duration::from_secs(60);
/// How long the answers that are being written may take when the connection or the run ends.
const LAST: Duration = Duration::from_secs(2);
/// The largest head of a request, in bytes, and the most fields of it.
const MOST_BYTES: usize = 16 << 10;
const MOST_FIELDS: usize = 64;
/// How long the command may take to answer. It takes longer if the event loop makes no progress.
const ANSWER: Duration = Duration::from_secs(5);
/// The pause after a connection could not be accepted, for example without free descriptors.
const RETRY: Duration = Duration::from_millis(500);

/// The report brings its script and its styles with it, and needs nothing else.
const POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:";

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Index,
    Report,
    Metrics,
    Healthy,
    Ready,
}

/// The pages: path and what it is.
const PAGES: [(&str, Page, &str); 5] = [
    ("/", Page::Index, "this list"),
    (
        "/report",
        Page::Report,
        "the pods, their starts and findings, for a browser: what the history has",
    ),
    ("/metrics", Page::Metrics, "the metrics, for Prometheus"),
    ("/healthz", Page::Healthy, "200 while events are judged"),
    (
        "/readyz",
        Page::Ready,
        "200 once the pods that ran at the start are judged",
    ),
];

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Something is being prepared.
    Before(&'static str),
    Ready,
    Ended,
}

/// The answer about the health: why it is bad.
pub(crate) type Health = Result<(), String>;

/// What the command is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// To write to the gauges what there is now.
    Refresh,
    /// Whether events are judged.
    Health,
}

/// A question to the command.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) wanted: Wanted,
    pub(crate) answer: oneshot::Sender<Health>,
}

/// What all connections share.
struct Shared {
    metrics: Metrics,
    stage: Mutex<Stage>,
    asks: mpsc::Sender<Ask>,
    /// What makes the report, if there is a history to make it of.
    report: OnceLock<Box<MakeReport>>,
    /// One report is made at a time, by a thread that does nothing else.
    making: Semaphore,
}

/// Makes the report, or says why there is none.
type MakeReport = dyn Fn() -> Result<String, String> + Send + Sync;

/// The running server. Its tasks end with the event loop.
pub(crate) struct Server {
    shared: Arc<Shared>,
    end: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Binds an address. Done before the process gives its privileges up.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<StdListener> {
        let listener = StdListener::bind(address).or_else(|error| {
            let other = without_ipv6(address, &error).ok_or(error)?;
            StdListener::bind(other)
        })?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Serves from now on. The command gets the questions from the receiver.
    pub(crate) fn start(
        listener: StdListener,
        metrics: Metrics,
    ) -> io::Result<(Self, mpsc::Receiver<Ask>)> {
        let listener = TcpListener::from_std(listener)?;
        // As many as there can be connections.
        let (asks, asked) = mpsc::channel(MOST_CONNECTIONS);
        let shared = Arc::new(Shared {
            metrics,
            stage: Mutex::new(Stage::Before("the eBPF program is being loaded")),
            asks,
            report: OnceLock::new(),
            making: Semaphore::new(1),
        });
        let (end, ending) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), ending));
        let server = Self {
            shared,
            end,
            accepting,
        };
        Ok((server, asked))
    }

    /// Says how far the run is.
    pub(crate) fn set(&self, stage: Stage) {
        *self.shared.stage() = stage;
        self.shared
            .metrics
            .0
            .ready
            .set((stage == Stage::Ready).into());
    }

    /// Serves a report from now on.
    pub(crate) fn report(&self, make: impl Fn() -> Result<String, String> + Send + Sync + 'static) {
        let _ = self.shared.report.set(Box::new(make));
    }

    /// Accepts no further connection, and lets answers that are being written end.
    pub(crate) async fn close(self) {
        self.set(Stage::Ended);
        let _ = self.end.send(true);
        let closed = async {
            let _ = self.accepting.await;
            self.end.closed().await;
        };
        let _ = timeout(LAST, closed).await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut ending: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let clients = Clients::default();
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            _ = ending.changed() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(_) => {
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let Some(client) = clients.admit(peer.ip().to_canonical()) else {
            continue;
        };
        let (shared, ending) = (Arc::clone(&shared), ending.clone());
        tokio::spawn(async move {
            let is_local = peer.ip().to_canonical().is_loopback();
            converse((stream, is_local), &shared, ending).await;
            drop((permit, client));
        });
    }
}

/// How many connections each client has.
#[derive(Clone, Default)]
struct Clients(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection of a client.
struct Client(Clients, IpAddr);

impl Clients {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, address: IpAddr) -> Option<Client> {
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= MOST_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Client(self.clone(), address))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let Self(clients, address) = self;
        let mut counts = clients.counts();
        if let Some(count) = counts.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(address);
            }
        }
    }
}

/// Answers the requests of a connection. `is_local`: the client is on this machine.
async fn converse(
    (stream, is_local): (TcpStream, bool),
    shared: &Arc<Shared>,
    mut ending: watch::Receiver<bool>,
) {
    let answer =
        |request| async move { Ok::<_, Infallible>(shared.answer(&request, is_local).await) };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MOST_BYTES)
        .max_headers(MOST_FIELDS)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    tokio::pin!(connection);
    // An error is the client's: it left, or sent no HTTP.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(LIFE) => {}
        _ = ending.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(LAST, connection).await;
}

type Answer = Response<Full<Bytes>>;

impl Shared {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(self: &Arc<Self>, request: &Request<Incoming>, is_local: bool) -> Answer {
        let path = request.uri().path();
        let Some((_, page, _)) = PAGES.iter().find(|(known, ..)| *known == path) else {
            return plain(
                StatusCode::NOT_FOUND,
                "there is no such page; / lists them\n",
            );
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            answer.headers_mut().insert(ALLOW, allowed);
            return answer;
        }
        match page {
            Page::Index => plain(StatusCode::OK, index()),
            Page::Report if is_local && names_an_address(request) => self.report().await,
            Page::Report => plain(
                StatusCode::FORBIDDEN,
                "the report is for clients on this machine that name an address or localhost\n",
            ),
            Page::Metrics => self.metrics(request).await,
            Page::Healthy => verdict(self.health().await),
            Page::Ready => verdict(self.readiness()),
        }
    }

    async fn report(self: &Arc<Self>) -> Answer {
        if self.report.get().is_none() {
            return plain(StatusCode::NOT_FOUND, "no history is kept to report\n");
        }
        let Ok(_alone) = self.making.try_acquire() else {
            let why = "another client is waiting for the report; try again\n";
            return plain(StatusCode::SERVICE_UNAVAILABLE, why);
        };
        let shared = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || {
            shared
                .report
                .get()
                .map_or_else(|| Ok(String::new()), |make| make())
        });
        match made.await {
            Ok(Ok(page)) => {
                let mut answer = reply(StatusCode::OK, "text/html; charset=utf-8", page.into());
                let policy = HeaderValue::from_static(POLICY);
                answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
                answer
            }
            Ok(Err(why)) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the report failed\n"),
        }
    }

    async fn metrics(&self, request: &Request<Incoming>) -> Answer {
        // Without an answer the gauges keep their values, and `/healthz` says why.
        let _ = self.ask(Wanted::Refresh).await;
        let accept = request.headers().get_all(ACCEPT);
        let accept: Vec<_> = accept
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let format = Format::of(&accept.join(","));
        match self.metrics.encode(format) {
            Ok(written) => reply(StatusCode::OK, format.content_type(), written),
            Err(error) => {
                let why = format!("failed to write the metrics: {error}\n");
                plain(StatusCode::INTERNAL_SERVER_ERROR, why)
            }
        }
    }

    fn readiness(&self) -> Health {
        match *self.stage() {
            Stage::Ready => Ok(()),
            Stage::Before(what) => Err(what.to_owned()),
            Stage::Ended => Err("the run has ended".to_owned()),
        }
    }

    async fn health(&self) -> Health {
        if *self.stage() == Stage::Ended {
            return Err("the run has ended".to_owned());
        }
        // Nobody is asked before the command observes, and then nothing can be late.
        self.ask(Wanted::Health).await.unwrap_or(Ok(()))
    }

    /// The answer of the command; `None` if none answers questions now.
    async fn ask(&self, wanted: Wanted) -> Option<Health> {
        let answers = matches!(*self.stage(), Stage::Ready | Stage::Before(SURVEYING));
        if !answers {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.asks.send(Ask { wanted, answer }).await.ok()?;
            answered.await.ok()
        };
        let late = || Some(Err(format!("no answer for {} s", ANSWER.as_secs())));
        timeout(ANSWER, asked).await.unwrap_or_else(|_| late())
    }
}

/// On a node without IPv6, all addresses are those of IPv4.
fn without_ipv6(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let has_none = error.raw_os_error() == Some(libc::EAFNOSUPPORT);
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    (has_none && address.is_ipv6() && address.ip().is_unspecified()).then_some(any)
}

/// Whether a client names an address or `localhost`. A page of another site, whose name its owner
/// points at this machine, names that site.
fn names_an_address(request: &Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none());
    let host = host.and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    // An absolute URI names a host, too, and that one counts.
    let authority = request.uri().authority().cloned().or(host.clone());
    authority
        .filter(|_| host.is_some())
        .is_some_and(|authority| {
            let host = authority.host().trim_matches(['[', ']']);
            host == "localhost" || host.parse::<IpAddr>().is_ok()
        })
}

/// The stage from which on the command answers questions.
pub(crate) const SURVEYING: &str = "the pods that run already are being judged";

fn index() -> String {
    let mut text = format!("pause-trace {}\n\n", env!("CARGO_PKG_VERSION"));
    for (path, _, about) in PAGES {
        text.push_str(&format!("{path:<10} {about}\n"));
    }
    text
}

fn verdict(health: Health) -> Answer {
    match health {
        Ok(()) => plain(StatusCode::OK, "ok\n"),
        Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

fn plain(status: StatusCode, text: impl Into<Vec<u8>>) -> Answer {
    reply(status, "text/plain; charset=utf-8", text.into())
}

fn reply(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let fields = answer.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

#[cfg(test)]
mod tests;
