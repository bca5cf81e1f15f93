//! PT210: a pod's shim or conmon outlives its containers.

use crate::rules::{ending, prelude::*};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT210",
        name: "supervisor-died",
        severity: Severity::Error,
        summary: "the shim or conmon of a running container ended",
        doc: "\
## What it checks
The process of the runtime that is the parent of a container's first process (containerd's shim, \
CRI-O's or Podman's conmon) must not end before that process. The finding says why it ended: a \
signal and its sender, the OOM killer, or an exit by itself. What the runtime does next follows \
from that: it kills the pod's containers, without a stop signal and in any order. PT303 and PT309 \
are then only an info. A container that was found running as a child of the node's pid 1 has lost \
its shim or conmon earlier: that is a warning. Not checked: containers that were already sent SIGKILL, and the daemons: containerd, \
CRI-O and dockerd may end and start again while containers run.

## Why it matters
Without its shim or conmon, nobody reaps the container's first process, reports its end or its exit \
code, or keeps its output. containerd kills what is left of the pod as soon as it notices. A \
container whose conmon has ended keeps running, and its runtime no longer knows how it ends.

## How to fix it
For a signal, find out why the named process sent it. If that is systemd, set `KillMode=process` in \
the runtime's unit, so that a restart of the runtime does not stop the shims. For the OOM killer, \
check the `oom_score_adj` of the shim and the memory that the node keeps for its system. For a crash, look at the runtime's log. Delete the pod to get a new one.

## Example
    containerd-shim (pid 812) ended while pause, web were running: SIGKILL from pkill (pid 4711, \
outside the pod and its runtime)

## Source
containerd: runtime v2, \"cleanupAfterDeadShim\"; conmon(8).
",
        needs: &[Kind::Exec, Kind::Exit],
    },
    on: &[On::SupervisorEnded, On::Executed, On::Ended],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    match change {
        Change::SupervisorEnded(id) => {
            let Some(supervisor) = context.state.processes.get(*id) else {
                return;
            };
            let is_its = |container: &&Container| {
                let orphaned = container.orphaned.as_deref();
                orphaned.is_some_and(|orphaned| orphaned.id == *id)
            };
            let mut left: Vec<_> = context.state.containers.values().filter(is_its).collect();
            left.sort_unstable_by_key(|container| {
                (&container.pod, container.declared, &container.id)
            });
            for of_pod in left.chunk_by(|one, other| one.pod == other.pod) {
                fail(context, supervisor, of_pod, sink);
            }
        }
        Change::Executed(id) => judge_found(context, *id, sink),
        Change::Ended(process) => {
            let Some((pause, _, pod)) = context.inside(*process) else {
                return;
            };
            let parent = pause
                .ended
                .filter(|_| pause.role == Role::Pause)
                .and_then(|ended| context.state.processes.get(ended.parent));
            if let Some(supervisor) =
                parent.filter(|parent| parent.is_alive() && context.state.is_supervisor(parent))
            {
                sink.pass(Subject::pod(&pod.id), || {
                    let (comm, pid) = (supervisor.comm, supervisor.id.pid);
                    Details::new(format!("{comm} (pid {pid}) outlived the pause"))
                        .observed("parent", Value::Process(supervisor.id))
                });
            }
        }
        _ => {}
    }
}

/// Warns of a container that was found as a child of the node's pid 1, to which the kernel
/// reparents the children of a process that ends. If its pause is such a child too, the pause
/// stands for both.
fn judge_found(context: &Context<'_>, id: ProcessId, sink: &mut Sink<'_>) {
    let Some((process, container, pod)) = context.inside(id) else {
        return;
    };
    let is_left =
        |process: &Process| process.found && process.is_alive() && process.parent.pid == 1;
    let is_pauses = || context.state.pause_of(pod).is_some_and(is_left);
    let subject = match process.role {
        Role::Pause => Subject::pod(&pod.id),
        Role::Init if !is_pauses() => Subject::container(container),
        _ => return,
    };
    if is_left(process) {
        sink.fail(subject, || {
            let (comm, pid) = (process.comm, process.id.pid);
            Details::new(format!(
                "{comm} (pid {pid}) runs without a shim or conmon: its parent is the node's pid 1"
            ))
            .expected("parent", Value::Text("a shim or conmon".to_owned()))
            .observed("parent", Value::Process(process.parent))
            .evidence(process.seen, format!("{comm} (pid {pid}) was found"))
            .milder(Severity::Warning)
        });
    }
}

