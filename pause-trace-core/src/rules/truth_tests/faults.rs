//! One fault for each rule, told in as few events as the rule needs.

mod evidence;
mod lifecycle;
mod moves;
mod namespaces;
mod pause;
mod signals;
mod zombies;

use crate::{event::*, rules::testing::*, signal::SIGKILL};

/// Plants a fault, and calls `attach` where a pause-trace that is started late would begin: at the
/// last moment at which the rule may still decide, if there is one, and else after the fault.
type Plant = fn(&mut Scene, fn(&mut Scene));

/// A rule, its fault, the worst that it says of it, and the worst that it says if the pod was found
/// running: `None` is silence.
pub(super) type Fault = (&'static str, Plant, Outcome, Option<Outcome>);

const NET: u64 = NamespaceKind::Net.flag();

/// Every fault, in the order of the rules.
pub(super) fn all() -> impl Iterator<Item = &'static Fault> {
    let families = [
        namespaces::FAULTS,
        lifecycle::FAULTS,
        signals::FAULTS,
        zombies::FAULTS,
        pause::FAULTS,
        evidence::FAULTS,
    ];
    families.into_iter().flatten()
}

/// A rule, and the events of a fault of it.
pub(super) type Told = (&'static str, Vec<Event>);

/// Every fault, and more of some rules, with what follows of the pods' lives.
pub(super) fn told(finish: fn(&mut Scene)) -> impl Iterator<Item = Told> {
    let told = move |plant: &dyn Fn(&mut Scene)| {
        let mut scene = Scene::new();
        plant(&mut scene);
        finish(&mut scene);
        scene.events
    };
    let first = all().map(move |(rule, plant, _, _)| (*rule, told(&|s| plant(s, |_| {}))));
    let more = moves::FAULTS.iter();
    first.chain(more.map(move |(rule, plant)| (*rule, told(plant))))
}

/// A pod with a container, whose namespaces `edit` spoils.
fn placed(scene: &mut Scene, attach: fn(&mut Scene), edit: fn(&mut Namespaces)) {
    scene.pod("p");
    scene.container_with("p", "a", Modes::plain(), edit);
    attach(scene);
}

/// A plain pod with a container: gives the pause and the container's init.
fn app(scene: &mut Scene) -> (ProcessId, ProcessId) {
    (scene.pod("p"), scene.container("p", "a"))
}

/// Starts processes as the children of a shim, which is the result.
pub(super) fn supervised(scene: &mut Scene, start: impl FnOnce(&mut Scene)) -> ProcessId {
    let runtime = scene.runtime;
    let shim = scene.enter(runtime, 1, HOST, 0, "containerd-shim");
    scene.exec(shim);
    scene.runtime = shim;
    start(scene);
    scene.runtime = runtime;
    shim
}

/// The runtime asks runc to create a container, and runc ends.
pub(super) fn create(scene: &mut Scene, container: &str, status: WaitStatus) {
    let runc = scene.enter(scene.runtime, 1, HOST, 0, "runc");
    scene.push(Fact::Called(Called {
        process: runc,
        request: Request::Oci(OciRequest {
            command: OciCommand::Create,
            container: Text::new(container),
            namespace: Text::default(),
        }),
    }));
    scene.exec_as(runc, "/usr/sbin/runc");
    scene.end(runc, status);
}

/// The runtime kills a container's init.
fn kill(scene: &mut Scene, init: ProcessId) {
    scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
    scene.end(init, WaitStatus::killed(SIGKILL));
}

/// The modes of a pod with a user namespace of its own.
pub(super) fn own_users() -> Modes {
    Modes {
        user: Mode::Pod,
        ..Modes::plain()
    }
}

/// The sandbox that was declared first.
pub(super) fn sandbox(scene: &Scene) -> ContainerId {
    let sandbox = scene.events.iter().find_map(|event| match &event.fact {
        Fact::Container(fact) if fact.what == ContainerKind::Sandbox => Some(&fact.container),
        _ => None,
    });
    sandbox.expect("a pod has a sandbox").clone()
}

/// The network namespace of that sandbox is pinned.
pub(super) fn pin(scene: &mut Scene) {
    let sandbox = Some(sandbox(scene));
    scene.push(Fact::NamespacePinned {
        path: Text::new("/run/netns/cni-1"),
        namespace: 70,
        sandbox,
    });
}
