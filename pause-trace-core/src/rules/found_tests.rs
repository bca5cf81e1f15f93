//! What each rule says of a pod that was found running. What was not seen is not passed.

use std::collections::BTreeMap;

use super::*;
use crate::{event::*, rules::testing::*};
use Outcome::Pass;

/// What a rule says of a healthy pod with one container, which has a child and an exec session: of
/// what was found, by two seconds later; and of what follows until the pod is gone. A pass at the
/// first place must rest on what is, not on what was: the reason says on what.
type Expectation = (
    &'static str,
    &'static [Outcome],
    &'static [Outcome],
    &'static str,
);

const TABLE: &[Expectation] = &[
    ("PT101", &[Pass], &[], "the namespaces that both are in"),
    ("PT102", &[Pass], &[], "the namespaces that both are in"),
    ("PT103", &[Pass], &[], "the namespaces that both are in"),
    (
        "PT104",
        &[Pass, Pass],
        &[],
        "the namespaces that both are in",
    ),
    (
        "PT105",
        &[Pass, Pass],
        &[],
        "the namespaces that both are in",
    ),
    ("PT106", &[], &[], "the pod asks for no user namespace"),
    (
        "PT107",
        &[Pass, Pass],
        &[],
        "the namespaces that both are in",
    ),
    ("PT108", &[], &[Pass, Pass], "the calls since it was found"),
    ("PT109", &[], &[Pass, Pass], "the calls since it was found"),
    ("PT110", &[], &[Pass], "the calls since it was found"),
    ("PT111", &[], &[], "nobody saw how the containers joined"),
    ("PT112", &[Pass], &[], "the namespaces that both are in"),
    ("PT113", &[], &[], "nobody looked at the network"),
    ("PT114", &[], &[], "nobody looked at the network"),
    ("PT201", &[Pass], &[], "the start times of the processes"),
    ("PT202", &[], &[Pass], "the ends that were seen"),
    ("PT203", &[], &[], "no container starts"),
    ("PT204", &[], &[], "the runtime was not asked"),
    ("PT205", &[], &[Pass], "what is left after the removal"),
    ("PT206", &[], &[Pass], "what is left after the removal"),
    ("PT207", &[], &[], "nobody saw when the containers executed"),
    ("PT208", &[], &[Pass, Pass], "the ends that were seen"),
    ("PT209", &[], &[Pass], "what a session leaves at its end"),
    ("PT210", &[], &[], "the parent is no shim or conmon"),
    ("PT211", &[], &[], "nobody saw who was killed before"),
    (
        "PT212",
        &[],
        &[],
        "nobody saw a program that starts something",
    ),
    ("PT301", &[], &[Pass], "the signal that was seen"),
    ("PT302", &[], &[Pass], "the signal that was seen"),
    ("PT303", &[], &[Pass], "the signal that was seen"),
    ("PT304", &[], &[], "no child ignores the signal"),
    ("PT305", &[], &[Pass, Pass], "the signals that were seen"),
    ("PT306", &[], &[Pass], "the signal that was seen"),
    ("PT307", &[], &[], "the pause got no other signal"),
    ("PT308", &[], &[Pass], "the signal that was seen"),
    ("PT309", &[], &[Pass], "the ends that were seen"),
    ("PT310", &[], &[Pass], "the end that was seen"),
    ("PT311", &[], &[Pass], "the ends that were seen"),
    ("PT312", &[Pass], &[], "the signals as /proc shows them"),
    ("PT401", &[], &[Pass], "the children that were reaped since"),
    ("PT402", &[], &[], "the pause adopts nothing"),
    (
        "PT403",
        &[],
        &[Pass],
        "the processes that were reaped since",
    ),
    ("PT404", &[], &[], "the session leaves nothing"),
    ("PT405", &[], &[], "nothing is adopted outside"),
    ("PT501", &[Pass], &[], "the pause as /proc shows it"),
    ("PT502", &[], &[], "nobody saw what the pause executed"),
    ("PT503", &[Pass], &[], "the pause as /proc shows it"),
    ("PT901", &[], &[], "no record was lost"),
    ("PT902", &[], &[], "no hook is missing"),
    ("PT903", &[], &[], "every container is declared"),
];

