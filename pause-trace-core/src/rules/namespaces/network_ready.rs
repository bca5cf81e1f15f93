//! PT113: a pod's network is ready when its first container executes.

use super::membership;
use crate::rules::{ending, prelude::*};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT113",
        name: "network-ready",
        severity: Severity::Error,
        summary: "a container executes before the pod's network namespace has loopback up and an address",
        doc: "\
## What it checks
When a pod's first container executes, the loopback interface of the pod's network namespace must \
be up, and the namespace must have an address other than loopback's. The state is read from inside \
the namespace. A reading before the first container executes can prove that the network is ready, \
but not that it is not. If the network is first read long after that, because pause-trace started \
late or read it late, a missing address is inconclusive: the pod may have lost it since. Not \
checked: pods in the node's network, an address that is lost later (see PT114), and a container \
that is in another network namespace than its sandbox (see PT101).

## Why it matters
The CNI plugins run before any container, and programs depend on that: in their first milliseconds \
they resolve names, bind the pod's address and register themselves. Without loopback not even \
`localhost` works. Without an address the pod stays unreachable, because nothing configures it \
again.

## How to fix it
`nsenter -t PID -n ip address` shows the interfaces. Look for CNI errors in the runtime's log, and \
for a missing `loopback` plugin in /opt/cni/bin.

## Example
    the pod's network was not ready 3.1 ms after the first container executed: lo is down, no \
address

## Source
CNI specification; Kubernetes: \"Network Plugins\", loopback CNI; CRI `RunPodSandbox`, which \
returns when the sandbox is ready.
",
        needs: &[Kind::Exec],
    },
    on: &[On::Executed, On::Observed],
    judge,
};

/// A look at the network later than this after the first container executed says how the network
/// is, and not how it was when the container executed.
const SOON: Ktime = 10_000_000_000;

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
                        "the pod's network was ready {early} before the first container executed"
                    ))
                    .observed("ready before", Value::Duration(early.0))
                    .evidence(ready, "loopback is up, and there is an address")
                    .evidence(first, "the first container executed")
                });
            }
        }
        Change::Observed(observation) if observation.what == Observed::NetworkReady => {
            judge_observation(context, observation, sink);
        }
        _ => {}
    }
}

fn judge_observation(context: &Context<'_>, observation: &Observation, sink: &mut Sink<'_>) {
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
            .evidence(context.now, format!("read inside the namespace: {detail}"))
    };
    let is_soon = late.0 <= SOON && !is_found(context, pod);
    if *holds {
        sink.pass(Subject::pod(&pod.id), || {
            details(match is_soon {
                true => format!(
                    "the pod's network was ready {late} after the first container executed: {detail}"
                ),
                false => format!(
                    "the pod's network is ready, {late} after its first container started: {detail}"
                ),
            })
        });
    } else if !is_soon && pod.network_ready.is_none() && !is_ending(pod) {
        sink.inconclusive(Subject::pod(&pod.id), || {
            details(format!(
                "the pod's network is not ready now, {late} after its first container started: \
                 {detail}; whether it was ready then was not seen"
            ))
        });
    } else if pod.network_ready.is_none() && !is_ending(pod) {
        sink.fail(Subject::pod(&pod.id), || {
            details(format!(
                "the pod's network was not ready {late} after the first container executed: {detail}"
            ))
            .expected(
                "network",
                Value::Text("loopback up, and an address".to_owned()),
            )
        });
    }
}

pub(super) fn is_ending(pod: &Pod) -> bool {
    pod.stopping.is_some() || pod.removed.is_some()
}

/// Whether one of the pod's containers was found running.
fn is_found(context: &Context<'_>, pod: &Pod) -> bool {
    let containers = pod.containers.iter();
    let inits = containers.filter_map(|id| context.state.containers.get(id)?.init);
    inits
        .filter_map(|init| context.state.processes.get(init))
        .any(|init| init.found)
}

pub(super) fn has_own_network(pod: &Pod) -> bool {
    pod.modes.net != Mode::Node
}

/// When the pod's first container (not its sandbox) executed.
fn first_container(context: &Context<'_>, pod: &Pod) -> Option<Ktime> {
    pod.containers
        .iter()
        .filter_map(|container| context.state.containers.get(container)?.started)
        .min()
}

/// Whether this container is in its sandbox's network namespace; true if either is unknown.
pub(super) fn is_in_the_pods_network(
    context: &Context<'_>,
    pod: &Pod,
    container: &ContainerId,
) -> bool {
    let net = |container: &Container| container.namespaces.map(|namespaces| namespaces.net);
    let own = context.state.containers.get(container).and_then(net);
    let held = context
        .state
        .containers
        .get(container)
        .and_then(|container| ending::sandbox_for(context.state, container, pod))
        .and_then(net);
    own.zip(held).is_none_or(|(own, held)| own == held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    const READY: Observed = Observed::NetworkReady;

    #[test]
    fn a_network_that_is_ready_in_the_first_container_passes() {
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
    fn a_container_without_a_network_fails() {
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
    fn a_network_that_is_lost_later_or_removed_in_a_stop_does_not_fail() {
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
    fn a_network_that_is_missing_long_after_the_start_is_inconclusive() {
        let late = |is_found: bool, ms: u64, holds: bool| {
            let mut scene = Scene::new();
            scene.pod("p");
            scene.container("p", "a");
            scene.wait_ms(ms);
            if is_found {
                scene.attach_late();
            }
            scene.observe("p", "a", READY, holds, "no address");
            scene
        };
        let told = |scene: Scene, outcome: Outcome| {
            let verdicts = scene.expect("PT113", &[outcome]);
            verdicts[0].details.message.clone()
        };
        // Right after the start, and the two ways of being late.
        told(late(false, 9_000, false), Outcome::Fail);
        for (is_found, ms) in [(false, 11_000), (true, 100)] {
            let message = told(late(is_found, ms, false), Outcome::Inconclusive);
            assert!(message.ends_with("was not seen"), "{message}");
            let message = told(late(is_found, ms, true), Outcome::Pass);
            assert!(
                message.starts_with("the pod's network is ready, "),
                "{message}"
            );
        }
    }

    #[test]
    fn the_nodes_network_is_not_judged() {
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
    fn a_container_in_another_network_is_left_to_pt101() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container_with("p", "a", Modes::plain(), |ns| ns.net = 77);
        scene.observe("p", "a", READY, false, "lo is down");
        scene.expect("PT113", &[]);
        scene.expect("PT101", &[Outcome::Fail]);
    }
}
