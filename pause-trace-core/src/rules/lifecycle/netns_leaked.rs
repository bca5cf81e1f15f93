//! PT206: a pod's network namespace is unpinned when the pod is removed.

use crate::rules::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "PT206",
    name: "netns-leaked",
    severity: Severity::Error,
    summary: "a network namespace is pinned without a sandbox",
    doc: "\
## What it checks
Runtimes pin a pod's network namespace by a mount (`/run/netns/cni-…`), so that CNI plugins can \
use it before the pause starts and after it has ended. The mount must be gone within a limit after \
the pod was removed (2 min on a node: the kubelet cleans up every minute). A pinned namespace must \
also get a sandbox within that limit after it was first observed. Namespaces created with `ip \
netns add` are not checked.

## Why it matters
Each leaked namespace keeps a veth pair, routes and often an address. Over weeks they add up until \
CNI has no free address and no pod can start.

## How to fix it
Call the CNI plugin's DEL for the namespace, or remove its resources by hand: `umount` and `rm` \
the path. Then look in the runtime's log for the CNI DEL that failed.

## Example
    /run/netns/cni-5f3c2a11 (net namespace 4026532480) is still pinned 120.0 s after its pod was \
removed

## Source
containerd/cri#568.
",
    needs: &[],
    on: &[On::RemovalDue, On::PinDue],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let state = context.state;
    match change {
        Change::RemovalDue(id) => {
            let Some(pod) = state.pods.get(id) else {
                return;
            };
            let left = state
                .pins
                .iter()
                .find(|(_, pin)| pin.pod.as_ref() == Some(id));
            let waited = context
                .now
                .saturating_sub(pod.removed.unwrap_or(context.now));
            let Some((path, pin)) = left else {
                return sink.pass(Subject::pod(id), || {
                    Details::new(format!(
                        "no network namespace is pinned {} after the pod was removed",
                        Duration(waited)
                    ))
                });
            };
            sink.fail(Subject::pod(id), || {
                Details::new(format!(
                    "{path} (net namespace {}) is still pinned {} after its pod was removed",
                    pin.namespace,
                    Duration(waited)
                ))
                .expected("pinned", Value::Number(0))
                .observed("net", Value::Namespace(pin.namespace))
                .observed("since the removal", Value::Duration(waited))
                .evidence(pin.since, format!("{path} was pinned or first observed"))
                .evidence(pod.removed.unwrap_or(context.now), "the pod was removed")
            });
        }
        Change::PinDue(path) => {
            let Some(pin) = state.pins.get(path) else {
                return;
            };
            let waited = context.now.saturating_sub(pin.since);
            sink.about(Topic::Namespace(pin.namespace))
                .fail(Subject::default(), || {
                    Details::new(format!(
                        "{path} (net namespace {}) has been pinned without a sandbox for {}",
                        pin.namespace,
                        Duration(waited)
                    ))
                    .observed("net", Value::Namespace(pin.namespace))
                    .observed("without a sandbox", Value::Duration(waited))
                    .evidence(pin.since, format!("{path} was pinned or first observed"))
                });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    const PATH: &str = "/run/netns/cni-1";

    fn pin(scene: &mut Scene, sandbox: Option<&str>) {
        scene.push(Fact::NamespacePinned {
            path: Text::new(PATH),
            namespace: 70,
            sandbox: sandbox.map(Into::into),
        });
    }

    fn unpin(scene: &mut Scene) {
        scene.push(Fact::NamespaceUnpinned {
            path: Text::new(PATH),
        });
    }

    /// A pod whose sandbox uses the pinned namespace.
    fn pinned_pod() -> (Scene, ProcessId) {
        let mut scene = Scene::new();
        pin(&mut scene, None);
        let pause = scene.pod("p");
        let sandbox = scene.events.iter().find_map(|event| match &event.fact {
            Fact::Container(fact) => Some(fact.container.clone()),
            _ => None,
        });
        pin(&mut scene, sandbox.as_deref());
        (scene, pause)
    }

    #[test]
    fn a_namespace_that_stays_pinned_after_its_pods_removal_fails() {
        let (mut scene, pause) = pinned_pod();
        scene.end(pause, WaitStatus::killed(9));
        scene.remove_pod("p");
        scene.wait_ms(1_001);
        let verdicts = scene.expect("PT206", &[Outcome::Fail]);
        let message = &verdicts[0].details.message;
        assert!(
            message.starts_with("/run/netns/cni-1 (net namespace 70) is still pinned 1.00 s"),
            "{message}"
        );
    }

    #[test]
    fn a_namespace_that_is_unpinned_within_the_limit_passes() {
        let (mut scene, pause) = pinned_pod();
        scene.end(pause, WaitStatus::killed(9));
        scene.remove_pod("p");
        scene.wait_ms(900);
        unpin(&mut scene);
        scene.wait_ms(200);
        scene.expect("PT206", &[Outcome::Pass]);
    }

    #[test]
    fn a_namespace_that_never_gets_a_sandbox_fails() {
        let mut scene = Scene::new();
        pin(&mut scene, None);
        scene.wait_ms(1_001);
        let verdicts = scene.expect("PT206", &[Outcome::Fail]);
        assert_eq!(verdicts[0].subject, Subject::default());
    }

    #[test]
    fn the_namespace_of_a_running_pod_is_not_judged() {
        let (mut scene, _) = pinned_pod();
        scene.wait_ms(60_000);
        scene.expect("PT206", &[]);
    }

    #[test]
    fn an_unused_namespace_that_is_unpinned_in_time_is_not_judged() {
        let mut scene = Scene::new();
        pin(&mut scene, None);
        scene.wait_ms(900);
        unpin(&mut scene);
        scene.wait_ms(200);
        scene.expect("PT206", &[]);
    }
}
