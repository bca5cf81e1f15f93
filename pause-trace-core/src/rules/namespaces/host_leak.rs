//! PT105: no sandbox sits in a host namespace that its pod did not ask for.

use super::membership::{self, Expected};
use crate::rules::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "PT105",
    name: "host-leak",
    severity: Severity::Error,
    summary: "a sandbox, or a container without one, sits in a host namespace that its pod did not ask for",
    doc: "\
## What it checks
When a pause executes, its net, ipc and uts namespaces must not be the host's unless the pod asked for that (`hostNetwork`, \
`hostIPC`). A container is judged here only where its sandbox is not known: with one, a container in a host namespace is \
reported by the namespace's own rule (PT101 to PT104), the user namespace by PT106, the mount namespace by PT107, a sandbox \
in the host's pid namespace by PT104. So a leak is one error, said of whoever leaks.

## Why it matters
Containers that join such a sandbox agree with it, so nothing looks amiss from inside: the pod simply has the node's \
addresses and ports, its shared memory, its host name. It can listen on the node's loopback, where unauthenticated \
services live, and no network policy applies to it.

## How to fix it
Look at `linux.namespaces` in the *sandbox's* OCI bundle: net, ipc and uts must be listed, and a path must not lead to the \
node's namespace (`stat -L` of the path against `/proc/1/ns/…`). Look for a runtime setting that turns isolation off.

## Example
    expected net other than the host's, observed 4026531840 (the host's)

## Source
CRI `NamespaceOption`; Kubernetes: Pod Security Standards, \"Host Namespaces\"; pelagos#332.
",
    needs: &[Kind::Exec, Kind::Fork, Kind::CgroupAttach],
    on: &[On::Executed],
    judge,
};

/// Those that a sandbox shares with its containers. Its pid namespace is judged by PT104, its user namespace by PT106.
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
            Details::new("the host's namespaces are not known")
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
                Details::new(format!("none of {} is the host's", names(&private))),
                |details, kind| {
                    details.observed(kind.name(), Value::Namespace(process.namespaces.get(*kind)))
                },
            )
        });
        return;
    }
    let mine: Vec<_> = leaked
        .into_iter()
        .filter(|kind| is_sandbox || is_beyond_compare(context, container, pod, *kind))
        .collect();
    if mine.is_empty() {
        return;
    }
    membership::fail(context, process, container, None, sink, || {
        let message = format!(
            "{} executed in the host's {}, which the pod did not ask for",
            process.comm,
            names(&mine)
        );
        mine.iter().fold(Details::new(message), |details, kind| {
            details
                .expected(kind.name(), Value::Text("not the host's".to_owned()))
                .observed(kind.name(), Value::Namespace(process.namespaces.get(*kind)))
                .with_exec(context, process, *kind, process.namespaces.get(*kind))
        })
    });
}

/// Whether the namespace's own rule can't say more than that: there is no sandbox to compare with.
fn is_beyond_compare(
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

fn names(kinds: &[NamespaceKind]) -> String {
    kinds
        .iter()
        .map(|kind| kind.name())
        .collect::<Vec<_>>()
        .join(", ")
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
    fn a_sandbox_in_the_hosts_network_is_said_once_and_by_this_rule_alone() {
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
    fn what_was_asked_for_is_no_leak() {
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
    fn a_container_that_leaks_beside_a_good_sandbox_is_the_namespaces_rules_business() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container_with("p", "a", Modes::plain(), |ns| ns.net = HOST.net);
        scene.expect("PT105", &[Outcome::Pass]);
        scene.expect("PT101", &[Outcome::Fail]);
    }

    #[test]
    fn without_a_sandbox_a_host_namespace_is_a_leak_all_the_same() {
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
    fn a_pod_that_asked_for_everything_has_nothing_to_prove() {
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
