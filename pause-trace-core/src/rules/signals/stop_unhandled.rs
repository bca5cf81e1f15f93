//! PT312: a container's entrypoint would take its stop signal.

use crate::{
    rules::{ending, prelude::*},
    signal::SIGKILL,
    stop_outlook::{StopOutlook, YOUNG, bit},
};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT312",
        name: "stop-unhandled",
        severity: Severity::Info,
        summary: "a container's entrypoint would not take its stop signal",
        doc: "\
## What it checks
Once for each run of a container, its entrypoint must be ready to take the stop signal of the container: \
with a handler, by reading the signal (signalfd, sigwait), or by the default action. It is not if it ignores \
the signal, or if it is pid 1 of its pid namespace and has no handler. `/proc` shows that before anybody stops the \
container. It is read when the entrypoint has run its \
program for 10 s; of containers that ran before, at the start, if they have run for 5 s.

Nothing is reported if the \
stop signal is unknown, if the stop has begun, or if the entrypoint cannot be read or is suspended. There is no verdict \
on one that takes the signal only by reading it, because nobody sees whether it does; nor on one of which all threads \
block the signal, because it may read the signal unseen: from time to time (sigpending, sigtimedwait), or with a \
signalfd that only one of its threads has. The finding is for \
information: nobody may ever stop the container, and the program may install a handler later. If somebody \
does stop it, PT301, PT302 and PT308 report what happened. Pauses are not checked: see PT306.

## Why it matters
The stop will take the whole grace period, and SIGKILL will end it: every rollout and every drain of a node \
waits for such a container, and open requests are interrupted.

## How to fix it
Install a handler for the signal, run the program under a small init (tini, `docker-init`), share \
the pod's pid namespace, or set STOPSIGNAL to a signal that the program handles. In a shell \
entrypoint, `exec` the program. If the container has nothing to finish, a short \
`terminationGracePeriodSeconds` is enough.

## Example
    a stop of app will take the whole grace period: sleep (pid 812) is pid 1 of its pid namespace \
and has no handler for SIGTERM, so the kernel drops it

## Source
signal(7); pid_namespaces(7): pid 1 gets only signals it has handlers for; proc_pid_status(5), \
`SigBlk`, `SigIgn` and `SigCgt`; kubernetes/kubernetes#127188.
",
        needs: &[],
    },
    on: &[On::SignalMasks],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::SignalMasks { process, masks } = change else {
        return;
    };
    let Some((init, container, pod)) = context.inside(*process) else {
        return;
    };
    let Some(signal) = container.stop_signal else {
        return;
    };
    if init.role != Role::Init || !init.is_alive() || stops(init, container, pod) {
        return;
    }
    let age = context.now.saturating_sub(init.runs_since());
    let outlook = StopOutlook::of(signal, Some(*masks), init.is_namespace_init(), age);
    let details = |message: String| {
        Details::new(message)
            .observed("disposition", Value::Text(disposition(outlook).to_owned()))
            .observed("signal", Value::Signal(signal))
    };
    let (comm, pid) = (init.comm, init.id.pid);
    let warning = outlook.warning(&container.name.to_string(), comm, pid, signal);
    if let Some(message) = warning {
        // An exec of which the record is lost resets the handlers, and the new program may install
        // its own yet.
        let recent = context.now.saturating_sub(YOUNG);
        if context.state.gap(&[Kind::Exec], recent).is_some() {
            return;
        }
        sink.fail(Subject::process(init), || {
            let SignalMasks {
                blocked,
                ignored,
                caught,
                ..
            } = masks;
            let details =
                details(message).expected("disposition", Value::Text("handler".to_owned()));
            let details = match init.last_exec {
                Some(at) => details.evidence(at, format!("pid {pid} executed {}", init.file)),
                None => details,
            };
            details.evidence(
                context.now,
                format!(
                    "/proc/{pid}/status was read: SigBlk {blocked:016x}, SigIgn {ignored:016x}, \
                     SigCgt {caught:016x}"
                ),
            )
        });
    } else if matches!(outlook, StopOutlook::Stops | StopOutlook::Later)
        && !rests_on_reading(signal, masks)
    {
        sink.pass(Subject::process(init), || {
            let signal = signal_name(signal);
            details(format!("{comm} (pid {pid}) is ready to take {signal}"))
        });
    }
}

/// Whether the process takes a signal only if it reads it. An open signalfd may never be read, and
/// of a thread in sigwait(3) it is not known for which signals it waits, if it does not block them.
fn rests_on_reading(signal: i32, masks: &SignalMasks) -> bool {
    let has = |set: u64| set & bit(signal) != 0;
    signal != SIGKILL && has(masks.read) && !has(masks.caught)
}

