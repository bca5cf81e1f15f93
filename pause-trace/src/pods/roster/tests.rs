use super::*;
use crate::{
    event::{ContainerFact, Grace, GraceSource, Modes, PodFact, Source, Text},
    node::{
        bundle::{Manager, testing::bundle},
        cri::intent::Sandbox,
        identity::Qos,
    },
    runtimes::Engine,
};

macro_rules! fixture {
    ($manager:ident, $name:literal) => {
        bundle(
            Manager::$manager,
            include_str!(concat!("../../node/fixtures/bundles/", $name, ".json")),
        )
    };
}

fn identity(id: &str, pod: Option<&str>) -> Identity {
    Identity {
        engine: Engine::Unknown,
        container: id.into(),
        pod: pod.map(|uid| (uid.into(), Qos::Burstable)),
        podman_pod: None,
        node: None,
    }
}

/// A containerd bundle of this container and sandbox.
fn of(id: &str, sandbox: &str, template: Bundle) -> (Identity, Bundle) {
    let bundle = Bundle {
        sandbox: Some(sandbox.into()),
        ..template
    };
    (identity(id, Some("uid")), bundle)
}

fn no_process(_: u32) -> Option<Option<ContainerId>> {
    None
}

fn plain_sandbox() -> Bundle {
    fixture!(Containerd, "containerd-plain-sandbox")
}

fn plain_app() -> Bundle {
    fixture!(Containerd, "containerd-plain-app")
}

/// Facts as text.
fn described(facts: impl IntoIterator<Item = Fact>) -> Vec<String> {
    let letter = |mode: &Mode| match mode {
        Mode::Pod => 'P',
        Mode::Container => 'C',
        Mode::Node => 'N',
        Mode::Target(_) => 'T',
        Mode::Unknown => '?',
    };
    let modes = |modes: &Modes| {
        let Modes {
            net,
            ipc,
            uts,
            pid,
            user,
        } = modes;
        [net, ipc, uts, pid, user]
            .map(letter)
            .iter()
            .collect::<String>()
    };
    facts
        .into_iter()
        .map(|fact| match fact {
            Fact::Pod(pod) => format!("pod {}/{} {}", pod.namespace, pod.name, modes(&pod.modes)),
            Fact::Container(container) => format!(
                "{} ({}) {:?} in {} {}",
                container.container,
                container.name,
                container.what,
                container.cgroup,
                modes(&container.modes)
            ),
            Fact::PodRemoved { .. } => "removed".to_owned(),
            Fact::SandboxPinned {
                container,
                namespaces,
            } => format!("{container} pins net {}", namespaces.net),
            other => panic!("{other:?}"),
        })
        .collect()
}

impl Roster {
    fn enter(&mut self, cgroup: CgroupId, (identity, bundle): (Identity, Bundle)) -> Vec<String> {
        described(self.bundle(cgroup, &identity, bundle, no_process))
    }
}

#[test]
fn a_pod_is_declared_before_its_sandbox_and_containers() {
    let mut roster = Roster::default();
    let sandbox = roster.enter(1, of("s", "s", plain_sandbox()));
    assert_eq!(
        sandbox,
        ["pod default/plain PPPCN", "s (pause) Sandbox in 1 PPPCN"]
    );
    let app = roster.enter(2, of("a", "s", plain_app()));
    assert_eq!(app, ["pod default/plain PPPCN", "a (app) App in 2 PPPCN"]);
    let other = roster.enter(3, of("b", "s", plain_app()));
    assert_eq!(other, ["b (app) App in 3 PPPCN"]);
}

#[test]
fn the_first_container_shows_whether_the_pod_shares_its_pid_namespace() {
    let mut roster = Roster::default();
    let shared = fixture!(Containerd, "containerd-shared-sandbox");
    let shared = Bundle {
        init: Some(12191),
        ..shared
    };
    roster.enter(1, of("s", "s", shared));
    let app = roster.enter(
        2,
        of("a", "s", fixture!(Containerd, "containerd-shared-app")),
    );
    assert_eq!(app, ["pod default/shared PPPPN", "a (app) App in 2 PPPPN"]);
}

