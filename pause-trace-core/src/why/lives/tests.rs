//! The lives of pods, and what is said of them when they are gone.

use super::*;
use crate::{
    event::{Called, CniCommand, CniRequest, Event, Fact, Modes, ProcessId, SignalResult},
    rules::testing::Scene,
    state::Limits,
    why::{Cause, Phase, Removed},
};

const DELIVERED: SignalResult = SignalResult::Delivered;
const MS: Ktime = 1_000_000;

fn lives(events: &[Event]) -> Lives {
    let mut state = State::new(Limits::REFERENCE);
    let mut ledger = Ledger::new(|_| true);
    let mut lives = Lives::default();
    for event in events {
        ledger.judge(&mut state, event, |change, state, ledger| {
            lives.change(event.time, change, state, ledger);
        });
    }
    lives.finish(&state);
    let verdicts = ledger.take();
    verdicts.iter().for_each(|verdict| lives.verdict(verdict));
    lives
}

/// What is said of the pod `p1`, which is gone, right after the last event.
fn removed(scene: &Scene) -> Removed {
    let lives = lives(&scene.events);
    let now = scene.events.last().map_or(0, |event| event.time);
    Removed::of(lives.of(&"p1".into()).expect("it is known"), 0, now)
}

fn causes(removed: &Removed) -> Vec<Cause> {
    let reasons = removed.explanation.reasons.iter();
    reasons.map(|reason| reason.cause).collect()
}

fn sentence(removed: &Removed, cause: Cause) -> &str {
    let mut reasons = removed.explanation.reasons.iter();
    let found = reasons.find(|reason| reason.cause == cause);
    &found.unwrap_or_else(|| panic!("{removed:#?}")).sentence
}

/// The pod `p1` with a container, then what happens to the container, then its removal.
fn pod(happen: impl FnOnce(&mut Scene, ProcessId)) -> Scene {
    let mut scene = Scene::new();
    let pause = scene.pod("p1");
    let app = scene.container("p1", "app");
    let runtime = scene.runtime;
    scene.wait_ms(2_000);
    happen(&mut scene, app);
    scene.signal(runtime, pause, SIGKILL, DELIVERED);
    scene.end(pause, WaitStatus::killed(SIGKILL));
    scene.remove_pod("p1");
    scene
}

const TERM: i32 = 15;

#[test]
fn a_pod_that_was_stopped_in_order_has_nothing_wrong() {
    for status in [
        WaitStatus::exited(0),
        WaitStatus::exited(143),
        WaitStatus::killed(TERM),
    ] {
        let scene = pod(|scene, app| {
            scene.signal(scene.runtime, app, TERM, DELIVERED);
            scene.wait_ms(300);
            scene.end(app, status);
        });
        let removed = removed(&scene);
        assert_eq!(causes(&removed), [], "{removed:#?}");
        assert_eq!(removed.explanation.phase, Phase::Removed);
        assert!(!removed.is_undecided && removed.unknown.is_empty());
        let lives = lives(&scene.events);
        let life = lives.of(&"p1".into()).expect("it is known");
        let took = life.stop_took().expect("it was stopped");
        assert!((300 * MS..301 * MS).contains(&took), "{took}");
    }
    // A job.
    let scene = pod(|scene, app| scene.end(app, WaitStatus::exited(0)));
    assert_eq!(causes(&removed(&scene)), []);
}

#[test]
fn an_end_that_the_runtime_did_not_ask_for_is_a_failure_and_names_the_killer() {
    let scene = pod(|scene, app| scene.end(app, WaitStatus::exited(3)));
    let said = removed(&scene);
    assert_eq!(causes(&said), [Cause::Failed]);
    assert!(said.explanation.is_problem());
    assert_eq!(sentence(&said, Cause::Failed), "app ended with exit code 3");
    let scene = pod(|scene, app| {
        scene.signal(scene.stranger, app, SIGKILL, DELIVERED);
        scene.end(app, WaitStatus::killed(SIGKILL));
    });
    let said = removed(&scene);
    assert_eq!(
        sentence(&said, Cause::Failed),
        "app was killed by SIGKILL, which stranger (pid 200) sent"
    );
    // The stop came after the end.
    let scene = pod(|scene, app| {
        scene.exit(app, WaitStatus::exited(3));
        scene.signal(scene.runtime, app, TERM, DELIVERED);
        scene.reap(app);
    });
    assert!(causes(&removed(&scene)).contains(&Cause::Failed));
}