/// How long the pod ran before, and how long it was watched, in ms.
const BEFORE: u64 = 60_000;
const WATCHED: u64 = 2_000;

/// Such a pod, and when its stop begins.
fn found() -> (Scene, Ktime) {
    let mut scene = Scene::new();
    scene.pod("p");
    let app = scene.container("p", "a");
    let child = scene.fork(app);
    scene.exec(child);
    let session = scene.session_with(app, |_| {});
    scene.wait_ms(BEFORE);
    scene.attach_late();
    scene.pause_status("p", |_| {});
    scene.handles(app, 15);
    scene.wait_ms(WATCHED);
    let stop = scene.now;
    scene.stop_pod("p", 1000);
    scene.end(child, WaitStatus::exited(0));
    scene.end(session, WaitStatus::exited(0));
    for process in [app, scene.pause_of("p")] {
        scene.signal(scene.runtime, process, 15, SignalResult::Delivered);
        scene.handle(process, 15);
        scene.end(process, WaitStatus::exited(0));
    }
    scene.remove_pod("p");
    scene.wait_ms(2_000);
    (scene, stop)
}

#[test]
fn each_rule_says_of_a_pod_found_running_only_what_it_knows() {
    let (scene, stop) = found();
    let table: BTreeMap<_, _> = TABLE.iter().map(|row| (row.0, row)).collect();
    for rule in all() {
        let (_, running, over, why) = table
            .get(rule.id)
            .unwrap_or_else(|| panic!("{} is not in the table", rule.id));
        let (first, then): (Vec<_>, Vec<_>) = scene
            .verdicts(rule.id)
            .into_iter()
            .partition(|verdict| verdict.time <= stop);
        let outcomes = |verdicts: &[crate::verdict::Verdict]| -> Vec<_> {
            verdicts.iter().map(|verdict| verdict.outcome).collect()
        };
        assert_eq!(outcomes(&first), *running, "{}: {why}; {first:#?}", rule.id);
        assert_eq!(outcomes(&then), *over, "{}: {why}; {then:#?}", rule.id);
    }
    assert_eq!(table.len(), all().count(), "a rule is gone");
}

/// Only the age of a process goes back to before it was found.
#[test]
fn no_rule_claims_to_have_watched_for_longer_than_it_did() {
    let (scene, _) = found();
    for rule in all() {
        for verdict in scene.verdicts(rule.id) {
            let is_long = |(name, value): &(&str, crate::verdict::Value)| {
                let before = u128::from(BEFORE) * 1_000_000;
                matches!(value, crate::verdict::Value::Duration(ns) if u128::from(*ns) >= before)
                    && *name != "lifetime"
            };
            assert!(
                !verdict.details.observed.iter().any(is_long),
                "{verdict:#?}"
            );
        }
    }
}

#[test]
fn a_container_found_in_another_namespace_fails_and_is_not_said_to_have_executed_there() {
    let mut scene = Scene::new();
    scene.pod("p");
    scene.container_with("p", "a", Modes::plain(), |namespaces| namespaces.net = 99);
    scene.attach_late();
    let verdicts = scene.expect("PT101", &[Outcome::Fail]);
    let details = &verdicts[0].details;
    assert!(
        details.message.starts_with("a runs in net namespace 99"),
        "{}",
        details.message
    );
    let evidence = format!("{:?}", details.evidence);
    assert!(
        evidence.contains("was found in net namespace 99"),
        "{evidence}"
    );
}

#[test]
fn a_pause_found_younger_than_its_container_proves_nothing() {
    let mut scene = Scene::new();
    scene.declare_pod("p", &Modes::plain());
    let sandbox = scene.declare_container("p", "sandbox", ContainerKind::Sandbox, &Modes::plain());
    let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
    let own = |pid| Namespaces {
        pid,
        pid_level: 1,
        ..HOST
    };
    let init = scene.enter(scene.runtime, cgroup, own(50), 1, "a");
    scene.exec(init);
    scene.wait_ms(5);
    let pause = scene.enter(scene.runtime, sandbox, own(51), 1, "pause");
    scene.exec(pause);
    scene.attach_late();
    scene.expect("PT201", &[Outcome::Inconclusive]);
}

