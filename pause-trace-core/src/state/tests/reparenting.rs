//! To which process an orphan is reparented.

use super::*;

#[test]
fn an_orphan_is_reparented_to_pid_1_of_its_parents_namespace() {
    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    let living = world.child(child, 202);
    let zombie = world.child(child, 203);
    world.exit(zombie, child);
    world.exit(child, app);
    assert_eq!((world.parent(living), world.parent(zombie)), (app, app));
    assert_eq!(
        world.get(zombie).ended.map(|ended| ended.parent),
        Some(child)
    );
    assert_eq!(world.get(living).born_of, child);
}

#[test]
fn pid_1_of_a_nested_namespace_is_reparented_to_the_outer_pid_1() {
    let mut world = World::new();
    let app = world.app();
    let unsharer = world.child(app, 201);
    let nested = world.fork(
        unsharer,
        202,
        APP,
        Namespaces {
            pid_level: 2,
            ..inside(51)
        },
        1,
    );
    world.exit(unsharer, app);
    assert_eq!(world.parent(nested), app);
}

#[test]
fn on_the_host_the_new_parent_is_unknown_until_a_record_contains_it() {
    let mut world = World::new();
    world.fork(ProcessId::default(), 1, ROOT, HOST, 1);
    let shim = world.fork(RUNTIME, 150, ROOT, HOST, 150);
    let runc = world.fork(shim, 151, ROOT, HOST, 151);
    let init = world.fork(runc, 200, APP, inside(50), 1);
    world.exit(runc, shim);
    assert_eq!(world.parent(init), ProcessId::default());
    world.exit(init, shim);
    assert_eq!(world.parent(init), shim);
}

#[test]
fn children_of_pid_1_stay_with_it() {
    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    world.exit(app, RUNTIME);
    assert_eq!(world.parent(child), app);
}

#[test]
fn a_record_that_names_an_exited_parent_is_corrected() {
    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    let grandchild = world.child(child, 202);
    world.exit(child, app);
    world.exit(grandchild, child);
    assert_eq!(world.parent(grandchild), app);
    assert_eq!(
        world.get(grandchild).ended.map(|ended| ended.parent),
        Some(child)
    );
}

#[test]
fn the_exit_of_a_child_reveals_its_subreaper() {
    let mut world = World::new();
    let app = world.app();
    let supervisor = world.child(app, 201);
    let child = world.child(supervisor, 202);
    let grandchild = world.child(child, 203);
    world.exit(child, supervisor);
    assert_eq!(world.parent(grandchild), app);
    world.exit(grandchild, supervisor);
    assert_eq!(world.parent(grandchild), supervisor);
}

#[test]
fn a_lost_exit_reparents_the_children_at_the_reaping() {
    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    let grandchild = world.child(child, 202);
    world.reap(child);
    assert_eq!(world.parent(grandchild), app);
}
