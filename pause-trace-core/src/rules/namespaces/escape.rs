//! PT109: no process of a pod joins a namespace of the host or of another pod.

use super::{doors, membership};
use crate::{rules::prelude::*, state::Door};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT109",
        name: "escape",
        severity: Severity::Error,
        summary: "a pod's process enters a namespace of the host or of another pod",
        doc: "\
## What it checks
No process of a pod may join (setns) a namespace of the host or of another pod. A call that no \
hook sees is noticed later: the namespaces of a process are compared at its exec and its exit, and \
at each fork with those of its parent. A process may join the namespaces of its pod's containers and those that the pod's processes created, and it may create \
new ones (unshare, clone). A process that was moved out of the pod's cgroups is still the pod's. If the owner of a namespace is unknown, the verdict is inconclusive; so is it for \
a few minutes after a loss of records if a clone seems to have created the namespace. \
For a pod with the node's network, pid or ipc namespace (CNI agents, `kubectl debug node`) a \
violation is a warning, because such a pod works on the node by design. A thread other than the \
first one does not move its process, so what it joins is an info, until it executes or forks a \
process, which is then where the thread was. The runtime's processes are not \
checked.

## Why it matters
Namespaces isolate a pod from the node. A process that leaves them can read the node's files, see \
its network and signal its processes. This is the usual second step of a container escape.

## How to fix it
Find out what the process was: the finding has its pid, command and time. Remove what made the \
call possible: `privileged: true`, CAP_SYS_ADMIN, or the node's /proc or a runtime socket mounted \
as a volume. If the pod is an agent that needs the host's namespaces, request them in the pod's \
spec.

## Example
    nsenter (pid 4711) entered mnt namespace 4026531841 of the host by setns; it was in 4026532183

## Source
setns(2); Kubernetes: Pod Security Standards; MITRE ATT&CK T1611, \"Escape to Host\".
",
        needs: &[Kind::Namespace, Kind::Exec, Kind::Fork, Kind::Exit],
    },
    on: &[On::NamespaceChanged, On::Ended],
    judge,
};

/// The owner of a namespace, seen from a pod.
enum Owner {
    Own,
    Host,
    Pod(PodId),
    Unknown,
}

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    match change {
        Change::NamespaceChanged {
            process,
            thread,
            door,
            flags,
            errno: 0,
            before,
            after,
            unowned,
        } if door.enters() || (matches!(door, Door::Cloned) && *unowned != 0) => {
            let Some((process, container, pod)) = context.originally_inside(*process) else {
                return;
            };
            if !process.role.is_inside() {
                return;
            }
            let subject = || Subject {
                pod: Some(pod.id.clone()),
                container: Some(container.id.clone()),
                ..Subject::thread(process, *thread)
            };
            for (kind, from, to) in membership::changed(*flags, before, after) {
                let (who, name) = (membership::caller(process, *thread), kind.name());
                let details = |owner: &str| {
                    let doors::Words { verb, by, was } = doors::words(process, *thread, door, from);
                    let details = Details::new(format!(
                        "{who} {verb} {name} namespace {to} {owner} {by}; {was}"
                    ))
                    .expected(name, Value::Text("the pod's, or one made by it".to_owned()))
                    .observed(name, Value::Namespace(to))
                    .evidence(
                        process.executed.unwrap_or(process.forked),
                        origin(process, container),
                    );
                    doors::with_evidence(details, context, (process, *thread), door, (kind, to))
                };
                let owner = match owner(context, container, pod, kind, to) {
                    // It is the pod's only because the process executed in it.
                    Owner::Own if *unowned & kind.flag() != 0 => Owner::Unknown,
                    owner => owner,
                };
                match owner {
                    Owner::Own => {}
                    Owner::Unknown => {
                        sink.inconclusive(subject(), || details("of an unknown owner"));
                    }
                    Owner::Host => {
                        sink.fail(subject(), || graded(pod, *thread, details("of the host")))
                    }
                    Owner::Pod(other) => sink.fail(subject(), || {
                        let of = format!("of pod {}", membership::pod_name(context, &other));
                        graded(pod, *thread, details(&of))
                    }),
                }
            }
        }
        Change::Ended(process) => membership::pass_at_the_end(context, *process, sink, |lived| {
            format!("no process was seen to enter a namespace outside its pod in {lived}")
        }),
        _ => {}
    }
}

fn owner(
    context: &Context<'_>,
    container: &Container,
    pod: &Pod,
    kind: NamespaceKind,
    inode: u32,
) -> Owner {
    let is_a_containers = pod
        .sandboxes
        .iter()
        .chain(&pod.containers)
        .filter_map(|container| context.state.containers.get(container)?.namespaces)
        .any(|namespaces| namespaces.get(kind) == inode);
    match context.state.owner_of(inode) {
        _ if is_a_containers => Owner::Own,
        _ if membership::is_hosts(context, container, kind, inode) => match pod.modes.get(kind) {
            Mode::Node => Owner::Own,
            _ => Owner::Host,
        },
        Some(owner) if *owner == pod.id => Owner::Own,
        // If no process of that pod is in the namespace, the kernel may have reused the inode
        // number.
        Some(owner) if context.state.is_held_by(owner, inode) => Owner::Pod(owner.clone()),
        _ => Owner::Unknown,
    }
}

