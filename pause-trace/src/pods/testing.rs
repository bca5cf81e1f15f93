//! An example node with three pods, for tests of the output.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    described::Described,
    view::{self, PodView},
};
use crate::{
    event::{
        CgroupId, ContainerFact, ContainerKind, Mode, Modes, PauseStatus, PodFact, ProcessId,
        Source, Text,
    },
    node::{
        cri::{Known, intent::Sandbox},
        identity::{Identity, Qos},
        network::{DefaultRoute, Interface, Listening, Network, Protocol},
        survey::{
            Container, Survey,
            process::{Link, Process},
        },
    },
    runtimes::Engine,
    stop_outlook::StopOutlook,
};

/// The id of a container with this prefix.
pub(crate) fn id(begin: &str) -> String {
    begin.repeat(64 / begin.len())
}

/// Namespaces in the order net, ipc, uts, pid, mnt, user, cgroup.
pub(crate) fn links(inodes: [u32; 7]) -> [Link; 7] {
    inodes.map(Link::Inode)
}

/// A process in the host's namespaces, which have the inode numbers 1 to 7.
pub(crate) fn host() -> Process {
    Process::made_up(7, 1, b'R', links([1, 2, 3, 4, 5, 6, 7]))
}

/// A container in a survey.
pub(crate) fn surveyed(pod: &str, container: &str, processes: Vec<Process>) -> Container {
    Container {
        identity: Identity {
            engine: Engine::Containerd,
            container: id(container).into(),
            pod: Some((pod.into(), Qos::Burstable)),
            podman_pod: None,
            node: None,
        },
        groups: Vec::new(),
        processes,
        is_cut: false,
    }
}

/// A runtime's answer about a container; if `container` equals `sandbox`, about the sandbox.
pub(crate) fn answer(
    pod: (&str, &str),
    modes: &Modes,
    sandbox: &str,
    container: &str,
    name: &str,
) -> Known {
    let is_sandbox = sandbox == container;
    let fact = ContainerFact {
        container: id(container).into(),
        pod: pod.0.into(),
        name: Text::new(name),
        what: if is_sandbox {
            ContainerKind::Sandbox
        } else {
            ContainerKind::App
        },
        cgroup: 0,
        modes: modes.clone(),
        stop_signal: 15,
        sandbox: None,
        file: None,
        source: Source::Cri,
    };
    Known {
        sandbox: Sandbox {
            id: id(sandbox).into(),
            pod: PodFact {
                pod: pod.0.into(),
                namespace: Text::new("default"),
                name: Text::new(pod.1),
                modes: modes.clone(),
                source: Source::Cri,
            },
            pause: is_sandbox.then(|| fact.clone()),
            pid: None,
        },
        container: (!is_sandbox).then_some(fact),
        grace: None,
        pid: None,
    }
}

/// Three pods. In `default/web`, `app` is as requested and has a zombie, and `side` has a network
/// namespace of its own. `default/db` is in the host's network. The third has a hostile name and no
/// pause.
pub(crate) fn pods() -> Vec<PodView> {
    let plain = Modes::plain();
    let host_network = Modes {
        net: Mode::Node,
        uts: Mode::Node,
        ..Modes::plain()
    };
    let web = ("uid-web", "web");
    let (db, hostile) = (("uid-db", "db"), ("uid-db-2", "db-\x1b[2J"));
    let says = [
        answer(web, &plain, "a0", "a0", "pause"),
        answer(web, &plain, "a0", "a1", "app"),
        answer(web, &plain, "a0", "a2", "side"),
        answer(db, &host_network, "b0", "b0", "pause"),
        answer(db, &host_network, "b0", "b1", "app"),
        answer(hostile, &plain, "c0", "c1", "app\n"),
    ];
    let of_app = links([1001, 1002, 1003, 1014, 1015, 6, 7]);
    let containers = vec![
        surveyed(
            "uid-web",
            "a0",
            vec![Process::made_up(
                1000,
                1,
                b'S',
                links([1001, 1002, 1003, 1004, 1005, 6, 7]),
            )],
        ),
        surveyed(
            "uid-web",
            "a1",
            vec![
                Process::made_up(1500, 1, b'S', of_app),
                Process::made_up(1600, 1500, b'S', of_app),
                Process::made_up(1601, 1600, b'Z', [Link::Gone; 7]),
            ],
        ),
        surveyed(
            "uid-web",
            "a2",
            vec![Process::made_up(
                1700,
                1,
                b'S',
                links([1009, 1002, 1003, 1024, 1025, 6, 7]),
            )],
        ),
        surveyed(
            "uid-db",
            "b0",
            vec![Process::made_up(
                2000,
                1,
                b'S',
                links([1, 2002, 3, 2004, 2005, 6, 7]),
            )],
        ),
        surveyed(
            "uid-db",
            "b1",
            vec![Process::made_up(
                2100,
                1,
                b'S',
                links([1, 2002, 3, 2014, 2015, 6, 7]),
            )],
        ),
        surveyed(
            "uid-db-2",
            "c1",
            vec![Process::made_up(
                3000,
                1,
                b'S',
                links([3001, 3002, 3003, 3004, 3005, 6, 7]),
            )],
        ),
    ];
    let mut described = Described::default();
    for (cgroup, (container, known)) in containers.iter().zip(says).enumerate() {
        described.answered(cgroup as CgroupId + 1, &container.identity.container, known);
    }
    let survey = Survey {
        containers,
        hidden: 0,
    };
    let mut pods = view::views(survey, &described, Some(&host()));
    for pod in &mut pods {
        for container in pod
            .containers
            .iter_mut()
            .filter(|one| one.id.starts_with("a0"))
        {
            container.memory = Some(1 << 20);
            container.status = Some(status());
            pod.networks.insert(1001, network());
        }
        for container in pod
            .containers
            .iter_mut()
            .filter(|one| one.id.starts_with("a1"))
        {
            container.memory = Some(2 << 20);
            container.stop = Some(StopOutlook::Drops);
        }
    }
    pods
}

fn network() -> Network {
    let address = |last| IpAddr::V4(Ipv4Addr::new(10, 4, 0, last));
    let interface = |name| Interface {
        name: Text::new(name),
        is_up: Some(true),
    };
    Network {
        interfaces: vec![interface("lo"), interface("eth0")],
        addresses: [address(7), IpAddr::V4(Ipv4Addr::LOCALHOST)].into(),
        ways_out: vec![DefaultRoute {
            interface: Text::new("eth0"),
            gateway: Some(address(1)),
        }],
        listening: [Listening {
            protocol: Protocol::Tcp,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 80,
        }]
        .into(),
        sockets: std::collections::BTreeMap::new(),
    }
}

fn status() -> PauseStatus {
    PauseStatus {
        pod: "uid-web".into(),
        process: ProcessId {
            pid: 1000,
            start: 0,
        },
        pss_bytes: 12 << 10,
        anonymous_bytes: 8 << 10,
        threads: 1,
        descriptors: 3,
        sockets: 0,
        children: 0,
        cpu_ns: 0,
        age_ns: 0,
        uid: 0,
        capabilities: 0,
        no_new_privs: true,
        oom_score_adj: -998,
        oom_adjustable: true,
        blocked: 0,
        ignored: 0,
        caught: 0,
    }
}