/// Whether the container is being stopped: programs that have begun to end often ignore the signal
/// from then on.
fn stops(init: &Process, container: &Container, pod: &Pod) -> bool {
    pod.stopping.is_some()
        || container.stopping.is_some()
        || ending::stops(init, container).next().is_some()
}

fn disposition(outlook: StopOutlook) -> &'static str {
    match outlook {
        StopOutlook::Ignores => "ignored",
        StopOutlook::Drops => "no handler",
        StopOutlook::Later => "handler, blocked now",
        StopOutlook::Blocks | StopOutlook::Stops | StopOutlook::TooYoung | StopOutlook::Unknown => {
            "taken"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rules::testing::*,
        signal::{SIGQUIT, SIGTERM},
    };

    const TERM: u64 = 1 << (SIGTERM - 1);

    const NONE: SignalMasks = SignalMasks {
        blocked: 0,
        ignored: 0,
        caught: 0,
        pending: 0,
        read: 0,
    };
    const CAUGHT: SignalMasks = SignalMasks {
        caught: TERM,
        ..NONE
    };
    const IGNORED: SignalMasks = SignalMasks {
        ignored: TERM,
        ..NONE
    };
    const BLOCKED: SignalMasks = SignalMasks {
        blocked: TERM,
        ..NONE
    };

    /// A container that has run for ten seconds.
    fn app() -> (Scene, ProcessId) {
        let mut scene = Scene::new();
        scene.pod("p");
        let app = scene.container("p", "app");
        scene.wait_ms(10_000);
        (scene, app)
    }

    /// What is said of a container whose entrypoint treats signals in this way after ten seconds.
    #[track_caller]
    fn judged(masks: SignalMasks, outcomes: &[Outcome]) -> Option<Details> {
        let (mut scene, app) = app();
        scene.signal_masks(app, masks);
        let verdicts = scene.expect("PT312", outcomes);
        verdicts.first().map(|verdict| verdict.details.clone())
    }

    /// Changes the declared stop signal of the containers.
    fn declare_signal(scene: &mut Scene, signal: i32) {
        for event in &mut scene.events {
            if let Fact::Container(fact) = &mut event.fact {
                fact.stop_signal = signal;
            }
        }
    }

    #[test]
    fn pid_1_without_a_handler_fails_with_the_masks() {
        let (mut scene, app) = app();
        scene.signal_masks(app, NONE);
        let [verdict] = &scene.expect("PT312", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        assert_eq!(verdict.severity(), Severity::Info);
        let details = &verdict.details;
        let pid = app.pid;
        assert_eq!(
            details.message,
            format!(
                "a stop of app will take the whole grace period: app (pid {pid}) is pid 1 of its \
                 pid namespace and has no handler for SIGTERM, so the kernel drops it"
            )
        );
        let lines: Vec<_> = details.evidence.iter().map(|line| &line.what[..]).collect();
        let zeros = "0".repeat(16);
        assert_eq!(
            lines[1..],
            [format!(
                "/proc/{pid}/status was read: SigBlk {zeros}, SigIgn {zeros}, SigCgt {zeros}"
            )]
        );
        assert!(lines[0].starts_with(&format!("pid {pid} executed ")));
    }

    #[test]
    fn a_signal_that_is_ignored_fails() {
        let details = judged(IGNORED, &[Outcome::Fail]).expect("it fails");
        let how = "ignores SIGTERM";
        assert!(details.message.ends_with(how), "{}", details.message);
    }

    #[test]
    fn whether_a_blocked_signal_is_polled_for_is_not_known() {
        judged(BLOCKED, &[]);
        // The kernel queues it all the same.
        let also_ignored = SignalMasks {
            ignored: TERM,
            ..BLOCKED
        };
        judged(also_ignored, &[]);
    }

    #[test]
    fn a_process_that_takes_the_signal_passes() {
        judged(CAUGHT, &[Outcome::Pass]);
        let in_a_loop = SignalMasks {
            caught: TERM,
            ..BLOCKED
        };
        judged(in_a_loop, &[Outcome::Pass]);
        let waits = SignalMasks {
            read: TERM,
            ..CAUGHT
        };
        judged(waits, &[Outcome::Pass]);
    }

    #[test]
    fn whether_a_process_reads_what_it_may_read_is_not_known() {
        for masks in [BLOCKED, NONE] {
            let reads = SignalMasks {
                read: TERM,
                ..masks
            };
            judged(reads, &[]);
        }
    }

    #[test]
    fn another_process_than_pid_1_takes_it_by_the_default_action() {
        let host = Modes {
            pid: Mode::Node,
            ..Modes::plain()
        };
        let shared = Modes {
            pid: Mode::Pod,
            ..Modes::plain()
        };
        for modes in [host, shared] {
            for (masks, outcome) in [(NONE, Outcome::Pass), (IGNORED, Outcome::Fail)] {
                let mut scene = Scene::new();
                scene.pod_with("p", modes.clone(), |_| {});
                let app = scene.container("p", "app");
                scene.wait_ms(10_000);
                scene.signal_masks(app, masks);
                scene.expect("PT312", &[outcome]);
            }
        }
    }

    #[test]
    fn a_process_that_may_install_a_handler_yet_is_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        let app = scene.container("p", "app");
        scene.wait_ms(4_900);
        scene.signal_masks(app, NONE);
        scene.expect("PT312", &[]);
        scene.wait_ms(100);
        scene.signal_masks(app, NONE);
        scene.expect("PT312", &[Outcome::Fail]);

        // A shell that executes the program late.
        let (mut scene, app) = self::app();
        scene.exec_as(app, "/bin/server");
        scene.wait_ms(4_900);
        scene.signal_masks(app, NONE);
        scene.expect("PT312", &[]);
        scene.wait_ms(100);
        scene.signal_masks(app, NONE);
        scene.expect("PT312", &[Outcome::Fail]);
    }

    #[test]
    fn an_exec_whose_record_is_lost_may_have_been_late() {
        let (mut scene, app) = app();
        scene.lose(Kind::Exec, 1);
        scene.signal_masks(app, NONE);
        scene.expect("PT312", &[]);
        scene.wait_ms(5_000);
        scene.signal_masks(app, NONE);
        scene.expect("PT312", &[Outcome::Fail]);
    }

    #[test]
    fn the_stop_signal_of_the_container_counts() {
        let quits = SignalMasks {
            caught: 1 << (SIGQUIT - 1),
            ..NONE
        };
        for (signal, masks, outcomes) in [
            (SIGQUIT, quits, &[Outcome::Pass][..]),
            (SIGQUIT, CAUGHT, &[Outcome::Fail]),
            (SIGKILL, NONE, &[Outcome::Pass]),
            (0, NONE, &[]),
        ] {
            let (mut scene, app) = app();
            declare_signal(&mut scene, signal);
            scene.signal_masks(app, masks);
            scene.expect("PT312", outcomes);
        }
    }

    #[test]
    fn pauses_sessions_and_children_are_not_judged() {
        let (mut scene, app) = app();
        let pause = scene.pause_of("p");
        let child = scene.fork(app);
        let session = scene.session_with(app, |_| {});
        scene.wait_ms(10_000);
        for process in [pause, child, session, scene.stranger] {
            scene.signal_masks(process, NONE);
        }
        scene.expect("PT312", &[]);
    }

    #[test]
    fn a_container_that_ends_or_is_being_stopped_is_not_judged() {
        let (mut scene, app) = app();
        scene.signal(scene.runtime, app, SIGTERM, SignalResult::Delivered);
        scene.handle(app, SIGTERM);
        // Its handler ignores further signals.
        scene.signal_masks(app, IGNORED);
        scene.expect("PT312", &[]);

        let (mut scene, app) = self::app();
        scene.stop_pod("p", 1_000);
        scene.signal_masks(app, NONE);
        scene.expect("PT312", &[]);

        let (mut scene, app) = self::app();
        scene.exit(app, WaitStatus::exited(0));
        scene.signal_masks(app, NONE);
        scene.reap(app);
        scene.signal_masks(app, NONE);
        scene.expect("PT312", &[]);
    }

    #[test]
    fn each_run_of_a_container_is_reported_once() {
        let (mut scene, app) = app();
        scene.signal_masks(app, NONE);
        scene.signal_masks(app, NONE);
        scene.end(app, WaitStatus::killed(SIGKILL));
        let again = scene.container("p", "app-again");
        scene.wait_ms(10_000);
        scene.signal_masks(again, NONE);
        scene.expect("PT312", &[Outcome::Fail, Outcome::Fail]);
    }

    #[test]
    fn the_stop_itself_is_reported_too() {
        let (mut scene, app) = app();
        scene.signal_masks(app, NONE);
        scene.signal(scene.runtime, app, SIGTERM, SignalResult::Ignored);
        scene.wait_ms(1_100);
        scene.expect("PT312", &[Outcome::Fail]);
        scene.expect("PT301", &[Outcome::Fail]);
    }
}
