//! PT113: a pod's network is ready when its first container executes.

use super::membership;
use crate::rules::{ending, prelude::*};

pub(super) const RULE: Rule = Rule {
    id: "PT113",
    name: "network-ready",
    severity: Severity::Error,
    summary: "a container executes before its pod's net namespace has loopback up and an address",
    doc: "\
## What it checks
Looked at from inside when a pod's first container has executed, or before, the pod's net namespace has its loopback \
interface up and an address other than loopback's. Pods in the node's network are not asked. A look before the first \
container executes proves readiness, never the lack of it; a loss of the address later is not this rule's. A container that is \
in another net namespace than its sandbox says nothing of the pod's (see PT101).

## Why it matters
The CNI plugins run before any container, and programs rely on it: they resolve names, bind their pod's address, register \
themselves in their first milliseconds. Without loopback not even `localhost` works; without an address the pod is unreachable \
for good, since nobody configures it again.

## How to fix it
`nsenter -t PID -n ip address` shows what is there. Look for errors of the CNI plugins in the runtime's log, and for a missing \
`loopback` plugin in /opt/cni/bin.

## Example
    the network was not ready 3.1 ms after the first container executed: lo is down, no address

## Source
CNI specification; Kubernetes: \"Network Plugins\", loopback CNI; CRI `RunPodSandbox`, which returns when the sandbox is ready.
",
    needs: &[Kind::Exec],
    on: &[On::Executed, On::Observed],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    match change {
        Change::Executed(id) => {
            let Some((_, _, pod)) = membership::first_exec(context, *id, Role::Init) else {
                return;
            };
            let (Some(ready), Some(first)) = (pod.network_ready, first_container(context, pod))
            else {
                return;
            };
            if has_own_network(pod) && ready <= first {
                sink.pass(Subject::pod(&pod.id), || {
                    let early = Duration(first - ready);
                    Details::new(format!(
                        "the network was seen ready {early} before the first container executed"
                    ))
                    .observed("ready before", Value::Duration(early.0))
                    .evidence(ready, "loopback up, and an address")
                    .evidence(first, "the first container executed")
                });
            }
        }
        Change::Observed(observation) if observation.what == Observed::NetworkReady => {
            observed(context, observation, sink);
        }
        _ => {}
    }
}

fn observed(context: &Context<'_>, observation: &Observation, sink: &mut Sink<'_>) {
    let Some(pod) = context.state.pods.get(&observation.pod) else {
        return;
    };
    let Some(first) = first_container(context, pod) else {
        return;
    };
    if !has_own_network(pod) || !is_in_the_pods_network(context, pod, &observation.container) {
        return;
    }
    let Observation { holds, detail, .. } = observation;
    let late = Duration(context.now.saturating_sub(first));
    let details = |message: String| {
        Details::new(message)
            .observed("network", Value::Text(detail.to_string()))
            .observed("looked after", Value::Duration(late.0))
            .evidence(first, "the first container executed")
            .evidence(context.now, format!("seen from inside: {detail}"))
    };
    if *holds {
        sink.pass(Subject::pod(&pod.id), || {
            details(format!(
                "the network was ready {late} after the first container executed: {detail}"
            ))
        });
    } else if pod.network_ready.is_none() && pod.stopping.is_none() && pod.removed.is_none() {
        sink.fail(Subject::pod(&pod.id), || {
            details(format!(
                "the network was not ready {late} after the first container executed: {detail}"
            ))
            .expected(
                "network",
                Value::Text("loopback up, and an address".to_owned()),
            )
        });
    }
}

fn has_own_network(pod: &Pod) -> bool {
    pod.modes.net != Mode::Node
}

/// When the pod's first container (not its sandbox) executed.
fn first_container(context: &Context<'_>, pod: &Pod) -> Option<Ktime> {
    pod.containers
        .iter()
        .filter_map(|container| context.state.containers.get(container)?.started)
        .min()
}

/// Whether what is seen from inside this container is the pod's network, as far as is known.
fn is_in_the_pods_network(context: &Context<'_>, pod: &Pod, container: &ContainerId) -> bool {
    let net = |container: &Container| container.namespaces.map(|namespaces| namespaces.net);
    let seen = context.state.containers.get(container).and_then(net);
    let held = context
        .state
        .containers
        .get(container)
        .and_then(|container| ending::sandbox_for(context.state, container, pod))
        .and_then(net);
    seen.zip(held).is_none_or(|(seen, held)| seen == held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    const READY: Observed = Observed::NetworkReady;

    #[test]
    fn a_network_that_is_seen_ready_from_the_first_container_passes() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.wait_ms(3);
        scene.observe("p", "a", READY, true, "10.88.0.2");
        let [verdict] = &scene.expect("PT113", &[Outcome::Pass])[..] else {
            panic!("one verdict")
        };
        assert!(
            verdict.details.message.contains("3.0 ms after"),
            "{}",
            verdict.details.message
        );
    }

    #[test]
    fn a_network_that_was_ready_before_passes_at_the_first_exec() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.observe("p", "sandbox", READY, false, "lo is down");
        scene.observe("p", "sandbox", READY, true, "10.88.0.2");
        scene.expect("PT113", &[]);
        scene.container("p", "a");
        scene.container("p", "b");
        scene.expect("PT113", &[Outcome::Pass]);
    }

    #[test]
    fn a_container_that_finds_no_network_fails() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.observe("p", "a", READY, false, "lo is down, no address");
        scene.observe("p", "a", READY, true, "10.88.0.2");
        let verdicts = scene.expect("PT113", &[Outcome::Fail]);
        assert!(
            verdicts[0].details.message.contains("lo is down"),
            "{}",
            verdicts[0].details.message
        );
    }

    #[test]
    fn a_network_that_is_lost_later_or_taken_down_is_another_matter() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.observe("p", "a", READY, true, "10.88.0.2");
        scene.observe("p", "a", READY, false, "no address");
        scene.expect("PT113", &[Outcome::Pass]);

        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.stop_pod("p", 1_000);
        scene.observe("p", "a", READY, false, "no address");
        scene.expect("PT113", &[]);
    }

    #[test]
    fn the_nodes_network_is_not_asked() {
        let mut scene = Scene::new();
        scene.pod_with(
            "p",
            Modes {
                net: Mode::Node,
                uts: Mode::Node,
                ..Modes::plain()
            },
            |_| {},
        );
        scene.container("p", "a");
        scene.observe("p", "a", READY, false, "no address");
        scene.expect("PT113", &[]);
    }

    #[test]
    fn a_container_in_another_network_is_pt101s() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container_with("p", "a", Modes::plain(), |ns| ns.net = 77);
        scene.observe("p", "a", READY, false, "lo is down");
        scene.expect("PT113", &[]);
        scene.expect("PT101", &[Outcome::Fail]);
    }
}
