//! PT203: containers run in their pod's current sandbox.

use crate::rules::{ending, prelude::*};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT203",
        name: "stale-sandbox",
        severity: Severity::Error,
        summary: "a container runs in the namespaces of a sandbox that was replaced or has ended",
        doc: "\
## What it checks
When a pod gets a new sandbox, no container may still run in the namespaces of the old one. A \
container is excepted that the runtime has sent its stop signal, and may still send it soon after \
the old pause ended, or after it stopped another container of the pod: `podman pod restart` starts the \
new pause and then stops one slow container after the other. When a \
container starts, the pause of its sandbox must be alive. A restarted container must be in the \
same namespaces as before, unless the sandbox was replaced in between. (PT101 to PT104 report a \
container in any other namespace than its sandbox's.)

## Why it matters
The container has another address than its pod and cannot reach its neighbours over localhost. The \
API does not show this: the container looks healthy until another program connects to it.

## How to fix it
Delete the container or the pod, so that the container is created in the new sandbox. A program \
that replaces a sandbox must end its containers first.

## Example
    container web still runs in net namespace 4026532179 of a replaced sandbox; the pod's is now \
4026532641

## Source
kubernetes/kubernetes#48585; containers/podman#12262; kubelet: a changed sandbox kills the pod's \
containers.
",
        needs: &[Kind::Fork, Kind::Exec, Kind::Exit, Kind::CgroupAttach],
    },
    on: &[On::Executed, On::PauseEndDue, On::PodRemoved],
    judge,
};

/// Kinds of namespaces that a sandbox may hold for its pod.
const SHARED: [NamespaceKind; 4] = [
    NamespaceKind::Net,
    NamespaceKind::Ipc,
    NamespaceKind::Uts,
    NamespaceKind::Pid,
];

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let state = context.state;
    let process = match change {
        Change::Executed(process) => process,
        Change::PauseEndDue(former) => {
            let former = state.containers.get(former);
            let pod = former.and_then(|former| state.pods.get(&former.pod));
            if let (Some(former), Some(pod)) = (former, pod)
                && pod.removed.is_none()
            {
                judge_late(context, change, &[former], pod, sink);
            }
            return;
        }
        Change::PodRemoved(pod) => {
            if let Some(pod) = state.pods.get(pod) {
                let formers: Vec<_> = ending::recently_ended(context, pod).collect();
                judge_late(context, change, &formers, pod, sink);
            }
            return;
        }
        _ => return,
    };
    let Some((process, container, pod)) = context.inside(*process) else {
        return;
    };
    if process.execs != 1 {
        return; // not its first exec
    }
    match process.role {
        Role::Pause if pod.sandboxes.len() > 1 && pod.sandbox() == Some(&container.id) => {
            let formers = pod.sandboxes.iter().rev().skip(1);
            let formers = formers.filter_map(|id| state.containers.get(id));
            let (recent, others): (Vec<_>, Vec<_>) =
                formers.partition(|former| ending::has_recently_ended(context, former));
            let is_used =
                |former: &&Container| ending::running(state, former, pod).next().is_some();
            // Those of a recent end are judged later.
            if !recent.iter().any(is_used) || others.iter().any(is_used) {
                judge_replacement(context, change, process, (&others, pod), sink);
            }
        }
        Role::Init => judge_start(context, process, container, pod, sink),
        _ => {}
    }
}

/// The kinds that a container shares with its pod, and its namespaces of these kinds.
fn shared(container: &Container) -> impl Iterator<Item = (NamespaceKind, u32)> {
    let kinds = SHARED
        .into_iter()
        .filter(|kind| *container.modes.get(*kind) == Mode::Pod);
    kinds.filter_map(|kind| {
        container
            .namespaces
            .map(|namespaces| (kind, namespaces.get(kind)))
    })
}

