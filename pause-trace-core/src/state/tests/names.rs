//! What processes are called, and who acts on a pod from outside.

use super::*;
use crate::event::{NamespaceCall, NamespaceKind};

/// The process executes itself, after which the kernel calls it `exe`.
fn exec_itself(world: &mut World, process: ProcessId) {
    let (cgroup, namespaces, ns_pid) = world.last_record[&process];
    let task = TaskInfo {
        process,
        parent: world.parent(process),
        cgroup,
        namespaces,
        ns_pid,
        comm: Comm::new("exe"),
    };
    let file = Text::new("/proc/self/exe");
    world.apply(Fact::Exec { task, file });
}

fn signal(sender: (u32, &str), target: (ProcessId, &str), signal: i32) -> Signal {
    Signal {
        sender: id(sender.0),
        sender_comm: Comm::new(sender.1),
        target: target.0,
        target_comm: Comm::new(target.1),
        cgroup: APP,
        signal,
        code: 0,
        result: SignalResult::Delivered,
    }
}

fn comm(world: &World, process: ProcessId) -> String {
    world.get(process).comm.to_string()
}

/// The processes whose names are asked for when time has passed.
fn asked(world: &World) -> Vec<ProcessId> {
    let now = world.now + 200 * MS;
    world
        .state
        .nameless(now)
        .map_or(Vec::new(), |(_, processes)| processes)
}

#[test]
fn a_process_that_executed_itself_is_called_what_proc_calls_it() {
    let mut world = World::new();
    let app = world.app();
    assert_eq!(asked(&world), []);
    let child = world.child(app, 201);
    exec_itself(&mut world, child);
    assert_eq!(asked(&world), [child]);
    assert!(world.state.nameless(world.now + 99 * MS).is_none());
    world.apply(Fact::Named {
        process: child,
        comm: Comm::new("sleep"),
    });
    assert_eq!(asked(&world), []);
    assert_eq!(comm(&world, child), "sleep");
    assert_eq!(world.get(child).executable(), "sleep");
}

#[test]
fn a_name_that_events_show_is_not_asked_for() {
    let mut world = World::new();
    let app = world.app();
    let (forks, signalled, ended) = (
        world.child(app, 201),
        world.child(app, 202),
        world.child(app, 203),
    );
    for process in [forks, signalled, ended] {
        exec_itself(&mut world, process);
    }
    // The scene calls every forked process `child`, like the parent that named itself so.
    world.child(forks, 204);
    world.apply(Fact::Signal(signal(
        (RUNTIME.pid, "shim"),
        (signalled, "sleep"),
        10,
    )));
    world.exit(ended, app);
    assert_eq!(comm(&world, forks), "child");
    assert_eq!(comm(&world, signalled), "sleep");
    assert_eq!(asked(&world), []);
}

#[test]
fn a_thread_changes_neither_the_name_nor_the_pid_nor_the_namespaces_of_its_process() {
    let mut world = World::new();
    let app = world.app();
    let task = TaskInfo {
        process: app,
        parent: ProcessId::default(),
        cgroup: APP,
        namespaces: Namespaces {
            net: 77,
            ..inside(50)
        },
        ns_pid: 9,
        comm: Comm::new("worker"),
    };
    let changes = world.apply(Fact::NamespaceChange {
        task,
        tid: 209,
        call: NamespaceCall::Unshare,
        flags: NamespaceKind::Net.flag(),
        errno: 0,
    });
    assert!(
        matches!(
            changes[..],
            [Change::NamespaceChanged {
                thread: Some(209),
                ..
            }]
        ),
        "{changes:?}"
    );
    let process = world.get(app);
    assert_eq!((process.ns_pid, process.namespaces), (1, inside(50)));
    assert_eq!(comm(&world, app), "app");
    assert!(process.is_namespace_init());
}

#[test]
fn it_is_asked_once_who_kills_or_stops_a_process_of_a_pod_from_outside() {
    use crate::signal::{SIGKILL, SIGTERM, SIGUSR1};
    let mut world = World::new();
    let app = world.app();
    let child = world.child(app, 201);
    let asks = |world: &World, sender, number| {
        let asks = world
            .state
            .asks_who(&Fact::Signal(signal(sender, (app, "app"), number)));
        asks.map(|(process, _)| process.pid)
    };
    for number in [SIGKILL, SIGTERM] {
        assert_eq!(asks(&world, (900, "ip"), number), Some(900));
    }
    assert_eq!(asks(&world, (900, "ip"), SIGUSR1), None);
    assert_eq!(asks(&world, (RUNTIME.pid, "shim"), SIGKILL), None);
    let of_pod = Signal {
        sender: child,
        ..signal((0, "child"), (app, "app"), SIGKILL)
    };
    assert_eq!(world.state.asks_who(&Fact::Signal(of_pod)), None);
    let of_kernel = Signal {
        code: 0x80,
        ..signal((900, "ip"), (app, "app"), SIGKILL)
    };
    assert_eq!(world.state.asks_who(&Fact::Signal(of_kernel)), None);
    world.apply(Fact::Outsider(Outsider {
        process: id(900),
        comm: Comm::new("ip"),
        parent: 1,
        parent_comm: Comm::new("init"),
        command: Text::new("ip link"),
    }));
    assert_eq!(asks(&world, (900, "ip"), SIGKILL), None);
    // After another exec it is another program.
    assert_eq!(asks(&world, (900, "kill"), SIGKILL), Some(900));
}

#[test]
fn only_the_latest_outsiders_are_kept() {
    let mut world = World::new();
    for pid in 1_000..1_100 {
        world.apply(Fact::Outsider(Outsider {
            process: id(pid),
            comm: Comm::new("kill"),
            parent: 1,
            parent_comm: Comm::default(),
            command: Text::default(),
        }));
    }
    assert_eq!(world.state.outsiders.len(), 64);
    assert!(world.state.outsider(id(1_099)).is_some());
    assert!(world.state.outsider(id(1_000)).is_none());
}
