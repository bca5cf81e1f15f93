//! Tests of what the rules about stopping share.

mod oom;

use std::collections::BTreeSet;

use crate::signal::{SIGCHLD, SIGUSR1};

use super::*;
use crate::{
    rules::{Ledger, testing::*},
    state::Limits,
};

/// The rules that fail for a scene at error level, those that fail below it, and the
/// inconclusive ones.
fn judged(scene: &Scene) -> [BTreeSet<&'static str>; 3] {
    let mut state = State::new(Limits::REFERENCE);
    let mut ledger = Ledger::new(|_| true);
    for event in &scene.events {
        ledger.judge(&mut state, event, |_, _, _| ());
    }
    let verdicts = ledger.take();
    let rules_where = |is: &dyn Fn(&crate::verdict::Verdict) -> bool| {
        verdicts
            .iter()
            .filter(|verdict| is(verdict))
            .map(|verdict| verdict.rule.id)
            .collect()
    };
    [
        rules_where(&|verdict| {
            verdict.outcome == Outcome::Fail && verdict.severity() == Severity::Error
        }),
        rules_where(&|verdict| {
            verdict.outcome == Outcome::Fail && verdict.severity() < Severity::Error
        }),
        rules_where(&|verdict| verdict.outcome == Outcome::Inconclusive),
    ]
}

/// What `play` does to a pause, a container's init and its child, and the rules that must fail.
struct Fault {
    error: Option<&'static str>,
    warning: Option<&'static str>,
    shared: bool,
    play: fn(&mut Scene, [ProcessId; 3]),
}

fn kill(scene: &mut Scene, process: ProcessId) {
    scene.signal(scene.runtime, process, SIGKILL, SignalResult::Delivered);
    scene.end(process, WaitStatus::killed(SIGKILL));
}

/// Ends a container with SIGKILL to its init, and its child by the end of their pid namespace.
fn kill_all(scene: &mut Scene, [_, init, child]: [ProcessId; 3]) {
    scene.wait_ms(1_200);
    scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
    scene.exit(init, WaitStatus::killed(SIGKILL));
    scene.signal_with_code(init, child, SIGKILL, SignalResult::Delivered, SI_KERNEL);
    scene.exit_to(child, init, WaitStatus::killed(SIGKILL));
    scene.reap(child);
    scene.reap(init);
}

fn stop_pause(scene: &mut Scene, pause: ProcessId) {
    scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
    scene.handle(pause, SIGTERM);
    scene.end(pause, WaitStatus::exited(0));
}