#[test]
fn runs_that_fail_are_counted() {
    let mut scene = Scene::new();
    let pause = scene.pod("p1");
    for (id, code) in [("app-1", 3), ("app-2", 4)] {
        let app = scene.container("p1", id);
        scene.end(app, WaitStatus::exited(code));
    }
    for event in &mut scene.events {
        if let Fact::Container(fact) = &mut event.fact
            && fact.container.starts_with("app")
        {
            fact.name = Text::new("app");
        }
    }
    scene.signal(scene.runtime, pause, SIGKILL, DELIVERED);
    scene.end(pause, WaitStatus::killed(SIGKILL));
    scene.remove_pod("p1");
    let said = removed(&scene);
    assert_eq!(
        sentence(&said, Cause::Failed),
        "app ended with exit code 4; 2 of its runs failed"
    );
    let reason = &said.explanation.reasons[0];
    assert!(
        reason.evidence[1].starts_with("ended with exit code 3 "),
        "{reason:?}"
    );
}

#[test]
fn a_pause_that_nobody_stopped_and_findings_are_reasons() {
    let mut scene = Scene::new();
    let pause = scene.pod("p1");
    scene.end(pause, WaitStatus::exited(1));
    scene.remove_pod("p1");
    scene.wait_ms(60_000);
    scene.push(Fact::Tick);
    let said = removed(&scene);
    // The finding tells of the same end.
    assert_eq!(causes(&said), [Cause::PauseEnded]);
    let evidence = &said.explanation.reasons[0].evidence;
    assert!(
        evidence.iter().any(|line| line.starts_with("PT202 ")),
        "{evidence:?}"
    );
}

#[test]
fn a_namespace_whose_number_another_pod_has_later_is_gone() {
    let mut scene = Scene::new();
    for pod in ["p1", "p2"] {
        scene.pod(pod);
    }
    let mut lives = lives(&scene.events);
    let ids = ["p1", "p2"].map(PodId::from);
    assert!(ids.iter().all(|id| lives.knows_namespaces_of(id)));
    assert!(!lives.namespaces_of(&ids[0]).is_empty());
    let namespaces = lives.pods[&ids[0]].runs[0].namespaces;
    let later = lives.pods.get_mut(&ids[1]).expect("it is known");
    later.runs[0].namespaces = namespaces;
    assert!(lives.namespaces_of(&ids[0]).is_empty());
    assert!(lives.knows_namespaces_of(&ids[0]), "they were known");
    assert!(!lives.knows_namespaces_of(&"p3".into()));
}

#[test]
fn a_failed_start_is_a_reason_also_of_a_pod_that_never_had_a_cgroup() {
    let mut scene = Scene::new();
    let runtime = scene.runtime;
    let plugin = scene.fork(runtime);
    let request = Request::Cni(CniRequest {
        command: CniCommand::Add,
        sandbox: Text::new("sandbox"),
        interface: Text::new("eth0"),
        namespace: Text::new("default"),
        name: Text::new("web"),
        uid: Text::new("p1"),
        ..CniRequest::default()
    });
    scene.push(Fact::Called(Called {
        process: plugin,
        request,
    }));
    scene.exec_as(plugin, "/opt/cni/bin/portmap");
    scene.end(plugin, WaitStatus::exited(1));
    let said = removed(&scene);
    assert_eq!(causes(&said)[0], Cause::StartFailed);
    assert!(
        sentence(&said, Cause::StartFailed)
            .starts_with("a start of the pod failed: portmap ADD ended with exit code 1"),
        "{said:#?}"
    );
    let lives = lives(&scene.events);
    let life = lives.of(&"p1".into()).expect("it is known");
    assert_eq!(life.name, Some(Text::new("web")));
}

#[test]
fn what_was_not_observed_is_not_called_wrong_and_not_right() {
    // Its stop signal may be among the lost records.
    let scene = pod(|scene, app| {
        scene.lose(Kind::SignalGenerate, 5);
        scene.end(app, WaitStatus::exited(143));
    });
    let said = removed(&scene);
    assert!(!causes(&said).contains(&Cause::Failed), "{said:#?}");
    assert!(said.is_undecided, "{said:#?}");
    // The end itself is missing.
    let said = removed(&pod(|_, _| {}));
    assert!(said.is_undecided, "{said:#?}");
    assert!(
        said.unknown[0].contains("the end of app was not observed"),
        "{said:#?}"
    );
    // It ran before the events began, and may have been stopped before.
    let mut scene = Scene::new();
    let pause = scene.pod("p1");
    let app = scene.container("p1", "app");
    scene.attach_late();
    scene.wait_ms(1_000);
    scene.end(app, WaitStatus::exited(143));
    scene.signal(scene.runtime, pause, SIGKILL, DELIVERED);
    scene.end(pause, WaitStatus::killed(SIGKILL));
    scene.remove_pod("p1");
    let said = removed(&scene);
    assert_eq!(causes(&said), []);
    assert!(said.is_undecided, "{said:#?}");
    // The history says that it reaches back less far.
    let lives = lives(&scene.events);
    let life = lives.of(&"p1".into()).expect("it is known");
    let now = scene.events.last().map_or(0, |event| event.time);
    let said = Removed::of(life, now, now);
    let last = said.unknown.last().expect("it began before");
    assert!(
        last.starts_with("the pod began before the history"),
        "{said:#?}"
    );
}

