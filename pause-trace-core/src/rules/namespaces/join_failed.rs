//! PT111: the runtime's joins succeed while a container is set up.

use super::membership;
use crate::{
    rules::{ending, prelude::*},
    state::Refused,
};

pub(super) const RULE: Rule = Rule {
    id: "PT111",
    name: "join-failed",
    severity: Severity::Error,
    summary: "setns failed while a container was being set up, and the setup ended there",
    doc: "\
## What it checks
When a process of the container runtime is refused a setns while it builds a container or an exec session, it must have got \
what it wanted by another try, or the container must execute all the same (the namespaces that it then has are judged by \
PT101 to PT107). If that process ends with nobody to carry on, the setup has failed, and the errno says why. Runtimes try \
what may be refused before they enter a user namespace, and again after: only what stays refused counts.

## Why it matters
The pod hangs in `ContainerCreating`, or an exec fails, with a message that has gone through four programs. Here is what the \
kernel said, to whom, about which namespace.

## How to fix it
EINVAL: the path is no namespace of that kind, or the process has threads. EPERM: no CAP_SYS_ADMIN in the user namespace that \
owns it (rootless, or user namespaces made in the wrong order). EBADF, ENOENT: the sandbox is gone, its path is stale: \
restart the pod. ENOMEM, EUSERS, ENOSPC: the limits in /proc/sys/user.

## Example
    setns(net) was refused with EINVAL while container app was being set up, after 2 joins

## Source
setns(2); runc `nsexec.c`; containers/podman#12262.
",
    needs: &[Kind::Namespace, Kind::Fork, Kind::Exec, Kind::Exit],
    on: &[On::JoinsRefused, On::Executed],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    match change {
        Change::Executed(id) => {
            let Some((init, _, _)) = membership::first_exec(context, *id, Role::Init)
                .or_else(|| membership::first_exec(context, *id, Role::Pause))
                .or_else(|| membership::first_exec(context, *id, Role::Session))
            else {
                return;
            };
            let (made, refused) = (init.joins.made, init.joins.refused.len());
            sink.pass(Subject::process(init), || {
                let message = match refused {
                    0 => format!("{made} namespaces were joined before the exec, none was refused"),
                    _ => format!("{made} namespaces were joined before the exec, which came although {refused} were refused"),
                };
                Details::new(message).observed("joined", Value::Number(u64::from(made)))
            });
        }
        Change::JoinsRefused(id) => refused(context, *id, sink),
        _ => {}
    }
}

fn refused(context: &Context<'_>, id: ProcessId, sink: &mut Sink<'_>) {
    let Some(process) = context.state.processes.get(id) else {
        return;
    };
    let Some(Refused { flags, errno, .. }) = process.joins.refused.last().copied() else {
        return;
    };
    let (wanted, made) = (membership::flag_names(flags), process.joins.made);
    let details = |whose: String| {
        let error = crate::errno::Errno(errno);
        let message = format!(
            "setns({wanted}) was refused with {error:?} while {whose} was being set up, after {made} joins"
        );
        let details =
            process
                .joins
                .refused
                .iter()
                .fold(Details::new(message), |details, refused| {
                    let (wanted, error) = (
                        membership::flag_names(refused.flags),
                        Value::Errno(refused.errno),
                    );
                    details.evidence(
                        refused.time,
                        format!("pid {} called setns({wanted}): {error}", id.pid),
                    )
                });
        let ended = process
            .ended
            .map(|ended| ended.status.to_string())
            .unwrap_or_default();
        details
            .expected("setns", Value::Errno(0))
            .observed("setns", Value::Errno(errno))
            .observed("joined before", Value::Number(u64::from(made)))
            .evidence(context.now, format!("pid {} ended: {ended}", id.pid))
    };
    // Another try, or a child that goes on, may have been missed.
    let needs = (&[Kind::Namespace, Kind::Fork][..], process.forked);
    if let Some(container) = context.state.container_of(process) {
        ending::fail_if_seen(context, needs, sink, Subject::process(process), || {
            details(format!("container {}", container.name))
        });
    } else if let Some(pod) = joined_pod(context, process) {
        let Process {
            id, ns_pid, comm, ..
        } = *process;
        let subject = Subject {
            pod: Some(pod.clone()),
            container: None,
            process: Some(ProcessRef { id, ns_pid, comm }),
        };
        ending::fail_if_seen(context, needs, sink, subject, || {
            details(format!(
                "a process for pod {}",
                membership::pod_name(context, pod)
            ))
        });
    } else {
        sink.inconclusive(Subject::process(process), || {
            details("something that can't be told".to_owned())
        });
    }
}

