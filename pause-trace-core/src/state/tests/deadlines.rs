//! Deadlines, and the changes that follow when they pass.

use super::*;

const LIMITS: Limits = Limits::REFERENCE;

#[test]
fn a_zombie_is_due_once_and_only_until_it_is_reaped() {
    let mut world = World::new();
    let app = world.app();
    let [reaped, zombie] = [201, 202].map(|pid| world.child(app, pid));
    world.exit(reaped, app);
    world.exit(zombie, app);
    assert_eq!(
        world.next_deadline(),
        Some(world.now - 1_000 + LIMITS.zombie)
    );
    world.reap(reaped);
    assert_eq!(
        world.next_deadline(),
        Some(world.now - 1_000 + LIMITS.zombie)
    );
    assert_eq!(world.wait(LIMITS.zombie - 2_001), []);
    assert_eq!(world.pod().overdue, 0);
    assert_eq!(world.wait(0), [], "its parent has reaped another since");
    assert_eq!(world.wait(0), [Change::ZombieDue(zombie)]);
    assert_eq!(world.pod().overdue, 1);
    assert_eq!(world.wait(LIMITS.zombie), []);
    world.reap(zombie);
    assert_eq!((world.pod().overdue, world.pod().zombies), (0, 0));
    assert_eq!(world.next_deadline(), None);
}

#[test]
fn a_parent_that_reaps_only_others_is_not_busy_for_ever() {
    let mut world = World::new();
    let app = world.app();
    let zombie = world.child(app, 202);
    world.exit(zombie, app);
    let ended = world.now;
    let mut due = None;
    for pid in 300..330 {
        let other = world.child(app, pid);
        world.exit(other, app);
        world.reap(other);
        if world
            .wait(LIMITS.zombie / 2)
            .contains(&Change::ZombieDue(zombie))
        {
            due.get_or_insert(world.now);
        }
    }
    let waited = due.map(|due| (due - ended) / LIMITS.zombie);
    assert_eq!(waited, Some(10));
}

#[test]
fn a_reaped_entrypoint_that_is_kept_is_not_a_zombie() {
    let mut world = World::new();
    let app = world.app();
    world.exit(app, RUNTIME);
    world.reap(app);
    assert_eq!(world.next_deadline(), None);
    assert_eq!(world.wait(10 * LIMITS.zombie), []);
}

#[test]
fn any_event_lets_a_deadline_pass() {
    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    world.exit(child, app);
    world.now += LIMITS.zombie;
    let changes = world.apply(Fact::CgroupMade {
        cgroup: 99,
        path: Text::new("/x"),
    });
    assert_eq!(changes, [Change::ZombieDue(child)]);
}

#[test]
fn a_reaping_in_the_first_late_event_counts() {
    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    world.exit(child, app);
    world.now += LIMITS.zombie;
    assert_eq!(world.reap(child), [Change::Reaped(child)]);
}

#[test]
fn a_stop_is_moot_after_its_target_has_exited() {
    let mut world = World::new();
    let app = world.app();
    let stop = |target| {
        Fact::Signal(Signal {
            sender: RUNTIME,
            sender_comm: Comm::new("shim"),
            target,
            target_comm: Comm::new("app"),
            cgroup: APP,
            signal: 15,
            code: 0,
            result: SignalResult::Delivered,
        })
    };
    world.apply(stop(app));
    let sent = world.now;
    assert_eq!(world.next_deadline(), Some(sent + LIMITS.stop));
    assert_eq!(
        world.wait(LIMITS.stop),
        [Change::StopDue {
            process: app,
            signal: 15,
            sent
        }]
    );
    world.apply(stop(app));
    world.exit(app, RUNTIME);
    world.reap(app);
    assert_eq!(world.next_deadline(), None);
}

#[test]
fn a_setup_is_due_until_it_executes_or_exits() {
    let mut world = World::new();
    let attach = |process| Fact::CgroupAttached {
        task: TaskInfo {
            process,
            parent: ProcessId::default(),
            cgroup: APP,
            namespaces: HOST,
            ns_pid: process.pid,
            comm: Comm::new("runc"),
        },
    };
    let stuck = world.fork(RUNTIME, 150, ROOT, HOST, 150);
    world.apply(attach(stuck));
    let due = Change::InitDue {
        process: stuck,
        container: "app".into(),
    };
    assert!(world.next_deadline().is_some());
    assert_eq!(world.wait(LIMITS.init), [due]);
    let quick = world.fork(RUNTIME, 151, ROOT, HOST, 151);
    world.apply(attach(quick));
    world.last_record.insert(quick, (APP, inside(50), 1));
    world.exec(quick);
    assert_eq!(world.next_deadline(), None);
}

