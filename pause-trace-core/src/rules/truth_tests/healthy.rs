//! Healthy pods that together give every rule something to pass.

use super::faults::{create, own_users, pin, sandbox, supervised};
use crate::{
    event::*,
    rules::testing::*,
    signal::{SIGCHLD, SIGKILL, SIGSEGV, SIGTERM},
};

/// Pods of several kinds, which are declared first, and then start, run, stop and are removed.
pub(super) fn pods() -> Scene {
    let mut scene = Scene::new();
    let shared = Modes {
        pid: Mode::Pod,
        ..Modes::plain()
    };
    let host = Modes {
        net: Mode::Node,
        uts: Mode::Node,
        pid: Mode::Node,
        ..Modes::plain()
    };
    for (pod, modes) in [
        ("plain", Modes::plain()),
        ("shared", shared),
        ("users", own_users()),
        ("again", Modes::plain()),
        ("host", host),
        ("supervised", Modes::plain()),
    ] {
        scene.declare_pod(pod, &modes);
    }
    let plain = run_plain(&mut scene);
    let shared = run_shared(&mut scene);
    scene.sandbox("users", |_| {});
    scene.container("users", "of-users");
    replace_sandbox(&mut scene);
    run_on_the_host(&mut scene);
    outlived_by_its_shim(&mut scene);
    scene.wait_ms(2_000);
    stop(&mut scene, "plain", &plain);
    stop(&mut scene, "shared", &shared);
    for pod in ["plain", "shared"] {
        scene.remove_pod(pod);
    }
    scene.push(Fact::NamespaceUnpinned {
        path: Text::new("/run/netns/cni-1"),
    });
    scene.wait_ms(2_000);
    scene
}

/// A container that reaps its child, an exec session that leaves an orphan, a network, a pause that
/// was measured. Gives the pause, the init and its worker.
fn run_plain(scene: &mut Scene) -> Vec<ProcessId> {
    let pause = scene.sandbox("plain", |_| {});
    pin(scene);
    let known = scene.events.iter().find_map(|event| match &event.fact {
        Fact::Container(fact) if fact.container == sandbox(scene) => Some(fact.clone()),
        _ => None,
    });
    scene.push(Fact::Container(ContainerFact {
        source: Source::Cri,
        ..known.expect("it is declared")
    }));
    scene.pause_started("plain", |_| {});
    let init = scene.container("plain", "of-plain");
    for _ in 0..2 {
        scene.observe(
            "plain",
            "of-plain",
            Observed::NetworkReady,
            true,
            "10.88.0.2",
        );
    }
    let worker = scene.fork(init);
    scene.exec(worker);
    let sandboxed = scene.clone_with(worker, |ns, _| ns.mnt = 5_002);
    scene.exec(sandboxed);
    scene.end(sandboxed, WaitStatus::exited(0));
    let child = scene.fork(worker);
    let orphan = scene.fork(child);
    scene.end(child, WaitStatus::exited(0));
    scene.exit_to(orphan, init, WaitStatus::exited(0));
    scene.reap(orphan);
    let session = scene.session_with(init, |_| {});
    let left = scene.fork(session);
    scene.end(session, WaitStatus::exited(0));
    scene.exit_to(left, init, WaitStatus::exited(0));
    scene.reap(left);
    set_up_by_runc(scene);
    let probe = scene.session_with(init, |_| {});
    scene.end(probe, WaitStatus::exited(0));
    scene.pause_status("plain", |_| {});
    scene.handles(init, SIGTERM);
    vec![pause, init, worker]
}

/// A pause that reaps an orphan on SIGCHLD.
fn run_shared(scene: &mut Scene) -> Vec<ProcessId> {
    let pause = scene.sandbox("shared", |_| {});
    let init = scene.container("shared", "of-shared");
    let child = scene.fork(init);
    let orphan = scene.fork(child);
    scene.end(child, WaitStatus::exited(0));
    scene.exit_to(orphan, pause, WaitStatus::exited(0));
    scene.signal_with_code(orphan, pause, SIGCHLD, SignalResult::Delivered, 1);
    scene.handle(pause, SIGCHLD);
    scene.reap(orphan);
    scene.wait_ms(200);
    vec![pause, init]
}

/// A sandbox that is replaced after its container has ended.
fn replace_sandbox(scene: &mut Scene) {
    let former = scene.sandbox("again", |_| {});
    let init = scene.container("again", "first");
    scene.end(init, WaitStatus::exited(0));
    scene.signal(scene.runtime, former, SIGTERM, SignalResult::Delivered);
    scene.handle(former, SIGTERM);
    scene.end(former, WaitStatus::exited(0));
    scene.sandbox("again", |_| {});
    scene.container("again", "second");
}

