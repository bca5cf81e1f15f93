//! PT114: a pod keeps its network as long as its containers run.

use super::network_ready::{has_own_network, is_ending, is_in_the_pods_network};
use crate::rules::{ending, prelude::*};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT114",
        name: "network-lost",
        severity: Severity::Error,
        summary: "a running pod lost its address, or its loopback interface is down",
        doc: "\
## What it checks
While a container of a pod runs, the pod's network namespace must keep the loopback interface up \
and an address other than loopback's. pause-trace looks at the network whenever a container of the pod \
starts, and again five seconds after a look that found it missing; two looks must agree. The \
finding says when the network was last seen to be ready, and when it was first seen not to be: it was lost \
at some time between the two. Another address than before is no violation. Not checked: pods in the \
node's network, a pod that is being stopped (its network is taken down before its pause ends), and \
a network that was not seen to be ready (see PT113).

## Why it matters
The pod keeps running, and its containers still reach each other on localhost if loopback is up, \
but nobody reaches the pod, and it reaches nobody. Nothing configures the network again: a \
container that is restarted stays in the same network namespace.

## How to fix it
`nsenter -t PID -n ip address` shows the interfaces. Look for a program that took the address away: \
a CNI plugin whose DEL ran for a running sandbox, a garbage collection of the CNI plugin or of its \
IPAM, a process of the pod with CAP_NET_ADMIN, or a DHCP lease that was not renewed. Delete the pod \
to get a new network.

## Example
    the pod has lost its network (no address but loopback's): it was ready when it was last read, \
2 h before, and not ready 5.00 s ago

## Source
CNI specification, \"DEL\": when a container is removed; Kubernetes: \"The Kubernetes network \
model\".
",
        needs: &[Kind::Exec],
    },
    on: &[On::Observed],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::Observed(observation) = change else {
        return;
    };
    let Some(pod) = context
        .state
        .pods
        .get(&observation.pod)
        .filter(|_| observation.what == Observed::NetworkReady)
    else {
        return;
    };
    let is_judged = has_own_network(pod)
        && !is_ending(pod)
        && is_in_the_pods_network(context, pod, &observation.container);
    let Some(network) = pod.network.as_ref().filter(|_| is_judged) else {
        return;
    };
    let Observation { holds, detail, .. } = observation;
    let now = context.now;
    let looked = |details: Details| {
        details
            .observed("network", Value::Text(detail.to_string()))
            .evidence(now, format!("read inside the namespace: {detail}"))
    };
    let ready = |addresses: &Text| format!("loopback is up, and there is an address: {addresses}");
    match (network.lost, &network.before) {
        (None, Some((before, addresses))) if *holds => sink.pass(Subject::pod(&pod.id), || {
            let kept = Duration(now.saturating_sub(*before));
            let same = if detail == addresses { "the same" } else { "other" };
            let details = Details::new(format!(
                "{kept} after an earlier look the pod has a network, with {same} addresses: {detail}"
            ));
            looked(details.evidence(*before, ready(addresses)))
        }),
        (Some(lost), _) if !holds && lost < now && is_in_use(context, pod) => {
            sink.fail(Subject::pod(&pod.id), || {
                let age = Duration(now.saturating_sub(lost));
                let last = Duration(lost.saturating_sub(network.ready));
                let details = Details::new(format!(
                    "the pod has lost its network ({detail}): it was ready when it was last read, \
                     {last} before, and not ready {age} ago"
                ))
                .expected(
                    "network",
                    Value::Text("loopback up, and an address".to_owned()),
                )
                .observed("missing for at least", Value::Duration(age.0))
                .evidence(network.ready, ready(&network.addresses))
                .evidence(lost, "loopback or the address was missing");
                looked(details)
            });
        }
        _ => {}
    }
}

/// Whether a container of the current sandbox runs that the runtime has not told to end. A runtime
/// ends the containers before it takes the network down.
fn is_in_use(context: &Context<'_>, pod: &Pod) -> bool {
    let Some(sandbox) = context.state.sandbox_of(pod) else {
        return false;
    };
    let pause = sandbox.init.and_then(|id| context.state.processes.get(id));
    let is_stopped = |process: &Process, container: &Container| {
        container.stopping.is_some() || process.is_told_to_end(container.stop_signal)
    };
    if pause.is_some_and(|pause| !pause.is_alive() || is_stopped(pause, sandbox)) {
        return false;
    }
    let mut running = ending::running(context.state, sandbox, pod);
    running.any(|(container, init)| !is_stopped(init, container))
}