#[test]
fn a_container_described_before_its_sandbox_waits_for_it() {
    let mut roster = Roster::default();
    assert_eq!(roster.enter(2, of("a", "s", plain_app())), [""; 0]);
    let facts = roster.enter(1, of("s", "s", plain_sandbox()));
    assert_eq!(facts.len(), 4, "{facts:?}");
    assert_eq!(facts[3], "a (app) App in 2 PPPCN");
}

#[test]
fn a_container_removed_while_it_waits_is_not_declared() {
    let mut roster = Roster::default();
    roster.enter(2, of("a", "s", plain_app()));
    assert_eq!(roster.removed(2, runs), None);
    assert_eq!(roster.enter(1, of("s", "s", plain_sandbox())).len(), 2);
}

#[test]
fn a_pod_ends_with_its_last_cgroup_and_not_with_a_restart() {
    let mut roster = Roster::default();
    roster.enter(1, of("s", "s", plain_sandbox()));
    roster.enter(2, of("a", "s", plain_app()));
    assert_eq!(roster.removed(2, runs), None);
    roster.enter(3, of("b", "s", plain_app()));
    assert_eq!(roster.removed(1, runs), None);
    assert_eq!(described(roster.removed(3, runs)), ["removed"]);
}

/// No container has ended.
fn runs(_: &ContainerId) -> bool {
    false
}

#[test]
fn a_process_left_in_an_ended_containers_cgroup_does_not_keep_the_pod() {
    let mut roster = Roster::default();
    roster.enter(1, of("s", "s", plain_sandbox()));
    roster.enter(2, of("a", "s", plain_app()));
    let a_has_ended = |container: &ContainerId| &**container == "a";
    assert_eq!(
        described(roster.removed(1, a_has_ended)),
        ["removed"],
        "the cgroup of the container is left"
    );
    // The process that was left ends, and the pod's name is free for another sandbox.
    assert_eq!(roster.removed(2, a_has_ended), None);
    assert_eq!(roster.enter(3, of("t", "t", plain_sandbox())).len(), 2);
}

#[test]
fn a_pod_survives_the_replacement_of_its_sandbox() {
    let mut roster = Roster::default();
    roster.enter(1, of("s", "s", plain_sandbox()));
    roster.enter(2, of("a", "s", plain_app()));
    assert_eq!(roster.removed(1, runs), None);
    roster.enter(4, of("t", "t", plain_sandbox()));
    assert_eq!(roster.removed(2, runs), None);
    assert_eq!(described(roster.removed(4, runs)), ["removed"]);
}

#[test]
fn the_removal_of_an_unknown_cgroup_removes_no_pod() {
    assert_eq!(Roster::default().removed(7, runs), None);
}

/// What CRI says of the container `a` with these modes, in the sandbox `s`.
fn known(modes: Modes) -> Known {
    let pod = PodFact {
        pod: "uid".into(),
        namespace: Text::new("shop"),
        name: Text::new("web"),
        modes: modes.clone(),
        source: Source::Cri,
    };
    let container = ContainerFact {
        container: "a".into(),
        pod: "uid".into(),
        name: Text::new("server"),
        what: ContainerKind::App,
        cgroup: 0,
        modes,
        stop_signal: 3,
        sandbox: None,
        file: None,
        source: Source::Cri,
    };
    Known {
        sandbox: Sandbox {
            id: "s".into(),
            pod,
            pause: None,
            pid: None,
        },
        container: Some(container),
        grace: None,
        pid: None,
    }
}

