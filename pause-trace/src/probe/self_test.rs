//! Tests the hooks with a known process before anything is judged.
//!
//! The process is forked, executes, calls setns, and exits. What the eBPF program reports about it
//! must agree with `/proc` and wait(2), so wrong offsets fail this test instead of causing wrong
//! verdicts. The test also reads the host's namespaces from the records, because `/proc/1/ns` may
//! be hidden even from root.

use std::{fs, io, os::unix::fs::MetadataExt as _, process::Command, time::Duration};

use super::{
    load::{LoadError, Loaded},
    ring::Rings,
};
use crate::event::{Event, Fact, Kind, NamespaceKind, Namespaces, ProcessId};

/// First argument of the helper process.
pub(crate) const HELPER: &str = "__self-test";

/// The exit code of the helper, which no other process here uses.
const CODE: u8 = 73;

/// The time limit for the records, which arrive within milliseconds or not at all.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// The helper process: enters its own UTS namespace, which changes nothing, and exits.
pub(crate) fn helper() -> u8 {
    let enter = || -> io::Result<()> {
        let own = fs::File::open("/proc/self/ns/uts")?;
        nix::sched::setns(own, nix::sched::CloneFlags::CLONE_NEWUTS)?;
        Ok(())
    };
    match enter() {
        Ok(()) => CODE,
        Err(_) => 1,
    }
}

/// What has been reported about the helper so far.
#[derive(Default)]
struct Reported {
    forked: Option<(ProcessId, Namespaces)>,
    executed: Option<Namespaces>,
    changed: Option<i32>,
    signalled: bool,
    ended: Option<u8>,
    reaped: bool,
}

/// Attempts before the test fails. A kernel may skip programs on some of its threads, and any
/// thread may report a reap. Wrong offsets fail every attempt.
const TRIES: u32 = 3;

/// Tests the hooks and returns the host's namespaces. This process must already be watched.
///
/// A tracepoint's second program reports the runs that the first was skipped for, which cannot be
/// provoked. Therefore the test runs twice, with each program attached first once.
pub(crate) async fn self_test(
    loaded: &mut Loaded,
    rings: &mut Rings,
) -> Result<Namespaces, LoadError> {
    let mut hooks = loaded.hooks.iter();
    let has_namespace_hook = hooks.any(|hook| hook.kind == Kind::Namespace && hook.how.is_ok());
    test(rings, has_namespace_hook).await?;
    loaded.order_programs().map_err(LoadError::Refused)?;
    test(rings, has_namespace_hook).await
}

async fn test(rings: &mut Rings, has_namespace_hook: bool) -> Result<Namespaces, LoadError> {
    let mut result = Err(String::new());
    for _ in 0..TRIES {
        result = attempt(rings, has_namespace_hook).await;
        if result.is_ok() {
            break;
        }
    }
    result.map_err(LoadError::SelfTest)
}

async fn attempt(rings: &mut Rings, has_namespace_hook: bool) -> Result<Namespaces, String> {
    let (pid, status) = Command::new("/proc/self/exe")
        .arg(HELPER)
        .spawn()
        .and_then(|mut child| Ok((child.id(), child.wait()?)))
        .map_err(|error| format!("failed to run the helper: {error}"))?;
    if status.code() != Some(i32::from(CODE)) {
        return Err(format!("the helper ended with {status}"));
    }
    let mut reported = Reported::default();
    let readiness = rings
        .readiness()
        .map_err(|error| format!("failed to wait for the rings: {error}"))?;
    let collect = async {
        let mut events = Vec::new();
        loop {
            rings
                .drain(&mut events)
                .map_err(|error| format!("failed to read the rings: {error:#}"))?;
            for event in events.drain(..) {
                reported.take(pid, &event);
            }
            if reported.reaped {
                return Ok::<_, String>(());
            }
            if rings.has_held() {
                // Lets a signal or the end of the time through.
                tokio::task::yield_now().await;
                continue;
            }
            readiness
                .wait()
                .await
                .map_err(|error| format!("failed to wait for the rings: {error}"))?;
        }
    };
    match tokio::time::timeout(DEADLINE, collect).await {
        Ok(result) => result?,
        Err(_) => return Err(reported.missing()),
    }
    let (Some((parent, at_fork)), Some(at_exec)) = (reported.forked, reported.executed) else {
        return Err(reported.missing());
    };
    compare_self(parent)?;
    compare_namespaces(&at_fork)?;
    compare_namespaces(&at_exec)?;
    if reported.ended != Some(CODE) {
        return Err(format!(
            "the helper's exit code was {CODE}, but the record has {:?}",
            reported.ended
        ));
    }
    if has_namespace_hook && reported.changed != Some(0) {
        return Err(format!(
            "the helper's setns succeeded, but the record has {:?}",
            reported.changed
        ));
    }
    if !reported.signalled {
        return Err("the SIGCHLD of the helper's exit was not reported".to_owned());
    }
    Ok(at_exec)
}

impl Reported {
    fn take(&mut self, helper: u32, event: &Event) {
        match &event.fact {
            Fact::Fork { task } if task.process.pid == helper => {
                self.forked = Some((task.parent, task.namespaces));
            }
            Fact::Exec { task, .. } if task.process.pid == helper => {
                self.executed = Some(task.namespaces);
            }
            Fact::NamespaceChange { task, errno, .. } if task.process.pid == helper => {
                self.changed = Some(*errno)
            }
            Fact::Signal(signal) if signal.sender.pid == helper => self.signalled = true,
            Fact::Exit { task, status } if task.process.pid == helper => {
                self.ended = status.code();
            }
            Fact::Reaped { process } if process.pid == helper => self.reaped = true,
            _ => {}
        }
    }

    fn missing(&self) -> String {
        let mut missing = Vec::new();
        for (what, is_there) in [
            ("fork", self.forked.is_some()),
            ("exec", self.executed.is_some()),
            ("exit", self.ended.is_some()),
            ("reap", self.reaped),
        ] {
            if !is_there {
                missing.push(what);
            }
        }
        format!("no {} of a known process was reported", missing.join(", "))
    }
}

/// Checks that the helper's parent is this process, with the start time in `/proc/self/stat`.
fn compare_self(parent: ProcessId) -> Result<(), String> {
    if parent.pid != std::process::id() {
        return Err(format!(
            "this is pid {}, but the record has {}",
            std::process::id(),
            parent.pid
        ));
    }
    let stat = fs::read_to_string("/proc/self/stat")
        .map_err(|error| format!("/proc/self/stat: {error}"))?;
    // Field 22 (proc_pid_stat(5)). Fields are counted after the name, which may contain any bytes.
    let ticks: Option<u64> = stat
        .rsplit_once(')')
        .and_then(|(_, fields)| fields.split_whitespace().nth(19)?.parse().ok());
    const NS_PER_TICK: u64 = 1_000_000_000 / 100; // USER_HZ is 100 on every supported architecture
    if ticks != Some(parent.start / NS_PER_TICK) {
        return Err(format!(
            "this process started at tick {ticks:?}, but the record has {} ns",
            parent.start
        ));
    }
    Ok(())
}

fn compare_namespaces(reported: &Namespaces) -> Result<(), String> {
    for kind in NamespaceKind::ALL {
        let path = format!("/proc/self/ns/{}", kind.name());
        let inode = fs::metadata(&path)
            .map_err(|error| format!("{path}: {error}"))?
            .ino();
        if inode != u64::from(reported.get(kind)) {
            return Err(format!(
                "{path} is {inode}, but the record has {}",
                reported.get(kind)
            ));
        }
    }
    Ok(())
}
