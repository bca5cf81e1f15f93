//! PT309: a stop ends the containers first and the pause last.

use crate::rules::{
    ending::{self, Cause},
    prelude::*,
};

pub(super) const RULE: Rule = Rule {
    id: "PT309",
    name: "stop-order",
    severity: Severity::Error,
    summary: "a pod's stop ended the pause before its containers",
    doc: "\
## What it checks
When a pod is being stopped, or the runtime tells its pause to end, no container of it may run any more at the pause's end. \
A pause that ends without anyone having stopped the pod is PT202's. Where a grace period of 0 was asked for, nothing \
is to be kept, and the order does not matter.

## Why it matters
The containers are to use their grace period with the network they had. In a shared pid namespace the end of the pause kills \
them all on the spot.

## How to fix it
The runtime must stop the containers, wait for them, and only then stop the sandbox. Look for a second caller (a shutdown \
script, systemd stopping scopes) that stops sandboxes on its own.

## Example
    the pause (pid 812) ended 1.20 s into the stop of its pod, with container web running

## Source
Kubernetes: kubelet `killPod` stops containers, then the sandbox; CRI `StopPodSandbox`.
",
    needs: &[Kind::Fork, Kind::Exec, Kind::Exit, Kind::CgroupAttach],
    on: &[On::Ended],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::Ended(process) = change else {
        return;
    };
    let Some((pause, sandbox, pod)) = context.inside(*process) else {
        return;
    };
    let Some(ended) = pause
        .ended
        .filter(|_| pause.role == Role::Pause && pod.removed.is_none())
    else {
        return;
    };
    let is_forced = ending::stopping(sandbox, pod).is_some_and(|stop| stop.grace == 0);
    if is_forced
        || !ending::is_being_stopped(pause, sandbox, pod)
        || matches!(
            ending::cause(pause, sandbox, &context.state.limits),
            Some(Cause::Fragile(_))
        )
    {
        return;
    }
    let running: Vec<_> = ending::running(context.state, sandbox, pod).collect();
    let ends = pod
        .containers
        .iter()
        .filter_map(|id| Some(context.state.containers.get(id)?.ended?.time));
    if running.is_empty() {
        let Some(last) = ends.max() else { return };
        let after = ended.time.saturating_sub(last);
        return sink.pass(Subject::process(pause), || {
            Details::new(format!(
                "the pause ended {} after the last container",
                Duration(after)
            ))
            .observed("after the last container", Value::Duration(after))
        });
    }
    let needs = (&[Kind::Exit][..], sandbox.declared);
    ending::fail_if_seen(context, needs, sink, Subject::process(pause), || {
        let listed = running.iter().take(ending::MAX_LISTED);
        let names: Vec<_> = listed
            .clone()
            .map(|(container, _)| container.name.to_string())
            .collect();
        let when = ending::stopping(sandbox, pod).map_or_else(
            || "was ended by the runtime".to_owned(),
            |stop| {
                format!(
                    "ended {} into the stop of its pod",
                    Duration(ended.time.saturating_sub(stop.since))
                )
            },
        );
        let noun = if running.len() == 1 {
            "container"
        } else {
            "containers"
        };
        let details = Details::new(format!(
            "the pause (pid {}) {when}, with {noun} {} running",
            pause.id.pid,
            names.join(", ")
        ))
        .expected("containers running", Value::Number(0))
        .observed("containers running", Value::Number(running.len() as u64))
        .observed("end", Value::Status(ended.status));
        let details = match ending::stopping(sandbox, pod) {
            Some(stop) => details.evidence(
                stop.since,
                format!("the stop began, with {} of grace", Duration(stop.grace)),
            ),
            None => details,
        };
        let details = listed.fold(details, |details, (container, init)| {
            let what = format!(
                "exec of container {}, pid {}, which still runs",
                container.name, init.id.pid
            );
            details.evidence(container.started.unwrap_or(init.forked), what)
        });
        ending::story(context, pause, details)
    });
}

#[cfg(test)]
mod tests {
    use crate::signal::{SIGKILL, SIGTERM};

    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn containers_first_passes() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        let init = scene.container("p", "a");
        scene.stop_pod("p", 1_000);
        scene.end(init, WaitStatus::exited(0));
        scene.signal(scene.runtime, pause, SIGKILL, SignalResult::Delivered);
        scene.end(pause, WaitStatus::killed(SIGKILL));
        scene.expect("PT309", &[Outcome::Pass]);
    }

    #[test]
    fn a_pause_that_goes_first_fails() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.stop_pod("p", 1_000);
        scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
        scene.end(pause, WaitStatus::exited(0));
        let [verdict] = &scene.expect("PT309", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert!(
            verdict
                .details
                .message
                .ends_with("with container a running")
        );
    }

    #[test]
    fn the_runtimes_own_signal_is_a_stop_where_none_was_declared() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.signal(scene.runtime, pause, SIGKILL, SignalResult::Delivered);
        scene.end(pause, WaitStatus::killed(SIGKILL));
        scene.expect("PT309", &[Outcome::Fail]);
    }

    #[test]
    fn a_death_outside_a_stop_and_a_removed_pod_are_not_judged() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.end(pause, WaitStatus::exited(0));
        scene.expect("PT309", &[]);

        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.stop_pod("p", 1_000);
        scene.remove_pod("p");
        scene.end(pause, WaitStatus::exited(0));
        scene.expect("PT309", &[]);
    }

    #[test]
    fn a_forced_end_needs_no_order() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.stop_pod("p", 0);
        scene.signal(scene.runtime, pause, SIGKILL, SignalResult::Delivered);
        scene.end(pause, WaitStatus::killed(SIGKILL));
        scene.expect("PT309", &[]);
    }

    #[test]
    fn a_missed_end_of_a_container_makes_it_inconclusive() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.container("p", "a");
        scene.stop_pod("p", 1_000);
        scene.lose(Kind::Exit, 1);
        scene.end(pause, WaitStatus::exited(0));
        scene.expect("PT309", &[Outcome::Inconclusive]);
    }
}
