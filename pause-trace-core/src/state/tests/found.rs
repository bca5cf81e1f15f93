//! Processes that started before the hooks were attached.

use super::*;

const SHIM: ProcessId = id(50);

impl World {
    /// A node with a running runtime and no declared pods.
    fn with_runtime() -> Self {
        let mut world = Self::bare();
        world.apply(Fact::RuntimeNames {
            names: vec![Comm::new("containerd-shim")],
        });
        world.find(SHIM, ProcessId::default(), ROOT, HOST, "containerd-shim");
        world
    }

    fn find(
        &mut self,
        process: ProcessId,
        parent: ProcessId,
        cgroup: CgroupId,
        namespaces: Namespaces,
        comm: &str,
    ) -> Vec<Change> {
        self.find_ended(process, parent, cgroup, namespaces, comm, None)
    }

    fn find_ended(
        &mut self,
        process: ProcessId,
        parent: ProcessId,
        cgroup: CgroupId,
        namespaces: Namespaces,
        comm: &str,
        ended: Option<WaitStatus>,
    ) -> Vec<Change> {
        self.last_record.insert(process, (cgroup, namespaces, 1));
        self.apply(Fact::Found {
            task: TaskInfo {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid: 1,
                comm: Comm::new(comm),
            },
            ended,
        })
    }

    fn role(&self, process: ProcessId) -> Role {
        self.state
            .processes
            .get(process)
            .map_or(Role::Stranger, |process| process.role)
    }
}

#[test]
fn a_running_container_gets_its_entrypoint_members_and_sessions() {
    let mut world = World::with_runtime();
    let (init, child, session, late) = (id(60), id(61), id(62), id(63));
    world.find(init, SHIM, APP, inside(9), "app");
    world.find(child, init, APP, inside(9), "child");
    world.find(session, SHIM, APP, inside(9), "sh");
    world.declare_pod();
    let changes = world.declare("app", ContainerKind::App, APP);
    assert!(changes.contains(&Change::Executed(init)), "{changes:?}");
    assert!(changes.contains(&Change::Executed(session)), "{changes:?}");
    // A process that the task iterator reports only now.
    world.find(late, init, APP, inside(9), "late");
    assert_eq!(world.role(SHIM), Role::Runtime);
    assert_eq!(world.role(init), Role::Init);
    assert_eq!(world.role(child), Role::Member);
    assert_eq!(world.role(session), Role::Session);
    assert_eq!(world.role(late), Role::Member);
    let app = &world.state.containers["app"];
    assert_eq!((app.init, app.alive), (Some(init), 4));
}

#[test]
fn an_orphan_that_was_reparented_to_the_pause_is_not_a_session() {
    let mut world = World::with_runtime();
    let (pause, init, orphan) = (id(60), id(61), id(62));
    world.find(pause, SHIM, SANDBOX, inside(9), "pause");
    world.find(init, SHIM, APP, inside(9), "app");
    world.find(orphan, pause, APP, inside(9), "orphan");
    world.declare_pod();
    world.declare("sandbox", ContainerKind::Sandbox, SANDBOX);
    world.declare("app", ContainerKind::App, APP);
    assert_eq!(world.role(pause), Role::Pause);
    assert_eq!(world.role(init), Role::Init);
    assert_eq!(world.role(orphan), Role::Member);
}

#[test]
fn a_process_that_a_hook_has_reported_is_not_found_again() {
    let mut world = World::with_runtime();
    world.declare_pod();
    world.declare("app", ContainerKind::App, APP);
    let init = world.fork(SHIM, 60, APP, inside(9), 1);
    world.exec(init);
    let changes = world.find(init, SHIM, APP, inside(9), "app");
    assert_eq!(changes, []);
    assert_eq!(world.state.containers["app"].alive, 1);
}