/// A pod whose sandbox is replaced while the runtime is stopping a slow container, as `podman pod
/// restart` does. PT309 warns of the order, and nothing else is wrong.
pub(super) fn restarted() -> Scene {
    let mut scene = Scene::new();
    let former = scene.pod("p");
    let slow = scene.container("p", "slow");
    for process in [former, slow] {
        scene.signal(scene.runtime, process, SIGTERM, SignalResult::Delivered);
        scene.handle(process, SIGTERM);
    }
    scene.end(former, WaitStatus::exited(0));
    scene.sandbox("p", |_| {});
    scene.wait_ms(1_100);
    scene.end(slow, WaitStatus::exited(0));
    scene.container("p", "slow-again");
    scene
}

/// A container whose namespaces a short-lived process of the runtime joins, and which a debugger
/// shares. It crashes and is started again.
fn set_up_by_runc(scene: &mut Scene) {
    let modes = Modes::plain();
    let cgroup = scene.declare_container("plain", "by-runc", ContainerKind::App, &modes);
    let own = scene.namespaces_for("plain", &modes);
    let runc = scene.fork(scene.runtime);
    scene.exec(runc);
    let middle = scene.enter(runc, cgroup, HOST, 0, "runc:[1:CHILD]");
    for kind in [NamespaceKind::Ipc, NamespaceKind::Uts, NamespaceKind::Net] {
        let join = |ns: &mut Namespaces| match kind {
            NamespaceKind::Ipc => ns.ipc = own.ipc,
            NamespaceKind::Uts => ns.uts = own.uts,
            _ => (ns.net, ns.net_owner) = (own.net, own.net_owner),
        };
        scene.change_namespaces(middle, NamespaceCall::Setns, kind.flag(), 0, join);
    }
    scene.change_namespaces(middle, NamespaceCall::Unshare, 0, 0, |ns| {
        (ns.mnt, ns.pid_children) = (own.mnt, own.pid);
    });
    let init = scene.enter(middle, cgroup, own, 1, "by-runc");
    scene.end(middle, WaitStatus::exited(0));
    scene.exec_file(init, "/bin/by-runc");
    scene.end(runc, WaitStatus::exited(0));
    let helper = scene.fork(init);
    scene.change_namespaces(helper, NamespaceCall::Unshare, 0, 0, |ns| ns.mnt = 5_001);
    scene.exec(helper);
    scene.end(helper, WaitStatus::exited(0));
    let target = Modes {
        pid: Mode::Target("of-plain".into()),
        ..modes
    };
    let debugger = scene.container_with("plain", "debugger", target, |_| {});
    scene.end(debugger, WaitStatus::exited(0));
    scene.signal_with_code(init, init, SIGSEGV, SignalResult::Delivered, 1);
    scene.end(init, WaitStatus::killed(SIGSEGV));
    let next = scene.container("plain", "by-runc-again");
    scene.end(next, WaitStatus::exited(0));
}

/// An agent in the node's namespaces, which enters those of its node and kills its own child.
fn run_on_the_host(scene: &mut Scene) {
    scene.sandbox("host", |_| {});
    let agent = scene.container("host", "agent");
    let child = scene.fork(agent);
    scene.exec(child);
    let net = NamespaceKind::Net.flag();
    scene.change_namespaces(child, NamespaceCall::Setns, net, 0, |_| {});
    scene.signal(agent, child, SIGKILL, SignalResult::Delivered);
    scene.end(child, WaitStatus::killed(SIGKILL));
}

/// A pod whose container and pause end before their shim.
fn outlived_by_its_shim(scene: &mut Scene) {
    let mut started = Vec::new();
    let shim = supervised(scene, |scene| {
        started.push(scene.sandbox("supervised", |_| {}));
        started.push(scene.container("supervised", "of-shim"));
        create(scene, "of-shim", WaitStatus::exited(0));
    });
    stop(scene, "supervised", &started);
    scene.end(shim, WaitStatus::exited(0));
}

/// The runtime stops a pod: its worker, if it has one, its init and then its pause.
fn stop(scene: &mut Scene, pod: &str, processes: &[ProcessId]) {
    let [pause, init, workers @ ..] = processes else {
        panic!("a pod has a pause and a container")
    };
    scene.stop_pod(pod, 1_000);
    scene.signal(scene.runtime, *init, SIGTERM, SignalResult::Delivered);
    scene.handle(*init, SIGTERM);
    for worker in workers {
        scene.signal(*init, *worker, SIGTERM, SignalResult::Delivered);
        scene.handle(*worker, SIGTERM);
        scene.end(*worker, WaitStatus::exited(0));
    }
    scene.end(*init, WaitStatus::exited(0));
    scene.signal(scene.runtime, *pause, SIGTERM, SignalResult::Delivered);
    scene.handle(*pause, SIGTERM);
    scene.end(*pause, WaitStatus::exited(0));
}