#[test]
fn a_stop_signal_is_known_from_cri_or_from_a_bundle_that_has_it() {
    let knows = |bundle: Bundle| {
        let mut roster = Roster::default();
        roster.bundle(1, &identity("a", None), bundle, no_process);
        roster.knows_stop_signal(&"a".into())
    };
    let with = |bundle: Bundle, stop_signal| Bundle {
        stop_signal,
        ..bundle
    };
    // The image may have another one than SIGTERM.
    assert!(!knows(plain_app()));
    assert!(!knows(with(fixture!(Conmon, "crio-app"), None)));
    assert!(knows(fixture!(Conmon, "crio-app")));
    assert!(knows(fixture!(Conmon, "podman-member")));
    assert!(knows(fixture!(Conmon, "podman-alone")));
    // Its files could not be read.
    assert!(!knows(fixture!(Docker, "docker-alone")));
    assert!(knows(with(fixture!(Docker, "docker-alone"), Some(15))));

    let mut roster = Roster::default();
    roster.enter(1, of("s", "s", plain_sandbox()));
    roster.enter(2, of("a", "s", plain_app()));
    roster.asked(2, &"a".into(), known(Modes::plain()));
    assert!(roster.knows_stop_signal(&"a".into()));
    assert!(!roster.knows_stop_signal(&"b".into()));
}

#[test]
fn the_runtime_takes_precedence_over_a_bundle() {
    let mut roster = Roster::default();
    roster.enter(1, of("s", "s", plain_sandbox()));
    roster.enter(2, of("a", "s", plain_app()));
    let modes = Modes {
        pid: Mode::Pod,
        ..Modes::plain()
    };
    let known = known(modes);
    let facts = roster.asked(2, &"a".into(), known.clone());
    assert_eq!(described(facts), ["a (server) App in 2 PPPPN"]);
    // The same without a bundle.
    let mut roster = Roster::default();
    assert_eq!(
        described(roster.asked(2, &"a".into(), known)),
        [""; 0],
        "its sandbox is not known yet"
    );
}

#[test]
fn the_memory_limit_of_a_bundle_follows_the_declaration() {
    let mut roster = Roster::default();
    roster.enter(1, of("s", "s", plain_sandbox()));
    let limited = Bundle {
        memory_limit: Some(64 << 20),
        ..plain_app()
    };
    let (identity, bundle) = of("a", "s", limited);
    let facts = roster.bundle(2, &identity, bundle, no_process);
    let [
        ..,
        Fact::Container(declared),
        Fact::MemoryLimit { container, bytes },
    ] = &facts[..]
    else {
        panic!("{facts:?}")
    };
    assert_eq!((container, *bytes), (&declared.container, 64 << 20));
}

#[test]
fn the_grace_period_is_the_pods_else_the_engines() {
    let pods = Grace {
        period: 30_000_000_000,
        source: GraceSource::Spec,
    };
    let of_engine = Grace {
        period: 10_000_000_000,
        source: GraceSource::Engine,
    };
    for (stop_timeout, grace, expected) in [
        (None, None, None),
        (Some(10_000_000_000), None, Some(of_engine)),
        (None, Some(pods), Some(pods)),
        (Some(10_000_000_000), Some(pods), Some(pods)),
    ] {
        let mut roster = Roster::default();
        roster.enter(1, of("s", "s", plain_sandbox()));
        let app = Bundle {
            stop_timeout,
            ..plain_app()
        };
        let (identity, bundle) = of("a", "s", app);
        roster.bundle(2, &identity, bundle, no_process);
        let mut answer = known(Modes::plain());
        answer.grace = grace;
        let facts = roster.asked(2, &"a".into(), answer);
        let declared = facts.iter().find_map(|fact| match fact {
            Fact::GracePeriod { grace, .. } => Some(*grace),
            _ => None,
        });
        assert_eq!(declared, expected, "{facts:?}");
    }
}

#[test]
fn docker_containers_are_a_pod_once_one_joins_another() {
    let mut roster = Roster::default();
    let alone = fixture!(Docker, "docker-alone");
    let joined = fixture!(Docker, "docker-joined");
    let facts = roster.bundle(1, &identity("alone", None), alone, no_process);
    assert_eq!(facts, [Fact::NotInPod { cgroup: 1 }]);
    let who = |_| Some(Some("alone".into()));
    let facts = described(roster.bundle(2, &identity("joined", None), joined, who));
    assert_eq!(facts.len(), 4, "{facts:?}");
    assert!(
        facts[1].starts_with("alone (pause) Sandbox in 1"),
        "{facts:?}"
    );
    assert!(
        facts[3].starts_with("joined (joined) App in 2"),
        "{facts:?}"
    );
}