fn graded(pod: &Pod, thread: Option<u32>, details: Details) -> Details {
    let details = match membership::is_node_agent(pod) {
        true => details.milder(Severity::Warning),
        false => details,
    };
    membership::milder_for(thread, details)
}

fn origin(process: &Process, container: &Container) -> String {
    let pid = process.id.pid;
    if process.moved_out_of.is_some() {
        return format!("pid {pid} left the cgroup of container {}", container.name);
    }
    match process.executed {
        Some(_) => format!(
            "pid {pid} executed {} in container {}",
            process.executable(),
            container.name
        ),
        // The parent that it was found with may have adopted it.
        None if process.found => format!("pid {pid} was found in container {}", container.name),
        None => format!(
            "pid {pid} was forked by pid {} in container {}",
            process.born_of.pid, container.name
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    const NET: u64 = NamespaceKind::Net.flag();
    const MNT: u64 = NamespaceKind::Mnt.flag();

    #[test]
    fn a_pod_that_joins_nothing_passes_at_its_end() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.end(init, WaitStatus::exited(0));
        scene.expect("PT109", &[Outcome::Pass]);
    }

    /// A process in no cgroup of the pod, or in one of another pod, is still the pod's, whether it
    /// was moved there or cloned into it.
    #[test]
    fn a_process_outside_the_pods_cgroups_cannot_enter_the_hosts_namespaces() {
        for (is_cloned, is_in_another_pod) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let mut scene = Scene::new();
            scene.pod("p");
            let init = scene.container("p", "a");
            let other = scene.pod("other");
            let cgroup = match is_in_another_pod {
                true => scene.cgroup(other),
                false => 1,
            };
            let member = match is_cloned {
                true => scene.fork_into(init, cgroup),
                false => scene.fork(init),
            };
            scene.exec(member);
            if !is_cloned {
                scene.move_to(member, cgroup);
            }
            scene.change_namespaces(member, NamespaceCall::Setns, 0, 0, |ns| ns.mnt = HOST.mnt);
            scene.end(init, WaitStatus::exited(0));
            let [verdict] = &scene.expect("PT109", &[Outcome::Fail])[..] else {
                panic!("one verdict")
            };
            assert_eq!(verdict.subject.pod.as_deref(), Some("p"));
        }
    }

    #[test]
    fn joining_the_hosts_mount_namespace_fails() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let member = scene.fork(init);
        scene.exec(member);
        scene.change_namespaces(member, NamespaceCall::Setns, 0, 0, |ns| ns.mnt = HOST.mnt);
        scene.end(init, WaitStatus::exited(0));
        let [verdict] = &scene.expect("PT109", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Error);
        assert!(
            verdict.details.message.contains("of the host"),
            "{}",
            verdict.details.message
        );
        assert_eq!(
            verdict.details.observed,
            [("mnt", Value::Namespace(HOST.mnt))]
        );
    }

    #[test]
    fn joining_the_hosts_pid_namespace_counts_for_the_children() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let flag = NamespaceKind::Pid.flag();
        scene.change_namespaces(init, NamespaceCall::Setns, flag, 0, |ns| {
            ns.pid_children = HOST.pid
        });
        scene.expect("PT109", &[Outcome::Fail]);
    }

    #[test]
    fn joining_another_pods_network_fails() {
        let mut scene = Scene::new();
        let other = scene.pod("q");
        let foreign = scene.namespaces(other).net;
        scene.pod("p");
        let init = scene.container("p", "a");
        let session = scene.session_with(init, |_| {});
        scene.change_namespaces(session, NamespaceCall::Setns, NET, 0, |ns| ns.net = foreign);
        let [verdict] = &scene.expect("PT109", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert!(
            verdict.details.message.contains("of pod default/q"),
            "{}",
            verdict.details.message
        );
    }

    #[test]
    fn a_pod_may_join_namespaces_that_it_created() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "builder");
        let (maker, cloner, joiner) = (scene.fork(init), scene.fork(init), scene.fork(init));
        scene.change_namespaces(maker, NamespaceCall::Unshare, NET | MNT, 0, |ns| {
            (ns.net, ns.mnt) = (77, 78)
        });
        let home = scene.namespaces(joiner).net;
        scene.change_namespaces(joiner, NamespaceCall::Setns, NET, 0, |ns| ns.net = 77);
        scene.change_namespaces(joiner, NamespaceCall::Setns, NET, 0, |ns| ns.net = home);
        // clone(CLONE_NEWNET)
        let cloned = scene.clone_with(cloner, |ns, _| ns.net = 79);
        scene.change_namespaces(joiner, NamespaceCall::Setns, NET, 0, |ns| ns.net = 79);
        scene.end(cloned, WaitStatus::exited(0));
        scene.end(init, WaitStatus::exited(0));
        scene.expect("PT109", &[Outcome::Pass]);
    }

    #[test]
    fn joining_another_containers_mounts_in_the_same_pod_is_no_escape() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        let first = scene.container("p", "a");
        let mnt = scene.namespaces(first).mnt;
        let second = scene.container("p", "b");
        scene.change_namespaces(second, NamespaceCall::Setns, MNT, 0, |ns| ns.mnt = mnt);
        scene.expect("PT109", &[]);
    }

    #[test]
    fn a_namespace_of_an_unknown_owner_is_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.change_namespaces(init, NamespaceCall::Setns, NET, 0, |ns| ns.net = 77);
        scene.expect("PT109", &[Outcome::Inconclusive]);
    }

    #[test]
    fn a_reused_inode_number_is_not_the_dead_pods_namespace() {
        let mut scene = Scene::new();
        let other = scene.pod("q");
        let old = scene.namespaces(other).net;
        scene.end(other, WaitStatus::exited(0));
        scene.remove_pod("q");
        scene.pod_with("p", Modes::plain(), |ns| ns.net = old);
        let init = scene.container("p", "a");
        let member = scene.fork(init);
        scene.change_namespaces(member, NamespaceCall::Unshare, NET, 0, |ns| ns.net = 77);
        scene.change_namespaces(member, NamespaceCall::Setns, NET, 0, |ns| ns.net = old);
        scene.end(init, WaitStatus::exited(0));
        scene.expect("PT109", &[Outcome::Pass, Outcome::Pass]);
    }

    #[test]
    fn a_node_agents_join_is_a_warning_and_it_may_join_the_host_network_it_requested() {
        let mut scene = Scene::new();
        let other = scene.pod("q");
        let foreign = scene.namespaces(other).net;
        scene.pod_with(
            "cni",
            Modes {
                net: Mode::Node,
                uts: Mode::Node,
                ..Modes::plain()
            },
            |_| {},
        );
        let agent = scene.container("cni", "agent");
        scene.change_namespaces(agent, NamespaceCall::Setns, NET, 0, |ns| ns.net = foreign);
        scene.change_namespaces(agent, NamespaceCall::Setns, NET, 0, |ns| ns.net = HOST.net);
        let [verdict] = &scene.expect("PT109", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Warning);
    }

    #[test]
    fn joins_by_the_runtime_and_failed_joins_are_not_judged() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let net = scene.namespaces(pause).net;
        let init = scene.container("p", "a");
        scene.change_namespaces(init, NamespaceCall::Setns, NET, 1, |_| {});
        // A CNI plugin, and a middle process in the container's cgroup.
        let plugin = scene.fork(scene.runtime);
        let middle = scene.enter(scene.runtime, scene.cgroup(init), HOST, 0, "runc:[1:CHILD]");
        for process in [plugin, middle] {
            scene.change_namespaces(process, NamespaceCall::Setns, NET, 0, |ns| ns.net = net);
            scene.change_namespaces(process, NamespaceCall::Setns, NET, 0, |ns| {
                ns.net = HOST.net
            });
        }
        scene.expect("PT109", &[]);
    }

    #[test]
    fn a_threads_join_is_an_info_about_the_thread_and_hides_nothing_of_its_process() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let home = scene.namespaces(init).mnt;
        for _ in 0..9 {
            scene.change_thread(init, NamespaceCall::Setns, MNT, |ns| ns.mnt = HOST.mnt);
        }
        scene.change_namespaces(init, NamespaceCall::Setns, MNT, 0, |ns| ns.mnt = HOST.mnt);
        scene.end(init, WaitStatus::exited(0));
        let [of_thread, of_process] = &scene.expect("PT109", &[Outcome::Fail; 2])[..] else {
            panic!("two verdicts")
        };
        assert_eq!(of_thread.severity(), Severity::Info);
        let thread = of_thread.subject.thread.expect("the thread");
        let (pid, host) = (init.pid, HOST.mnt);
        assert_eq!(
            of_thread.details.message,
            format!(
                "thread {thread} of a (pid {pid}) entered mnt namespace {host} of the host by \
                 setns; the process stays in {home}"
            )
        );
        assert_eq!(of_process.severity(), Severity::Error);
        assert_eq!(of_process.subject.thread, None);
        assert!(
            of_process.details.message.starts_with("a (pid"),
            "{}",
            of_process.details.message
        );
    }

    #[test]
    fn a_thread_that_joins_a_namespace_does_not_move_its_process() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let home = scene.namespaces(pause).net;
        let init = scene.container("p", "a");
        scene.change_thread(init, NamespaceCall::Unshare, NET, |ns| ns.net = 77);
        // If the process counted as being in 77 now, this would be a change of its network.
        scene.change_thread(init, NamespaceCall::Unshare, MNT, |ns| ns.mnt = 78);
        scene.change_thread(init, NamespaceCall::Setns, NET, |ns| ns.net = home);
        scene.end(init, WaitStatus::exited(0));
        scene.expect("PT109", &[Outcome::Pass]);
        let [verdict] = &scene.expect("PT108", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Info);
    }
}