#[test]
fn a_pod_that_lives_has_its_stop_signal() {
    let mut scene = Scene::new();
    scene.pod("p1");
    let app = scene.container("p1", "app");
    scene.signal(scene.stranger, app, TERM, DELIVERED);
    scene.signal(scene.runtime, app, TERM, DELIVERED);
    let lives = lives(&scene.events);
    let life = lives.of(&"p1".into()).expect("it is known");
    let run = life.runs.last().expect("a container");
    assert_eq!(run.end, End::Running);
    let stop = run.stop_sent().expect("it was sent");
    assert_eq!((stop.signal, stop.by.as_str()), (TERM, "shim (pid 100)"));
    assert_eq!((life.stop_took(), life.removed), (None, None));
}

#[test]
fn a_namespace_is_the_pods_unless_its_number_was_given_again() {
    let mut scene = Scene::new();
    let pause = scene.pod("p1");
    let own = scene.namespaces(pause);
    scene.end(pause, WaitStatus::killed(SIGKILL));
    scene.remove_pod("p1");
    let of = |scene: &Scene| lives(&scene.events).namespaces_of(&"p1".into());
    let known = of(&scene);
    assert_eq!(known.get(&own.net), Some(&NamespaceKind::Net), "{known:?}");
    assert_eq!(known.get(&own.ipc), Some(&NamespaceKind::Ipc), "{known:?}");
    assert_eq!(known.get(&own.pid), None, "{known:?}");
    // The next pod gets the number of its network namespace.
    scene.declare_pod("p2", &Modes::plain());
    scene.sandbox("p2", |namespaces| namespaces.net = own.net);
    let known = of(&scene);
    assert_eq!(known.get(&own.net), None, "{known:?}");
    assert_eq!(known.get(&own.ipc), Some(&NamespaceKind::Ipc), "{known:?}");
    // The host's is nobody's.
    let mut scene = Scene::new();
    let host = crate::rules::testing::HOST;
    scene.declare_pod("p1", &Modes::plain());
    scene.sandbox("p1", |namespaces| namespaces.net = host.net);
    assert_eq!(of(&scene).get(&host.net), None);
    assert_eq!(
        lives(&scene.events).namespaces_of(&"nobody".into()).len(),
        0
    );
}

#[test]
fn a_stop_that_a_start_followed_is_not_the_pods() {
    let mut scene = Scene::new();
    let pause = scene.pod("p1");
    let runtime = scene.runtime;
    // A liveness probe failed.
    let first = scene.container("p1", "app-1");
    scene.signal(runtime, first, TERM, DELIVERED);
    scene.end(first, WaitStatus::exited(0));
    scene.wait_ms(60_000);
    let second = scene.container("p1", "app-2");
    scene.wait_ms(1_000);
    scene.signal(runtime, second, TERM, DELIVERED);
    scene.wait_ms(200);
    scene.end(second, WaitStatus::exited(0));
    scene.signal(runtime, pause, SIGKILL, DELIVERED);
    scene.end(pause, WaitStatus::killed(SIGKILL));
    scene.remove_pod("p1");
    let lives = lives(&scene.events);
    let took = lives.of(&"p1".into()).and_then(Life::stop_took);
    let took = took.expect("it was stopped");
    assert!((200 * MS..300 * MS).contains(&took), "{took}");
}

#[test]
fn a_kubelet_that_kills_what_is_left_stops_the_pod() {
    let killed_by = |name: &str| {
        let scene = pod(|scene, app| {
            scene.rename(scene.stranger, name);
            scene.signal(scene.stranger, app, SIGKILL, DELIVERED);
            scene.end(app, WaitStatus::killed(SIGKILL));
        });
        causes(&removed(&scene)).contains(&Cause::Failed)
    };
    assert!(!killed_by("kubelet"));
    assert!(killed_by("kubelets"));
}