/// The pod that a process of the runtime has joined already: an exec session enters its cgroup last.
fn joined_pod<'a>(context: &Context<'a>, process: &Process) -> Option<&'a PodId> {
    NamespaceKind::ALL
        .into_iter()
        .find_map(|kind| context.state.owner_of(process.namespaces.of_children(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    const EPERM: i32 = 1;
    const EINVAL: i32 = 22;

    /// A container's setup up to its joins: the process that makes them.
    fn building(scene: &mut Scene) -> (ProcessId, u64) {
        scene.pod("p");
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        (
            scene.enter(scene.runtime, cgroup, HOST, 0, "runc:[1:CHILD]"),
            cgroup,
        )
    }

    #[test]
    fn a_setup_whose_joins_work_passes_with_their_number() {
        let mut scene = Scene::new();
        let (middle, _) = building(&mut scene);
        scene.change_namespaces(
            middle,
            NamespaceCall::Setns,
            NamespaceKind::Ipc.flag(),
            0,
            |ns| ns.ipc = 77,
        );
        scene.change_namespaces(
            middle,
            NamespaceCall::Setns,
            NamespaceKind::Net.flag(),
            0,
            |ns| ns.net = 78,
        );
        let init = scene.fork(middle);
        scene.end(middle, WaitStatus::exited(0));
        scene.exec(init);
        let verdicts = scene.expect("PT111", &[Outcome::Pass, Outcome::Pass]);
        assert_eq!(verdicts[1].details.observed, [("joined", Value::Number(2))]);
    }

    #[test]
    fn a_refused_join_that_ends_the_setup_fails_with_the_errno() {
        let mut scene = Scene::new();
        let (middle, _) = building(&mut scene);
        scene.change_namespaces(
            middle,
            NamespaceCall::Setns,
            NamespaceKind::Ipc.flag(),
            0,
            |ns| ns.ipc = 77,
        );
        scene.change_namespaces(
            middle,
            NamespaceCall::Setns,
            NamespaceKind::Net.flag(),
            EINVAL,
            |_| {},
        );
        scene.end(middle, WaitStatus::exited(1));
        let verdicts = scene.expect("PT111", &[Outcome::Pass, Outcome::Fail]);
        let Details {
            message, observed, ..
        } = &verdicts[1].details;
        assert!(
            message.contains("setns(net) was refused with EINVAL"),
            "{message}"
        );
        assert!(
            message.contains("container a was being set up, after 1 joins"),
            "{message}"
        );
        assert_eq!(observed[0], ("setns", Value::Errno(EINVAL)));
        assert_eq!(verdicts[1].subject.container.as_deref(), Some("a"));
    }

    #[test]
    fn what_is_granted_at_the_second_try_was_never_refused() {
        let mut scene = Scene::new();
        let (middle, _) = building(&mut scene);
        let (net, user) = (NamespaceKind::Net.flag(), NamespaceKind::User.flag());
        scene.change_namespaces(middle, NamespaceCall::Setns, net, EPERM, |_| {});
        scene.change_namespaces(middle, NamespaceCall::Setns, user, 0, |ns| ns.user = 79);
        scene.change_namespaces(middle, NamespaceCall::Setns, net, 0, |ns| ns.net = 78);
        scene.end(middle, WaitStatus::exited(1));
        scene.expect("PT111", &[Outcome::Pass]);
    }

    #[test]
    fn a_setup_that_goes_on_regardless_is_left_to_the_namespaces_rules() {
        let mut scene = Scene::new();
        let (middle, _) = building(&mut scene);
        scene.change_namespaces(
            middle,
            NamespaceCall::Setns,
            NamespaceKind::Net.flag(),
            EPERM,
            |_| {},
        );
        let init = scene.fork(middle);
        scene.end(middle, WaitStatus::exited(0));
        scene.exec(init);
        scene.end(init, WaitStatus::exited(0));
        let verdicts = scene.expect("PT111", &[Outcome::Pass, Outcome::Pass]);
        assert!(
            verdicts[1]
                .details
                .message
                .contains("although 1 were refused"),
            "{}",
            verdicts[1].details.message
        );
        assert_eq!(scene.verdicts("PT101")[0].outcome, Outcome::Fail);
    }

    #[test]
    fn the_child_of_a_refused_process_that_never_executes_is_told_of() {
        let mut scene = Scene::new();
        let (middle, _) = building(&mut scene);
        scene.change_namespaces(
            middle,
            NamespaceCall::Setns,
            NamespaceKind::Net.flag(),
            EPERM,
            |_| {},
        );
        let last = scene.fork(middle);
        scene.end(middle, WaitStatus::exited(0));
        scene.end(last, WaitStatus::exited(1));
        scene.expect("PT111", &[Outcome::Pass, Outcome::Fail]);
    }

    #[test]
    fn an_exec_session_that_fails_before_its_cgroup_is_known_by_what_it_joined() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let ipc = scene.namespaces(pause).ipc;
        let runc = scene.fork(scene.runtime);
        scene.exec(runc);
        let first = scene.fork(runc);
        scene.change_namespaces(
            first,
            NamespaceCall::Setns,
            NamespaceKind::Ipc.flag(),
            0,
            |ns| ns.ipc = ipc,
        );
        scene.change_namespaces(
            first,
            NamespaceCall::Setns,
            NamespaceKind::Net.flag(),
            EINVAL,
            |_| {},
        );
        scene.end(first, WaitStatus::exited(1));
        let verdicts = scene.expect("PT111", &[Outcome::Pass, Outcome::Fail]);
        assert_eq!(verdicts[1].subject.pod.as_deref(), Some("p"));
    }

    #[test]
    fn a_plugin_that_was_refused_is_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        let plugin = scene.fork(scene.runtime);
        scene.change_namespaces(
            plugin,
            NamespaceCall::Setns,
            NamespaceKind::Net.flag(),
            EINVAL,
            |_| {},
        );
        scene.end(plugin, WaitStatus::exited(1));
        scene.expect("PT111", &[Outcome::Pass, Outcome::Inconclusive]);
    }

    #[test]
    fn a_refusal_from_before_an_exec_is_another_programs() {
        let mut scene = Scene::new();
        scene.pod("p");
        let (runtime, net) = (scene.runtime, NamespaceKind::Net.flag());
        scene.change_namespaces(runtime, NamespaceCall::Setns, net, EPERM, |_| {});
        let shim = scene.fork(runtime);
        scene.exec(shim);
        scene.end(shim, WaitStatus::exited(0));
        scene.expect("PT111", &[Outcome::Pass]);
    }

    #[test]
    fn what_the_pods_own_processes_are_refused_is_not_setup() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.change_namespaces(
            init,
            NamespaceCall::Setns,
            NamespaceKind::Net.flag(),
            EPERM,
            |_| {},
        );
        scene.end(init, WaitStatus::exited(1));
        scene.expect("PT111", &[Outcome::Pass, Outcome::Pass]);
    }
}