/// Fails for the containers of one pod that have lost their supervisor.
fn fail(context: &Context<'_>, supervisor: &Process, left: &[&Container], sink: &mut Sink<'_>) {
    let Some(first) = left.first() else { return };
    let Some(pod) = context
        .state
        .pods
        .get(&first.pod)
        .filter(|pod| pod.removed.is_none())
    else {
        return;
    };
    let is_sandbox = |container: &&Container| container.what == ContainerKind::Sandbox;
    let subject = match left {
        [container] if !is_sandbox(container) => Subject::container(container),
        _ => Subject::pod(&pod.id),
    };
    let name = |container: &&Container| match is_sandbox(container) {
        true => "pause".to_owned(),
        false => container.name.to_string(),
    };
    let since = first.since;
    ending::fail_unless_gap(context, since, sink, subject, || {
        let names: Vec<_> = left.iter().take(ending::MAX_LISTED).map(name).collect();
        let were = if left.len() == 1 { "was" } else { "were" };
        let (comm, pid) = (supervisor.comm, supervisor.id.pid);
        let why = ending::why(context, supervisor);
        let details = Details::new(format!(
            "{comm} (pid {pid}) ended while {} {were} running: {why}",
            names.join(", ")
        ))
        .expected("containers running", Value::Number(0))
        .observed("containers running", Value::Number(left.len() as u64))
        .observed("cause", Value::Text(why));
        let details = left
            .iter()
            .take(ending::MAX_LISTED)
            .fold(details, |details, container| {
                let started = container.started.unwrap_or(container.declared);
                details.evidence(started, format!("{} started", name(container)))
            });
        ending::with_history(context, supervisor, details)
    });
}

#[cfg(test)]
mod tests {
    use crate::signal::{SIGKILL, SIGSEGV, SIGTERM};

    use super::*;
    use crate::rules::testing::*;

    /// A pod whose processes are the children of a process of this name.
    fn with_parent(comm: &str) -> (Scene, ProcessId, [ProcessId; 2]) {
        let mut scene = Scene::new();
        let runtime = scene.runtime;
        let shim = scene.enter(runtime, 1, HOST, 0, comm);
        scene.exec(shim);
        scene.runtime = shim;
        let pause = scene.pod("p");
        let app = scene.container("p", "app");
        scene.runtime = runtime;
        (scene, shim, [pause, app])
    }

    fn killed() -> WaitStatus {
        WaitStatus::killed(SIGKILL)
    }

    #[track_caller]
    fn message(scene: &Scene) -> String {
        let verdicts = scene.expect("PT210", &[Outcome::Fail]);
        assert_eq!(verdicts[0].severity(), Severity::Error);
        verdicts[0].details.message.clone()
    }

    #[test]
    fn a_killed_shim_fails_at_once_with_the_sender() {
        let (mut scene, shim, _) = with_parent("containerd-shim");
        scene.signal(scene.stranger, shim, SIGKILL, SignalResult::Delivered);
        scene.exit(shim, killed());
        let said = message(&scene);
        let start = format!(
            "containerd-shim (pid {}) ended while pause, app were",
            shim.pid
        );
        assert!(said.starts_with(&start), "{said}");
        let sender = "SIGKILL from stranger (pid 200, outside the pod and its runtime)";
        assert!(said.ends_with(sender), "{said}");
    }

