//! PT106: a pod with a user namespace of its own has only that one, and it owns the network
//! namespace.

use super::membership::{self, Expected, Holder};
use crate::rules::prelude::*;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT106",
        name: "user-owned",
        severity: Severity::Error,
        summary: "in a pod with its own user namespace, a container or the net namespace belongs to another one",
        doc: "\
## What it checks
For a pod with `hostUsers: false`: the sandbox must execute in a user namespace other than the \
host's, that user namespace must own the pod's net namespace, and each container's entrypoint must \
execute in the same user namespace as the sandbox.

## Why it matters
The owner of a network namespace decides what the pod's root may do with it. If the host's user \
namespace owns it, the pod's root cannot configure its own network: binding low ports, `ping`, \
mounting sysfs and iptables fail with EPERM. If a container runs in the host's user namespace, the \
pod's root is root on the node.

## How to fix it
The runtime must create the net namespace after the user namespace and from within it. Use \
versions that support user namespaces: containerd 2.0, CRI-O 1.25, runc 1.2, crun 1.9 or later. \
Compare `readlink /proc/PID/ns/user` of the pause and the container; `lsns -t net -o \
NS,PID,USER,PNS,ONS` shows the owner.

## Example
    net namespace 4026532179 is owned by user namespace 4026531837 of the host instead of \
4026532170 of the pod

## Source
Kubernetes: \"User Namespaces\" (KEP-127); user_namespaces(7), \"Interaction of user namespaces \
and other types\"; runc#5309, containerd#6908.
",
        needs: &[Kind::Exec, Kind::Fork, Kind::Exit, Kind::CgroupAttach],
    },
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
        // There is no sandbox to compare with, so its container must fulfil what holds for a
        // sandbox.
        judge_holder(context, init, container, pod, sink);
    }
    membership::judge(context, change, USER, sink);
}

/// Judges the holder of the pod's namespaces: its user namespace must be the pod's own, and must
/// own the net namespace.
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
    if let Some(Holder { name, since }) = membership::holder(context, container, USER, user) {
        membership::fail(context, process, container, since, sink, || {
            details(format!(
                "{comm} {} in user namespace {user} of {name} instead of in one of the pod's own",
                process.is_or_executed()
            ))
            .expected("user", Value::Text("the pod's own".to_owned()))
        });
        return;
    }
    if context.state.host.user == 0 {
        sink.inconclusive(subject(), || {
            details("the host's namespaces are unknown".to_owned())
        });
        return;
    }
    // The host's user namespace owns the host's network. PT105 and PT101 report a wrong net
    // namespace.
    if pod.modes.net == Mode::Node
        || membership::is_hosts(context, container, NamespaceKind::Net, net)
    {
        sink.pass(subject(), || {
            details(format!(
                "user namespace {user} is the pod's own; its network is the host's"
            ))
        });
    } else if net_owner == 0 {
        sink.inconclusive(subject(), || {
            details(format!("the owner of net namespace {net} is unknown"))
        });
    } else if net_owner == user {
        sink.pass(subject(), || {
            details(format!(
                "user namespace {user} is the pod's own and owns net namespace {net}"
            ))
        });
    } else {
        let of_host = if net_owner == context.state.host.user {
            " of the host"
        } else {
            ""
        };
        membership::fail(context, process, container, None, sink, || {
            details(format!(
                "net namespace {net} is owned by user namespace {net_owner}{of_host} instead of {user} of the pod"
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
    fn a_pod_with_its_own_user_namespace_passes() {
        let mut scene = Scene::new();
        scene.pod_with("p", namespaced(), |_| {});
        scene.container("p", "a");
        let verdicts = scene.expect("PT106", &[Outcome::Pass, Outcome::Pass]);
        assert!(
            verdicts[0].details.message.contains("owns net namespace"),
            "{}",
            verdicts[0].details.message
        );
    }

    #[test]
    fn a_pod_with_the_nodes_user_namespace_is_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.expect("PT106", &[]);
    }

    #[test]
    fn a_net_namespace_created_before_the_user_namespace_fails() {
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
            verdicts[0].details.message.contains("of the host"),
            "{}",
            verdicts[0].details.message
        );
    }

    #[test]
    fn a_sandbox_in_the_hosts_user_namespace_fails_once() {
        let mut scene = Scene::new();
        scene.pod_with("p", namespaced(), |ns| {
            (ns.user, ns.net_owner) = (HOST.user, HOST.user)
        });
        scene.container("p", "a");
        scene.expect("PT106", &[Outcome::Fail, Outcome::Inconclusive]);
    }

    #[test]
    fn a_container_in_another_user_namespace_fails() {
        let mut scene = Scene::new();
        scene.pod_with("p", namespaced(), |_| {});
        scene.container_with("p", "a", namespaced(), |ns| ns.user = HOST.user);
        let verdicts = scene.expect("PT106", &[Outcome::Pass, Outcome::Fail]);
        assert!(
            verdicts[1].details.message.contains("of the host"),
            "{}",
            verdicts[1].details.message
        );
    }

    #[test]
    fn the_nodes_network_may_be_owned_by_the_nodes_user_namespace() {
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
    fn a_container_in_another_network_is_left_to_pt101() {
        let mut scene = Scene::new();
        scene.pod_with("p", namespaced(), |_| {});
        scene.container_with("p", "a", namespaced(), |ns| {
            (ns.net, ns.net_owner) = (HOST.net, HOST.user)
        });
        scene.expect("PT106", &[Outcome::Pass, Outcome::Pass]);
        scene.expect("PT101", &[Outcome::Fail]);
    }

    #[test]
    fn without_a_sandbox_the_container_is_judged_in_its_place() {
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
