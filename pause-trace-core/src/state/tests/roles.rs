//! The roles of processes.

use super::*;

#[test]
fn the_first_exec_in_a_cgroup_is_the_entrypoint_and_the_next_from_outside_is_a_session() {
    let mut world = World::new();
    let pause = world.fork(RUNTIME, 150, SANDBOX, inside(49), 1);
    assert_eq!(world.get(pause).role, Role::Runtime);
    assert_eq!(world.exec(pause), [Change::Executed(pause)]);
    let app = world.app();
    let child = world.child(app, 201);
    let session = world.fork(RUNTIME, 202, APP, inside(50), 9);
    world.exec(session);
    let helper = world.child(session, 203);
    let grandchild = world.child(helper, 204);
    let of = |process| (world.get(process).role, world.get(process).session);
    assert_eq!(of(pause), (Role::Pause, None));
    assert_eq!(of(app), (Role::Init, None));
    assert_eq!(of(child), (Role::Member, None));
    assert_eq!(of(session), (Role::Session, Some(session)));
    assert_eq!(of(helper), (Role::Member, Some(session)));
    assert_eq!(of(grandchild), (Role::Member, Some(session)));
    assert_eq!(world.container("app").init, Some(app));
    assert_eq!(world.container("sandbox").init, Some(pause));
    assert_eq!(world.container("app").alive, 5);
}

#[test]
fn a_setup_process_inside_the_cgroup_belongs_to_the_runtime() {
    let mut world = World::new();
    let setup = world.fork(RUNTIME, 199, APP, HOST, 199);
    world.app();
    assert_eq!(world.get(setup).role, Role::Runtime);
}

#[test]
fn an_entrypoint_or_member_that_executes_again_keeps_its_role() {
    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    world.exec(app);
    world.exec(child);
    assert_eq!((world.get(app).role, world.get(app).execs), (Role::Init, 2));
    assert_eq!(
        (world.get(child).role, world.get(child).execs),
        (Role::Member, 1)
    );
    assert_eq!(world.container("app").init, Some(app));
}

#[test]
fn a_container_that_is_declared_twice_keeps_its_processes() {
    let mut world = World::new();
    let app = world.app();
    world.declare("app", ContainerKind::App, 0);
    let container = world.container("app");
    assert_eq!(
        (container.init, container.alive, container.cgroup),
        (Some(app), 1, APP)
    );
    assert_eq!(world.pod().containers.len(), 1);
}

#[test]
fn a_container_without_a_known_cgroup_has_no_processes() {
    let mut world = World::new();
    world.declare("early", ContainerKind::App, 0);
    let stranger = world.fork(id(7), 8, 0, HOST, 8);
    assert_eq!(world.get(stranger).container, None);
}

#[test]
fn processes_that_started_before_their_container_was_declared_get_their_roles() {
    const LATE: CgroupId = 12;
    let mut world = World::new();
    let setup = world.fork(RUNTIME, 299, LATE, HOST, 299);
    let init = world.fork(RUNTIME, 300, LATE, inside(60), 1);
    assert_eq!(world.exec(init), []);
    let child = world.fork(init, 301, LATE, inside(60), 2);
    let worker = world.fork(child, 302, LATE, inside(60), 3);
    world.exec(worker);
    world.exit(child, init);
    world.reap(child);
    let session = world.fork(RUNTIME, 303, LATE, inside(60), 4);
    world.exec(session);
    let zombie = world.fork(session, 304, LATE, inside(60), 5);
    world.exit(zombie, session);
    let changes = world.declare("late", ContainerKind::App, LATE);
    let of = |process| (world.get(process).role, world.get(process).session);
    assert_eq!(of(setup), (Role::Runtime, None));
    assert_eq!(of(init), (Role::Init, None));
    assert_eq!(of(worker), (Role::Member, None));
    assert_eq!(of(session), (Role::Session, Some(session)));
    assert_eq!(of(zombie), (Role::Member, Some(session)));
    let executed = [init, worker, session].map(Change::Executed);
    assert_eq!(
        changes,
        [&[Change::ContainerDeclared("late".into())], &executed[..]].concat()
    );
    assert_eq!(
        (world.container("late").init, world.container("late").alive),
        (Some(init), 4)
    );
    assert_eq!(world.pod().zombies, 1);
    world.reap(zombie);
    assert_eq!(world.pod().zombies, 0);
}

#[test]
fn an_entrypoint_that_exited_before_its_container_was_declared_has_ended() {
    let mut world = World::new();
    let init = world.fork(RUNTIME, 300, 12, inside(60), 1);
    world.exec(init);
    world.exit(init, RUNTIME);
    world.declare("late", ContainerKind::App, 12);
    assert_eq!(world.container("late").ended, world.get(init).ended);
    assert_eq!(world.container("late").alive, 0);
}
