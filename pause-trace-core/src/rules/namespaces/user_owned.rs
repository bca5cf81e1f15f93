//! PT106: a user-namespaced pod has one user namespace, and that owns its network namespace.

use super::membership::{self, Expected, Holder};
use crate::rules::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "PT106",
    name: "user-owned",
    severity: Severity::Error,
    summary: "a user-namespaced pod: a container has another user namespace, or the net namespace is not owned by it",
    doc: "\
## What it checks
Of a pod with `hostUsers: false`: the sandbox executes in a user namespace other than the host's; the pod's net namespace is \
owned by that user namespace; and each container's entrypoint executes in the same user namespace as the sandbox.

## Why it matters
What root of the pod may do to a network namespace depends on who owns it. Owned by the host's user namespace, the pod's \
root has no power over its own network: binding low ports, `ping`, mounting sysfs, iptables all fail with EPERM. In the \
host's user namespace, the pod's root is the node's root: the isolation that was asked for isn't there.

## How to fix it
The net namespace must be made *after* the user namespace and from within it. Runtimes that make it first (the CNI order of \
old) need a version that supports user namespaces: containerd 2.0, CRI-O 1.25, runc 1.2, crun 1.9 or later. Compare \
`readlink /proc/PID/ns/user` of pause and container; `lsns -t net -o NS,PID,USER,PNS,ONS` shows the owner.

## Example
    expected net owner 4026532170 (the pod's user namespace), observed 4026531837 (the host's)

## Source
Kubernetes: \"User Namespaces\" (KEP-127); user_namespaces(7), \"Interaction of user namespaces and other types\"; \
runc#5309, containerd#6908.
",
    needs: &[Kind::Exec, Kind::Fork, Kind::CgroupAttach],
    on: &[On::Executed],
    judge,
};

const USER: NamespaceKind = NamespaceKind::User;

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::Executed(id) = change else { return };
    let Some((_, _, pod)) = context.inside(*id) else {
        return;
    };
    if pod.modes.user != Mode::Pod {
        return;
    }
    if let Some((pause, container, pod)) = membership::first_exec(context, *id, Role::Pause) {
        judge_holder(context, pause, container, pod, sink);
    } else if let Some((init, container, pod)) = membership::first_exec(context, *id, Role::Init)
        && *membership::mode(container, pod, USER) == Mode::Pod
        && let Expected::Unknown(_) = membership::expected(context, container, pod, USER)
    {
        // Nothing to compare with, but what a sandbox would have to be holds for its container too.
        judge_holder(context, init, container, pod, sink);
    }
    membership::judge(context, change, USER, sink);
}

