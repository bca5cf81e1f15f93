//! PT405: a pod's orphans are reparented within the pod.

use super::blame;
use crate::rules::{ending, prelude::*};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT405",
        name: "adopted-outside",
        severity: Severity::Warning,
        summary: "an orphan of a pod was reparented to a process outside the pod",
        doc: "\
## What it checks
When a process' parent ends, the kernel reparents it to pid 1 of the parent's pid namespace or to \
a subreaper in it: the pause, or a container's init. When the orphan ends, this rule checks that \
the process that must reap it belongs to the same pod. A pod or container in the node's pid \
namespace is not checked, because its orphans are reparented to the runtime's subreaper by design.

## Why it matters
A process that is reparented to the node's init or to a runtime is outside the pid namespace of \
its container: the container's pid 1 cannot see it, and the end of the namespace does not kill it.

## How to fix it
Find out what started the orphan's parent, which the evidence names. setns(2) into a pid namespace \
takes effect for children only: the program must fork after setns, and run its work in the child.

## Example
    orphan sleep (pid 1302) was reparented to shim (pid 700), which is outside its pod

## Source
pid_namespaces(7), \"Adoption of orphaned children\"; setns(2); find_new_reaper in the kernel's \
kernel/exit.c.
",
        needs: &[Kind::Fork, Kind::Exec, Kind::Exit, Kind::CgroupAttach],
    },
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
        if container.adopted > 0 && !is_in_node_pids(context, container) {
            sink.pass(Subject::container(container), || {
                Details::new(format!(
                    "orphans reparented to processes of the pod: {}",
                    container.adopted
                ))
                .observed("adopted inside", Value::Number(container.adopted))
            });
        }
    }
}

/// Whether the container's processes are in the node's pid namespace.
fn is_in_node_pids(context: &Context<'_>, container: &Container) -> bool {
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
    if has_its_parent || ended.parent == ProcessId::default() || is_in_node_pids(context, container)
    {
        return;
    }
    let adopter = processes.get(ended.parent);
    if adopter.is_some_and(|adopter| adopter.pod.as_ref() == Some(&pod.id)) {
        return;
    }
    let what = blame::name(process);
    let (new_parent, relation) = match adopter {
        Some(adopter) if adopter.pod.is_some() => (blame::name(adopter), "in another pod"),
        Some(adopter) => (blame::name(adopter), "outside its pod"),
        None if ended.parent.pid == 1 => ("the node's init".to_owned(), "outside its pod"),
        None => {
            return sink.inconclusive(Subject::process(process), || {
                Details::new(format!(
                    "orphan {what} was reparented to pid {}, an unknown process",
                    ended.parent.pid
                ))
                .evidence(ended.time, format!("{what} ended, {}", ended.status))
            });
        }
    };
    // Records since its fork tell in which pod the adopter is.
    let since = adopter.map_or(container.since, |adopter| adopter.forked);
    let (since, subject) = (since.min(container.since), Subject::process(process));
    ending::fail_unless_gap(context, since, sink, subject, || {
        Details::new(format!(
            "orphan {what} was reparented to {new_parent}, which is {relation}"
        ))
        .expected(
            "adopter",
            Value::Text("pid 1 of its parent's pid namespace".to_owned()),
        )
        .observed("adopter", Value::Process(ended.parent))
        .observed("pid", Value::Namespace(process.namespaces.pid))
        .evidence(
            process.forked,
            match process.found {
                false => format!("pid {} forked pid {}", process.born_of.pid, id.pid),
                // The parent that it was found with may have adopted it.
                true => format!("{what} started; pid {} was its parent", process.born_of.pid),
            },
        )
        .evidence(
            ended.time,
            format!(
                "{what} ended, {}, and {new_parent} had to reap it",
                ended.status
            ),
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
    fn an_orphan_reparented_to_the_runtime_is_a_warning() {
        let (mut scene, _, orphan) = orphaned(Modes::plain());
        let runtime = scene.runtime;
        scene.exit_to(orphan, runtime, WaitStatus::exited(0));
        scene.remove_pod("p");
        let verdicts = scene.expect("PT405", &[Outcome::Fail]);
        assert_eq!(verdicts[0].severity(), Severity::Warning);
    }

    #[test]
    fn an_orphan_reparented_to_the_nodes_init_fails() {
        let (mut scene, _, orphan) = orphaned(Modes::plain());
        scene.exit_to(
            orphan,
            ProcessId { pid: 1, start: 5 },
            WaitStatus::exited(0),
        );
        scene.expect("PT405", &[Outcome::Fail]);
    }

    #[test]
    fn an_orphan_reparented_to_pid_1_passes() {
        let (mut scene, app, orphan) = orphaned(Modes::plain());
        scene.exit_to(orphan, app, WaitStatus::exited(0));
        scene.remove_pod("p");
        scene.expect("PT405", &[Outcome::Pass]);
    }

    #[test]
    fn orphans_in_the_nodes_pid_namespace_are_not_judged() {
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
    fn inits_and_sessions_are_not_judged() {
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
    fn a_child_whose_forker_is_alive_is_no_orphan() {
        let mut scene = Scene::new();
        scene.pod("p");
        let app = scene.container("p", "app");
        let sibling = scene.fork(app); // made with CLONE_PARENT
        let runtime = scene.runtime;
        scene.exit_to(sibling, runtime, WaitStatus::exited(0));
        scene.expect("PT405", &[]);
    }

    #[test]
    fn an_unknown_new_parent_is_inconclusive() {
        let (mut scene, _, orphan) = orphaned(Modes::plain());
        scene.exit_to(
            orphan,
            ProcessId { pid: 77, start: 5 },
            WaitStatus::exited(0),
        );
        scene.expect("PT405", &[Outcome::Inconclusive]);
    }
}