#[test]
fn a_container_that_joins_a_member_of_a_pod_is_in_that_pod() {
    let mut roster = Roster::default();
    let (alone, joined) = (fixture!(Docker, "docker-alone"), || {
        fixture!(Docker, "docker-joined")
    });
    roster.bundle(1, &identity("first", None), alone, no_process);
    let first = |_| Some(Some("first".into()));
    roster.bundle(2, &identity("second", None), joined(), first);
    let second = |_| Some(Some("second".into()));
    let facts = described(roster.bundle(3, &identity("third", None), joined(), second));
    assert!(
        facts[0].starts_with("third (third) App in 3 PPCP"),
        "{facts:?}"
    );
    assert!(!roster.is_sandbox(&"second".into()));
}

#[test]
fn only_a_sandbox_of_cri_must_be_known_to_cri() {
    let mut roster = Roster::default();
    roster.enter(1, of("s", "s", plain_sandbox()));
    roster.enter(2, of("a", "s", plain_app()));
    assert!(roster.is_sandbox_of_cri(&"s".into()));
    assert!(!roster.is_sandbox_of_cri(&"a".into()));

    let joined = fixture!(Docker, "docker-joined");
    let alone = fixture!(Docker, "docker-alone");
    let who = |_| Some(Some("alone".into()));
    roster.bundle(3, &identity("alone", None), alone, no_process);
    roster.bundle(4, &identity("joined", None), joined, who);
    assert!(roster.is_sandbox(&"alone".into()));
    assert!(!roster.is_sandbox_of_cri(&"alone".into()));
}

#[test]
fn a_container_that_is_started_again_is_another_container_of_its_pod() {
    let mut roster = Roster::default();
    let (alone, joined) = (
        || fixture!(Docker, "docker-alone"),
        || fixture!(Docker, "docker-joined"),
    );
    let who = |_| Some(Some("alone".into()));
    roster.bundle(1, &identity("alone", None), alone(), no_process);
    roster.bundle(2, &identity("joined", None), joined(), who);
    assert_eq!(roster.removed(2, runs), None);
    let facts = described(roster.bundle(3, &identity("joined", None), joined(), who));
    assert!(
        facts[0].starts_with("joined@2 (joined) App in 3"),
        "{facts:?}"
    );

    // The sandbox is started again, while the container is in the namespaces of the former one.
    assert_eq!(roster.removed(1, runs), None);
    let facts = roster.bundle(4, &identity("alone", None), alone(), no_process);
    let pods: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Pod(pod) => Some(&*pod.pod),
            _ => None,
        })
        .collect();
    assert_eq!(pods, ["alone"], "the pod is the same");
    let facts = described(facts);
    assert!(
        facts[1].starts_with("alone@2 (pause) Sandbox in 4"),
        "{facts:?}"
    );
    let facts = roster.bundle(5, &identity("other", None), joined(), who);
    let Some(Fact::Container(other)) = facts.last() else {
        panic!("{facts:?}");
    };
    assert_eq!(other.sandbox.as_deref(), Some("alone@2"));

    // All containers end, and the next run of the sandbox is alone again.
    for cgroup in [3, 5] {
        assert_eq!(roster.removed(cgroup, runs), None);
    }
    assert_eq!(described(roster.removed(4, runs)), ["removed"]);
    let facts = roster.bundle(6, &identity("alone", None), alone(), no_process);
    assert_eq!(facts, [Fact::NotInPod { cgroup: 6 }]);
}

#[test]
fn a_sandbox_without_a_pause_has_pinned_namespaces() {
    let mut roster = Roster::default();
    let (app, id) = (fixture!(Conmon, "crio-app"), identity("a", Some("uid")));
    let sandbox = app.sandbox.clone().expect("CRI-O names it");
    assert_eq!(described(roster.bundle(2, &id, app, no_process)), [""; 0]);
    let bundle = fixture!(Conmon, "crio-sandbox");
    let namespaces = Namespaces {
        net: 70,
        ..Namespaces::default()
    };
    let facts = described(roster.pinned(9, &sandbox, None, bundle, namespaces));
    assert_eq!(facts.len(), 4, "{facts:?}");
    assert!(facts[1].contains("Sandbox in 0 "), "{facts:?}");
    assert!(facts[2].contains("App in 2 PPPCN"), "{facts:?}");
    assert!(facts[3].ends_with("pins net 70"), "{facts:?}");
    // The removal of a container's cgroup does not end the pod; the removal of the pod's does.
    assert_eq!(roster.removed(2, runs), None);
    assert_eq!(described(roster.removed(9, runs)), ["removed"]);
}

