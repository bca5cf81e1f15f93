//! PT110: only processes of the pod and the runtime join the pod's namespaces.

use super::{doors, membership};
use crate::{
    rules::{ending, prelude::*},
    state::{Door, Doubt},
};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT110",
        name: "foreign-join",
        severity: Severity::Warning,
        summary: "a process outside the pod and the runtime enters the pod's namespaces",
        doc: "\
## What it checks
Only processes of the pod and of the container runtime should join (setns) a pod's namespaces. \
This rule reports any other process: a process of another pod as a warning, and a process of the \
node (an administrator's `nsenter`, a monitoring agent, a pod with host namespaces) or a thread \
that is not the first one of its process as an info. It reports a join only if a process of the \
pod lives in that namespace. What PT109 says of calls that no hook sees, and of threads that \
execute or fork, holds here for the processes of other pods. A process of the node is watched only \
from a call that was seen.

## Why it matters
A process in a pod's network namespace can capture its traffic and use its address. A process in \
its ipc or pid namespace may access its shared memory and its processes. This is often intended, \
but should be known.

## How to fix it
If the process is known, nothing needs to be fixed. Otherwise find out what it is and who started \
it: the finding has its pid, command and time.

## Example
    tcpdump (pid 9120) entered net namespace 4026532179 of pod default/web by setns

## Source
setns(2); nsenter(1).
",
        needs: &[Kind::Namespace, Kind::Exec, Kind::Fork, Kind::Exit],
    },
    on: &[On::NamespaceChanged, On::PodRemoved],
    judge,
};

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
            ..
        } if door.enters() => {
            let Some(visitor) = context.state.processes.get(*process) else {
                return;
            };
            if context.state.is_proven_runtime(*process) {
                return;
            }
            for (kind, from, to) in membership::changed(*flags, before, after) {
                let Some(pod) = context.state.owner_of(to) else {
                    continue;
                };
                if visitor.pod.as_ref() != Some(pod) && context.state.is_held_by(pod, to) {
                    let host = context.state.inits_of(pod).next();
                    let doubt = context.state.standing(*process, host).1;
                    let visitor = (visitor, *thread, doubt);
                    fail(context, visitor, door, pod, (kind, from, to), sink);
                }
            }
        }
        Change::PodRemoved(id) => {
            let Some(pod) = context.state.pods.get(id) else {
                return;
            };
            sink.pass(Subject::pod(id), || {
                let lived = Duration(context.now.saturating_sub(pod.declared));
                Details::new(format!(
                    "no process outside the pod and the runtime was seen to enter the pod's namespaces in {lived}"
                ))
                .observed("watched for", Value::Duration(lived.0))
            });
        }
        _ => {}
    }
}

