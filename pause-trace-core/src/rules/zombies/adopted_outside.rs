//! PT405: a pod's orphans stay in the pod.

use super::blame;
use crate::rules::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "PT405",
    name: "adopted-outside",
    severity: Severity::Warning,
    summary: "an orphan of a pod was adopted by a process outside the pod",
    doc: "\
## What it checks
When a process' parent ends, the kernel gives it to pid 1 of the parent's pid namespace, or to a subreaper in it: \
the pause, or a container's init. When such a process ends in turn, this rule looks at who has to reap it, and that \
must be a process of the same pod. In a pod or container with the node's pid namespace, orphans fall to the \
runtime's subreaper by design, and are not judged.

## Why it matters
A process that falls to the node's init or to a runtime is outside of what the pod's own pid 1 sees and ends. It \
means that a process ran in the container without being in its pid namespace, so that it is not killed with it.

## How to fix it
Find who started the orphan's parent (in the evidence). setns(2) into a pid namespace counts for children only: the \
program must fork after it, and let the child do the work.

## Example
    sleep (pid 1302) fell to shim (pid 700), which is not of its pod

## Source
pid_namespaces(7), \"Adoption of orphaned children\"; setns(2); find_new_reaper in the kernel's kernel/exit.c.
",
    needs: &[Kind::Fork, Kind::Exit],
    on: &[On::Ended, On::PodRemoved],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    if let Change::Ended(id) = change {
        judge_orphan(context, *id, sink);
    }
    let Change::PodRemoved(pod) = change else {
        return;
    };
    let Some(pod) = context.state.pods.get(pod) else {
        return;
    };
    for container in pod
        .containers
        .iter()
        .filter_map(|id| context.state.containers.get(id))
    {
        if container.adopted > 0 && !is_of_the_node(context, container) {
            sink.pass(Subject::container(container), || {
                Details::new(format!(
                    "orphans that fell to processes of the pod: {}",
                    container.adopted
                ))
                .observed("adopted inside", Value::Number(container.adopted))
            });
        }
    }
}

/// Whether its processes are in the node's pid namespace.
fn is_of_the_node(context: &Context<'_>, container: &Container) -> bool {
    let host = context.state.host.pid;
    container.modes.pid == Mode::Node
        || container
            .namespaces
            .is_some_and(|namespaces| namespaces.pid == host)
}

fn judge_orphan(context: &Context<'_>, id: ProcessId, sink: &mut Sink<'_>) {
    let Some((process, container, pod)) = context.inside(id) else {
        return;
    };
    let Some(ended) = process.ended.filter(|_| process.role == Role::Member) else {
        return;
    };
    let processes = &context.state.processes;
    let has_its_parent = ended.parent == process.born_of
        || processes
            .get(process.born_of)
            .is_some_and(Process::is_alive);
    if has_its_parent || ended.parent == ProcessId::default() || is_of_the_node(context, container)
    {
        return;
    }
    let what = blame::name(process);
    let adopter = processes.get(ended.parent);
    let (who, whose) = match adopter {
        Some(adopter) if adopter.pod.as_ref() == Some(&pod.id) => return,
        Some(adopter) if adopter.pod.is_some() => (blame::name(adopter), "of another pod"),
        Some(adopter) => (blame::name(adopter), "not of its pod"),
        None if ended.parent.pid == 1 => ("the node's init".to_owned(), "not of its pod"),
        None => {
            return sink.inconclusive(Subject::process(process), || {
                Details::new(format!(
                    "{what} fell to pid {}, of which nothing is known",
                    ended.parent.pid
                ))
                .evidence(ended.time, format!("{what} ended, {}", ended.status))
            });
        }
    };
    sink.fail(Subject::process(process), || {
        Details::new(format!("{what} fell to {who}, which is {whose}"))
            .expected(
                "adopter",
                Value::Text("pid 1 of its parent's pid namespace".to_owned()),
            )
            .observed("adopter", Value::Process(ended.parent))
            .observed("pid", Value::Namespace(process.namespaces.pid))
            .evidence(
                process.forked,
                format!("pid {} forked pid {}", process.born_of.pid, id.pid),
            )
            .evidence(
                ended.time,
                format!("{what} ended, {}, and {who} had to reap it", ended.status),
            )
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    /// A container with an orphan.
    fn orphaned(modes: Modes) -> (Scene, ProcessId, ProcessId) {
        let mut scene = Scene::new();
        scene.pod_with(
            "p",
            Modes {
                pid: Mode::Container,
                ..modes.clone()
            },
            |_| {},
        );
        let app = scene.container_with("p", "app", modes, |_| {});
        let child = scene.fork(app);
        let orphan = scene.fork(child);
        scene.end(child, WaitStatus::exited(0));
        (scene, app, orphan)
    }

    #[test]
    fn an_orphan_that_falls_to_the_runtime_is_a_warning() {
        let (mut scene, _, orphan) = orphaned(Modes::plain());
        let runtime = scene.runtime;
        scene.exit_to(orphan, runtime, WaitStatus::exited(0));
        scene.remove_pod("p");
        let verdicts = scene.expect("PT405", &[Outcome::Fail]);
        assert_eq!(verdicts[0].severity(), Severity::Warning);
    }

    #[test]
    fn an_orphan_that_falls_to_the_nodes_init_fails() {
        let (mut scene, _, orphan) = orphaned(Modes::plain());
        scene.exit_to(
            orphan,
            ProcessId { pid: 1, start: 5 },
            WaitStatus::exited(0),
        );
        scene.expect("PT405", &[Outcome::Fail]);
    }

    #[test]
    fn an_orphan_that_falls_to_pid_1_passes() {
        let (mut scene, app, orphan) = orphaned(Modes::plain());
        scene.exit_to(orphan, app, WaitStatus::exited(0));
        scene.remove_pod("p");
        scene.expect("PT405", &[Outcome::Pass]);
    }

    #[test]
    fn in_the_nodes_pid_namespace_a_subreaper_adopts() {
        let (mut scene, _, orphan) = orphaned(Modes {
            pid: Mode::Node,
            ..Modes::plain()
        });
        let runtime = scene.runtime;
        scene.exit_to(orphan, runtime, WaitStatus::exited(0));
        scene.remove_pod("p");
        scene.expect("PT405", &[]);
    }

    #[test]
    fn inits_and_sessions_are_the_runtimes_children() {
        let mut scene = Scene::new();
        scene.pod("p");
        let middle = scene.fork(scene.runtime);
        let app = scene.container("p", "app");
        let session = scene.session_with(app, |_| {});
        scene.exit_to(session, middle, WaitStatus::exited(0));
        scene.exit_to(app, middle, WaitStatus::exited(0));
        scene.expect("PT405", &[]);
    }

    #[test]
    fn a_child_whose_forker_lives_is_no_orphan() {
        let mut scene = Scene::new();
        scene.pod("p");
        let app = scene.container("p", "app");
        let sibling = scene.fork(app); // made with CLONE_PARENT
        let runtime = scene.runtime;
        scene.exit_to(sibling, runtime, WaitStatus::exited(0));
        scene.expect("PT405", &[]);
    }

    #[test]
    fn an_adopter_that_nobody_knows_is_inconclusive() {
        let (mut scene, _, orphan) = orphaned(Modes::plain());
        scene.exit_to(
            orphan,
            ProcessId { pid: 77, start: 5 },
            WaitStatus::exited(0),
        );
        scene.expect("PT405", &[Outcome::Inconclusive]);
    }
}
