//! PT207: what the runtime puts into a container's cgroup gets to its exec.

use crate::rules::{ending, prelude::*};

pub(super) const RULE: Rule = Rule {
    id: "PT207",
    name: "init-stuck",
    severity: Severity::Error,
    summary: "the runtime's init entered a container and did not execute",
    doc: "\
## What it checks
A process of the runtime that enters a container's cgroup is building the container (or an exec session): within a limit \
it must execute the user's program, or end.

## Why it matters
The pod stays in ContainerCreating, with a process that holds its namespaces and mounts, and no log line anywhere: the \
container has not begun.

## How to fix it
Look at what it waits for: `cat /proc/PID/stack` and its file descriptors. A wait on `exec.fifo` means that `start` never \
came after `create` (the shim died, or the caller gave up); a wait on a mount or a hook names itself in the stack.

## Example
    runc:[2:INIT] (pid 4711) joined net, ipc, uts of the sandbox 30.0 s ago and has not executed

## Source
opencontainers/runc#3448 (stuck on `exec.fifo`).
",
    needs: &[Kind::Fork, Kind::Exec, Kind::Exit, Kind::CgroupAttach],
    on: &[On::InitDue, On::Executed],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    match change {
        Change::Executed(process) => {
            let Some((process, _, _)) = context.inside(*process) else {
                return;
            };
            if matches!(process.role, Role::Pause | Role::Init) && process.execs == 1 {
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

/// A middle process that waits for the one it forked into the container is not the one that is stuck.
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
        (Some(_), _) => "an exec session of",
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
    let needs = (&[Kind::Exec, Kind::Exit][..], process.forked);
    ending::fail_if_seen(context, needs, sink, Subject::process(process), || {
        let joins = if joined.is_empty() {
            "without having joined its sandbox".to_owned()
        } else {
            format!("in {} of its sandbox", joined.join(", "))
        };
        Details::new(format!(
            "{} (pid {}), which is to become {what} container {}, has not executed {} after its fork, {joins}",
            process.comm,
            process.id.pid,
            container.name,
            Duration(waited)
        ))
        .expected("fork to exec, at most", Value::Duration(context.state.limits.init))
        .observed("since its fork", Value::Duration(waited))
        .observed("joined", Value::Text(joined.join(", ")))
        .evidence(process.forked, format!("fork of {} (pid {})", process.comm, process.id.pid))
        .evidence(context.now, format!("in the cgroup of container {}, not executed", container.name))
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

    #[test]
    fn the_grandchild_is_stuck_and_neither_the_middle_process_nor_who_has_gone() {
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
    fn a_setup_that_ended_or_executed_in_time_is_not_stuck() {
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