#[cfg(test)]
mod tests {
    use crate::signal::SIGTERM;

    use super::*;
    use crate::rules::testing::*;

    const READY: Observed = Observed::NetworkReady;

    /// A pod that is seen to be ready, and not ready at two looks later.
    fn lost(modes: Modes, between: impl FnOnce(&mut Scene, ProcessId, ProcessId)) -> Scene {
        let mut scene = Scene::new();
        let pause = scene.pod_with("p", modes, |_| {});
        let init = scene.container("p", "a");
        scene.observe("p", "a", READY, true, "10.88.0.2");
        scene.wait_ms(60_000);
        scene.observe("p", "a", READY, false, "no address but loopback's");
        between(&mut scene, pause, init);
        scene.wait_ms(5_000);
        scene.observe("p", "a", READY, false, "no address but loopback's");
        scene
    }

    #[test]
    fn a_pod_that_lost_its_address_fails_with_the_times_of_the_looks() {
        let scene = lost(Modes::plain(), |_, _, _| {});
        let verdicts = scene.expect("PT114", &[Outcome::Fail]);
        let message = &verdicts[0].details.message;
        assert!(message.contains("last read, 60.00 s before"), "{message}");
        assert!(message.ends_with("not ready 5.00 s ago"), "{message}");
        scene.expect("PT113", &[Outcome::Pass]);
    }

    #[test]
    fn one_look_without_an_address_and_one_that_never_had_one_are_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.observe("p", "a", READY, true, "10.88.0.2");
        scene.observe("p", "a", READY, false, "no address");
        scene.expect("PT114", &[]);
        scene.observe("p", "a", READY, true, "10.88.0.2");
        scene.observe("p", "a", READY, false, "no address");
        scene.expect("PT114", &[Outcome::Pass]);

        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        for _ in 0..3 {
            scene.observe("p", "a", READY, false, "no address");
        }
        scene.expect("PT114", &[]);
    }

    #[test]
    fn a_network_that_is_taken_down_in_a_stop_is_not_judged() {
        let removed = |scene: &mut Scene, _, _| scene.remove_pod("p");
        let stopped = |scene: &mut Scene, _, _| scene.stop_pod("p", 1_000);
        let asked = |scene: &mut Scene, _, init| {
            scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        };
        let ended = |scene: &mut Scene, _, init| scene.end(init, WaitStatus::exited(0));
        let pause_asked = |scene: &mut Scene, pause, _| {
            scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
        };
        let ways: [fn(&mut Scene, ProcessId, ProcessId); 5] =
            [removed, stopped, asked, ended, pause_asked];
        for happen in ways {
            lost(Modes::plain(), happen).expect("PT114", &[]);
        }
    }

    #[test]
    fn the_nodes_network_is_not_judged() {
        let modes = Modes {
            net: Mode::Node,
            uts: Mode::Node,
            ..Modes::plain()
        };
        lost(modes, |_, _, _| {}).expect("PT114", &[]);
    }

    #[test]
    fn another_address_passes() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "a");
        scene.observe("p", "a", READY, true, "10.88.0.2");
        scene.wait_ms(1_000);
        scene.observe("p", "a", READY, true, "10.88.0.3");
        let verdicts = scene.expect("PT114", &[Outcome::Pass]);
        let message = &verdicts[0].details.message;
        assert!(
            message.ends_with("with other addresses: 10.88.0.3"),
            "{message}"
        );
    }

    #[test]
    fn a_new_sandbox_has_lost_nothing_when_its_network_is_not_ready_yet() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.observe("p", "a", READY, true, "10.88.0.2");
        scene.end(pause, WaitStatus::exited(0));
        scene.sandbox("p", |_| {});
        scene.container("p", "b");
        for _ in 0..2 {
            scene.observe("p", "b", READY, false, "no address");
        }
        scene.expect("PT114", &[]);
    }
}