/// Judges the replacement of sandboxes whose pauses had ended only recently when the new pause
/// executed.
fn judge_late(
    context: &Context<'_>,
    change: &Change,
    formers: &[&Container],
    pod: &Pod,
    sink: &mut Sink<'_>,
) {
    let sandbox = pod
        .sandbox()
        .and_then(|id| context.state.containers.get(id));
    let pause = sandbox.and_then(|sandbox| context.state.processes.get(sandbox.init?));
    let (Some(sandbox), Some(pause)) = (sandbox, pause) else {
        return;
    };
    let was_recent = |former: &&&Container| {
        let executed = sandbox.started.unwrap_or(context.now);
        former.id != sandbox.id
            && former.stops_until > Some(executed)
            && ending::outlasting(context.state, former, pod, executed)
                .next()
                .is_some()
    };
    let formers: Vec<_> = formers.iter().filter(was_recent).copied().collect();
    if !formers.is_empty() {
        judge_replacement(context, change, pause, (&formers, pod), sink);
    }
}

fn judge_replacement(
    context: &Context<'_>,
    change: &Change,
    pause: &Process,
    (formers, pod): (&[&Container], &Pod),
    sink: &mut Sink<'_>,
) {
    let (mut stale, mut stopping) = (0, 0);
    for former in formers {
        for (container, init) in ending::running(context.state, former, pod) {
            let differs =
                |(kind, inode): &(NamespaceKind, u32)| *inode != pause.namespaces.get(*kind);
            let Some((kind, inode)) = shared(container).find(differs) else {
                continue;
            };
            let ended = former.ended.map_or(context.now, |ended| ended.time);
            if ending::is_told_to_stop(context, (container, init), ended) {
                stopping += 1;
                continue;
            }
            stale += 1;
            // The signal that tells it to stop may be among those that were lost.
            let kinds = [sink.needs(), &[Kind::SignalGenerate]].concat();
            let (needs, told) = (
                (&kinds[..], container.since),
                ending::tellings(context, (container, init), ended),
            );
            let details = || {
                let (kind_name, now) = (kind.name(), pause.namespaces.get(kind));
                let details = Details::new(format!(
                    "container {} still runs in {kind_name} namespace {inode} of a replaced sandbox; the pod's is now {now}",
                    container.name
                ));
                let details = shared(container).fold(details, |details, (kind, inode)| {
                    details
                        .expected(kind.name(), Value::Namespace(pause.namespaces.get(kind)))
                        .observed(kind.name(), Value::Namespace(inode))
                });
                let details = details.evidence(
                    container.started.unwrap_or(init.forked),
                    format!(
                        "exec of {} in container {}, pid {}",
                        init.executable(),
                        container.name,
                        init.id.pid
                    ),
                );
                let details = match former.ended {
                    Some(ended) => details.evidence(
                        ended.time,
                        format!("the replaced sandbox's pause ended: {}", ended.status),
                    ),
                    None => details,
                };
                details.evidence(
                    context.now,
                    format!("exec of the new sandbox's pause, pid {}", pause.id.pid),
                )
            };
            let subject = Subject::process(init);
            match ending::ended_early(context, change, former) {
                Some(why) => ending::doubt(why, sink, subject, details),
                None => ending::fail_if_proven(context, told, needs, sink, subject, details),
            }
        }
    }
    if stale == 0 {
        sink.pass(Subject::process(pause), || {
            let message = match stopping {
                0 => "the sandbox was replaced, and no container runs in the old one",
                _ => {
                    "the sandbox was replaced, and the runtime is stopping what still runs in the \
                     old one"
                }
            };
            Details::new(message)
                .observed("containers in the former sandbox", Value::Number(stopping))
        });
    }
}

