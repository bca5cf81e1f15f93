//! PT201: a pod's sandbox holds the namespaces before the first container runs.

use crate::rules::{ending, prelude::*};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT201",
        name: "sandbox-first",
        severity: Severity::Error,
        summary: "a container executed before the pause of its sandbox",
        doc: "\
## What it checks
When a container's entrypoint executes, the pause of its sandbox must have executed before. If the \
runtime runs no pause and pins the namespaces by files instead, the verdict is inconclusive.

## Why it matters
A container joins the namespaces of its sandbox. A container that executes earlier runs in \
namespaces that no sandbox holds: its address is lost when it ends, and later containers get other \
namespaces.

## How to fix it
The runtime must have answered RunPodSandbox before CreateContainer is called. See its log for \
this pod, and look for programs that start containers without the kubelet.

## Example
    container web executed 12 ms before the pause of its sandbox

## Source
CRI: `RunPodSandbox` precedes `CreateContainer`; Kubernetes: Pod lifecycle, \
`PodReadyToStartContainers`.
",
        needs: &[Kind::Exec, Kind::Fork, Kind::CgroupAttach],
    },
    on: &[On::Executed, On::Ended],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let (Change::Executed(process) | Change::Ended(process)) = change else {
        return;
    };
    let Some((process, container, pod)) = context.inside(*process) else {
        return;
    };
    match (change, process.role) {
        (Change::Executed(_), _) if process.execs != 1 => {}
        (Change::Executed(_), Role::Pause) => {
            for container in pod
                .containers
                .iter()
                .filter_map(|id| context.state.containers.get(id))
            {
                judge_pair(context, container, pod, sink);
            }
        }
        // If the pause is not known yet, its own exec is judged instead.
        (Change::Executed(_), Role::Init) => judge_pair(context, container, pod, sink),
        (Change::Ended(_), Role::Init) => {
            let sandbox = ending::sandbox_for(context.state, container, pod);
            if sandbox.is_none_or(|sandbox| sandbox.started.is_none()) {
                sink.inconclusive(Subject::process(process), || {
                    Details::new("no pause of this pod was observed; the runtime may run none")
                });
            }
        }
        _ => {}
    }
}

/// Compares a container with its sandbox once both have executed.
fn judge_pair(context: &Context<'_>, container: &Container, pod: &Pod, sink: &mut Sink<'_>) {
    let Some(sandbox) = ending::sandbox_for(context.state, container, pod) else {
        return;
    };
    let Some((held, pause)) = sandbox.started.zip(sandbox.init) else {
        return;
    };
    let Some((started, init)) = container.started.zip(container.init) else {
        return;
    };
    let Some(init) = context.state.processes.get(init) else {
        return;
    };
    let pause_found = context
        .state
        .processes
        .get(pause)
        .is_some_and(|pause| pause.found);
    if pause_found {
        return judge_found(container, init, held, started, sink);
    }
    if held <= started {
        let head_start = started.saturating_sub(held);
        return sink.pass(Subject::process(init), || {
            Details::new(format!(
                "the pause executed {} before container {}",
                Duration(head_start),
                container.name
            ))
            .observed("head start", Value::Duration(head_start))
        });
    }
    let early = held.saturating_sub(started);
    sink.fail(Subject::process(init), || {
        Details::new(format!(
            "container {} executed {} before the pause of its sandbox",
            container.name,
            Duration(early)
        ))
        .expected("ran first", Value::Process(pause))
        .observed("ran first", Value::Process(init.id))
        .observed("too early by", Value::Duration(early))
        .evidence(
            started,
            format!(
                "exec of {} in container {}",
                init.executable(),
                container.name
            ),
        )
        .evidence(held, format!("exec of the pause, pid {}", pause.pid))
    });
}

/// Compares start times if the exec of the pause was not seen. A pause that started later than a
/// container may have replaced an earlier one.
fn judge_found(
    container: &Container,
    init: &Process,
    held: Ktime,
    started: Ktime,
    sink: &mut Sink<'_>,
) {
    let between = Value::Duration(started.abs_diff(held));
    let (name, subject) = (&container.name, Subject::process(init));
    if held <= started {
        sink.pass(subject, || {
            Details::new(format!(
                "the process of the pause started {between} before container {name}"
            ))
            .observed("head start", between)
        });
    } else {
        sink.inconclusive(subject, || {
            Details::new(format!(
                "the process of the pause started {between} after container {name}, when nobody \
                 watched: it may have replaced another pause"
            ))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn a_container_after_its_pause_passes() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.exec(init);
        scene.session_with(init, |_| {});
        scene.expect("PT201", &[Outcome::Pass]);
    }

    #[test]
    fn a_container_before_its_pause_fails() {
        let mut scene = Scene::new();
        scene.declare_pod("p", &Modes::plain());
        let sandbox =
            scene.declare_container("p", "sandbox", ContainerKind::Sandbox, &Modes::plain());
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        let init = scene.enter(
            scene.runtime,
            cgroup,
            Namespaces {
                pid: 50,
                pid_level: 1,
                ..HOST
            },
            1,
            "a",
        );
        scene.exec(init);
        scene.wait_ms(5);
        let pause = scene.enter(
            scene.runtime,
            sandbox,
            Namespaces {
                pid: 51,
                pid_level: 1,
                ..HOST
            },
            1,
            "pause",
        );
        scene.exec(pause);
        let verdicts = scene.expect("PT201", &[Outcome::Fail]);
        assert_eq!(
            verdicts[0].subject.process.map(|process| process.id),
            Some(init)
        );
        assert!(
            verdicts[0]
                .details
                .message
                .contains("container a executed 5.0 ms before")
        );
    }

    #[test]
    fn a_runtime_without_pauses_is_inconclusive() {
        let mut scene = Scene::new();
        scene.declare_pod("p", &Modes::plain());
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        let init = scene.enter(scene.runtime, cgroup, HOST, 1, "a");
        scene.exec(init);
        scene.expect("PT201", &[]);
        scene.end(init, WaitStatus::exited(0));
        scene.expect("PT201", &[Outcome::Inconclusive]);
    }

    #[test]
    fn the_order_of_execs_counts_and_not_the_order_of_declarations() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        let is_declared = |event: &Event, container: &str| matches!(&event.fact, Fact::Container(fact) if fact.container.starts_with(container));
        // The container is declared after its exec, and the sandbox after the container.
        for container in ["a", "p-sandbox"] {
            let at = scene
                .events
                .iter()
                .position(|event| is_declared(event, container))
                .expect("it is declared");
            let mut event = scene.events.remove(at);
            event.time = scene.now + 1;
            scene.events.push(event);
        }
        scene.expect("PT201", &[Outcome::Pass]);
    }

    #[test]
    fn a_replaced_sandbox_is_not_compared_with_the_containers_of_the_former() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let init = scene.container("p", "a");
        scene.end(init, WaitStatus::exited(0));
        scene.end(pause, WaitStatus::exited(0));
        scene.sandbox("p", |_| {});
        scene.container("p", "b");
        scene.expect("PT201", &[Outcome::Pass, Outcome::Pass]);
    }
}
