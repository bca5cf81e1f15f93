//! PT211: the OOM killer kills no process of a container.

use crate::{rules::prelude::*, text::size};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT211",
        name: "oom-killed",
        severity: Severity::Info,
        summary: "the OOM killer killed a process of a container",
        doc: "\
## What it checks
When the OOM killer kills a process of a container, this rule reports it once for the container, with the \
memory limit that the container was created with, if there is one. It passes when the entrypoint ends and no \
process of the container was killed so. PT202 covers the pause. The finding is for information: the kernel \
did what the limit asks for. The limit may have been changed since, and the limit of the pod or the memory of \
the node may have been used up instead: no record shows which one it was, nor how much was used.

## Why it matters
If the entrypoint is killed, Kubernetes shows `OOMKilled`. If a child of it is killed, Kubernetes shows \
nothing since the container goes on: a worker is missing, or requests fail, without a trace.

## How to fix it
Raise `resources.limits.memory`, or make the program use less: limit its caches, heap or number of workers. \
Kubernetes 1.28 and newer set `memory.oom.group` with cgroup v2, so that all processes of the container are \
killed, and it is restarted as a whole.

## Example
    OOM-killed, limit 64 MiB: worker (pid 4711) of container app, whose entrypoint goes on

## Source
cgroup v2 documentation, `memory.max` and `memory.oom.group`; mm/oom_kill.c; kubernetes/kubernetes#117793.
",
        needs: &[
            Kind::Fork,
            Kind::Exit,
            Kind::OomVictim,
            Kind::SignalGenerate,
        ],
    },
    on: &[On::OomKilled, On::Ended],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let (Change::OomKilled(id) | Change::Ended(id)) = change else {
        return;
    };
    let Some((process, container, _)) = context.inside(*id) else {
        return;
    };
    if container.what == ContainerKind::Sandbox {
        return;
    }
    match (change, container.oom) {
        (Change::OomKilled(_), Some(_)) => {
            sink.fail(Subject::container(container), || {
                details(context, process, container)
            });
        }
        // What was killed before the container was found is not known.
        (_, None) if process.role == Role::Init && !process.found => {
            sink.pass(Subject::container(container), || {
                Details::new("the OOM killer killed no process of the container")
            });
        }
        _ => {}
    }
}

