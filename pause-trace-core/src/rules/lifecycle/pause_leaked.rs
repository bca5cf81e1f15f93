//! PT204: the runtime knows the sandbox of every pause.

use crate::{
    event::short_id,
    rules::{ending, prelude::*},
};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT204",
        name: "pause-leaked",
        severity: Severity::Error,
        summary: "a pause runs for a sandbox that its runtime does not know",
        doc: "\
## What it checks
The runtime is queried over CRI for the sandbox of each pause. A pause fails if it still runs \
after the runtime has not known its sandbox for the limit (10 s on a node). A sandbox without \
containers passes: it may wait for images. So does a pause that ended with its pod before the \
runtime answered.

## Why it matters
The kubelet cannot remove a sandbox that the runtime does not know. The pause keeps its network \
namespace, address and cgroup until the node reboots, and the node's pod addresses run out.

## How to fix it
Verify that no other process of the pod runs (`pause-trace inspect`), and send SIGTERM to the \
pause. Then find out how the runtime lost the sandbox: a deleted state or root directory, or a \
crash while it created the sandbox.

## Example
    the pause (pid 812) still runs, but the runtime has not known its sandbox 01763abf0a1e for \
10.0 s

## Source
kubernetes/kubernetes#107730, #110181.
",
        needs: &[Kind::Exit],
    },
    on: &[On::SandboxDue, On::ContainerDeclared, On::PodRemoved],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    if let Change::PodRemoved(pod) = change {
        return judge_removed(context, pod, sink);
    }
    let (Change::SandboxDue(id) | Change::ContainerDeclared(id)) = change else {
        return;
    };
    let Some(sandbox) = context
        .state
        .containers
        .get(id)
        .filter(|container| container.what == ContainerKind::Sandbox)
    else {
        return;
    };
    let short = short_id(id);
    if matches!(change, Change::ContainerDeclared(_)) {
        if sandbox.source == Source::Cri {
            sink.pass(Subject::container(sandbox), || {
                Details::new(format!("the runtime knows sandbox {short}"))
            });
        }
        return;
    }
    let Some(pause) = sandbox
        .init
        .and_then(|init| context.state.processes.get(init))
    else {
        return;
    };
    let limit = context.state.limits.removal;
    let since = sandbox.since;
    ending::fail_unless_gap(context, since, sink, Subject::process(pause), || {
        Details::new(format!(
            "the pause (pid {}) still runs, but the runtime has not known its sandbox {short} for {}",
            pause.id.pid,
            Duration(limit)
        ))
        .expected("sandbox", Value::Text("known to the runtime".to_owned()))
        .observed("sandbox", Value::Text("unknown".to_owned()))
        .observed(
            "running for",
            Value::Duration(context.now.saturating_sub(pause.id.start)),
        )
        .evidence(pause.id.start, format!("pid {} started", pause.id.pid))
        .evidence(
            context.now.saturating_sub(limit),
            format!("the runtime reported that it has no sandbox {short}"),
        )
    });
}

/// Passes the pauses of a removed pod whose runtime did not answer in time. Docker and Podman are
/// not asked, and make no such promise.
fn judge_removed(context: &Context<'_>, pod: &PodId, sink: &mut Sink<'_>) {
    let pod = context.state.pods.get(pod);
    let Some(pod) = pod.filter(|pod| pod.has_measured_pause) else {
        return;
    };
    let sandboxes = pod.sandboxes.iter();
    for sandbox in sandboxes.filter_map(|id| context.state.containers.get(id)) {
        let is_asked = sandbox.source == Source::Bundle;
        if let Some(ended) = sandbox.ended.filter(|_| is_asked) {
            sink.pass(Subject::container(sandbox), || {
                Details::new("the pause ended with its pod before the runtime was asked for it")
                    .evidence(ended.time, "the pause ended")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    fn sandbox(scene: &Scene) -> ContainerId {
        let facts = scene.events.iter().map(|event| &event.fact);
        let of = |fact: &Fact| match fact {
            Fact::Container(fact) if fact.what == ContainerKind::Sandbox => {
                Some(fact.container.clone())
            }
            _ => None,
        };
        facts.filter_map(of).next().expect("a sandbox")
    }

    fn declare_by_cri(scene: &mut Scene) {
        let fact = scene.events.iter().find_map(|event| match &event.fact {
            Fact::Container(fact) if fact.what == ContainerKind::Sandbox => Some(fact.clone()),
            _ => None,
        });
        let fact = fact.expect("a sandbox");
        scene.push(Fact::Container(ContainerFact {
            source: Source::Cri,
            ..fact
        }));
    }

    #[test]
    fn a_pause_that_the_runtime_does_not_know_fails() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let container = sandbox(&scene);
        scene.push(Fact::SandboxUnknown { container });
        scene.wait_ms(1_001);
        let verdicts = scene.expect("PT204", &[Outcome::Fail]);
        let named = verdicts[0].subject.process.map(|process| process.id);
        assert_eq!(named, Some(pause));
    }

    #[test]
    fn a_sandbox_that_becomes_known_in_time_passes() {
        let mut scene = Scene::new();
        scene.pod("p");
        let container = sandbox(&scene);
        scene.push(Fact::SandboxUnknown { container });
        scene.wait_ms(500);
        declare_by_cri(&mut scene);
        scene.wait_ms(5_000);
        scene.expect("PT204", &[Outcome::Pass]);
    }

    #[test]
    fn a_pause_that_ends_in_time_is_not_judged() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let container = sandbox(&scene);
        scene.push(Fact::SandboxUnknown { container });
        scene.end(pause, WaitStatus::killed(9));
        scene.wait_ms(1_001);
        scene.expect("PT204", &[]);
    }

    #[test]
    fn a_pause_that_ended_before_the_runtime_answered_passes() {
        let by_bundle = |is_measured: bool| {
            let mut scene = Scene::new();
            let pause = scene.pod("p");
            for event in &mut scene.events {
                if let Fact::Container(fact) = &mut event.fact {
                    fact.source = Source::Bundle;
                }
            }
            if is_measured {
                scene.pause_started("p", |_| {});
            }
            scene.end(pause, WaitStatus::exited(0));
            scene.remove_pod("p");
            scene
        };
        by_bundle(true).expect("PT204", &[Outcome::Pass]);
        // A pod of Docker or Podman.
        by_bundle(false).expect("PT204", &[]);
    }

    #[test]
    fn without_cri_nothing_is_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.wait_ms(60_000);
        scene.expect("PT204", &[]);
    }

    #[test]
    fn lost_exits_make_it_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        let container = sandbox(&scene);
        scene.push(Fact::SandboxUnknown { container });
        scene.lose(Kind::Exit, 1);
        scene.wait_ms(1_001);
        scene.expect("PT204", &[Outcome::Inconclusive]);
    }
}
