//! Adverse events: a run is interrupted in every phase or killed, two runs overlap, pids wrap.
//! Nothing is left on the machine.
//!
//! The tests run one at a time, because each compares the whole machine before and after.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::{c_program, node::Traces, pause_trace, run};

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(args: &[&str]) -> Child {
    Command::new(pause_trace())
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).expect("the child is not reaped");
}

/// Waits for the first line of this type.
fn await_line(lines: &mut impl Iterator<Item = std::io::Result<String>>, kind: &str) {
    let wanted = format!("\"type\":\"{kind}\"");
    let found = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.contains(&wanted));
    assert!(found, "the output ended without a {kind}");
}

#[test]
fn an_interrupted_check_cleans_up_in_every_phase() {
    let _alone = alone();
    let before = Traces::now();
    for phase in ["", "hello", "scenario"] {
        // The tests may run with SIGINT ignored, like a background job of a shell. The child
        // inherits that until it sets handlers.
        let signals = match phase {
            "" => &[Signal::SIGTERM][..],
            _ => &[Signal::SIGINT, Signal::SIGTERM],
        };
        for signal in signals.iter().copied() {
            let mut child = start(&["check", "--format", "json"]);
            let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
            if !phase.is_empty() {
                await_line(&mut lines, phase);
            }
            send(&child, signal);
            let rest: Vec<_> = lines.map_while(Result::ok).collect();
            let status = child.wait().expect("it ends");
            if phase.is_empty() {
                // It may not have set its handlers yet.
                assert!(status.code().is_none_or(|code| code == 130), "{status}");
            } else {
                assert_eq!(status.code(), Some(130), "{phase} {signal}");
                let last = rest.last().expect("a summary");
                assert!(
                    last.contains("\"type\":\"summary\"") && last.contains("\"interrupted\":true"),
                    "{last}"
                );
            }
            before.assert_restored();
        }
    }
}

#[test]
fn a_killed_check_leaves_nothing() {
    let _alone = alone();
    let before = Traces::now();
    for phase in ["hello", "scenario"] {
        let mut child = start(&["check", "--format", "json"]);
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        await_line(&mut lines, phase);
        send(&child, Signal::SIGKILL);
        child.wait().expect("it ends");
        before.assert_restored();
    }
}

#[test]
fn two_runs_at_once_do_not_affect_each_other() {
    let _alone = alone();
    let before = Traces::now();
    let scenarios = "pod-plain,pod-shared-pid,pod-host-ipc,stop-order";
    let children = [(); 2].map(|()| start(&["check", "--format", "json", "--scenario", scenarios]));
    for child in children {
        let output = child.wait_with_output().expect("it ends");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{stdout}");
    }
    before.assert_restored();
}

#[test]
fn a_wrap_of_all_pids_confuses_nothing() {
    let _alone = alone();
    let before = Traces::now();
    let child = start(&["check", "--format", "json"]);
    // The loop uses every pid once while the check runs: 32,768 by default. With a larger pid_max,
    // pids do not wrap in time.
    let status = Command::new(c_program("fork_loop"))
        .arg("40000")
        .status()
        .expect("it runs");
    assert!(status.success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    before.assert_restored();
}

#[test]
fn a_finished_check_leaves_nothing() {
    let _alone = alone();
    let before = Traces::now();
    let run = run(["check", "--format", "json"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    before.assert_restored();
}
