//! PT111: the runtime's setns calls succeed while it sets up a container.

use super::membership;
use crate::{
    rules::{ending, prelude::*},
    state::Refused,
};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT111",
        name: "join-failed",
        severity: Severity::Error,
        summary: "setns failed while the runtime set up a container, and the setup was abandoned",
        doc: "\
## What it checks
If setns fails for a process of the container runtime that sets up a container or an exec session, \
a later attempt must succeed, or the container must execute anyway (PT101 to PT107 then check its \
namespaces). If the process ends and no other process continues the setup, the setup has failed, \
and the finding reports the errno. Runtimes may attempt a join before they enter a user namespace \
and repeat it afterwards, so only joins that never succeed count.

## Why it matters
The pod hangs in `ContainerCreating`, or an exec fails, with an error message that four programs \
have rewritten. This finding reports the error as the kernel returned it, with the process and the \
namespace.

## How to fix it
EINVAL: the path is not a namespace of that kind, or the process has several threads. EPERM: the \
process lacks CAP_SYS_ADMIN in the user namespace that owns the namespace (a rootless runtime, or \
user namespaces created in the wrong order). EBADF, ENOENT: the sandbox is gone and its path is \
stale; delete the pod. ENOMEM, EUSERS, ENOSPC: see the limits in /proc/sys/user.

## Example
    setns(net) failed with EINVAL while the runtime set up container app, after 2 successful joins

## Source
setns(2); runc `nsexec.c`; containers/podman#12262.
",
        needs: &[Kind::Namespace, Kind::Fork, Kind::Exec, Kind::Exit],
    },
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
            // The joins of a process that was found running were not seen.
            if init.found {
                return;
            }
            let (made, refused) = (init.joins.made, init.joins.refused.len());
            sink.pass(Subject::process(init), || {
                let joins = joins(made);
                let message = match refused {
                    0 if made == 0 => "executed, and no setns of its setup failed".to_owned(),
                    0 => format!("executed after {joins}, none failed"),
                    _ => format!(
                        "executed after {joins}, although {} failed",
                        counted(refused as u64, "setns call")
                    ),
                };
                Details::new(message).observed("joined", Value::Number(u64::from(made)))
            });
        }
        Change::JoinsRefused(id) => refused(context, *id, sink),
        _ => {}
    }
}

/// `2 successful joins`.
fn joins(made: u32) -> String {
    match made {
        0 => "no successful join".to_owned(),
        _ => counted(made.into(), "successful join"),
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
    let details = |what: String| {
        let error = crate::errno::Errno(errno);
        let message = format!(
            "setns({wanted}) failed with {error:?} while the runtime set up {what}, after {}",
            joins(made)
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
    // If records were lost, a later attempt may have succeeded, or a child may have continued the
    // setup.
    let since = process.forked;
    if let Some(container) = context.state.container_of(process) {
        ending::fail_unless_gap(context, since, sink, Subject::process(process), || {
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
            thread: None,
        };
        ending::fail_unless_gap(context, since, sink, subject, || {
            details(format!(
                "a process in pod {}",
                membership::pod_name(context, pod)
            ))
        });
    } else {
        sink.inconclusive(Subject::process(process), || {
            details("an unidentified process".to_owned())
        });
    }
}

/// The pod whose namespaces a process of the runtime has joined. An exec session enters its
/// container's cgroup last, so it may not be in the cgroup yet.
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

    /// Starts the setup of a container: gives the process that joins the namespaces, and the
    /// cgroup.
    fn building(scene: &mut Scene) -> (ProcessId, u64) {
        scene.pod("p");
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        (
            scene.enter(scene.runtime, cgroup, HOST, 0, "runc:[1:CHILD]"),
            cgroup,
        )
    }

    #[test]
    fn a_setup_that_joins_nothing_passes() {
        let mut scene = Scene::new();
        scene.pod("p");
        let verdicts = scene.expect("PT111", &[Outcome::Pass]);
        let message = &verdicts[0].details.message;
        assert_eq!(message, "executed, and no setns of its setup failed");
    }

    #[test]
    fn a_setup_whose_joins_succeed_passes_with_their_number() {
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
    fn a_failed_join_that_ends_the_setup_fails_with_the_errno() {
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
            message.contains("setns(net) failed with EINVAL"),
            "{message}"
        );
        assert!(
            message.contains("set up container a, after 1 successful join"),
            "{message}"
        );
        assert_eq!(observed[0], ("setns", Value::Errno(EINVAL)));
        assert_eq!(verdicts[1].subject.container.as_deref(), Some("a"));
    }

    #[test]
    fn a_join_that_succeeds_at_the_second_attempt_does_not_count() {
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
    fn a_setup_that_continues_is_left_to_the_namespaces_rules() {
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
                .contains("although 1 setns call failed"),
            "{}",
            verdicts[1].details.message
        );
        assert_eq!(scene.verdicts("PT101")[0].outcome, Outcome::Fail);
    }

    #[test]
    fn a_setup_whose_last_child_never_executes_fails() {
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
    fn an_exec_session_that_fails_before_its_cgroup_is_attributed_by_its_namespaces() {
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
    fn a_failed_join_of_a_cni_plugin_is_inconclusive() {
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
    fn a_failed_join_before_an_exec_does_not_count_for_the_new_program() {
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
    fn failed_joins_of_the_pods_processes_are_not_judged() {
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