const FAULTS: &[Fault] = &[
    Fault {
        error: None,
        warning: None,
        shared: false,
        play: |scene, [pause, init, child]| {
            scene.signal_with_code(pause, pause, SIGCHLD, SignalResult::Delivered, 1);
            scene.handle(pause, SIGCHLD);
            scene.stop_pod("p", 5_000);
            scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
            scene.handle(init, SIGTERM);
            scene.signal(init, child, SIGTERM, SignalResult::Delivered);
            scene.end(child, WaitStatus::killed(SIGTERM));
            scene.end(init, WaitStatus::exited(0));
            stop_pause(scene, pause);
        },
    },
    Fault {
        error: Some("PT202"),
        warning: None,
        shared: true,
        play: |scene, [pause, init, child]| {
            scene.signal(scene.stranger, pause, SIGKILL, SignalResult::Delivered);
            scene.exit(pause, WaitStatus::killed(SIGKILL));
            for process in [init, child] {
                scene.signal_with_code(pause, process, SIGKILL, SignalResult::Delivered, SI_KERNEL);
                scene.end(process, WaitStatus::killed(SIGKILL));
            }
            scene.reap(pause);
        },
    },
    Fault {
        error: Some("PT301"),
        warning: Some("PT302"),
        shared: false,
        play: |scene, [pause, init, child]| {
            scene.stop_pod("p", 1_200);
            scene.signal(scene.runtime, init, SIGTERM, SignalResult::Ignored);
            kill_all(scene, [pause, init, child]);
            stop_pause(scene, pause);
        },
    },
    Fault {
        error: Some("PT304"),
        warning: Some("PT302"),
        shared: false,
        play: |scene, [pause, init, child]| {
            scene.stop_pod("p", 1_200);
            scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
            scene.handle(init, SIGTERM);
            scene.handlers(child, &[SIGTERM], &[SIGTERM]);
            kill_all(scene, [pause, init, child]);
            stop_pause(scene, pause);
        },
    },
    Fault {
        error: Some("PT311"),
        warning: None,
        shared: false,
        play: |scene, [pause, init, child]| {
            scene.stop_pod("p", 1_200);
            scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
            scene.handle(init, SIGTERM);
            scene.exit(init, WaitStatus::exited(0));
            scene.cut_off(init, child, &[SIGTERM], &[SIGTERM]);
            scene.reap(init);
            stop_pause(scene, pause);
        },
    },
    Fault {
        error: Some("PT308"),
        warning: Some("PT302"),
        shared: false,
        play: |scene, [pause, init, child]| {
            scene.stop_pod("p", 1_200);
            scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
            kill_all(scene, [pause, init, child]);
            stop_pause(scene, pause);
        },
    },
    Fault {
        error: Some("PT303"),
        warning: None,
        shared: false,
        play: |scene, processes| {
            scene.stop_pod("p", 1_200);
            kill_all(scene, processes);
            stop_pause(scene, processes[0]);
        },
    },
    Fault {
        error: Some("PT305"),
        warning: None,
        shared: false,
        play: |scene, [pause, init, child]| {
            scene.stop_pod("p", 1_200);
            scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
            scene.signal(scene.stranger, init, SIGTERM, SignalResult::Delivered);
            scene.handle(init, SIGTERM);
            scene.end(child, WaitStatus::exited(0));
            scene.end(init, WaitStatus::exited(0));
            stop_pause(scene, pause);
        },
    },
    Fault {
        error: Some("PT306"),
        warning: None,
        shared: false,
        play: |scene, [pause, init, child]| {
            scene.end(child, WaitStatus::exited(0));
            scene.end(init, WaitStatus::exited(0));
            scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
            scene.wait_ms(1_200);
            kill(scene, pause);
        },
    },
    Fault {
        error: Some("PT306"),
        warning: None,
        shared: false,
        play: |scene, [pause, init, child]| {
            scene.end(child, WaitStatus::exited(0));
            scene.end(init, WaitStatus::exited(0));
            scene.signal(scene.runtime, pause, SIGTERM, SignalResult::Delivered);
            scene.handle(pause, SIGTERM);
            scene.end(pause, WaitStatus::exited(1));
        },
    },
    Fault {
        error: Some("PT307"),
        warning: None,
        shared: true,
        play: |scene, [pause, init, child]| {
            scene.signal(scene.stranger, pause, SIGUSR1, SignalResult::Delivered);
            scene.handle(pause, SIGUSR1);
            scene.exit(pause, WaitStatus::exited(0));
            for process in [init, child] {
                scene.signal_with_code(pause, process, SIGKILL, SignalResult::Delivered, SI_KERNEL);
                scene.end(process, WaitStatus::killed(SIGKILL));
            }
            scene.reap(pause);
        },
    },
    Fault {
        error: Some("PT309"),
        warning: None,
        shared: false,
        play: |scene, [pause, init, child]| {
            scene.stop_pod("p", 1_200);
            stop_pause(scene, pause);
            scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
            scene.handle(init, SIGTERM);
            scene.end(child, WaitStatus::exited(0));
            scene.end(init, WaitStatus::exited(0));
        },
    },
    Fault {
        error: Some("PT310"),
        warning: None,
        shared: true,
        play: |scene, [pause, init, child]| {
            scene.signal(scene.stranger, init, SIGKILL, SignalResult::Delivered);
            scene.end(init, WaitStatus::killed(SIGKILL));
            scene.exit_to(child, pause, WaitStatus::exited(0));
            scene.reap(child);
            stop_pause(scene, pause);
        },
    },
];

#[test]
fn one_fault_is_one_error_and_a_healthy_stop_is_none() {
    for (index, fault) in FAULTS.iter().enumerate() {
        let mut scene = Scene::new();
        let pause = if fault.shared {
            scene.shared_pid_pod("p")
        } else {
            scene.pod("p")
        };
        let init = scene.container("p", "a");
        let child = scene.fork(init);
        scene.wait_ms(500);
        (fault.play)(&mut scene, [pause, init, child]);
        scene.remove_pod("p");
        scene.wait_ms(1_200);
        let [errors, warnings, inconclusive] = judged(&scene);
        assert_eq!(
            errors,
            BTreeSet::from_iter(fault.error),
            "errors of fault {index}"
        );
        assert_eq!(
            warnings,
            BTreeSet::from_iter(fault.warning),
            "warnings of fault {index}"
        );
        assert_eq!(
            inconclusive,
            BTreeSet::new(),
            "inconclusive for fault {index}"
        );
    }
}