/// A pod found with a zombie that its entrypoint has not reaped.
fn found_with_zombie() -> Scene {
    let mut scene = Scene::new();
    scene.pod("p");
    let app = scene.container("p", "a");
    let child = scene.fork(app);
    scene.exit(child, WaitStatus::exited(3));
    scene.wait_ms(25_000);
    scene.attach_late();
    scene
}

#[test]
fn of_a_zombie_that_was_found_only_the_limits_of_its_age_are_told() {
    let mut scene = found_with_zombie();
    scene.wait_ms(500);
    scene.expect("PT401", &[]);
    scene.wait_ms(500);
    let verdicts = scene.expect("PT401", &[Outcome::Fail]);
    let details = &verdicts[0].details;
    assert!(
        details
            .message
            .ends_with("which ended at least 1.00 s ago (it started 26.00 s ago)"),
        "{}",
        details.message
    );
    let evidence: Vec<_> = details.evidence.iter().map(|step| &*step.what).collect();
    assert!(evidence[0].ends_with("started"), "{evidence:?}");
    assert!(
        evidence[1].contains("was found as a zombie"),
        "{evidence:?}"
    );
}

#[test]
fn a_zombie_that_was_found_and_is_reaped_soon_proves_nothing() {
    let mut scene = found_with_zombie();
    let zombie = scene
        .events
        .iter()
        .find_map(|event| match &event.fact {
            Fact::Found {
                task,
                ended: Some(_),
            } => Some(task.process),
            _ => None,
        })
        .expect("it was found");
    scene.reap(zombie);
    scene.remove_pod("p");
    scene.wait_ms(2_000);
    // How long it was a zombie is unknown.
    scene.expect("PT401", &[]);
    scene.expect("PT403", &[]);
}

#[test]
fn zombies_that_were_found_say_nothing_of_the_rate() {
    let mut scene = Scene::new();
    scene.pod("p");
    let app = scene.container("p", "a");
    for _ in 0..65 {
        let child = scene.fork(app);
        scene.exit(child, WaitStatus::exited(0));
    }
    scene.attach_late();
    scene.wait_ms(1_100);
    let verdicts = scene.expect("PT403", &[Outcome::Fail]);
    let message = &verdicts[0].details.message;
    assert!(!message.contains("each second"), "{message}");
    assert!(
        message.ends_with("65 of them were found as zombies"),
        "{message}"
    );
}

#[test]
fn a_pid_namespace_whose_init_was_found_dead_is_stalled() {
    let mut scene = Scene::new();
    scene.pod("p");
    let app = scene.container("p", "a");
    scene.fork(app);
    scene.exit(app, WaitStatus::killed(9));
    scene.attach_late();
    scene.wait_ms(1_100);
    let verdicts = scene.expect("PT208", &[Outcome::Fail]);
    let message = &verdicts[0].details.message;
    assert!(
        message.starts_with("1 process remains at least 1."),
        "{message}"
    );
}

#[test]
fn the_age_of_a_pod_is_that_of_its_first_process() {
    let scene = found().0;
    let mut state = State::new(crate::state::Limits::REFERENCE);
    let mut changes = Vec::new();
    let removed = |event: &&Event| !matches!(event.fact, Fact::PodRemoved { .. });
    for event in scene.events.iter().take_while(removed) {
        state.apply(event, &mut changes);
    }
    let age = scene.now - state.exists_since(&state.pods["p"]);
    assert!(age > BEFORE * 1_000_000, "{age}");
}

/// The namespaces of a zombie, or of a first thread that has exited, can't be read.
#[test]
fn a_container_found_without_namespaces_is_not_said_to_be_in_another() {
    let mut scene = Scene::new();
    scene.pod("p");
    let unreadable = |ns: &mut Namespaces| {
        *ns = Namespaces {
            pid: ns.pid,
            pid_level: ns.pid_level,
            user: ns.user,
            ..Namespaces::default()
        };
    };
    for name in ["a", "b"] {
        scene.container_with("p", name, Modes::plain(), unreadable);
    }
    scene.attach_late();
    for rule in ["PT101", "PT102", "PT103", "PT107"] {
        let verdicts = scene.verdicts(rule).into_iter();
        let failed = verdicts.filter(|verdict| verdict.outcome == Outcome::Fail);
        assert_eq!(failed.count(), 0, "{rule}");
    }
}
