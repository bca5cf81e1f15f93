use super::*;
use crate::{
    event::{Modes, Namespaces},
    node::bundle::{Manager, testing::bundle},
    pods::{
        read::Pinned,
        testing::{answer, host, id, links, pods, surveyed},
    },
};

/// The owners of `net ipc uts pid` of a container, with `!` if they differ from the request and `?`
/// if that is unknown.
fn shown(pod: &PodView, begin: &str) -> String {
    let container = pod.containers.iter().find(|one| one.id.starts_with(begin));
    let namespaces = &container.expect("it is there").namespaces;
    let shown = namespaces.iter().take(4).map(|found| {
        let mark = match found.fits {
            Some(true) => "",
            Some(false) => "!",
            None => "?",
        };
        format!("{}{mark}", found.whose.name())
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[test]
fn namespaces_are_compared_with_those_of_pause_and_host() {
    let pods = pods();
    let [db, hostile, web] = &pods[..] else {
        panic!("{pods:#?}");
    };
    assert_eq!(shown(web, "a0"), "own own own own");
    assert_eq!(shown(web, "a1"), "same same same own");
    assert_eq!(shown(web, "a2"), "own! same same own");
    assert_eq!(shown(db, "b0"), "host own host own");
    assert_eq!(shown(db, "b1"), "host same host own");
    // Its pause is gone, so only its pid namespace can be compared.
    assert_eq!(shown(hostile, "c1"), "own? own? own? own");
}

#[test]
fn the_oldest_container_in_a_namespace_owns_it() {
    let target = |modes: Modes| Modes {
        pid: Mode::Target(id("a1").into()),
        ..modes
    };
    let plain = Modes::plain();
    let web = ("uid-web", "web");
    let app = links([11, 12, 13, 14, 15, 6, 7]);
    let containers = vec![
        surveyed("uid-web", "a2", vec![Process::made_up(300, 1, b'S', app)]),
        surveyed("uid-web", "a1", vec![Process::made_up(200, 1, b'S', app)]),
        surveyed(
            "uid-web",
            "a0",
            vec![Process::made_up(
                100,
                1,
                b'S',
                links([11, 12, 13, 4711, 16, 6, 7]),
            )],
        ),
    ];
    let mut described = Described::default();
    for (cgroup, known) in [
        (1, answer(web, &plain, "a0", "a0", "pause")),
        (2, answer(web, &plain, "a0", "a1", "app")),
        (3, answer(web, &target(plain.clone()), "a0", "a2", "debug")),
    ] {
        let its = known
            .container
            .as_ref()
            .map_or(id("a0").into(), |fact| fact.container.clone());
        described.answered(cgroup, &its, known);
    }
    let survey = Survey {
        containers,
        hidden: 0,
    };
    let pods = views(survey, &described, Some(&host()));
    let ids: Vec<_> = pods[0].containers.iter().map(|one| &one.id[..2]).collect();
    assert_eq!(
        ids,
        ["a0", "a1", "a2"],
        "the sandbox first, then by start time"
    );
    assert_eq!(shown(&pods[0], "a1"), "same same same own");
    assert_eq!(shown(&pods[0], "a2"), "same same same other");
    let debugger = &pods[0].containers[2].namespaces;
    assert_eq!(debugger[3].whose, NamespaceOwner::Other(id("a1").into()));
}

#[test]
fn namespaces_that_cannot_be_read_are_unknown() {
    let hidden = Process::made_up(100, 1, b'S', [Link::Unknown; 7]);
    let mut described = Described::default();
    let known = answer(("uid-web", "web"), &Modes::plain(), "a0", "a0", "pause");
    described.answered(1, &id("a0").into(), known);
    for (process, host) in [
        (hidden, Some(host())),
        (Process::made_up(100, 1, b'S', links([1; 7])), None),
    ] {
        let survey = Survey {
            containers: vec![surveyed("uid-web", "a0", vec![process])],
            hidden: 0,
        };
        let pods = views(survey, &described, host.as_ref());
        assert_eq!(shown(&pods[0], "a0"), "unknown? unknown? unknown? unknown?");
    }
}

#[test]
fn a_pod_without_a_description_is_listed_and_a_container_without_a_pod_is_not() {
    let mut loose = surveyed("", "d0", Vec::new());
    loose.identity.pod = None;
    let alone = Process::made_up(100, 1, b'S', links([11, 12, 13, 14, 15, 6, 7]));
    let survey = Survey {
        containers: vec![surveyed("uid-x", "e0", vec![alone]), loose],
        hidden: 0,
    };
    let pods = views(survey, &Described::default(), Some(&host()));
    assert_eq!(pods.len(), 1);
    assert_eq!(pods[0].title(), "pod uid-x");
    let sandboxes = pods[0].sandboxes();
    assert!(sandboxes[0].sandbox.is_none());
    assert_eq!((sandboxes[0].members(), sandboxes[0].zombies()), (1, 0));
}

#[test]
fn a_pod_with_two_sandboxes_has_two_pauses() {
    let mut described = Described::default();
    let mut containers = Vec::new();
    let web = ("uid-web", "web");
    for (cgroup, (sandbox, container, pid)) in
        [("a0", "a0", 100), ("b0", "b0", 200), ("b0", "b1", 300)]
            .into_iter()
            .enumerate()
    {
        let known = answer(web, &Modes::plain(), sandbox, container, "x");
        described.answered(cgroup as u64 + 1, &id(container).into(), known);
        let namespaces = links([pid, pid + 1, pid + 2, pid + 3, pid + 4, 6, 7]);
        containers.push(surveyed(
            "uid-web",
            container,
            vec![Process::made_up(pid, 1, b'S', namespaces)],
        ));
    }
    let survey = Survey {
        containers,
        hidden: 0,
    };
    let pods = views(survey, &described, Some(&host()));
    let members: Vec<_> = pods[0]
        .sandboxes()
        .iter()
        .map(|found| {
            (
                found.sandbox.map(|one| one.id[..2].to_owned()),
                found.members.len(),
            )
        })
        .collect();
    assert_eq!(
        members,
        [(Some("a0".to_owned()), 0), (Some("b0".to_owned()), 1)]
    );
}

#[test]
fn processes_are_a_tree_and_a_loop_in_it_ends() {
    let mut pod = pods().remove(2);
    let app = &mut pod.containers[1];
    let shown = |app: &ContainerView| {
        let tree = app.tree().into_iter();
        tree.map(|(depth, process)| (depth, process.pid))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(app), [(0, 1500), (1, 1600), (2, 1601)]);
    app.processes[0].parent = 1601;
    assert_eq!(shown(app), [(0, 1500), (1, 1600), (2, 1601)]);
}

#[test]
fn containers_are_compared_with_pinned_namespaces_of_their_sandbox() {
    let sandbox = bundle(
        Manager::Conmon,
        include_str!("../../node/fixtures/bundles/crio-sandbox.json"),
    );
    let mut app = bundle(
        Manager::Conmon,
        include_str!("../../node/fixtures/bundles/crio-app.json"),
    );
    app.sandbox = Some("the-sandbox".into());
    let container = surveyed(
        "uid-web",
        "a1",
        vec![Process::made_up(
            100,
            1,
            b'S',
            links([11, 12, 99, 14, 15, 6, 7]),
        )],
    );
    let mut described = Described::default();
    described.pinned(
        &container.identity,
        Pinned {
            sandbox: "the-sandbox".into(),
            bundle: sandbox,
            namespaces: Namespaces {
                net: 11,
                ipc: 12,
                uts: 13,
                ..Namespaces::default()
            },
        },
    );
    described.bundle(1, &container.identity, app, |_| None);
    let survey = Survey {
        containers: vec![container],
        hidden: 0,
    };
    let pods = views(survey, &described, Some(&host()));
    assert_eq!(shown(&pods[0], "a1"), "same same own! own");
}

#[test]
fn the_host_is_that_of_the_runtime_and_not_of_this_process() {
    let modes = Modes {
        net: Mode::Node,
        ..Modes::plain()
    };
    let db = ("uid-db", "db");
    let mut described = Described::default();
    described.answered(1, &id("b0").into(), answer(db, &modes, "b0", "b0", "pause"));
    let view = |described: &Described| {
        let links = links([77, 2002, 2003, 2004, 2005, 6, 7]);
        let pause = Process::made_up(2000, 1, b'S', links);
        let survey = Survey {
            containers: vec![surveyed("uid-db", "b0", vec![pause])],
            hidden: 0,
        };
        views(survey, described, Some(&host())).remove(0)
    };
    assert_eq!(shown(&view(&described), "b0"), "own! own own own");

    let namespaces = Namespaces {
        net: 77,
        ipc: 2,
        uts: 3,
        // Whatever a runtime says of other kinds: they are this process'.
        user: 8,
        ..Namespaces::default()
    };
    described.host(&id("b0").into(), namespaces);
    let pod = view(&described);
    assert_eq!(shown(&pod, "b0"), "host own own own");
    assert!(pod.containers[0].is_in_hosts(NamespaceKind::Net));
    assert_eq!(pod.host(), links([77, 2, 3, 4, 5, 6, 7]));
}
