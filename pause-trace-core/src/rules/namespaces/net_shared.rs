//! PT101: a pod's containers share the sandbox's network namespace.

use super::membership;
use crate::rules::prelude::*;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT101",
        name: "net-shared",
        severity: Severity::Error,
        summary: "a pod's container runs in a network namespace that is not the sandbox's",
        doc: "\
## What it checks
When a container's entrypoint executes, its network namespace must be the one that the pod's \
sandbox holds, or the node's for a pod with `hostNetwork`. In the reference pod this rule also \
tests the use of that namespace: a connection over localhost to another container, a port that \
only one container of the pod can bind, and the same addresses in all containers.

## Why it matters
Containers of a pod reach each other over localhost and share one address. A container in another \
network namespace gets \"connection refused\" on localhost, its probes fail, and its Service \
routes to nothing.

## How to fix it
Compare `ls -l /proc/PID/ns/net` of the container and of its pause. The runtime was given a wrong \
or stale path: see `linux.namespaces` in the container's OCI bundle. Delete the pod so that it \
gets a new sandbox.

## Example
    nginx executed in net namespace 4026531840 of the host instead of 4026532179 of the pause (pid \
812)

## Source
Kubernetes: Pods, \"Pod networking\"; CRI `NamespaceOption.network`; containers/podman#12262.
",
        needs: &[Kind::Exec, Kind::Fork, Kind::Exit, Kind::CgroupAttach],
    },
    on: &[On::Executed, On::Ended, On::Observed],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    match change {
        Change::Executed(_) | Change::Ended(_) => {
            membership::judge(context, change, NamespaceKind::Net, sink);
        }
        Change::Observed(observation)
            if matches!(
                observation.what,
                Observed::Localhost | Observed::PortSpace | Observed::Addresses
            ) =>
        {
            if !observation.holds && is_unready(context, &observation.pod) {
                let why = "the test failed, but the pod's network is not ready (see PT113)";
                sink.inconclusive(Subject::pod(&observation.pod), || Details::new(why));
            } else {
                membership::judge_use(context, observation, sink);
            }
        }
        _ => {}
    }
}

/// Whether loopback or the address is missing, so that a failed test does not show whether the
/// namespace is shared.
fn is_unready(context: &Context<'_>, pod: &PodId) -> bool {
    let pod = context.state.pods.get(pod);
    pod.is_some_and(|pod| pod.network_ready.is_none() && pod.network_unready.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn containers_that_joined_pass() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.container("p", "b");
        scene.expect("PT101", &[Outcome::Pass, Outcome::Pass]);
    }

    #[test]
    fn a_container_with_a_namespace_of_its_own_fails() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let init = scene.container_with("p", "a", Modes::plain(), |ns| ns.net = 77);
        let [verdict] = &scene.expect("PT101", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(
            verdict.subject.process.map(|process| process.id),
            Some(init)
        );
        assert_eq!(
            verdict.details.expected,
            [("net", Value::Namespace(scene.namespaces(pause).net))]
        );
        assert_eq!(verdict.details.observed, [("net", Value::Namespace(77))]);
    }

    #[test]
    fn with_two_sandboxes_a_container_is_compared_with_its_own() {
        for (made_for, outcome) in [(0, Outcome::Pass), (1, Outcome::Fail)] {
            let mut scene = Scene::new();
            let first = scene.pod("p");
            let net = scene.namespaces(first).net;
            scene.sandbox("p", |_| {});
            scene.container_with("p", "a", Modes::plain(), |ns| ns.net = net);
            scene.made_for("a", made_for);
            scene.expect("PT101", &[outcome]);
        }
    }

    #[test]
    fn the_hosts_namespace_passes_for_a_host_network_pod() {
        let mut scene = Scene::new();
        scene.pod_with(
            "p",
            Modes {
                net: Mode::Node,
                ..Modes::plain()
            },
            |_| {},
        );
        scene.container("p", "a");
        scene.expect("PT101", &[Outcome::Pass]);
    }

    #[test]
    fn a_failed_test_without_a_network_is_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.observe("p", "a", Observed::NetworkReady, false, "lo is down");
        scene.observe("p", "a", Observed::Localhost, false, "ENETUNREACH");
        scene.expect("PT101", &[Outcome::Pass, Outcome::Inconclusive]);
        scene.expect("PT113", &[Outcome::Fail]);
    }

    #[test]
    fn a_refused_connection_over_localhost_fails() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.observe("p", "a", Observed::Localhost, true, "127.0.0.1:8080");
        scene.observe("p", "a", Observed::Localhost, false, "ECONNREFUSED");
        scene.expect("PT101", &[Outcome::Pass, Outcome::Fail]);
    }

    /// A pod as CRI-O runs it: without a pause, with files that pin the namespaces of its sandbox.
    fn pod_without_pause(net: u32) -> Scene {
        let mut scene = Scene::new();
        let modes = Modes::plain();
        scene.declare_pod("p", &modes);
        scene.declare_container("p", "sandbox", ContainerKind::Sandbox, &modes);
        let cgroup = scene.declare_container("p", "a", ContainerKind::App, &modes);
        let namespaces = Namespaces {
            net,
            pid: 50,
            pid_level: 1,
            ..HOST
        };
        let init = scene.enter(scene.runtime, cgroup, namespaces, 1, "a");
        scene.exec(init);
        let container = scene
            .events
            .iter()
            .find_map(|event| match &event.fact {
                Fact::Container(fact) if fact.what == ContainerKind::Sandbox => {
                    Some(fact.container.clone())
                }
                _ => None,
            })
            .expect("the sandbox was declared");
        scene.push(Fact::SandboxPinned {
            container,
            namespaces: Namespaces {
                net: 70,
                ..Namespaces::default()
            },
        });
        scene.end(init, WaitStatus::exited(0));
        scene
    }

    #[test]
    fn without_a_pause_a_container_is_compared_with_the_pinned_namespace() {
        let [verdict] = &pod_without_pause(70).expect("PT101", &[Outcome::Pass])[..] else {
            panic!("one verdict")
        };
        let message = &verdict.details.message;
        assert!(
            message.ends_with("executed in net namespace 70 pinned for the sandbox"),
            "{message}"
        );
        pod_without_pause(71).expect("PT101", &[Outcome::Fail]);
        pod_without_pause(70).expect("PT201", &[]);
    }
}
