//! In which order the start and end of a container are reported, whatever the order in which its
//! declaration, its exec and its exit become known.

use super::*;
use crate::{
    event::{
        CgroupId, Comm, ContainerFact, ContainerKind, Event, Fact, Mode, Modes, PodFact, ProcessId,
        Source, TaskInfo, Text,
    },
    state::Limits,
};

const POD: &str = "p";
const CONTAINER: &str = "c";
const CGROUP: CgroupId = 10;
const RUNTIME: ProcessId = ProcessId { pid: 100, start: 1 };
const INIT: ProcessId = ProcessId { pid: 200, start: 2 };

const HOST: Namespaces = Namespaces {
    mnt: 1,
    uts: 2,
    ipc: 3,
    net: 4,
    pid: 5,
    pid_children: 5,
    user: 6,
    cgroup: 7,
    net_owner: 6,
    pid_level: 0,
};

fn init(cgroup: CgroupId) -> TaskInfo {
    TaskInfo {
        process: INIT,
        parent: RUNTIME,
        cgroup,
        namespaces: Namespaces {
            mnt: 1_000,
            pid: 1_001,
            pid_children: 1_001,
            pid_level: 1,
            ..HOST
        },
        ns_pid: 1,
        comm: Comm::new("app"),
    }
}

/// Everything that a source says of the container. Each source says more than the one before.
fn declared(what: ContainerKind, pid: Mode) -> [Fact; 2] {
    let modes = Modes {
        pid,
        ..Modes::plain()
    };
    let source = Source::Bundle;
    let pod = PodFact {
        pod: POD.into(),
        namespace: Text::new("default"),
        name: Text::new(POD),
        modes: modes.clone(),
        source,
    };
    let container = ContainerFact {
        container: CONTAINER.into(),
        pod: POD.into(),
        name: Text::new(CONTAINER),
        what,
        cgroup: CGROUP,
        modes,
        stop_signal: 15,
        sandbox: None,
        file: None,
        source,
    };
    [Fact::Pod(pod), Fact::Container(container)]
}

/// A node whose news is read.
struct Node {
    state: State,
    ledger: Ledger,
    feed: NewsFeed,
    now: Ktime,
}

impl Node {
    /// A runtime has put the process of a container into its cgroup.
    fn new() -> Self {
        let mut node = Self {
            state: State::new(Limits::NODE),
            ledger: Ledger::new(|_| true),
            feed: NewsFeed::default(),
            now: 1_000,
        };
        node.take(Fact::Host { namespaces: HOST });
        node.take(Fact::Runtime { process: RUNTIME });
        let path = Text::new("/pods/c");
        node.take(Fact::CgroupMade {
            cgroup: CGROUP,
            path,
        });
        node.take(Fact::Fork { task: init(1) });
        node.take(Fact::CgroupAttached { task: init(CGROUP) });
        node
    }

    fn take(&mut self, fact: Fact) -> Ktime {
        self.now += 1_000;
        let event = Event {
            time: self.now,
            fact,
        };
        let (feed, time) = (&mut self.feed, event.time);
        self.ledger
            .judge(&mut self.state, &event, |change, state, ledger| {
                feed.change(time, change, state, ledger);
            });
        self.now
    }

    fn wait(&mut self, ns: Ktime) {
        self.now += ns;
        self.take(Fact::Tick);
    }

    /// The news of the container so far, with their times.
    fn news(&mut self) -> Vec<(&'static str, Ktime)> {
        let news = self.feed.take().into_iter();
        news.filter(|news| news.container.is_some())
            .map(|news| (news.what.name(), news.time))
            .collect()
    }
}

/// All ways to merge two sequences of these lengths: whether the next item is of the first one.
fn merged(first: usize, second: usize) -> Vec<Vec<bool>> {
    if first == 0 || second == 0 {
        return vec![[vec![true; first], vec![false; second]].concat()];
    }
    let with = |next: bool, rest: Vec<Vec<bool>>| {
        let one = move |rest: Vec<bool>| [vec![next], rest].concat();
        rest.into_iter().map(one).collect::<Vec<_>>()
    };
    let mut ways = with(true, merged(first - 1, second));
    ways.extend(with(false, merged(first, second - 1)));
    ways
}

#[test]
fn a_start_is_reported_once_and_before_the_end_in_every_order_of_events() {
    let path = Text::new("/pods/c");
    let removed = Fact::CgroupRemoved {
        cgroup: CGROUP,
        path,
    };
    let life = [
        Fact::Exec {
            task: init(CGROUP),
            file: Text::new("/app"),
        },
        Fact::Exit {
            task: init(CGROUP),
            status: WaitStatus::exited(1),
        },
        Fact::Reaped { process: INIT },
        removed,
    ];
    for what in [ContainerKind::App, ContainerKind::Sandbox] {
        let sources = [Mode::Unknown, Mode::Container, Mode::Pod].map(|pid| declared(what, pid));
        let ways = merged(life.len(), sources.len());
        assert_eq!(ways.len(), 35);
        for way in ways {
            let mut node = Node::new();
            let (mut life, mut sources) = (life.iter(), sources.iter());
            let mut times = Vec::new();
            for is_of_life in &way {
                if *is_of_life {
                    times.extend(life.next().map(|fact| node.take(fact.clone())));
                } else {
                    for fact in sources.next().into_iter().flatten() {
                        node.take(fact.clone());
                    }
                }
            }
            let expected = [("started", times[0]), ("ended", times[1])];
            assert_eq!(node.news(), expected, "{what:?} {way:?}");

            node.take(Fact::PodRemoved { pod: POD.into() });
            node.wait(Limits::NODE.removal);
            node.wait(Limits::NODE.identity);
            assert_eq!(node.news(), [], "{way:?}");
            assert!(node.feed.reported.is_empty(), "{way:?}");
            assert!(node.state.processes.get(INIT).is_none(), "{way:?}");
        }
    }
}

#[test]
fn a_process_of_no_container_is_kept_only_as_long_as_it_may_be_declared() {
    let mut node = Node::new();
    node.take(Fact::Exec {
        task: init(CGROUP),
        file: Text::new("/app"),
    });
    node.take(Fact::Exit {
        task: init(CGROUP),
        status: WaitStatus::exited(1),
    });
    node.take(Fact::Reaped { process: INIT });
    assert!(node.state.processes.get(INIT).is_some());
    node.wait(Limits::NODE.identity);
    assert!(node.state.processes.get(INIT).is_none());
    assert_eq!(node.news(), []);
    let verdicts = node.ledger.take().into_iter();
    let rules: Vec<_> = verdicts.map(|verdict| verdict.rule.id).collect();
    assert_eq!(rules, ["PT903"], "it is reported as unknown");
}

#[test]
fn what_is_known_to_be_in_no_pod_is_not_kept() {
    let mut node = Node::new();
    node.take(Fact::NotInPod { cgroup: CGROUP });
    node.take(Fact::Exec {
        task: init(CGROUP),
        file: Text::new("/app"),
    });
    node.take(Fact::Exit {
        task: init(CGROUP),
        status: WaitStatus::exited(1),
    });
    node.take(Fact::Reaped { process: INIT });
    assert!(node.state.processes.get(INIT).is_none());
}
