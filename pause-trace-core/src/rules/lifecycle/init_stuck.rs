//! PT207: the runtime's process in a container's cgroup executes the container's program.

use crate::rules::{ending, prelude::*};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT207",
        name: "init-stuck",
        severity: Severity::Error,
        summary: "a process of the runtime entered a container's cgroup and did not execute the container's program",
        doc: "\
## What it checks
A process of the runtime that enters a container's cgroup sets up the container or an exec \
session. Within a limit it must execute the container's program or end.

## Why it matters
The pod stays in ContainerCreating, with a process that holds its namespaces and mounts, and no \
log: the container has not started.

## How to fix it
Find out what the process waits for: see `/proc/PID/stack` and its file descriptors. If it waits \
on `exec.fifo`, `start` was never called after `create` (the shim died, or the caller gave up). A \
wait on a mount or a hook shows in the stack.

## Example
    runc:[2:INIT] (pid 4711) has not executed the entrypoint of container web 30.0 s after its \
fork; it has joined net, ipc, uts of the sandbox

## Source
opencontainers/runc#3448 (stuck on `exec.fifo`).
",
        needs: &[Kind::Fork, Kind::Exec, Kind::Exit, Kind::CgroupAttach],
    },
    on: &[On::InitDue, On::Executed],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    match change {
        Change::Executed(process) => {
            let Some((process, _, _)) = context.inside(*process) else {
                return;
            };
            // When a process executed that was found running was not seen.
            if matches!(process.role, Role::Pause | Role::Init)
                && process.execs == 1
                && !process.found
            {
                let took = process
                    .executed
                    .unwrap_or(context.now)
                    .saturating_sub(process.forked);
                sink.pass(Subject::process(process), || {
                    Details::new(format!("executed {} after its fork", Duration(took)))
                        .observed("fork to exec", Value::Duration(took))
                });
            }
        }
        Change::InitDue { process, container } => {
            let Some(container) = context.state.containers.get(container) else {
                return;
            };
            let Some((process, _, pod)) = context.inside(*process) else {
                return;
            };
            if process.role == Role::Runtime && !has_children(context, process, container) {
                judge_stuck(context, process, container, pod, sink);
            }
        }
        _ => {}
    }
}

/// Whether a process has a child in the container. It then waits for that child, which is the stuck
/// one.
fn has_children(context: &Context<'_>, process: &Process, container: &Container) -> bool {
    let mut children = context.state.processes.children(process.id);
    children.any(|child| child.container.as_ref() == Some(&container.id))
}

