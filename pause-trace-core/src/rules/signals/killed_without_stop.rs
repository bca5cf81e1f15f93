//! PT303: the runtime sends a stop signal before SIGKILL.

use crate::signal::SIGKILL;

use crate::rules::{
    ending::{self, Party},
    prelude::*,
};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT303",
        name: "killed-without-stop",
        severity: Severity::Error,
        summary: "the runtime killed a container without sending a stop signal first",
        doc: "\
## What it checks
When the runtime ends a container's init with SIGKILL, it must have sent a stop signal before, \
unless a grace period of 0 was requested. If the requested grace period is unknown, the finding is \
an info, one for each pod, and only if the runtime sent another container of the pod a stop signal, \
which shows that the grace period was not 0. It is an info, too, if the container's shim or \
conmon has ended (see PT210). Not checked: SIGKILL from the kernel (OOM killer, end of a pid \
namespace), from other processes (PT310) and from the pod itself; and the pause, which runtimes \
may kill without a stop signal.

## Why it matters
The program had no chance to end cleanly and lost what it held in memory, although Kubernetes \
promises a grace period.

## How to fix it
Find out why the runtime did not send the stop signal: the pod was force-deleted, the runtime \
itself was being shut down, or its configuration has a stop timeout of 0.

## Example
    init web (pid 812) received SIGKILL from shim (pid 100, the runtime) without a stop signal \
first, although its grace period is 30.0 s

## Source
Kubernetes: Pod lifecycle, \"Termination of Pods\"; k3s-io/k3s#12013.
",
        needs: &[Kind::SignalGenerate, Kind::Exit],
    },
    on: &[On::Ended],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::Ended(process) = change else {
        return;
    };
    let Some((init, container, pod)) = context.inside(*process) else {
        return;
    };
    let Some(ended) = init.ended.filter(|_| init.role == Role::Init) else {
        return;
    };
    let is_stop = |received: &&Received| {
        received.signal != SIGKILL && received.sender.is_some_and(|sender| sender != init.id)
    };
    if let Some(first) = init.signals.iter().find(is_stop) {
        let before = ended.time.saturating_sub(first.time);
        return sink.pass(Subject::process(init), || {
            let oom = ending::oom(init).map_or(String::new(), |oom| format!("; {oom}"));
            Details::new(format!(
                "received {} {} before it ended{oom}",
                signal_name(first.signal),
                Duration(before)
            ))
            .observed("asked before its end", Value::Duration(before))
        });
    }
    let kill = ending::fatal(init).filter(|kill| kill.signal == SIGKILL && !init.is_oom_killed());
    let Some(kill) = kill.filter(|kill| ending::party(init, kill) == Party::Runtime) else {
        return;
    };
    let grace = ending::stopping(container, pod).map(|stop| stop.grace);
    let details = |message: String| {
        let details = Details::new(message)
            .expected(
                "stop signal",
                container
                    .stop_signal
                    .map_or(Value::Text("unknown".to_owned()), Value::Signal),
            )
            .observed("stop signal", Value::Text("none".to_owned()))
            .observed("end", Value::Status(ended.status));
        let details = ending::as_consequence(container, details);
        ending::with_history(context, init, details)
    };
    let (comm, pid) = (init.comm, init.id.pid);
    let killed = format!(
        "init {comm} (pid {pid}) received {} without a stop signal first",
        ending::from(context, init, kill)
    );
    match grace {
        Some(0) => sink.pass(Subject::process(init), || {
            details(format!("{killed}: a grace period of 0 was requested"))
        }),
        Some(grace) => {
            let since = container.since;
            ending::fail_unless_gap(context, since, sink, Subject::process(init), || {
                details(format!(
                    "{killed}, although its grace period is {}",
                    Duration(grace)
                ))
            });
        }
        None if pod.removed.is_some() => {}
        // Signals sent before pause-trace started are unknown.
        None if init.found => {}
        // A runtime kills all that is left of a pod when its sandbox is stopped, which most pods
        // see and which is no fault of theirs.
        None => {
            let Some((other, stop)) = stopped_other(context, container, pod) else {
                return;
            };
            let since = container.since;
            ending::fail_unless_gap(context, since, sink, Subject::pod(&pod.id), || {
                details(format!(
                    "{killed}, although the runtime sent {} to container {}; the requested grace \
                     period is unknown",
                    signal_name(stop.signal),
                    other.name
                ))
                .milder(Severity::Info)
            });
        }
    }
}

