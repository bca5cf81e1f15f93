//! PT105: no sandbox runs in a host namespace that its pod does not request.

use super::membership::{self, Expected};
use crate::rules::prelude::*;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT105",
        name: "host-leak",
        severity: Severity::Error,
        summary: "a sandbox, or a container without one, runs in a host namespace that its pod does not request",
        doc: "\
## What it checks
When a pause executes, its net, ipc and uts namespaces must differ from the host's, unless the pod \
requests the host's (`hostNetwork`, `hostIPC`). A container passes if it is in no host namespace \
that its pod does not request. If it is in one, this rule reports it only if its sandbox is \
unknown. With a known sandbox, other rules report it: PT101 to PT104 for net, ipc, uts and pid, \
PT106 for user, PT107 for mount. PT104 also reports a sandbox in the host's pid namespace. So each \
leak is one error, reported for the process that caused it.

## Why it matters
Containers that join such a sandbox have the same namespaces as their pause, so from inside the \
pod nothing looks wrong. But the pod has the node's addresses and ports, shared memory, or host \
name. It can reach unauthenticated services on the node's loopback interface, and network policies \
do not apply to it.

## How to fix it
See `linux.namespaces` in the sandbox's OCI bundle: net, ipc and uts must be listed, and a path \
must not refer to the node's namespace (compare `stat -L` of the path with `/proc/1/ns/…`). Look \
for a runtime setting that disables isolation.

## Example
    pause executed in the host's net namespace, which the pod does not request

## Source
CRI `NamespaceOption`; Kubernetes: Pod Security Standards, \"Host Namespaces\"; pelagos#332.
",
        needs: &[Kind::Exec, Kind::Fork, Kind::CgroupAttach],
    },
    on: &[On::Executed],
    judge,
};

/// Namespaces that a sandbox shares with its containers. PT104 judges its pid namespace, PT106 its
/// user namespace.
const OF_SANDBOX: &[NamespaceKind] = &[NamespaceKind::Net, NamespaceKind::Ipc, NamespaceKind::Uts];
const OF_CONTAINER: &[NamespaceKind] = &[
    NamespaceKind::Net,
    NamespaceKind::Ipc,
    NamespaceKind::Uts,
    NamespaceKind::Pid,
];

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::Executed(id) = change else { return };
    let Some((process, container, pod)) = membership::first_exec(context, *id, Role::Pause)
        .or_else(|| membership::first_exec(context, *id, Role::Init))
    else {
        return;
    };
    let is_sandbox = container.what == ContainerKind::Sandbox;
    let kinds = if is_sandbox { OF_SANDBOX } else { OF_CONTAINER };
    let private: Vec<_> = kinds
        .iter()
        .copied()
        .filter(|kind| *membership::mode(container, pod, *kind) != Mode::Node)
        .collect();
    if private.is_empty() {
        return;
    }
    if context.state.host == Namespaces::default() {
        sink.inconclusive(Subject::process(process), || {
            Details::new("the host's namespaces are unknown")
        });
        return;
    }
    let leaked: Vec<_> = private
        .iter()
        .copied()
        .filter(|kind| {
            membership::is_hosts(context, container, *kind, process.namespaces.get(*kind))
        })
        .collect();
    if leaked.is_empty() {
        sink.pass(Subject::process(process), || {
            private.iter().fold(
                Details::new(format!(
                    "{} is not in the host's {}",
                    process.comm,
                    names(&private)
                )),
                |details, kind| {
                    details.observed(kind.name(), Value::Namespace(process.namespaces.get(*kind)))
                },
            )
        });
        return;
    }
    let reported: Vec<_> = leaked
        .into_iter()
        .filter(|kind| is_sandbox || has_no_reference(context, container, pod, *kind))
        .collect();
    if reported.is_empty() {
        return;
    }
    membership::fail(context, process, container, None, sink, || {
        let message = format!(
            "{} {} in the host's {}, which the pod does not request",
            process.comm,
            process.is_or_executed(),
            names(&reported)
        );
        reported
            .iter()
            .fold(Details::new(message), |details, kind| {
                details
                    .expected(kind.name(), Value::Text("not the host's".to_owned()))
                    .observed(kind.name(), Value::Namespace(process.namespaces.get(*kind)))
                    .with_exec(context, process, *kind, process.namespaces.get(*kind))
            })
    });
}