fn judge_stuck(
    context: &Context<'_>,
    process: &Process,
    container: &Container,
    pod: &Pod,
    sink: &mut Sink<'_>,
) {
    let what = match (container.init, container.what) {
        (Some(_), _) => "an exec session in",
        (None, ContainerKind::Sandbox) => "the pause of",
        (None, _) => "the entrypoint of",
    };
    let sandbox = ending::sandbox_for(context.state, container, pod)
        .filter(|sandbox| sandbox.id != container.id);
    let joined: Vec<_> = sandbox
        .and_then(|sandbox| Some((sandbox.namespaces?, context.state.host_of(sandbox))))
        .map(|(held, host)| {
            let kinds = [
                NamespaceKind::Net,
                NamespaceKind::Ipc,
                NamespaceKind::Uts,
                NamespaceKind::Pid,
            ];
            let is_joined = |kind: &NamespaceKind| {
                let inode = held.get(*kind);
                inode == process.namespaces.get(*kind) && inode != host.get(*kind)
            };
            kinds
                .into_iter()
                .filter(is_joined)
                .map(NamespaceKind::name)
                .collect()
        })
        .unwrap_or_default();
    let waited = context.now.saturating_sub(process.forked);
    // A process forked by an init whose exec was lost passes for a part of the setup.
    let since = process.forked.min(container.since);
    ending::fail_unless_gap(context, since, sink, Subject::process(process), || {
        let joins = if container.what == ContainerKind::Sandbox {
            String::new()
        } else if joined.is_empty() {
            "; it has not joined the sandbox".to_owned()
        } else {
            format!("; it has joined {} of the sandbox", joined.join(", "))
        };
        Details::new(format!(
            "{} (pid {}) has not executed {what} container {} {} after its fork{joins}",
            process.comm,
            process.id.pid,
            container.name,
            Duration(waited)
        ))
        .expected(
            "fork to exec, at most",
            Value::Duration(context.state.limits.init),
        )
        .observed("since its fork", Value::Duration(waited))
        .observed("joined", Value::Text(joined.join(", ")))
        .evidence(
            process.forked,
            format!("fork of {} (pid {})", process.comm, process.id.pid),
        )
        .evidence(
            context.now,
            format!(
                "in the cgroup of container {}, not executed",
                container.name
            ),
        )
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn containers_that_executed_pass() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.wait_ms(1_100);
        scene.expect("PT207", &[Outcome::Pass, Outcome::Pass]);
    }

    #[test]
    fn an_init_that_never_executes_fails() {
        let mut scene = Scene::new();
        scene.pod("p");
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        let namespaces = scene.namespaces_for("p", &Modes::plain());
        let init = scene.enter(scene.runtime, cgroup, namespaces, 1, "runc:[2:INIT]");
        scene.change_namespaces(init, NamespaceCall::Setns, 0, 0, |_| {});
        scene.wait_ms(1_100);
        let verdicts = scene.expect("PT207", &[Outcome::Pass, Outcome::Fail]);
        let message = &verdicts[1].details.message;
        assert!(
            message.contains("the entrypoint of container a") && message.contains("net, ipc, uts"),
            "{message}"
        );
    }

    /// On a busy node the bundle is read after the runtime has forked the init.
    #[test]
    fn an_init_that_is_older_than_its_declaration_fails_too() {
        for executes in [false, true] {
            let mut scene = Scene::new();
            scene.pod("p");
            let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
            let declared = scene.events.pop().expect("it was just declared");
            let namespaces = scene.namespaces_for("p", &Modes::plain());
            let init = scene.enter(scene.runtime, cgroup, namespaces, 1, "runc:[2:INIT]");
            scene.push(declared.fact);
            scene.wait_ms(900);
            if executes {
                scene.exec(init);
            }
            scene.wait_ms(1_100);
            let outcome = if executes {
                Outcome::Pass
            } else {
                Outcome::Fail
            };
            scene.expect("PT207", &[Outcome::Pass, outcome]);
        }
    }

    #[test]
    fn only_the_last_child_is_reported_as_stuck() {
        let mut scene = Scene::new();
        scene.pod("p");
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        let namespaces = scene.namespaces_for("p", &Modes::plain());
        let middle = scene.enter(scene.runtime, cgroup, namespaces, 7, "runc:[1:CHILD]");
        let init = scene.fork(middle);
        scene.wait_ms(1_100);
        let verdicts = scene.expect("PT207", &[Outcome::Pass, Outcome::Fail]);
        assert_eq!(
            verdicts[1].subject.process.map(|process| process.id),
            Some(init)
        );

        scene.end(middle, WaitStatus::exited(0));
        scene.expect("PT207", &[Outcome::Pass, Outcome::Fail]);
    }

    #[test]
    fn a_setup_that_ended_or_executed_in_time_passes() {
        let mut scene = Scene::new();
        scene.pod("p");
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        let namespaces = scene.namespaces_for("p", &Modes::plain());
        let given_up = scene.enter(scene.runtime, cgroup, namespaces, 1, "runc:[2:INIT]");
        scene.end(given_up, WaitStatus::exited(1));
        let init = scene.enter(scene.runtime, cgroup, namespaces, 1, "runc:[2:INIT]");
        scene.wait_ms(900);
        scene.exec(init);
        scene.wait_ms(1_100);
        scene.expect("PT207", &[Outcome::Pass, Outcome::Pass]);
    }

    #[test]
    fn an_admins_shell_in_the_cgroup_is_not_the_runtimes_init() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let cgroup = scene.cgroup(init);
        let stranger = scene.stranger;
        scene.enter(stranger, cgroup, HOST, 0, "bash");
        scene.wait_ms(1_100);
        scene.expect("PT207", &[Outcome::Pass, Outcome::Pass]);
    }
}