#[test]
fn a_teardown_is_due_while_a_process_other_than_pid_1_remains() {
    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    world.exit(app, RUNTIME);
    let due = Change::TeardownDue {
        pid_namespace: 50,
        init: app,
    };
    assert!(world.wait(LIMITS.teardown).contains(&due));
    world.exit(child, app);
    world.reap(child);

    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    world.exit(app, RUNTIME);
    world.exit(child, app);
    world.reap(child);
    let changes = world.wait(LIMITS.teardown);
    assert_eq!(
        changes,
        [Change::ZombieDue(app)],
        "pid 1 alone is a zombie and not a stalled teardown"
    );
}

#[test]
fn the_processes_of_a_teardown_are_in_question_before_it_is_due() {
    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    let ended = world.now;
    world.exit(app, RUNTIME);
    // It was killed with its init, and so later: it is not overdue itself yet. No record reports
    // its reaping.
    world.exit(child, app);
    let due = ended + LIMITS.teardown;
    let in_question = |world: &World, at| world.state.in_question(at);
    assert_eq!(in_question(&world, world.now), None);
    let (first, processes) = in_question(&world, due + LIMITS.teardown).expect("it is due");
    assert!(
        first > world.now && processes.contains(&child),
        "{first} {processes:?}"
    );

    world.now = first - 1;
    world.reap(child);
    let changes = world.wait(LIMITS.teardown);
    let is_teardown = |change: &Change| matches!(change, Change::TeardownDue { .. });
    assert!(!changes.iter().any(is_teardown), "{changes:?}");
}

#[test]
fn the_processes_of_a_removed_pod_are_in_question_before_it_is_due() {
    let mut world = World::new();
    let app = world.app();
    world.apply(Fact::PodRemoved { pod: "p".into() });
    let (_, processes) = world
        .state
        .in_question(world.now + LIMITS.removal)
        .expect("it is due");
    assert!(processes.contains(&app), "{processes:?}");
}

#[test]
fn a_reused_namespace_number_is_another_namespace() {
    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    world.exit(app, RUNTIME);
    world.exit(child, app);
    world.reap(child);
    world.reap(app);
    let next = world.fork(RUNTIME, 300, APP, inside(50), 1);
    world.exec(next);
    world.child(next, 301);
    assert_eq!(world.wait(LIMITS.teardown), []);
}

#[test]
fn a_removal_is_due_unless_the_pod_is_created_again() {
    let mut world = World::new();
    let removed = Fact::PodRemoved { pod: "p".into() };
    assert_eq!(
        world.apply(removed.clone()),
        [Change::PodRemoved("p".into())]
    );
    world.declare_pod();
    assert_eq!(world.next_deadline(), None);
    world.apply(removed.clone());
    world.wait(LIMITS.removal / 2);
    world.apply(removed);
    assert_eq!(
        world.wait(LIMITS.removal / 2),
        [],
        "the last removal counts"
    );
    assert_eq!(
        world.wait(LIMITS.removal / 2),
        [Change::RemovalDue("p".into())]
    );
    assert_eq!(world.wait(LIMITS.removal), []);
}

#[test]
fn an_identity_is_due_unless_the_container_is_declared() {
    let mut world = World::new();
    for cgroup in [12, 13] {
        let path = Text::new("/somewhere");
        world.apply(Fact::CgroupMade { cgroup, path });
    }
    let unknown = world.fork(RUNTIME, 300, 12, inside(60), 1);
    world.exec(unknown);
    let due = Change::IdentityDue {
        process: unknown,
        cgroup: 12,
    };
    assert_eq!(world.wait(LIMITS.identity), [due]);
    let late = world.fork(RUNTIME, 301, 13, inside(61), 1);
    world.exec(late);
    world.declare("late", ContainerKind::App, 13);
    assert_eq!(world.next_deadline(), None);
    let strangers = world.fork(id(7), 302, 12, inside(62), 1);
    world.exec(strangers);
    assert_eq!(world.next_deadline(), None);
}