/// Judges who holds the pod's namespaces: a user namespace of the pod's own, and the net namespace made in it.
fn judge_holder(
    context: &Context<'_>,
    process: &Process,
    container: &Container,
    pod: &Pod,
    sink: &mut Sink<'_>,
) {
    let Namespaces {
        user,
        net,
        net_owner,
        ..
    } = process.namespaces;
    let subject = || Subject::process(process);
    let details = |message: String| {
        Details::new(message)
            .observed("user", Value::Namespace(user))
            .observed("net owner", Value::Namespace(net_owner))
            .with_exec(context, process, USER, user)
    };
    let comm = process.comm;
    if let Some(Holder { whose, since }) = membership::holder(context, container, USER, user) {
        membership::fail(context, process, container, since, sink, || {
            details(format!(
                "{comm} executed in user {user}, {whose}, instead of in one of the pod's own"
            ))
            .expected("user", Value::Text("the pod's own".to_owned()))
        });
        return;
    }
    if context.state.host.user == 0 {
        sink.inconclusive(subject(), || {
            details("the host's namespaces are not known".to_owned())
        });
        return;
    }
    // The node's network has the node's owner; and a wrong net namespace is PT105's or PT101's.
    if pod.modes.net == Mode::Node
        || membership::is_hosts(context, container, NamespaceKind::Net, net)
    {
        sink.pass(subject(), || {
            details(format!(
                "user {user} is the pod's own; its network is the host's"
            ))
        });
    } else if net_owner == 0 {
        sink.inconclusive(subject(), || {
            details(format!("the owner of net {net} is not known"))
        });
    } else if net_owner == user {
        sink.pass(subject(), || {
            details(format!("user {user} is the pod's own, and owns net {net}"))
        });
    } else {
        let whose = if net_owner == context.state.host.user {
            ", the host's"
        } else {
            ""
        };
        membership::fail(context, process, container, None, sink, || {
            details(format!(
                "net {net} is owned by user {net_owner}{whose}, not by the pod's, {user}"
            ))
            .expected("net owner", Value::Namespace(user))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    fn namespaced() -> Modes {
        Modes {
            user: Mode::Pod,
            ..Modes::plain()
        }
    }

    #[test]
    fn a_pod_with_users_of_its_own_passes() {
        let mut scene = Scene::new();
        scene.pod_with("p", namespaced(), |_| {});
        scene.container("p", "a");
        let verdicts = scene.expect("PT106", &[Outcome::Pass, Outcome::Pass]);
        assert!(
            verdicts[0].details.message.contains("owns net"),
            "{}",
            verdicts[0].details.message
        );
    }

    #[test]
    fn a_pod_with_the_nodes_users_is_not_asked() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.expect("PT106", &[]);
    }

    #[test]
    fn a_network_made_before_the_users_is_owned_by_the_host() {
        let mut scene = Scene::new();
        let pause = scene.pod_with("p", namespaced(), |ns| ns.net_owner = HOST.user);
        scene.container("p", "a");
        let verdicts = scene.expect("PT106", &[Outcome::Fail, Outcome::Pass]);
        let user = scene.namespaces(pause).user;
        assert_eq!(
            verdicts[0].details.expected,
            [("net owner", Value::Namespace(user))]
        );
        assert!(
            verdicts[0].details.message.contains("the host's"),
            "{}",
            verdicts[0].details.message
        );
    }

    #[test]
    fn a_sandbox_with_the_hosts_users_fails_once() {
        let mut scene = Scene::new();
        scene.pod_with("p", namespaced(), |ns| {
            (ns.user, ns.net_owner) = (HOST.user, HOST.user)
        });
        scene.container("p", "a");
        scene.expect("PT106", &[Outcome::Fail, Outcome::Inconclusive]);
    }

    #[test]
    fn a_container_with_other_users_fails() {
        let mut scene = Scene::new();
        scene.pod_with("p", namespaced(), |_| {});
        scene.container_with("p", "a", namespaced(), |ns| ns.user = HOST.user);
        let verdicts = scene.expect("PT106", &[Outcome::Pass, Outcome::Fail]);
        assert!(
            verdicts[1].details.message.contains("(the host's)"),
            "{}",
            verdicts[1].details.message
        );
    }

    #[test]
    fn the_nodes_network_may_have_the_nodes_owner() {
        let mut scene = Scene::new();
        scene.pod_with(
            "p",
            Modes {
                net: Mode::Node,
                ..namespaced()
            },
            |_| {},
        );
        scene.expect("PT106", &[Outcome::Pass]);
    }

    #[test]
    fn a_container_in_another_network_is_pt101s() {
        let mut scene = Scene::new();
        scene.pod_with("p", namespaced(), |_| {});
        scene.container_with("p", "a", namespaced(), |ns| {
            (ns.net, ns.net_owner) = (HOST.net, HOST.user)
        });
        scene.expect("PT106", &[Outcome::Pass, Outcome::Pass]);
        scene.expect("PT101", &[Outcome::Fail]);
    }

    #[test]
    fn without_a_sandbox_the_container_must_hold_what_it_would() {
        for (net_owner, outcome) in [
            (80, Outcome::Pass),
            (HOST.user, Outcome::Fail),
            (0, Outcome::Inconclusive),
        ] {
            let mut scene = Scene::new();
            scene.declare_pod("p", &namespaced());
            let cgroup = scene.declare_container("p", "a", ContainerKind::App, &namespaced());
            let namespaces = Namespaces {
                user: 80,
                net: 81,
                net_owner,
                ..HOST
            };
            let init = scene.enter(scene.runtime, cgroup, namespaces, 1, "a");
            scene.exec(init);
            scene.expect("PT106", &[outcome]);
        }
    }
}