/// Whether there is no sandbox to compare with, so that the namespace's own rule is inconclusive.
fn has_no_reference(
    context: &Context<'_>,
    container: &Container,
    pod: &Pod,
    kind: NamespaceKind,
) -> bool {
    *membership::mode(container, pod, kind) == Mode::Pod
        && matches!(
            membership::expected(context, container, pod, kind),
            Expected::Unknown(_)
        )
}

/// `net namespace`, `net, ipc namespaces`.
fn names(kinds: &[NamespaceKind]) -> String {
    let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    match names[..] {
        [name] => format!("{name} namespace"),
        _ => format!("{} namespaces", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn a_plain_pod_passes() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.expect("PT105", &[Outcome::Pass, Outcome::Pass]);
    }

    #[test]
    fn a_sandbox_in_the_hosts_network_is_reported_once_and_by_this_rule_only() {
        let mut scene = Scene::new();
        scene.pod_with("p", Modes::plain(), |ns| ns.net = HOST.net);
        scene.container("p", "a");
        let [verdict] = &scene.expect("PT105", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(
            verdict.details.observed,
            [("net", Value::Namespace(HOST.net))]
        );
        scene.expect("PT101", &[Outcome::Inconclusive]);
    }

    #[test]
    fn requested_host_namespaces_pass() {
        let mut scene = Scene::new();
        let modes = Modes {
            net: Mode::Node,
            uts: Mode::Node,
            pid: Mode::Node,
            ..Modes::plain()
        };
        scene.pod_with("p", modes, |_| {});
        scene.container("p", "a");
        scene.expect("PT105", &[Outcome::Pass, Outcome::Pass]);
    }

    #[test]
    fn a_container_with_a_correct_sandbox_is_left_to_the_namespaces_rule() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container_with("p", "a", Modes::plain(), |ns| ns.net = HOST.net);
        scene.expect("PT105", &[Outcome::Pass]);
        scene.expect("PT101", &[Outcome::Fail]);
    }

    #[test]
    fn without_a_sandbox_a_host_namespace_fails() {
        let mut scene = Scene::new();
        scene.declare_pod("p", &Modes::plain());
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
        let namespaces = Namespaces {
            ipc: 71,
            uts: 72,
            pid: 73,
            mnt: 74,
            pid_level: 1,
            ..HOST
        };
        let init = scene.enter(scene.runtime, cgroup, namespaces, 1, "a");
        scene.exec(init);
        scene.expect("PT105", &[Outcome::Fail]);
        scene.expect("PT101", &[]);
        scene.end(init, WaitStatus::exited(0));
        scene.expect("PT101", &[Outcome::Inconclusive]);
    }

    #[test]
    fn a_pod_that_requests_all_host_namespaces_is_not_judged() {
        let mut scene = Scene::new();
        let modes = Modes {
            net: Mode::Node,
            ipc: Mode::Node,
            uts: Mode::Node,
            pid: Mode::Node,
            user: Mode::Node,
        };
        scene.pod_with("p", modes, |_| {});
        scene.container("p", "a");
        scene.expect("PT105", &[]);
    }

    #[test]
    fn an_unknown_host_is_inconclusive() {
        let mut scene = Scene::new();
        scene
            .events
            .retain(|event| !matches!(event.fact, Fact::Host { .. }));
        scene.pod("p");
        scene.expect("PT105", &[Outcome::Inconclusive]);
    }
}
