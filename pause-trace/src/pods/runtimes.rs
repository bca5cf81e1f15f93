//! The runtimes that can be asked about containers.

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

/// How often a runtime is asked for a container that it does not know: its cgroup is there before the runtime admits to it,
/// a sandbox' some 40 ms.
const TRIES: u32 = 7;

/// After how long it is asked a second time; doubles with each.
const FIRST: Duration = Duration::from_millis(100);

/// What a runtime is asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) cgroup: CgroupId,
    pub(super) container: ContainerId,
    /// Where the container's own runtime listens.
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

    /// Whether its own runtime is asked, rather than one that was found.
    pub(super) fn is_of_its_runtime(&self) -> bool {
        self.socket.is_some()
    }

    pub(super) fn is_first(&self) -> bool {
        self.tries == 0
    }

    /// Whether to ask again at all. A runtime that is started anew is asked anew.
    pub(super) fn is_worth_it(&self) -> bool {
        self.tries < TRIES
    }

    /// When to ask again of what is not known.
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
    /// The one to ask, whatever containers say.
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

    /// Asks a container's own runtime, else those in the usual places, one after the other.
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