fn fail(
    context: &Context<'_>,
    (visitor, thread, doubt): (&Process, Option<u32>, Option<Doubt>),
    door: &Door,
    pod: &PodId,
    (kind, from, to): (NamespaceKind, u32, u32),
    sink: &mut Sink<'_>,
) {
    let Process {
        id, ns_pid, comm, ..
    } = *visitor;
    let subject = Subject {
        pod: Some(pod.clone()),
        container: None,
        process: Some(ProcessRef { id, ns_pid, comm }),
        thread,
    };
    let details = || {
        let (name, pid) = (kind.name(), id.pid);
        let home = visitor.pod.as_ref();
        let outsider = context
            .state
            .outsider(id)
            .filter(|outsider| home.is_none() && outsider.comm == comm);
        let from_where = match (home, outsider) {
            (Some(home), _) => format!(" of pod {}", membership::pod_name(context, home)),
            (None, Some(outsider)) => outsider.to_string(),
            (None, None) => String::new(),
        };
        let of_process = match thread {
            Some(thread) => format!("thread {thread} of "),
            None => String::new(),
        };
        let doors::Words { verb, by, was } = doors::words(visitor, thread, door, from);
        let details = Details::new(format!(
            "{of_process}{comm} (pid {pid}{from_where}) {verb} {name} namespace {to} of pod {} {by}",
            membership::pod_name(context, pod)
        ))
        .expected(
            name,
            Value::Text("entered by runtime and pod only".to_owned()),
        )
        .observed(name, Value::Namespace(to));
        let caller = membership::short_caller(visitor, thread);
        let details = match (door, thread) {
            (Door::Call(_), Some(_)) => details.evidence(
                context.now,
                format!("{caller} entered {name} namespace {to}; {was}"),
            ),
            (Door::Call(_), None) => details.evidence(
                context.now,
                format!("{caller} left {name} namespace {from} for {to}"),
            ),
            _ => doors::with_evidence(details, context, (visitor, thread), door, (kind, to)),
        };
        let details = membership::milder_for(thread, details);
        match home.map(|home| context.state.pods.get(home)) {
            Some(home) if !home.is_some_and(membership::is_node_agent) => details,
            _ => details.milder(Severity::Info),
        }
    };
    match visitor.pod {
        None if let Some(doubt) = doubt => sink.inconclusive(subject, || {
            let details = details();
            let (message, why) = (&details.message, doubt.why());
            let message = format!("{message}; it is perhaps the runtime, because {why}");
            Details { message, ..details }
        }),
        Some(_) => sink.fail(subject, details),
        // If records were lost, the process may be the runtime's. Exits do not say whose it is.
        None => {
            let kinds = [Kind::Namespace, Kind::Exec, Kind::Fork];
            ending::fail_unless_gap_of(context, &kinds, 0, sink, subject, details);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    const NET: u64 = NamespaceKind::Net.flag();

    #[test]
    fn a_pod_without_visitors_passes_when_it_is_removed() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.session_with(init, |_| {});
        scene.remove_pod("p");
        scene.expect("PT110", &[Outcome::Pass]);
    }

    #[test]
    fn a_visitor_from_the_node_is_reported_once_as_an_info() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let Namespaces { net, ipc, .. } = scene.namespaces(pause);
        let visitor = scene.fork(scene.stranger);
        scene.change_namespaces(visitor, NamespaceCall::Setns, NET, 0, |ns| ns.net = net);
        scene.change_namespaces(visitor, NamespaceCall::Setns, 0, 0, |ns| ns.ipc = ipc);
        scene.remove_pod("p");
        let [verdict] = &scene.expect("PT110", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Info);
        assert_eq!(
            verdict.subject.process.map(|process| process.id),
            Some(visitor)
        );
        assert_eq!(verdict.subject.pod.as_deref(), Some("p"));
    }

    #[test]
    fn a_visitor_without_earlier_records_is_reported() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let pid = scene.namespaces(pause).pid;
        let stranger = scene.stranger;
        scene.change_namespaces(stranger, NamespaceCall::Setns, 0, 0, |ns| {
            ns.pid_children = pid
        });
        scene.expect("PT110", &[Outcome::Fail]);
    }

    #[test]
    fn another_pods_process_is_a_warning_for_the_pod_it_visits() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let net = scene.namespaces(pause).net;
        scene.pod("q");
        let intruder = scene.container("q", "x");
        scene.change_namespaces(intruder, NamespaceCall::Setns, NET, 0, |ns| ns.net = net);
        let [verdict] = &scene.expect("PT110", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Warning);
        assert_eq!(verdict.subject.pod.as_deref(), Some("p"));
        assert!(
            verdict.details.message.contains("of pod default/q"),
            "{}",
            verdict.details.message
        );
    }

    #[test]
    fn a_visitor_from_the_node_is_named_with_its_parent_and_command_line() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let net = scene.namespaces(pause).net;
        let visitor = scene.stranger;
        scene.outsider(visitor, "ip netns exec x tcpdump");
        scene.change_namespaces(visitor, NamespaceCall::Setns, NET, 0, |ns| ns.net = net);
        let [verdict] = &scene.expect("PT110", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(
            verdict.details.message,
            format!(
                "stranger (pid 200, child of script.sh (pid 199), command \"ip netns exec x \
                 tcpdump\") entered net namespace {net} of pod default/p by setns"
            )
        );
    }

    #[test]
    fn a_thread_of_another_pods_process_is_an_info() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let net = scene.namespaces(pause).net;
        scene.pod("q");
        let agent = scene.container("q", "x");
        scene.change_thread(agent, NamespaceCall::Setns, NET, |ns| ns.net = net);
        let [verdict] = &scene.expect("PT110", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Info);
        let thread = verdict.subject.thread.expect("the thread");
        let message = &verdict.details.message;
        let of = format!("thread {thread} of x (pid {} of pod default/q)", agent.pid);
        assert!(message.starts_with(&of), "{message}");
    }

    #[test]
    fn a_node_agents_pod_is_an_info() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let net = scene.namespaces(pause).net;
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
        scene.change_thread(agent, NamespaceCall::Setns, NET, |ns| ns.net = net);
        let [verdict] = &scene.expect("PT110", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Info);
    }

    #[test]
    fn joins_by_the_runtime_and_the_pod_are_not_reported() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let net = scene.namespaces(pause).net;
        let init = scene.container("p", "a");
        let plugin = scene.fork(scene.runtime);
        scene.change_namespaces(plugin, NamespaceCall::Setns, NET, 0, |ns| ns.net = net);
        scene.change_namespaces(init, NamespaceCall::Unshare, NET, 0, |ns| ns.net = 77);
        scene.change_namespaces(init, NamespaceCall::Setns, NET, 0, |ns| ns.net = net);
        scene.expect("PT110", &[]);
    }

    #[test]
    fn a_reused_inode_number_is_not_the_dead_pods_namespace() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let net = scene.namespaces(pause).net;
        scene.end(pause, WaitStatus::exited(0));
        let stranger = scene.stranger;
        scene.change_namespaces(stranger, NamespaceCall::Unshare, NET, 0, |ns| ns.net = net);
        let other = scene.fork(scene.runtime);
        let visitor = scene.fork(scene.stranger);
        scene.change_namespaces(other, NamespaceCall::Setns, NET, 0, |ns| ns.net = net);
        scene.change_namespaces(visitor, NamespaceCall::Setns, NET, 0, |ns| {
            ns.net = HOST.net
        });
        scene.expect("PT110", &[]);
    }
}