#[test]
fn the_deadline_of_a_found_zombie_starts_when_it_is_found() {
    let mut world = World::with_runtime();
    world.declare_pod();
    let (init, zombie) = (id(60), id(61));
    world.find(init, SHIM, APP, inside(9), "app");
    world.find_ended(
        zombie,
        init,
        APP,
        inside(9),
        "gone",
        Some(WaitStatus::exited(3)),
    );
    world.declare("app", ContainerKind::App, APP);
    assert_eq!(world.state.pods["p"].zombies, 1);
    assert_eq!(world.state.containers["app"].alive, 1);
    let changes = world.wait(1_000 * MS);
    assert!(changes.contains(&Change::ZombieDue(zombie)), "{changes:?}");
}

#[test]
fn a_runtime_that_starts_later_is_identified_by_its_name_but_not_inside_a_container() {
    let mut world = World::with_runtime();
    let outside = world.fork(id(1), 70, ROOT, HOST, 70);
    let inner = world.fork(id(1), 71, 99, inside(9), 1);
    for process in [outside, inner] {
        let (cgroup, namespaces, ns_pid) = world.last_record[&process];
        world.apply(Fact::Exec {
            task: TaskInfo {
                process,
                parent: id(1),
                cgroup,
                namespaces,
                ns_pid,
                comm: Comm::new("containerd-shim"),
            },
            file: Text::new("/usr/bin/containerd-shim"),
        });
    }
    assert_eq!(world.role(outside), Role::Runtime);
    assert_eq!(world.role(inner), Role::Stranger);
}

#[test]
fn a_child_that_is_found_before_its_runtime_belongs_to_the_runtime() {
    let mut world = World::bare();
    world.apply(Fact::RuntimeNames {
        names: vec![Comm::new("containerd")],
    });
    world.find(id(40), SHIM, ROOT, HOST, "bridge");
    world.find(SHIM, ProcessId::default(), ROOT, HOST, "containerd");
    assert_eq!(world.role(id(40)), Role::Runtime);
}

#[test]
fn the_host_of_a_container_is_that_of_its_runtime() {
    let elsewhere = Namespaces { net: 40, ..HOST };
    let mut world = World::with_runtime();
    let (far, helper) = (id(51), id(52));
    world.find(
        far,
        ProcessId::default(),
        ROOT,
        elsewhere,
        "containerd-shim",
    );
    world.declare_pod();
    world.declare("app", ContainerKind::App, APP);
    world.declare("late", ContainerKind::App, 12);
    // The process that creates a container has another name, and may have joined a namespace by
    // then.
    world.find(helper, far, ROOT, elsewhere, "runc:[0:PARENT]");
    let joined = Namespaces {
        net: 41,
        ..inside(9)
    };
    let middle = world.fork(helper, 53, ROOT, joined, 53);
    let init = world.fork(
        middle,
        54,
        APP,
        Namespaces {
            net: 40,
            ..inside(9)
        },
        1,
    );
    world.exec(init);
    world.find(id(60), SHIM, 12, inside(8), "late");
    let host = |name: &str| world.state.host_of(&world.state.containers[name]);
    assert_eq!(host("app"), elsewhere);
    assert_eq!(host("late"), HOST);
    assert_eq!(
        world.state.owner_of(40),
        None,
        "the namespace is the node's, not the pod's"
    );
    assert_eq!(world.state.owner_of(9), Some(&"p".into()));
}

#[test]
fn a_descendant_of_a_container_does_not_inherit_the_runtimes_namespaces() {
    let elsewhere = Namespaces { net: 40, ..HOST };
    let mut world = World::with_runtime();
    let far = id(51);
    world.find(
        far,
        ProcessId::default(),
        ROOT,
        elsewhere,
        "containerd-shim",
    );
    world.declare_pod();
    world.declare("app", ContainerKind::App, APP);
    let init = world.fork(far, 54, APP, inside(9), 1);
    world.exec(init);
    let inner = world.fork(init, 55, APP, inside(9), 2);
    assert!(world.get(init).outside.is_some());
    assert_eq!(world.get(inner).outside, None);
}
