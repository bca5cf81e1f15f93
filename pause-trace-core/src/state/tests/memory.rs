//! What the state keeps, and when it forgets processes, containers and pods.

use super::*;

#[test]
fn only_entrypoints_are_kept_until_their_pod_is_gone() {
    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    world.exit(child, app);
    world.reap(child);
    world.exit(app, RUNTIME);
    world.reap(app);
    assert!(world.state.processes.get(child).is_none());
    assert!(world.state.processes.get(app).is_some());
    world.apply(Fact::PodRemoved { pod: "p".into() });
    world.wait(Limits::REFERENCE.removal);
    assert!(world.state.pods.is_empty() && world.state.containers.is_empty());
    assert_eq!(
        world
            .state
            .processes
            .iter()
            .map(|process| process.id)
            .collect::<Vec<_>>(),
        [RUNTIME]
    );
    assert!(world.state.pid_namespaces.is_empty());
}

#[test]
fn a_process_that_outlives_its_pod_is_known_until_it_is_reaped() {
    let mut world = World::new();
    let app = world.app();
    world.apply(Fact::PodRemoved { pod: "p".into() });
    world.wait(Limits::REFERENCE.removal);
    assert!(world.get(app).is_alive());
    assert_eq!(world.state.members_of(50), 1);
    world.exit(app, RUNTIME);
    assert_eq!(world.wait(Limits::REFERENCE.zombie), []);
    world.reap(app);
    assert!(world.state.processes.get(app).is_none());
    assert_eq!(world.state.members_of(50), 0);
}

#[test]
fn a_cgroup_has_no_container_after_its_pod_is_gone() {
    let mut world = World::new();
    world.apply(Fact::PodRemoved { pod: "p".into() });
    world.wait(Limits::REFERENCE.removal);
    let later = world.fork(RUNTIME, 300, APP, inside(60), 1);
    assert_eq!(world.exec(later), []);
    assert_eq!(world.get(later).container, None);
}

#[test]
fn a_gap_lasts_from_before_the_loss_until_it_is_reported() {
    let mut world = World::new();
    let before = world.now;
    world.apply(Fact::Lost {
        kind: Kind::Free,
        count: 2,
    });
    let kinds = [Kind::Exit, Kind::Free];
    assert_eq!(
        world.state.gap(&kinds, before).as_deref(),
        Some("Free records were lost")
    );
    assert_eq!(world.state.gap(&kinds, world.now + 1), None);
    assert_eq!(world.state.gap(&[Kind::Exit], before), None);
    world.apply(Fact::HookMissing {
        kind: Kind::Exit,
        reason: Text::new("none"),
    });
    assert_eq!(
        world.state.gap(&kinds, Ktime::MAX).as_deref(),
        Some("the kernel has no hook for Exit records")
    );
}
