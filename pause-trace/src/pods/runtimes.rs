//! Queries runtimes about containers.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use pause_trace_cri::{Client, Socket};

use crate::{
    event::{CgroupId, ContainerId, Text},
    node::cri::{Answer, CriNames},
    rules,
    runtimes::sockets,
    sys,
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

    pub(super) fn is_first(&self) -> bool {
        self.tries == 0
    }

    /// What follows from an answer that does not describe the container. After a restart of the
    /// runtime, the tries are counted anew.
    pub(super) fn after(&self, answer: &Answer) -> Next {
        let is_left = self.tries < TRIES;
        match answer {
            Answer::Unknown if is_left => Next::Ask(FIRST * 2_u32.pow(self.tries)),
            Answer::Unknown if self.is_of_its_runtime() => Next::NotKnown,
            Answer::Unavailable { again, .. } if is_left => Next::Ask(*again),
            // Nobody has said anything about the container; or its bundle has to do.
            _ => Next::Nothing,
        }
    }

    /// Whether the socket of the container's own runtime is known.
    fn is_of_its_runtime(&self) -> bool {
        self.socket.is_some()
    }

    pub(super) fn next(self) -> Self {
        Self {
            tries: self.tries + 1,
            ..self
        }
    }
}

/// What to do after an answer that does not describe a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask again after this time.
    Ask(Duration),
    /// The container's own runtime was asked until no tries were left, and does not know it.
    NotKnown,
    Nothing,
}

/// The runtimes, by socket.
#[derive(Default)]
pub(super) struct Runtimes {
    /// The only socket to use, if one was configured.
    only: Option<PathBuf>,
    by_socket: RefCell<HashMap<PathBuf, Rc<CriNames>>>,
    /// Those of which the user was told that they do not answer.
    told: RefCell<HashSet<PathBuf>>,
}

impl Runtimes {
    pub(super) fn new(only: Option<Socket>) -> Self {
        Self {
            only: only.map(|socket| socket.path().to_owned()),
            by_socket: RefCell::default(),
            told: RefCell::default(),
        }
    }

    /// Queries a container's own runtime, otherwise those at the default sockets, one after the
    /// other.
    pub(super) async fn ask(&self, question: &Question) -> Answer {
        let id = &*question.container;
        if let Some(socket) = self.only.as_deref().or(question.socket.as_deref()) {
            return match self.runtime(socket) {
                Some(runtime) => self.tell(socket, runtime.ask(id).await),
                None => Answer::Unknown,
            };
        }
        let mut answer = Answer::Unknown;
        for socket in Socket::discover(sockets()).unwrap_or_default() {
            if let Some(runtime) = self.runtime(socket.path()) {
                answer = self.tell(socket.path(), runtime.ask(id).await);
            }
            if matches!(answer, Answer::Known(_) | Answer::Unclear(_)) {
                break;
            }
        }
        answer
    }

    /// Tells the user of a runtime that does not answer, once.
    fn tell(&self, socket: &Path, answer: Answer) -> Answer {
        if let Answer::Unavailable {
            reason,
            has_answered: false,
            ..
        } = &answer
            && self.told.borrow_mut().insert(socket.to_owned())
        {
            eprintln!("pause-trace: {}", unavailable(socket, reason));
        }
        answer
    }

