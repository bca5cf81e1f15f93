//! Queries runtimes about containers.

use std::{
    cell::RefCell,
    collections::HashMap,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use pause_trace_cri::{Client, Socket};

use crate::{
    event::{CgroupId, ContainerId},
    node::cri::{Answer, CriNames},
    runtimes::sockets,
};

/// Queries for a container that the runtime does not know: the cgroup of a container exists before
/// the runtime lists the container, that of a sandbox some 40 ms before.
const TRIES: u32 = 7;

/// The wait before the second query; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(100);

/// A query about a container.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) cgroup: CgroupId,
    pub(super) container: ContainerId,
    /// The socket of the container's own runtime.
    socket: Option<PathBuf>,
    tries: u32,
}

impl Question {
    pub(super) fn new(cgroup: CgroupId, container: ContainerId, socket: Option<PathBuf>) -> Self {
        Self {
            cgroup,
            container,
            socket,
            tries: 0,
        }
    }

    /// Whether the socket of the container's own runtime is known.
    pub(super) fn is_of_its_runtime(&self) -> bool {
        self.socket.is_some()
    }

    pub(super) fn is_first(&self) -> bool {
        self.tries == 0
    }

    /// Whether tries are left. After a restart of the runtime, they are counted anew.
    pub(super) fn is_worth_it(&self) -> bool {
        self.tries < TRIES
    }

    /// The wait before the next query if the container was not known; `None` if no tries are left.
    pub(super) fn again(&self) -> Option<Duration> {
        self.is_worth_it().then(|| FIRST * 2_u32.pow(self.tries))
    }

    pub(super) fn next(self) -> Self {
        Self {
            tries: self.tries + 1,
            ..self
        }
    }
}

/// The runtimes, by socket.
#[derive(Default)]
pub(super) struct Runtimes {
    /// The only socket to use, if one was configured.
    only: Option<PathBuf>,
    by_socket: RefCell<HashMap<PathBuf, Rc<CriNames>>>,
}

impl Runtimes {
    pub(super) fn new(only: Option<Socket>) -> Self {
        Self {
            only: only.map(|socket| socket.path().to_owned()),
            by_socket: RefCell::default(),
        }
    }

    /// Queries a container's own runtime, otherwise those at the default sockets, one after the
    /// other.
    pub(super) async fn ask(&self, question: &Question) -> Answer {
        let id = &*question.container;
        if let Some(socket) = self.only.as_deref().or(question.socket.as_deref()) {
            return match self.runtime(socket) {
                Some(runtime) => runtime.ask(id).await,
                None => Answer::Unknown,
            };
        }
        let mut answer = Answer::Unknown;
        for socket in Socket::discover(sockets()).unwrap_or_default() {
            if let Some(runtime) = self.runtime(socket.path()) {
                answer = runtime.ask(id).await;
            }
            if matches!(answer, Answer::Known(_) | Answer::Unclear(_)) {
                break;
            }
        }
        answer
    }

    fn runtime(&self, path: &Path) -> Option<Rc<CriNames>> {
        if let Some(known) = self.by_socket.borrow().get(path) {
            return Some(Rc::clone(known));
        }
        let socket: Socket = path.to_str()?.parse().ok()?;
        let runtime = Rc::new(CriNames::new(Client::connect(socket)));
        self.by_socket
            .borrow_mut()
            .insert(path.to_owned(), Rc::clone(&runtime));
        Some(runtime)
    }
}
