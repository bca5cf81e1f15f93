//! PT109: no process of a pod gets into a namespace that is neither its pod's nor newly made.

use super::membership;
use crate::rules::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "PT109",
    name: "escape",
    severity: Severity::Error,
    summary: "a pod's process enters a namespace that is neither its pod's nor newly made by it",
    doc: "\
## What it checks
No process that runs a pod's code joins (setns) a namespace of the host or of another pod. Namespaces that one of the pod's \
containers is in, or that its processes made, may be entered by all of it; making a new one (unshare, clone) is no escape. A \
namespace of which nobody is known is inconclusive. A pod that was given the node's network, pids or ipc works on the node by \
design (CNI agents, `kubectl debug node`): there it is a warning. The runtime's own processes are never judged.

## Why it matters
Namespaces are the wall between a pod and the node. A process that can step over it reads the node's files, sees its network, \
signals its processes: the usual second half of a container escape.

## How to fix it
Find out what ran: pid, command and time are in the finding. Take away what made it possible: `privileged: true`, \
CAP_SYS_ADMIN, the node's /proc or a runtime socket as a volume. If it is an agent's job, ask for the host's namespaces in \
the pod's spec, so that it shows.

## Example
    nsenter left mnt 4026532183 for 4026531841, the host's, by setns

## Source
setns(2); Kubernetes: Pod Security Standards; MITRE ATT&CK T1611, \"Escape to Host\".
",
    needs: &[Kind::Namespace, Kind::Exec, Kind::Fork],
    on: &[On::NamespaceChanged, On::Ended],
    judge,
};

/// Whose a namespace is.
enum Whose {
    Own,
    Host,
    Pod(PodId),
    Nobody,
}

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    match change {
        Change::NamespaceChanged {
            process,
            call: NamespaceCall::Setns,
            flags,
            errno: 0,
            before,
            after,
        } => {
            let Some((process, container, pod)) = context.inside(*process) else {
                return;
            };
            if !process.role.is_inside() {
                return;
            }
            for (kind, from, to) in membership::changed(*flags, before, after) {
                let (comm, name) = (process.comm, kind.name());
                let details = |whose: &str| {
                    Details::new(format!(
                        "{comm} left {name} {from} for {to}, {whose}, by setns"
                    ))
                    .expected(name, Value::Text("the pod's, or one made by it".to_owned()))
                    .observed(name, Value::Namespace(to))
                    .evidence(
                        process.executed.unwrap_or(process.forked),
                        origin(process, container),
                    )
                    .evidence(context.now, format!("pid {} called setns", process.id.pid))
                };
                match whose(context, container, pod, kind, to) {
                    Whose::Own => {}
                    Whose::Nobody => {
                        sink.inconclusive(Subject::process(process), || {
                            details("of which nobody is known")
                        });
                    }
                    Whose::Host => sink.fail(Subject::process(process), || {
                        graded(pod, details("the host's"))
                    }),
                    Whose::Pod(other) => sink.fail(Subject::process(process), || {
                        graded(
                            pod,
                            details(&format!("of pod {}", membership::pod_name(context, &other))),
                        )
                    }),
                }
            }
        }
        Change::Ended(process) => membership::pass_at_the_end(context, *process, sink, |lived| {
            format!("no process entered a namespace that is not its pod's in {lived}")
        }),
        _ => {}
    }
}

fn whose(
    context: &Context<'_>,
    container: &Container,
    pod: &Pod,
    kind: NamespaceKind,
    inode: u32,
) -> Whose {
    let is_a_containers = pod
        .sandboxes
        .iter()
        .chain(&pod.containers)
        .filter_map(|container| context.state.containers.get(container)?.namespaces)
        .any(|namespaces| namespaces.get(kind) == inode);
    match context.state.owner_of(inode) {
        _ if is_a_containers => Whose::Own,
        _ if membership::is_hosts(context, container, kind, inode) => match pod.modes.get(kind) {
            Mode::Node => Whose::Own,
            _ => Whose::Host,
        },
        Some(owner) if *owner == pod.id => Whose::Own,
        // A number that a pod had which is gone may be anybody's by now.
        Some(owner) if context.state.is_held_by(owner, inode) => Whose::Pod(owner.clone()),
        _ => Whose::Nobody,
    }
}

fn graded(pod: &Pod, details: Details) -> Details {
    if membership::is_node_agent(pod) {
        details.milder(Severity::Warning)
    } else {
        details
    }
}

fn origin(process: &Process, container: &Container) -> String {
    let pid = process.id.pid;
    match process.executed {
        Some(_) => format!(
            "pid {pid} executed {} in container {}",
            process.executable(),
            container.name
        ),
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
    fn a_pod_that_stays_at_home_passes_at_its_end() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.end(init, WaitStatus::exited(0));
        scene.expect("PT109", &[Outcome::Pass]);
    }

    #[test]
    fn the_hosts_mounts_are_an_escape() {
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
            verdict.details.message.contains("the host's"),
            "{}",
            verdict.details.message
        );
        assert_eq!(
            verdict.details.observed,
            [("mnt", Value::Namespace(HOST.mnt))]
        );
    }

    #[test]
    fn the_hosts_pids_show_in_the_children() {
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
    fn another_pods_network_is_an_escape() {
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
    fn what_the_pod_made_may_be_entered_by_all_of_it() {
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
    fn another_containers_mounts_in_the_same_pod_are_no_escape() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        let first = scene.container("p", "a");
        let mnt = scene.namespaces(first).mnt;
        let second = scene.container("p", "b");
        scene.change_namespaces(second, NamespaceCall::Setns, MNT, 0, |ns| ns.mnt = mnt);
        scene.expect("PT109", &[]);
    }

    #[test]
    fn a_namespace_that_nobody_is_known_of_is_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.change_namespaces(init, NamespaceCall::Setns, NET, 0, |ns| ns.net = 77);
        scene.expect("PT109", &[Outcome::Inconclusive]);
    }

    #[test]
    fn a_number_that_a_dead_pod_had_is_not_that_pods() {
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
    fn a_node_agents_hop_is_a_warning_and_its_own_host_network_is_home() {
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
    fn the_runtimes_tree_hops_and_refused_calls_stay_home() {
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
    fn a_thread_that_hops_does_not_take_its_process_along() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let home = scene.namespaces(pause).net;
        let init = scene.container("p", "a");
        scene.change_thread(init, NamespaceCall::Unshare, NET, |ns| ns.net = 77);
        // Were the process thought to be in 77 now, this would be a change of its network.
        scene.change_thread(init, NamespaceCall::Unshare, MNT, |ns| ns.mnt = 78);
        scene.change_thread(init, NamespaceCall::Setns, NET, |ns| ns.net = home);
        scene.end(init, WaitStatus::exited(0));
        scene.expect("PT109", &[Outcome::Pass]);
        scene.expect("PT108", &[Outcome::Fail]);
    }
}