fn judge_start(
    context: &Context<'_>,
    init: &Process,
    container: &Container,
    pod: &Pod,
    sink: &mut Sink<'_>,
) {
    let sandbox = ending::sandbox_for(context.state, container, pod);
    let executed = init.executed.unwrap_or(context.now);
    let dead = sandbox.and_then(|sandbox| {
        Some((
            sandbox,
            sandbox.ended.filter(|ended| ended.time < executed)?,
        ))
    });
    if let Some((sandbox, ended)) = dead {
        let dead_for = executed.saturating_sub(ended.time);
        let since = ending::placed_since(container, pod);
        return ending::fail_unless_gap(context, since, sink, Subject::process(init), || {
            Details::new(format!(
                "container {} was started in a sandbox whose pause had ended {} earlier",
                container.name,
                Duration(dead_for)
            ))
            .expected("pause", Value::Text("alive".to_owned()))
            .observed("pause", Value::Status(ended.status))
            .evidence(
                sandbox.started.unwrap_or(sandbox.declared),
                "exec of the pause",
            )
            .evidence(ended.time, format!("end of the pause: {}", ended.status))
            .evidence(
                context.now,
                format!(
                    "exec of {} in container {}",
                    init.executable(),
                    container.name
                ),
            )
        });
    }
    let is_former = |former: &&Container| {
        former.id != container.id && former.name == container.name && former.namespaces.is_some()
    };
    let formers = pod
        .containers
        .iter()
        .filter_map(|id| context.state.containers.get(id));
    let Some(former) = formers.filter(is_former).last() else {
        return;
    };
    let replaced = ending::sandbox_for(context.state, former, pod).map(|sandbox| &sandbox.id)
        != sandbox.map(|sandbox| &sandbox.id);
    let same = |(kind, inode): (NamespaceKind, u32)| {
        former
            .namespaces
            .is_some_and(|namespaces| namespaces.get(kind) == inode)
    };
    if replaced || !shared(container).all(same) {
        return; // PT101 to PT104 compare it with its sandbox
    }
    sink.pass(Subject::process(init), || {
        let names: Vec<_> = shared(container)
            .map(|(kind, inode)| format!("{} {inode}", kind.name()))
            .collect();
        let details = Details::new(format!(
            "restarted container {} is in the same namespaces as before: {}",
            container.name,
            names.join(", ")
        ));
        shared(container).fold(details, |details, (kind, inode)| {
            details.observed(kind.name(), Value::Namespace(inode))
        })
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rules::testing::*,
        signal::{SIGHUP, SIGTERM},
    };

    #[test]
    fn a_container_that_outlives_its_replaced_sandbox_fails() {
        let mut scene = Scene::new();
        let former = scene.pod("p");
        let init = scene.container("p", "a");
        scene.end(former, WaitStatus::killed(9));
        let pause = scene.sandbox("p", |_| {});
        scene.expect("PT203", &[]);
        scene.wait_ms(1_100);
        let [verdict] = &scene.expect("PT203", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(
            verdict.subject.process.map(|process| process.id),
            Some(init)
        );
        assert_eq!(
            verdict.details.expected[0],
            ("net", Value::Namespace(scene.namespaces(pause).net))
        );
        assert_eq!(
            verdict.details.observed[0],
            ("net", Value::Namespace(scene.namespaces(former).net))
        );
    }

    /// `podman pod restart` starts the infra container again while a slow container still stops.
    #[test]
    fn a_container_that_the_runtime_is_stopping_may_outlive_its_replaced_sandbox() {
        let replaced = |signal: i32, is_removed: bool| {
            let mut scene = Scene::new();
            let former = scene.pod("p");
            let slow = scene.container("p", "slow");
            scene.signal(scene.runtime, slow, signal, SignalResult::Delivered);
            scene.end(former, WaitStatus::exited(0));
            scene.sandbox("p", |_| {});
            scene.expect("PT203", &[]);
            match is_removed {
                true => scene.remove_pod("p"),
                false => scene.wait_ms(1_100),
            }
            scene
        };
        for is_removed in [true, false] {
            replaced(SIGTERM, is_removed).expect("PT203", &[Outcome::Pass]);
            replaced(SIGHUP, is_removed).expect("PT203", &[Outcome::Fail]);
        }
    }

    /// `podman pod restart` stops the containers one after the other, each with its grace period.
    #[test]
    fn containers_that_the_runtime_stops_one_after_the_other_may_outlive_their_sandbox() {
        for (tells, outcome) in [(true, Outcome::Pass), (false, Outcome::Fail)] {
            let mut scene = Scene::new();
            let former = scene.pod("p");
            let slow = ["a", "b"].map(|name| scene.container("p", name));
            scene.end(former, WaitStatus::exited(0));
            scene.sandbox("p", |_| {});
            scene.signal(scene.runtime, slow[0], SIGTERM, SignalResult::Delivered);
            for _ in 0..6 {
                scene.wait_ms(500);
            }
            scene.expect("PT203", &[]);
            scene.end(slow[0], WaitStatus::exited(0));
            if tells {
                scene.signal(scene.runtime, slow[1], SIGTERM, SignalResult::Delivered);
            }
            scene.wait_ms(1_100);
            scene.expect("PT203", &[outcome]);
        }
    }

    #[test]
    fn a_watch_that_ends_soon_after_a_replacement_is_inconclusive() {
        let mut scene = Scene::new();
        let former = scene.pod("p");
        scene.container("p", "a");
        scene.end(former, WaitStatus::exited(0));
        scene.sandbox("p", |_| {});
        scene.push(Fact::WatchEnded);
        scene.expect("PT203", &[Outcome::Inconclusive]);
    }

    /// A program may take a signal that happens to be its stop signal as another wish.
    #[test]
    fn a_stop_signal_of_long_ago_excuses_nobody() {
        let mut scene = Scene::new();
        let former = scene.pod("p");
        let app = scene.container("p", "a");
        scene.signal(scene.runtime, app, SIGTERM, SignalResult::Delivered);
        scene.handle(app, SIGTERM);
        scene.wait_ms(1_500);
        scene.end(former, WaitStatus::exited(0));
        scene.sandbox("p", |_| {});
        scene.wait_ms(1_100);
        scene.expect("PT203", &[Outcome::Fail]);
    }

    #[test]
    fn a_sandbox_replaced_after_its_containers_ended_passes() {
        let mut scene = Scene::new();
        let former = scene.pod("p");
        let init = scene.container("p", "a");
        scene.end(init, WaitStatus::killed(9));
        scene.end(former, WaitStatus::killed(9));
        scene.sandbox("p", |_| {});
        scene.container("p", "a2");
        scene.expect("PT203", &[Outcome::Pass]);
    }

    #[test]
    fn host_namespaces_do_not_belong_to_the_old_sandbox() {
        let mut scene = Scene::new();
        let node = Modes {
            net: Mode::Node,
            ipc: Mode::Node,
            uts: Mode::Node,
            pid: Mode::Node,
            user: Mode::Node,
        };
        let former = scene.pod_with("p", node, |_| {});
        scene.container("p", "a");
        scene.end(former, WaitStatus::killed(9));
        scene.sandbox("p", |_| {});
        scene.wait_ms(1_100);
        scene.expect("PT203", &[Outcome::Pass]);
    }

    #[test]
    fn a_container_started_in_a_sandbox_without_a_pause_fails() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.end(pause, WaitStatus::exited(0));
        scene.container("p", "a");
        let [verdict] = &scene.expect("PT203", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert!(
            verdict
                .details
                .message
                .contains("started in a sandbox whose pause had ended")
        );
    }

    /// The sandbox was started again before pause-trace was: nothing of its former run is left but
    /// a container in its namespaces.
    #[test]
    fn who_is_found_in_a_former_sandbox_fails_and_who_is_in_the_present_one_does_not() {
        let mut scene = Scene::new();
        let former = scene.pod("p");
        let left = scene.container("p", "left");
        scene.end(former, WaitStatus::killed(9));
        scene.sandbox("p", |_| {});
        scene.container("p", "well");
        scene.made_for("left", 0);
        scene.made_for("well", 1);
        scene.attach_late();
        let [verdict] = &scene.expect("PT203", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        let accused = verdict.subject.process.map(|process| process.id);
        assert_eq!(accused, Some(left));
        for rule in ["PT101", "PT102", "PT104", "PT201", "PT204"] {
            let mut verdicts = scene.verdicts(rule).into_iter();
            let fault = verdicts.find(|verdict| verdict.outcome == Outcome::Fail);
            assert!(fault.is_none(), "{fault:?}");
        }
    }

    #[test]
    fn lost_exits_make_it_inconclusive() {
        let mut scene = Scene::new();
        let former = scene.pod("p");
        scene.container("p", "a");
        scene.lose(Kind::Exit, 1);
        scene.end(former, WaitStatus::killed(9));
        scene.sandbox("p", |_| {});
        scene.wait_ms(1_100);
        scene.expect("PT203", &[Outcome::Inconclusive]);
    }
}