    #[test]
    fn every_other_end_of_a_shim_is_told_with_its_reason() {
        type Way = (fn(&mut Scene, ProcessId), WaitStatus, &'static str);
        let ways: [Way; 5] = [
            (
                |_, _| {},
                WaitStatus::exited(2),
                "it exited by itself, exit code 2",
            ),
            (|_, _| {}, killed(), "SIGKILL from an unknown sender"),
            (
                |scene, shim| {
                    scene.signal(scene.stranger, shim, SIGTERM, SignalResult::Delivered);
                    scene.handle(shim, SIGTERM);
                },
                WaitStatus::exited(0),
                "exit code 0 after SIGTERM from stranger (pid 200, outside the pod and its runtime)",
            ),
            (
                |scene, shim| {
                    let result = SignalResult::Delivered;
                    scene.signal_with_code(shim, shim, SIGSEGV, result, 1);
                },
                WaitStatus::killed(SIGSEGV),
                "it crashed, SIGSEGV",
            ),
            (
                |scene, shim| {
                    let result = SignalResult::Delivered;
                    scene.signal_with_code(shim, shim, SIGKILL, result, SI_KERNEL);
                    scene.push(Fact::OomVictim { pid: shim.pid });
                },
                killed(),
                "the OOM killer chose it",
            ),
        ];
        for (happen, status, why) in ways {
            let (mut scene, shim, _) = with_parent("containerd-shim");
            happen(&mut scene, shim);
            scene.exit(shim, status);
            let said = message(&scene);
            assert!(said.ends_with(&format!("running: {why}")), "{said}");
        }
    }

    #[test]
    fn a_killed_conmon_is_its_containers_finding() {
        let (mut scene, _, _) = with_parent("conmon");
        let runtime = scene.runtime;
        let conmon = scene.enter(runtime, 1, HOST, 0, "conmon");
        scene.exec(conmon);
        scene.runtime = conmon;
        scene.container("p", "worker");
        scene.signal(runtime, conmon, SIGKILL, SignalResult::Delivered);
        scene.exit(conmon, killed());
        let verdicts = scene.expect("PT210", &[Outcome::Fail]);
        assert_eq!(verdicts[0].subject.container.as_deref(), Some("worker"));
        let said = &verdicts[0].details.message;
        assert!(said.contains("ended while worker was running"), "{said}");
    }

    #[test]
    fn a_sender_in_a_pod_is_named_with_the_pod() {
        let (mut scene, shim, [_, app]) = with_parent("containerd-shim");
        scene.signal(app, shim, SIGKILL, SignalResult::Delivered);
        scene.exit(shim, killed());
        let said = message(&scene);
        assert!(said.ends_with("in pod default/p)"), "{said}");
    }

    #[test]
    fn a_supervisor_that_ends_after_its_containers_passes() {
        for comm in ["containerd-shim", "conmon"] {
            let (mut scene, shim, processes) = with_parent(comm);
            for process in processes.into_iter().rev() {
                scene.end(process, WaitStatus::exited(0));
            }
            scene.end(shim, WaitStatus::exited(0));
            scene.remove_pod("p");
            scene.expect("PT210", &[Outcome::Pass]);
        }
    }

    /// What is said of a pod that was found running, of which the pause or the container was
    /// reparented to pid 1.
    fn found([pause, app]: [bool; 2]) -> Vec<String> {
        let mut scene = Scene::new();
        let processes = [(scene.pod("p"), pause), (scene.container("p", "app"), app)];
        for (process, is_left) in processes {
            if is_left {
                scene.reparent(process, ProcessId { pid: 1, start: 0 });
            }
        }
        scene.attach_late();
        let verdicts = scene.verdicts("PT210").into_iter();
        let said = verdicts.map(|verdict| {
            assert_eq!(
                (verdict.outcome, verdict.severity()),
                (Outcome::Fail, Severity::Warning)
            );
            verdict.details.message
        });
        said.collect()
    }

    #[test]
    fn a_container_found_without_its_shim_is_a_warning_once_a_pod() {
        for (left, who) in [([true, true], "pause"), ([false, true], "app")] {
            let said = found(left);
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].starts_with(who), "{said:?}");
        }
        assert!(found([false, false]).is_empty());
    }

    #[test]
    fn daemons_tools_and_a_kill_of_everything_at_once_are_not_judged() {
        // runc ends when the container has started, and containerd may be restarted.
        for comm in ["runc", "containerd"] {
            let (mut scene, parent, _) = with_parent(comm);
            scene.signal(scene.stranger, parent, SIGKILL, SignalResult::Delivered);
            scene.exit(parent, killed());
            scene.expect("PT210", &[]);
        }
        let (mut scene, shim, [pause, app]) = with_parent("containerd-shim");
        for process in [pause, app, shim] {
            scene.signal(scene.stranger, process, SIGKILL, SignalResult::Delivered);
        }
        scene.exit(shim, killed());
        scene.expect("PT210", &[]);
    }

    #[test]
    fn lost_exits_make_it_inconclusive() {
        let (mut scene, shim, _) = with_parent("containerd-shim");
        scene.lose(Kind::Exit, 1);
        scene.exit(shim, killed());
        scene.expect("PT210", &[Outcome::Inconclusive]);
    }

    #[test]
    fn what_the_runtime_does_without_the_shim_is_explained_and_no_error() {
        let stop = |is_orphaned: bool| {
            let (mut scene, shim, [pause, app]) = with_parent("containerd-shim");
            if is_orphaned {
                scene.signal(scene.stranger, shim, SIGKILL, SignalResult::Delivered);
                scene.exit(shim, killed());
            }
            scene.stop_pod("p", 30_000);
            for process in [pause, app] {
                scene.signal(scene.runtime, process, SIGKILL, SignalResult::Delivered);
                scene.end(process, killed());
            }
            scene
        };
        for rule in ["PT303", "PT309"] {
            let alone = stop(false).expect(rule, &[Outcome::Fail]);
            assert_eq!(alone[0].severity(), Severity::Error);
            let verdicts = stop(true).expect(rule, &[Outcome::Fail]);
            assert_eq!(verdicts[0].severity(), Severity::Info, "{rule}");
            let said = &verdicts[0].details.message;
            assert!(said.contains("after its containerd-shim (pid"), "{said}");
            let evidence = format!("{:?}", verdicts[0].details.evidence);
            assert!(evidence.contains("SIGKILL from stranger"), "{evidence}");
        }
    }
}