/// A bundle of Docker that joined `sandbox`, whose process is gone.
fn joined_gone(sandbox: Option<&str>) -> Bundle {
    let mut bundle = fixture!(Docker, "docker-joined");
    bundle.docker.network_of = sandbox.map(Text::new);
    bundle
}

#[test]
fn who_joined_a_former_run_of_a_sandbox_is_in_the_former_run() {
    let mut roster = Roster::default();
    let facts = roster.bundle(
        1,
        &identity("left", None),
        joined_gone(Some("box")),
        no_process,
    );
    let former = match &facts[..] {
        [
            Fact::Pod(pod),
            Fact::Container(former),
            Fact::Container(left),
        ] => {
            assert_eq!((&*pod.pod, &*left.pod), ("box", "box"));
            assert_eq!(left.sandbox.as_deref(), Some("box"));
            assert_eq!(
                left.modes.net,
                Mode::Unknown,
                "its sandbox may be in the host's"
            );
            former.clone()
        }
        _ => panic!("{facts:?}"),
    };
    assert_eq!((&*former.container, former.cgroup), ("box", 0));
    assert!(!roster.is_of_kubernetes(&"left".into()));

    // The sandbox is found, and shows what both runs of it were asked to be.
    let alone = fixture!(Docker, "docker-alone");
    let facts = described(roster.bundle(2, &identity("box", None), alone, no_process));
    assert_eq!(
        facts,
        [
            "pod -/box PPPCN",
            "box (pause) Sandbox in 0 PPPCN",
            "pod -/box PPPPN",
            "left (left) App in 1 PPCPN",
            "pod -/box PPPCN",
            "box@2 (pause) Sandbox in 2 PPPCN",
        ]
    );
    // Who joins now joins the present run.
    let who = |_| Some(Some("box".into()));
    let joined = fixture!(Docker, "docker-joined");
    let facts = roster.bundle(3, &identity("new", None), joined, who);
    let Some(Fact::Container(new)) = facts.last() else {
        panic!("{facts:?}");
    };
    assert_eq!(new.sandbox.as_deref(), Some("box@2"));

    assert_eq!(roster.removed(1, runs), None);
    assert!(
        !roster.is_sandbox(&"box".into()),
        "nothing is left of the former run"
    );
    assert_eq!(roster.removed(3, runs), None);
    assert_eq!(described(roster.removed(2, runs)), ["removed"]);
    assert!(roster.members.is_empty() && roster.sandboxes.is_empty() && roster.pods.is_empty());
}

#[test]
fn a_container_whose_sandbox_is_gone_for_good_stays_in_its_pod() {
    let mut roster = Roster::default();
    let facts = roster.bundle(
        1,
        &identity("left", None),
        joined_gone(Some("box")),
        no_process,
    );
    assert_eq!(facts.len(), 3);
    assert_eq!(described(roster.removed(1, runs)), ["removed"]);
    assert!(roster.members.is_empty() && roster.sandboxes.is_empty() && roster.pods.is_empty());
}

#[test]
fn a_container_that_joined_nobody_knows_whom_is_a_pod_without_a_sandbox() {
    let mut roster = Roster::default();
    let facts = roster.bundle(1, &identity("left", None), joined_gone(None), no_process);
    let [Fact::Pod(pod), Fact::Container(left)] = &facts[..] else {
        panic!("{facts:?}");
    };
    assert_eq!((&*pod.pod, &*left.pod), ("left", "left"));
    assert_eq!(
        (left.sandbox.as_deref(), left.what),
        (None, ContainerKind::App)
    );
    assert_eq!(described(roster.removed(1, runs)), ["removed"]);
    assert!(roster.members.is_empty() && roster.sandboxes.is_empty() && roster.pods.is_empty());
}