fn details(context: &Context<'_>, killed: &Process, container: &Container) -> Details {
    let limit = container
        .memory_limit
        .map_or(String::new(), |limit| format!(", limit {}", size(limit)));
    let init = container
        .init
        .and_then(|init| context.state.processes.get(init));
    let which = match init {
        Some(init) if init.id == killed.id => ", its entrypoint",
        Some(init) if init.is_alive() && init.oom.is_none() => ", whose entrypoint goes on",
        _ => "",
    };
    let (comm, pid) = (killed.comm, killed.id.pid);
    let details = Details::new(format!(
        "OOM-killed{limit}: {comm} (pid {pid}) of container {}{which}",
        container.name
    ))
    .expected("killed processes", Value::Number(0))
    .observed("killed", Value::Process(killed.id));
    let details = match container.memory_limit {
        Some(limit) => details.observed("memory limit", Value::Bytes(limit)),
        None => details,
    };
    let details = match killed.oom {
        Some(marked) => {
            details.evidence(marked, format!("the OOM killer chose {comm} (pid {pid})"))
        }
        None => details,
    };
    details.evidence(context.now, format!("{comm} (pid {pid}) was killed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::SignalResult, rules::testing::*, signal::SIGKILL};

    fn app() -> (Scene, ProcessId) {
        let mut scene = Scene::new();
        scene.pod("p");
        let app = scene.container("p", "app");
        (scene, app)
    }

    /// The OOM killer kills and marks a process, which has not ended yet.
    fn choose(scene: &mut Scene, running: ProcessId, victim: ProcessId) {
        let queued = SignalResult::Delivered;
        scene.signal_with_code(running, victim, SIGKILL, queued, SI_KERNEL);
        scene.push(Fact::OomVictim { pid: victim.pid });
    }

    fn kill(scene: &mut Scene, victim: ProcessId) {
        choose(scene, victim, victim);
        scene.end(victim, WaitStatus::killed(SIGKILL));
    }

    fn limit(scene: &mut Scene, bytes: u64) {
        scene.push(Fact::MemoryLimit {
            container: "app".into(),
            bytes,
        });
    }

    #[test]
    fn an_entrypoint_that_is_killed_is_reported_with_the_limit() {
        let (mut scene, app) = app();
        limit(&mut scene, 64 << 20);
        kill(&mut scene, app);
        let verdicts = scene.expect("PT211", &[Outcome::Fail]);
        assert_eq!(verdicts[0].severity(), Severity::Info);
        let message = &verdicts[0].details.message;
        assert!(
            message.starts_with("OOM-killed, limit 64 MiB: app (pid "),
            "{message}"
        );
        assert!(
            message.ends_with(" of container app, its entrypoint"),
            "{message}"
        );
    }

    #[test]
    fn a_child_that_is_killed_is_reported_although_the_container_goes_on() {
        let (mut scene, app) = app();
        let child = scene.fork(app);
        kill(&mut scene, child);
        scene.wait_ms(100);
        let verdicts = scene.expect("PT211", &[Outcome::Fail]);
        let message = &verdicts[0].details.message;
        assert!(
            message.starts_with("OOM-killed: "),
            "no limit is known: {message}"
        );
        assert!(message.ends_with(", whose entrypoint goes on"), "{message}");
        // The end of the container is not a pass.
        scene.end(app, WaitStatus::exited(0));
        scene.expect("PT211", &[Outcome::Fail]);
    }

    #[test]
    fn processes_that_are_killed_as_a_group_are_one_finding() {
        let (mut scene, app) = app();
        let children = [scene.fork(app), scene.fork(app)];
        for victim in [children[0], app, children[1]] {
            choose(&mut scene, children[0], victim);
        }
        for victim in [children[0], children[1], app] {
            scene.end(victim, WaitStatus::killed(SIGKILL));
        }
        let verdicts = scene.expect("PT211", &[Outcome::Fail]);
        let message = &verdicts[0].details.message;
        assert!(!message.contains("goes on"), "{message}");
    }

    #[test]
    fn other_ends_pass_and_so_does_a_victim_that_ends_by_itself() {
        let (mut scene, app) = app();
        limit(&mut scene, 64 << 20);
        let queued = SignalResult::Delivered;
        let child = scene.fork(app);
        scene.signal(app, child, SIGKILL, queued);
        scene.end(child, WaitStatus::killed(SIGKILL));
        scene.push(Fact::OomVictim { pid: app.pid });
        scene.end(app, WaitStatus::exited(0));
        scene.expect("PT211", &[Outcome::Pass]);
    }

    #[test]
    fn neighbours_and_the_pause_are_not_reported() {
        let (mut scene, app) = app();
        let neighbour = scene.container("p", "neighbour");
        kill(&mut scene, neighbour);
        let (pause, runtime) = (scene.pause_of("p"), scene.runtime);
        scene.signal(runtime, app, 15, SignalResult::Delivered);
        scene.end(app, WaitStatus::exited(0));
        kill(&mut scene, pause);
        let verdicts = scene.expect("PT211", &[Outcome::Fail, Outcome::Pass]);
        let of = |at: usize| verdicts[at].subject.container.clone();
        assert_eq!(of(0).as_deref(), Some("neighbour"));
        assert_eq!(of(1).as_deref(), Some("app"));
    }

    #[test]
    fn a_container_that_was_found_does_not_pass() {
        let (mut scene, app) = app();
        scene.attach_late();
        scene.end(app, WaitStatus::exited(0));
        scene.expect("PT211", &[]);
    }

    #[test]
    fn lost_records_make_a_pass_inconclusive() {
        for kind in [
            Kind::Fork,
            Kind::Exit,
            Kind::OomVictim,
            Kind::SignalGenerate,
        ] {
            let (mut scene, app) = app();
            scene.lose(kind, 1);
            scene.end(app, WaitStatus::exited(0));
            scene.expect("PT211", &[Outcome::Inconclusive]);
        }
    }
}
