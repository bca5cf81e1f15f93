//! Who is believed to be a runtime.

use super::*;
use crate::event::{Program, Proof};

fn task(process: ProcessId, cgroup: CgroupId, namespaces: Namespaces, comm: &str) -> TaskInfo {
    TaskInfo {
        process,
        parent: ProcessId::default(),
        cgroup,
        namespaces,
        ns_pid: process.pid,
        comm: Comm::new(comm),
    }
}

fn found(task: TaskInfo) -> Fact {
    Fact::Found { task, ended: None }
}

fn executed(task: TaskInfo) -> Fact {
    let file = Text::new("/bin/x");
    Fact::Exec { task, file }
}

fn names() -> Fact {
    let names = vec![Comm::new("runc"), Comm::new("containerd")];
    Fact::RuntimeNames { names }
}

/// A node on which names have to be proven.
fn world() -> World {
    let mut world = World::bare();
    world.apply(Fact::ProofRequired);
    world.apply(names());
    world
}

fn show(world: &mut World, process: ProcessId, proof: Proof) {
    let comm = Comm::new("runc");
    let program = Program {
        process,
        comm,
        proof,
    };
    world.apply(Fact::Program(program));
}

fn in_container(path: &str) -> Proof {
    let path = Text::new(path);
    let is_pods = false;
    Proof::InContainer { path, is_pods }
}

#[test]
fn proc_is_read_of_a_claim_where_a_runtime_can_be() {
    let world = world();
    let it = id(70);
    for (fact, asks) in [
        (found(task(it, ROOT, HOST, "runc")), true),
        (executed(task(it, ROOT, HOST, "runc")), true),
        (found(task(it, ROOT, HOST, "sh")), false),
        (found(task(it, ROOT, inside(9), "runc")), false),
    ] {
        let asked = world.state.asks_program(&fact);
        assert_eq!(asked.is_some(), asks, "{fact:?}");
    }
    let before = World::bare();
    let fact = found(task(it, ROOT, HOST, "runc"));
    assert_eq!(
        before.state.asks_program(&fact),
        None,
        "nothing is followed"
    );
}

#[test]
fn proc_is_read_of_what_the_runtime_starts_in_another_mount_namespace() {
    let mut world = world();
    let runtime = id(70);
    show(&mut world, runtime, Proof::Known);
    world.apply(found(task(runtime, ROOT, HOST, "containerd")));
    assert!(world.state.is_proven_runtime(runtime));
    let plugin = world.fork(runtime, 71, ROOT, HOST, 71);
    let fact = executed(task(plugin, ROOT, HOST, "bridge"));
    assert_eq!(world.state.asks_program(&fact), None, "a CNI plugin");
    world.apply(fact);
    assert!(world.state.is_proven_runtime(plugin));

    let user = world.fork(runtime, 72, 55, inside(9), 1);
    let fact = executed(task(user, 55, inside(9), "sh"));
    assert!(world.state.asks_program(&fact).is_some());
    world.apply(fact);
    assert!(!world.state.is_proven_runtime(user));
    let child = world.fork(user, 73, 55, inside(9), 2);
    assert!(!world.state.is_proven_runtime(child));
}

#[test]
fn a_program_of_a_doubtful_runtime_is_doubtful_until_one_is_proven() {
    let mut world = world();
    let it = id(70);
    show(&mut world, it, Proof::Unread);
    world.apply(found(task(it, ROOT, HOST, "containerd")));
    let child = world.fork(it, 71, ROOT, HOST, 71);
    assert_eq!(world.get(child).role, Role::Runtime);
    assert!(!world.state.is_proven_runtime(child));
    let fact = executed(task(child, ROOT, HOST, "runc"));
    assert!(world.state.asks_program(&fact).is_some());
    show(&mut world, child, Proof::Known);
    world.apply(fact);
    assert!(world.state.is_proven_runtime(child));
}

#[test]
fn a_short_lived_program_of_a_proven_runtime_needs_no_look() {
    let mut world = world();
    let it = id(70);
    show(&mut world, it, Proof::Known);
    world.apply(found(task(it, ROOT, HOST, "containerd")));
    let runc = world.fork(it, 71, ROOT, HOST, 71);
    let fact = executed(task(runc, ROOT, HOST, "runc"));
    assert_eq!(world.state.asks_program(&fact), None);
    world.apply(fact);
    assert!(world.state.is_proven_runtime(runc));
}

#[test]
fn a_kill_inside_a_pod_is_the_pods_once_the_container_is_known() {
    let mut world = world();
    let runtime = id(70);
    show(&mut world, runtime, Proof::Known);
    world.apply(found(task(runtime, ROOT, HOST, "containerd")));
    world.declare_pod();
    world.declare("app", ContainerKind::App, APP);
    let target = world.fork(runtime, 71, APP, inside(9), 1);
    world.exec(target);
    let sender = world.fork(runtime, 72, SANDBOX, inside(9), 2);
    show(&mut world, sender, in_container("/pod/s"));
    let mut early = task(sender, SANDBOX, inside(9), "sh");
    early.parent = runtime;
    world.apply(executed(early));
    world.apply(Fact::Signal(Signal {
        sender,
        sender_comm: Comm::new("sh"),
        target,
        target_comm: Comm::new("app"),
        cgroup: APP,
        signal: 9,
        code: 0,
        result: SignalResult::Delivered,
    }));
    let received = |world: &World| world.get(target).signals[0].clone();
    assert!(received(&world).sender_doubt.is_some());
    world.declare("sandbox", ContainerKind::Sandbox, SANDBOX);
    let settled = received(&world);
    assert_eq!(settled.sender_doubt, None);
    assert_eq!(settled.sender_pod, Some("p".into()));
    assert_ne!(settled.sender_role, Role::Runtime);
}

#[test]
fn a_snapshot_keeps_who_is_proven() {
    let mut world = world();
    let ids = [id(70), id(71), id(72)];
    let proofs = [Proof::Known, Proof::Unread, in_container("/docker/b")];
    for (it, proof) in ids.into_iter().zip(proofs) {
        show(&mut world, it, proof);
        world.apply(found(task(it, ROOT, HOST, "containerd")));
    }
    let mut again = State::new(Limits::NODE);
    for event in world.state.snapshot(world.now) {
        again.apply(&event, &mut Vec::new());
    }
    for it in ids {
        let of = |state: &State| state.processes.get(it).map(|it| (it.role, it.doubt));
        assert_eq!(of(&again), of(&world.state));
    }
    assert!(again.is_proven_runtime(ids[0]));
}
