//! OCI hooks run in the container's cgroup before its entrypoint, and are none of its processes.

use super::*;

/// A runtime's init in the container's cgroup, which has not executed the entrypoint.
fn init(world: &mut World) -> ProcessId {
    world.fork(RUNTIME, 200, APP, inside(50), 1)
}

#[test]
fn a_hook_is_no_entrypoint_and_the_runtimes_init_becomes_it() {
    let mut world = World::new();
    let init = init(&mut world);
    let hook = world.child(init, 201);
    assert_eq!(world.exec(hook), []);
    let helper = world.child(hook, 202);
    assert_eq!(world.exec(helper), [], "what a hook starts is a part of it");
    assert_eq!(world.container("app").init, None);
    world.exit(helper, hook);
    world.exit(hook, init);
    assert_eq!(world.exec(init), [Change::Executed(init)]);
    assert_eq!(world.container("app").init, Some(init));
    assert_eq!(world.get(init).role, Role::Init);
    let child = world.child(init, 203);
    world.exec(child);
    assert_eq!(world.get(child).role, Role::Member);
}

/// In the pod's shared pid namespace, the child of a hook that has ended has the pause as its
/// parent.
#[test]
fn what_a_hook_leaves_behind_is_no_entrypoint() {
    let mut world = World::new();
    let init = world.fork(RUNTIME, 200, APP, inside(50), 7);
    let hook = world.child(init, 201);
    world.exec(hook);
    let left = world.child(hook, 202);
    world.exit(hook, init);
    world.reap(hook);
    assert_eq!(world.exec(left), []);
    assert_eq!(world.exec(init), [Change::Executed(init)]);
    assert_eq!(world.container("app").init, Some(init));
    world.exec(left);
    assert_ne!(world.get(left).role, Role::Session);
}

#[test]
fn a_hook_that_ran_before_the_container_was_declared_is_none_of_its_processes() {
    let mut world = World::bare();
    world.apply(Fact::Runtime { process: RUNTIME });
    let init = init(&mut world);
    let hook = world.child(init, 201);
    world.exec(hook);
    world.exit(hook, init);
    world.reap(hook);
    world.exec(init);
    let child = world.child(init, 202);
    world.exec(child);
    world.declare_pod();
    let changes = world.declare("app", ContainerKind::App, APP);
    assert!(changes.contains(&Change::Executed(init)), "{changes:?}");
    assert_eq!(world.container("app").init, Some(init));
    assert_eq!(world.get(child).role, Role::Member);
}

#[test]
fn an_entrypoint_whose_intermediate_parent_has_exited_is_no_hook() {
    let mut world = World::new();
    // crun and youki fork the entrypoint from a process in the cgroup that exits at once.
    let intermediate = world.fork(RUNTIME, 200, APP, HOST, 200);
    let init = world.fork(intermediate, 201, APP, inside(50), 1);
    world.exit(intermediate, RUNTIME);
    assert_eq!(world.exec(init), [Change::Executed(init)]);
    assert_eq!(world.container("app").init, Some(init));
}

#[test]
fn a_session_in_a_running_container_is_no_hook() {
    let mut world = World::new();
    world.app();
    let session = world.fork(RUNTIME, 300, APP, inside(50), 9);
    assert_eq!(world.exec(session), [Change::Executed(session)]);
    assert_eq!(world.get(session).role, Role::Session);
}
