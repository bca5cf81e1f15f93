//! The side that answers. It reads one line of who asks, and nothing else.

use std::{
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::sys::socket::{Shutdown, getsockopt, shutdown, sockopt::PeerCredentials};

use super::{
    Head, MAX_REQUEST, PATIENCE, PartHead, REQUEST, VERSION, is_trusted,
    place::{NotBound, Place},
    store::{Answer, Store},
};
use crate::{confine, probe};

/// How many are answered at once. Others are refused.
pub(super) const MAX_CLIENTS: usize = 4;

/// The longest time for a whole answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Packing the last frame needs most of it.
const STACK: usize = 256 << 10;

/// The time between two attempts to accept, if the kernel has no descriptor or memory for it.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers until it is dropped. The socket is then removed.
pub(crate) struct Server {
    listener: Arc<UnixListener>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds the socket and starts to answer.
    pub(crate) fn start(path: &Path, store: Arc<Store>) -> Result<Self, NotBound> {
        let (listener, place) = Place::bind(path)?;
        let (listener, is_over) = (Arc::new(listener), Arc::new(AtomicBool::new(false)));
        let (started, has_started) = mpsc::channel();
        let thread = thread::Builder::new().name(NAME.to_owned()).spawn({
            let (listener, is_over) = (Arc::clone(&listener), Arc::clone(&is_over));
            let path = path.to_owned();
            move || {
                confine::writer(Some(&path));
                let _ = started.send(());
                accept(&listener, &is_over, &store);
                place.remove();
            }
        })?;
        // Its capabilities are checked with those of the other threads.
        let _ = has_started.recv();
        Ok(Self {
            listener,
            is_over,
            thread: Some(thread),
        })
    }

    /// The descriptor on which connections are accepted.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.listener.as_raw_fd()
    }
}

/// The name of the threads.
const NAME: &str = "history";

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes up the accept (unix_accept, net/unix/af_unix.c).
        let _ = shutdown(self.listener.as_fd().as_raw_fd(), Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &UnixListener, is_over: &AtomicBool, store: &Arc<Store>) {
    let clients = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = listener.accept();
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => {
                thread::sleep(PAUSE);
                continue;
            }
        };
        let Some(client) = Client::admit(&clients) else {
            let why = format!("{MAX_CLIENTS} others are being answered");
            // It fits into the empty buffer of the socket.
            let _ = refuse(&stream, &why);
            continue;
        };
        let store = Arc::clone(store);
        let answering = thread::Builder::new()
            .name(NAME.to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let _client = client;
                // Who has left needs no answer.
                let _ = answer(&stream, &store);
            });
        // Without a thread the connection is closed.
        drop(answering);
    }
}

/// One that is being answered.
struct Client(Arc<AtomicUsize>);

impl Client {
    fn admit(clients: &Arc<AtomicUsize>) -> Option<Self> {
        if clients.fetch_add(1, Ordering::Relaxed) < MAX_CLIENTS {
            return Some(Self(Arc::clone(clients)));
        }
        clients.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer(stream: &UnixStream, store: &Store) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let peer = getsockopt(stream, PeerCredentials)?;
    let answer = match is_trusted(peer.uid()) {
        false => Err("only root may read the history".to_owned()),
        true => read_request(stream)
            .and_then(|request| check(&request))
            .and_then(|()| store.answer(probe::now())),
    };
    match answer {
        Ok(answer) => send(stream, &answer),
        Err(why) => refuse(stream, &why),
    }
}

/// Reads a line of bounded length, in bounded time.
fn read_request(mut stream: &UnixStream) -> Result<Vec<u8>, String> {
    let until = Instant::now() + PATIENCE;
    let mut buffer = [0; MAX_REQUEST];
    let mut filled = 0;
    while filled < buffer.len() && Instant::now() < until {
        let read = stream.read(&mut buffer[filled..]);
        match read.map_err(|error| format!("no request was read: {error}"))? {
            0 => return Err("the request is cut".to_owned()),
            read => filled += read,
        }
        if let Some(end) = buffer[..filled].iter().position(|byte| *byte == b'\n') {
            return Ok(buffer[..end].to_vec());
        }
    }
    Err("the request is too long or too slow".to_owned())
}

fn check(request: &[u8]) -> Result<(), String> {
    let asked = request.strip_prefix(REQUEST.as_bytes());
    let asked = asked.and_then(|version| str::from_utf8(version).ok()?.parse::<u32>().ok());
    match asked {
        Some(VERSION) => Ok(()),
        Some(other) => Err(format!(
            "the watch answers version {VERSION} of the request, and not {other}"
        )),
        None => Err("the request is not understood".to_owned()),
    }
}

fn refuse(stream: &UnixStream, why: &str) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = Head {
        error: Some(why.to_owned()),
        ..Head::default()
    };
    write_head(stream, &head)
}

fn write_head(mut stream: &UnixStream, head: &Head) -> io::Result<()> {
    let mut line = serde_json::to_vec(head)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn send(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let until = Instant::now() + ANSWER_TIME;
    let parts = answer.parts.iter().map(|part| {
        let (left_out, left_out_more) = part.left_out();
        PartHead {
            since_ns: part.since,
            bytes: part.bytes(),
            left_out,
            left_out_more,
        }
    });
    let head = Head {
        parts: parts.collect(),
        ..Head::default()
    };
    write_head(stream, &head)?;
    for frame in answer.parts.iter().flat_map(|part| &part.frames) {
        if Instant::now() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.write_all(frame)?;
    }
    Ok(())
}