/// Another container of the pod that the runtime asked to stop, and the signal.
fn stopped_other<'a>(
    context: &Context<'a>,
    container: &Container,
    pod: &Pod,
) -> Option<(&'a Container, &'a Received)> {
    let others = pod.containers.iter().filter(|id| **id != container.id);
    others
        .filter_map(|id| context.state.containers.get(id))
        .find_map(|other| {
            let init = context.state.processes.get(other.init?)?;
            let mut stops = ending::stops(init, other);
            let stop = stops.find(|stop| ending::party(init, stop) == Party::Runtime)?;
            Some((other, stop))
        })
}

#[cfg(test)]
mod tests {
    use crate::signal::{SIGQUIT, SIGTERM};

    use super::*;
    use crate::rules::testing::*;

    /// A container that the runtime kills with SIGKILL, after `before`.
    fn killed_after(before: impl FnOnce(&mut Scene, ProcessId)) -> Scene {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        before(&mut scene, init);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGKILL));
        scene
    }

    #[test]
    fn a_kill_in_an_orderly_stop_without_a_stop_signal_fails() {
        let scene = killed_after(|scene, _| scene.stop_pod("p", 30_000));
        let [verdict] = &scene.expect("PT303", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert!(
            verdict
                .details
                .message
                .ends_with("although its grace period is 30.00 s")
        );
    }

    #[test]
    fn a_kill_after_any_stop_signal_passes() {
        for signal in [SIGTERM, SIGQUIT] {
            let scene = killed_after(|scene, init| {
                scene.stop_pod("p", 30_000);
                scene.signal(scene.runtime, init, signal, SignalResult::Ignored);
            });
            scene.expect("PT303", &[Outcome::Pass]);
        }
    }

    #[test]
    fn a_grace_period_of_0_passes_and_an_unknown_one_is_not_judged() {
        killed_after(|scene, _| scene.stop_pod("p", 0)).expect("PT303", &[Outcome::Pass]);
        killed_after(|_, _| {}).expect("PT303", &[]);
        killed_after(|scene, _| scene.remove_pod("p")).expect("PT303", &[]);
    }

    #[test]
    fn an_unknown_grace_period_is_one_info_for_a_pod_if_the_runtime_asked_another_container() {
        let mut scene = Scene::new();
        scene.pod("p");
        let [asked, first, second] = ["a", "b", "c"].map(|name| scene.container("p", name));
        scene.signal(scene.runtime, asked, SIGTERM, SignalResult::Delivered);
        scene.end(asked, WaitStatus::exited(0));
        for init in [first, second] {
            scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
            scene.end(init, WaitStatus::killed(SIGKILL));
        }
        let [_, verdict] = &scene.expect("PT303", &[Outcome::Pass, Outcome::Fail])[..] else {
            panic!("one verdict on the container and one on the pod")
        };
        assert_eq!(verdict.severity(), Severity::Info);
        let message = &verdict.details.message;
        assert!(message.contains("sent SIGTERM to container a"), "{message}");
    }

    #[test]
    fn lost_signals_make_it_inconclusive() {
        let scene = killed_after(|scene, _| {
            scene.stop_pod("p", 30_000);
            scene.lose(Kind::SignalGenerate, 1);
        });
        scene.expect("PT303", &[Outcome::Inconclusive]);
    }

    #[test]
    fn a_flood_of_stop_signals_makes_it_inconclusive() {
        for (signal, outcome) in [(SIGTERM, Outcome::Inconclusive), (17, Outcome::Fail)] {
            let scene = killed_after(|scene, init| {
                scene.stop_pod("p", 30_000);
                let (cgroup, now) = (scene.cgroup(init), scene.now);
                scene.push(Fact::SignalsSuppressed {
                    cgroup,
                    signal,
                    count: 9,
                    first: now,
                    last: now,
                });
            });
            scene.expect("PT303", &[outcome]);
        }
    }

    #[test]
    fn sigkill_from_the_kernel_the_pod_or_a_foreign_process_is_not_judged() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        scene.stop_pod("p", 30_000);
        for (name, code) in [
            ("oom", SI_KERNEL),
            ("teardown", SI_KERNEL),
            ("stranger", 0),
            ("pod", 0),
        ] {
            let init = scene.container("p", name);
            let sender = if name == "pod" {
                scene.fork(init)
            } else {
                scene.stranger
            };
            if name == "oom" {
                scene.push(Fact::OomVictim { pid: init.pid });
            }
            scene.signal_with_code(sender, init, SIGKILL, SignalResult::Delivered, code);
            scene.end(init, WaitStatus::killed(SIGKILL));
        }
        scene.expect("PT303", &[]);
    }

    #[test]
    fn the_pause_may_be_killed_without_a_stop_signal() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.stop_pod("p", 30_000);
        scene.signal(scene.runtime, pause, SIGKILL, SignalResult::Delivered);
        scene.end(pause, WaitStatus::killed(SIGKILL));
        scene.expect("PT303", &[]);
    }
}
