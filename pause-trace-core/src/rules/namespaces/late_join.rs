//! PT108: a container stays in the namespaces that it shares with its pod.

use super::{
    doors,
    membership::{self, Expected},
};
use crate::{
    rules::{ending, prelude::*},
    state::{Door, Seen},
};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT108",
        name: "late-join",
        severity: Severity::Warning,
        summary: "a container's process changes a shared namespace after the entrypoint executed",
        doc: "\
## What it checks
After a container's entrypoint has executed, none of its processes may leave a namespace that the \
container shares with its pod, its target or the node (net, ipc, uts, and pid and user where they \
are shared), or join such a namespace late. For the entrypoint or the pause this is a warning. For \
a helper process that creates a new namespace, as the sandboxes of browsers and build tools do, it \
is an info, and so it is for a thread other than the first one, which does not move its process \
until it executes. A child that is cloned into new namespaces counts as such a helper. \
Joining a namespace outside the pod is PT109.

## Why it matters
The runtime sets the namespaces before a container's first instruction. A container that changes \
them later is no longer where its pod, its probes and port-forwards expect it: `kubectl exec` and \
`localhost` may reach different namespaces. Whatever it did before it joined, it did outside the \
pod's namespace.

## How to fix it
Let the runtime join the namespaces. If the program isolates itself on purpose, do that in a child \
process, or turn its sandbox off: the container is already one.

## Example
    nginx (pid 4711) left the shared net namespace 4026532179 for 4026532411 by unshare, 812 ms \
after the container's entrypoint executed

## Source
Kubernetes: Pods, \"Resource sharing and communication\"; setns(2), unshare(2).
",
        needs: &[Kind::Namespace, Kind::Exec, Kind::Fork, Kind::Exit],
    },
    on: &[On::NamespaceChanged, On::Ended],
    judge,
};

/// Kinds of namespaces that a container may share.
const SHARED: [NamespaceKind; 5] = [
    NamespaceKind::Net,
    NamespaceKind::Ipc,
    NamespaceKind::Uts,
    NamespaceKind::Pid,
    NamespaceKind::User,
];

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
        } => {
            let Some((process, container, pod)) = context.inside(*process) else {
                return;
            };
            let Some(started) = container.started.filter(|_| process.role.is_inside()) else {
                return;
            };
            for (kind, from, to) in membership::changed(*flags, before, after) {
                let Some(shared) = shared(context, container, pod, kind) else {
                    continue;
                };
                let who = membership::caller(process, *thread);
                let name = kind.name();
                let doors::Words { verb, by, .. } = doors::words(process, *thread, door, from);
                let is_forked = matches!(
                    door,
                    Door::Cloned | Door::Thread(_, Seen::Fork) | Door::Unseen(Seen::Fork)
                );
                let what = match (from == shared, to == shared) {
                    (true, _) if is_for_pt109(context, container, pod, door, (kind, to)) => {
                        continue;
                    }
                    (true, _) if is_forked => {
                        format!("{who} {verb} {name} namespace {to} instead of the shared {from}")
                    }
                    (true, _) => {
                        format!("{who} left the shared {name} namespace {from} for {to}")
                    }
                    // A thread that has always been there forked the process.
                    (_, true) if is_forked => continue,
                    (_, true) => {
                        format!("{who} left {name} namespace {from} for the shared {to}")
                    }
                    _ => continue,
                };
                let since = process.forked;
                let subject = Subject::thread(process, *thread);
                // Exits only show more of such moves.
                let kinds = [Kind::Namespace, Kind::Exec, Kind::Fork];
                ending::fail_unless_gap_of(context, &kinds, since, sink, subject, || {
                    let after = Duration(context.now.saturating_sub(started));
                    let stays = match thread {
                        Some(_) => format!("; the process stays in {from}"),
                        None => String::new(),
                    };
                    let details = Details::new(format!(
                        "{what} {by}, {after} after the container's entrypoint executed{stays}"
                    ))
                    .expected(name, Value::Namespace(shared))
                    .observed(name, Value::Namespace(to))
                    .evidence(
                        started,
                        format!("the entrypoint of container {} executed", container.name),
                    );
                    let who = (process, *thread);
                    let details = doors::with_evidence(details, context, who, door, (kind, to));
                    let details = membership::milder_for(*thread, details);
                    match process.role {
                        Role::Member | Role::Session => details.milder(Severity::Info),
                        _ => details,
                    }
                });
            }
        }
        Change::Ended(process) => membership::pass_at_the_end(context, *process, sink, |lived| {
            format!("no process was seen to change a shared namespace in {lived}")
        }),
        _ => {}
    }
}

/// The namespace of this kind that a container shares with its pod, target or node.
fn shared(
    context: &Context<'_>,
    container: &Container,
    pod: &Pod,
    kind: NamespaceKind,
) -> Option<u32> {
    let is_shared = match membership::mode(container, pod, kind) {
        Mode::Container | Mode::Unknown => false,
        // A process that leaves the host's user namespace gives up rights, but does not leave the
        // pod.
        Mode::Node => kind != NamespaceKind::User,
        Mode::Pod | Mode::Target(_) => true,
    };
    if !is_shared || !SHARED.contains(&kind) {
        return None;
    }
    match membership::expected(context, container, pod, kind) {
        Expected::Inode(inode, _) => Some(inode),
        // The container is the sandbox, whose namespace its containers share.
        Expected::Own => container.namespaces.map(|namespaces| namespaces.get(kind)),
        Expected::Unknown(_) => None,
    }
}