    /// Whether the runtime that is asked is in the mount namespace of a process.
    pub(super) fn shares_mounts(&self, question: &Question, pid: u32) -> bool {
        let socket = self.only.as_deref().or(question.socket.as_deref());
        socket.is_some_and(|socket| shares_mounts(socket, pid))
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

/// That a runtime does not answer, and what cannot be judged then.
fn unavailable(socket: &Path, reason: &str) -> String {
    format!(
        "the runtime at {} does not answer ({}): while it does not, {}",
        Text::new(&socket.to_string_lossy()),
        Text::new(reason),
        rules::without_cri()
    )
}

/// Whether the process that listens at a socket is in the mount namespace of another one. Not known
/// of one that accepts nothing, for which the event loop does not wait.
fn shares_mounts(socket: &Path, pid: u32) -> bool {
    let mounts = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let server = sys::connect_at_once(socket)
        .ok()
        .and_then(|stream| getsockopt(&stream, PeerCredentials).ok())
        .and_then(|server| mounts(server.pid().cast_unsigned()));
    server.is_some() && server == mounts(pid)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, process};

    use super::*;

    #[test]
    fn a_runtime_of_other_mounts_is_told_from_the_nodes() {
        let path = std::env::temp_dir().join(format!("pause-trace-runtime-{}", process::id()));
        let listener = UnixListener::bind(&path).expect("the path is free");
        assert!(shares_mounts(&path, process::id()));
        // No process has this pid.
        assert!(!shares_mounts(&path, u32::MAX));
        drop(listener);
        assert!(!shares_mounts(&path, process::id()), "nobody listens");
        fs::remove_file(path).expect("it was bound");
    }

    #[test]
    fn a_runtime_that_does_not_answer_is_told_of_once_with_the_rules_that_need_it() {
        let runtimes = Runtimes::new(None);
        let (socket, other) = (Path::new("/run/a.sock"), Path::new("/run/b.sock"));
        let unavailable = || Answer::Unavailable {
            reason: "connection refused".to_owned(),
            again: RETRY,
            has_answered: false,
        };
        // A containerd without CRI.
        let refuses = || Answer::Unavailable {
            reason: "unknown service".to_owned(),
            again: RETRY,
            has_answered: true,
        };
        for answer in [Answer::Unknown, unavailable(), unavailable()] {
            assert_eq!(runtimes.tell(socket, answer.clone()), answer);
        }
        assert_eq!(runtimes.tell(other, refuses()), refuses());
        assert!(runtimes.told.borrow().contains(socket));
        assert!(!runtimes.told.borrow().contains(other));
        let said = super::unavailable(Path::new("/run/\u{1b}.sock"), "connection refused");
        assert!(said.contains("PT204 and PT312 are not judged"), "{said}");
        assert!(!said.contains('\u{1b}'), "{said}");
    }

    /// One that hangs holds nothing up.
    #[test]
    fn a_runtime_that_accepts_no_more_connections_is_not_waited_for() {
        use nix::sys::socket::{Backlog, listen};

        let path = std::env::temp_dir().join(format!("pause-trace-full-{}", process::id()));
        let listener = UnixListener::bind(&path).expect("the path is free");
        listen(&listener, Backlog::new(1).expect("a backlog")).expect("it listens again");
        let mut waiting = Vec::new();
        while let Ok(one) = sys::connect_at_once(&path) {
            waiting.push(one);
            assert!(waiting.len() < 100, "its queue is never full");
        }
        let (answered, is_answered) = std::sync::mpsc::channel();
        std::thread::spawn({
            let path = path.clone();
            move || answered.send(shares_mounts(&path, process::id()))
        });
        let answer = is_answered.recv_timeout(Duration::from_secs(30));
        assert_eq!(answer, Ok(false), "it waits for the runtime");
        waiting.clear();
        drop(listener);
        fs::remove_file(path).expect("it was bound");
    }

    const RETRY: Duration = Duration::from_secs(3);

    /// What follows from the first answer, and from the last of which each was like it.
    fn first_and_last(socket: Option<&str>, answer: &Answer) -> [Next; 2] {
        let mut question = Question::new(1, "a".into(), socket.map(PathBuf::from));
        let first = question.after(answer);
        while let Next::Ask(_) = question.after(answer) {
            question = question.next();
        }
        [first, question.after(answer)]
    }

    /// Only a runtime that answers can say that it does not know a sandbox.
    #[test]
    fn a_runtime_that_does_not_answer_says_nothing_about_a_container() {
        let unavailable = Answer::Unavailable {
            reason: "it hangs".to_owned(),
            again: RETRY,
            has_answered: false,
        };
        let its = Some("/run/its.sock");
        assert_eq!(
            first_and_last(its, &Answer::Unknown),
            [Next::Ask(FIRST), Next::NotKnown]
        );
        assert_eq!(
            first_and_last(its, &unavailable),
            [Next::Ask(RETRY), Next::Nothing]
        );
        let unclear = Answer::Unclear("it is".to_owned());
        assert_eq!(
            first_and_last(its, &unclear),
            [Next::Nothing, Next::Nothing]
        );
        // Nor does a runtime that may be another one's.
        assert_eq!(
            first_and_last(None, &Answer::Unknown),
            [Next::Ask(FIRST), Next::Nothing]
        );
    }
}
