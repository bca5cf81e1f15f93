//! Exits, reaping and pid reuse, and their effect on the counts.

use super::*;

#[test]
fn two_exit_records_of_one_process_are_one_exit() {
    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    assert_eq!(world.exit(child, app), [Change::Ended(child)]);
    let first = world.get(child).ended;
    assert_eq!(world.exit(child, app), []);
    assert_eq!(world.get(child).ended, first);
    assert_eq!((world.container("app").alive, world.pod().zombies), (1, 1));
}

#[test]
fn a_reaping_is_counted_once_with_its_latency() {
    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    world.exit(child, app);
    world.wait(5 * MS);
    assert_eq!(world.reap(child), [Change::Reaped(child)]);
    assert_eq!(world.reap(child), []);
    let reaps = Reaps {
        count: 1,
        slowest: 5 * MS + 2_000,
    };
    assert_eq!(
        (
            world.container("app").reaps,
            world.container("app").session_reaps
        ),
        (reaps, Reaps::default())
    );
    assert_eq!(
        (
            world.pod().reaped,
            world.pod().zombies,
            world.pod().most_zombies
        ),
        (1, 0, 1)
    );
    assert!(world.state.processes.get(child).is_none());
}

#[test]
fn entrypoints_are_in_question_when_another_ends_after_a_loss() {
    let mut world = World::new();
    let app = world.app();
    let pause = world.fork(RUNTIME, 150, SANDBOX, inside(40), 1);
    world.exec(pause);
    let ended = |world: &World| {
        let task = TaskInfo {
            process: pause,
            parent: RUNTIME,
            cgroup: world.get(pause).cgroup,
            namespaces: world.get(pause).namespaces,
            ns_pid: 1,
            comm: Comm::new("pause"),
        };
        let status = WaitStatus::exited(0);
        Fact::Exit { task, status }
    };
    assert_eq!(world.state.in_question_by(&ended(&world)), []);
    let lose = |kind| Fact::Lost { kind, count: 1 };
    world.apply(lose(Kind::SignalGenerate));
    assert_eq!(world.state.in_question_by(&ended(&world)), []);
    world.apply(lose(Kind::Exit));
    assert_eq!(world.state.in_question_by(&ended(&world)), [app]);
    world.reap(app);
    assert_eq!(world.state.in_question_by(&ended(&world)), []);
}

#[test]
fn the_orphan_of_a_session_is_counted_separately() {
    let mut world = World::new();
    let app = world.app();
    let session = world.fork(RUNTIME, 202, APP, inside(50), 9);
    world.exec(session);
    let own = world.child(session, 203);
    let orphan = world.child(session, 204);
    world.exit(own, session);
    world.reap(own);
    world.exit(session, RUNTIME);
    world.reap(session);
    world.exit(orphan, app);
    world.reap(orphan);
    assert_eq!(
        (
            world.container("app").reaps.count,
            world.container("app").session_reaps.count
        ),
        (1, 1)
    );
    assert_eq!(world.container("app").adopted, 1);
}

#[test]
fn a_lost_exit_does_not_affect_the_counts() {
    let mut world = World::new();
    let app = world.app();
    let zombie = world.child(app, 201);
    world.exit(zombie, app);
    let unreported = world.child(app, 202);
    world.reap(unreported);
    assert_eq!(
        (
            world.container("app").alive,
            world.pod().zombies,
            world.pod().reaped
        ),
        (1, 1, 0)
    );
    assert_eq!(world.state.members_of(50), 2);
}

#[test]
fn an_entrypoint_whose_exit_was_lost_is_not_alive() {
    let mut world = World::new();
    let app = world.app();
    world.reap(app);
    assert!(!world.get(app).is_alive() && !world.get(app).is_zombie());
}

#[test]
fn a_reused_pid_is_another_process() {
    let mut world = World::new();
    let app = world.app();
    let first = world.child(app, 201);
    world.exit(first, app);
    world.reap(first);
    let second = world.child(app, 201);
    assert_ne!(first, second);
    assert!(world.get(second).is_alive());
    assert_eq!(world.reap(first), []);
    assert_eq!(
        world.state.processes.by_pid(201).map(|process| process.id),
        Some(second)
    );
}

#[test]
fn a_reused_pid_ends_the_former_process() {
    let mut world = World::new();
    let app = world.app();
    let living = world.child(app, 201);
    let zombie = world.child(app, 202);
    world.exit(zombie, app);
    world.wait(1_000 * MS);
    assert_eq!((world.pod().zombies, world.pod().overdue), (1, 1));
    let anew = [world.child(app, 201), world.child(app, 202)];
    assert!(
        world.state.processes.get(living).is_none() && world.state.processes.get(zombie).is_none()
    );
    assert_eq!(
        (
            world.pod().zombies,
            world.pod().overdue,
            world.container("app").alive
        ),
        (0, 0, 3)
    );
    assert_eq!(world.state.members_of(50), 3);
    assert!(
        anew.into_iter()
            .all(|process| world.get(process).is_alive())
    );
}

#[test]
fn the_oom_killers_victim_is_the_living_process_of_that_pid() {
    let mut world = World::new();
    let app = world.app();
    world.apply(Fact::OomVictim { pid: 200 });
    let marked = world.get(app).oom;
    assert!(marked.is_some());
    world.exit(app, RUNTIME);
    world.apply(Fact::OomVictim { pid: 200 });
    assert_eq!(world.get(app).oom, marked);
}

#[test]
fn members_of_a_namespace_are_counted_until_they_are_reaped() {
    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    world.exit(child, app);
    assert_eq!(world.state.members_of(50), 2);
    assert_eq!(world.state.init_of(50).map(|init| init.id), Some(app));
    world.reap(child);
    world.exit(app, RUNTIME);
    world.reap(app);
    assert_eq!(world.state.members_of(50), 0);
    assert!(world.state.init_of(50).is_none());
}

#[test]
fn a_declared_runtime_is_counted_from_its_first_record() {
    let mut world = World::new();
    let other = world.fork(RUNTIME, 101, ROOT, HOST, 101);
    world.last_record.insert(RUNTIME, (ROOT, HOST, 100));
    world.exec(RUNTIME);
    assert_eq!(world.state.members_of(HOST.pid), 2);
    world.exit(RUNTIME, ProcessId::default());
    world.reap(RUNTIME);
    assert_eq!(world.state.members_of(HOST.pid), 1);
    assert!(world.get(other).is_alive());
}