/// Whether PT109 judges who enters a namespace: one outside the pod. If nobody saw the call and
/// knows the namespace, the process has left the pod's in any case.
fn is_for_pt109(
    context: &Context<'_>,
    container: &Container,
    pod: &Pod,
    door: &Door,
    (kind, to): (NamespaceKind, u32),
) -> bool {
    let owner = context.state.owner_of(to);
    let is_outside = match door {
        Door::Unseen(_) => {
            let is_others = |owner: &PodId| *owner != pod.id && context.state.is_held_by(owner, to);
            membership::is_hosts(context, container, kind, to) || owner.is_some_and(is_others)
        }
        _ => owner != Some(&pod.id),
    };
    door.enters() && is_outside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    const NET: u64 = NamespaceKind::Net.flag();

    #[test]
    fn containers_that_keep_their_namespaces_pass_when_they_end() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let init = scene.container("p", "a");
        scene.wait_ms(1_500);
        scene.end(init, WaitStatus::exited(0));
        scene.end(pause, WaitStatus::exited(0));
        let verdicts = scene.expect("PT108", &[Outcome::Pass, Outcome::Pass]);
        assert!(
            verdicts[0].details.message.contains("in 1.50 s"),
            "{}",
            verdicts[0].details.message
        );
    }

    #[test]
    fn an_entrypoint_that_unshares_the_network_is_a_warning_and_does_not_pass() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.change_namespaces(init, NamespaceCall::Unshare, NET, 0, |ns| ns.net = 77);
        scene.end(init, WaitStatus::exited(0));
        let [verdict] = &scene.expect("PT108", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Warning);
        assert_eq!(verdict.details.observed, [("net", Value::Namespace(77))]);
    }

    #[test]
    fn a_thread_that_unshares_the_network_is_an_info_about_the_thread() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "dockerd");
        let home = scene.namespaces(init).net;
        scene.change_thread(init, NamespaceCall::Unshare, NET, |ns| ns.net = 77);
        let [verdict] = &scene.expect("PT108", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Info);
        let thread = verdict.subject.thread.expect("the thread");
        let Details {
            message, evidence, ..
        } = &verdict.details;
        let pid = init.pid;
        let of = format!("thread {thread} of dockerd (pid {pid}) left the shared net namespace");
        assert!(message.starts_with(&of), "{message}");
        let stays = format!("; the process stays in {home}");
        assert!(message.ends_with(&stays), "{message}");
        let called = format!("thread {thread} of pid {pid} called unshare");
        assert_eq!(evidence[1].what, called);
        // The first thread moves the process, as before, and is not hidden.
        scene.change_namespaces(init, NamespaceCall::Unshare, NET, 0, |ns| ns.net = 78);
        let verdicts = scene.expect("PT108", &[Outcome::Fail; 2]);
        assert_eq!(verdicts[1].severity(), Severity::Warning);
    }

    #[test]
    fn an_entrypoint_that_joins_late_is_a_warning() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let shared = scene.namespaces(pause).net;
        let init = scene.container_with("p", "a", Modes::plain(), |ns| ns.net = 77);
        scene.change_namespaces(init, NamespaceCall::Setns, NET, 0, |ns| ns.net = shared);
        let [verdict] = &scene.expect("PT108", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert!(
            verdict.details.message.contains("for the shared"),
            "{}",
            verdict.details.message
        );
    }

    #[test]
    fn a_helpers_sandbox_is_an_info() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "browser");
        let helper = scene.fork(init);
        let flags = NET | NamespaceKind::User.flag() | NamespaceKind::Pid.flag();
        scene.change_namespaces(helper, NamespaceCall::Unshare, flags, 0, |ns| {
            (ns.net, ns.user, ns.pid_children) = (77, 78, 79);
        });
        let [verdict] = &scene.expect("PT108", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Info);
    }

    #[test]
    fn namespaces_that_are_not_shared_may_change() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        let kinds = [
            NamespaceKind::Mnt,
            NamespaceKind::Pid,
            NamespaceKind::User,
            NamespaceKind::Cgroup,
        ];
        let flags = kinds.iter().fold(0, |flags, kind| flags | kind.flag());
        scene.change_namespaces(init, NamespaceCall::Unshare, flags, 0, |ns| {
            (ns.mnt, ns.pid_children, ns.user, ns.cgroup) = (77, 78, 79, 80);
        });
        scene.expect("PT108", &[]);
    }

    #[test]
    fn leaving_a_shared_pid_namespace_counts_for_the_children() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        let init = scene.container("p", "a");
        let flag = NamespaceKind::Pid.flag();
        scene.change_namespaces(init, NamespaceCall::Unshare, flag, 0, |ns| {
            ns.pid_children = 77
        });
        scene.expect("PT108", &[Outcome::Fail]);
    }

    #[test]
    fn joins_by_the_runtime_and_failed_calls_are_not_judged() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let init = scene.container("p", "a");
        scene.change_namespaces(init, NamespaceCall::Unshare, NET, 1, |_| {});
        let namespaces = scene.namespaces(pause);
        let session = scene.enter(scene.runtime, scene.cgroup(init), HOST, 0, "runc:[1:CHILD]");
        scene.change_namespaces(session, NamespaceCall::Setns, NET, 0, |ns| {
            ns.net = namespaces.net
        });
        scene.expect("PT108", &[]);
    }

    #[test]
    fn joining_a_namespace_outside_the_pod_is_left_to_pt109() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.change_namespaces(init, NamespaceCall::Setns, NET, 0, |ns| ns.net = HOST.net);
        scene.expect("PT108", &[]);
        scene.expect("PT109", &[Outcome::Fail]);
    }
}
