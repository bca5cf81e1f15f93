//! Before anything is judged, a process that is known in every detail goes through every hook.
//!
//! It is forked, executes, calls setns, and ends; what the kernel side reports of it must be what `/proc` and wait(2) say.
//! Offsets that do not fit the kernel show here, and not as a wrong verdict. What is learned on the way: the namespaces
//! of the host as the kernel names them, which `/proc/1/ns` may hide even from root.

use std::{fs, io, os::unix::fs::MetadataExt as _, process::Command, time::Duration};

use super::{
    load::{LoadError, Loaded},
    ring::Rings,
};
use crate::event::{Event, Fact, Kind, NamespaceKind, Namespaces, ProcessId};

/// First argument of the process that is tested with.
pub(crate) const HELPER: &str = "__self-test";

/// The exit code of the helper: not one that anything else ends with.
const CODE: u8 = 73;

/// How long the records may take: they come within milliseconds, or not at all.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// What the helper does: enters the UTS namespace it is in, so that nothing changes, and ends.
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

/// What the test has seen so far.
#[derive(Default)]
struct Seen {
    forked: Option<(ProcessId, Namespaces)>,
    executed: Option<Namespaces>,
    changed: Option<i32>,
    signalled: bool,
    ended: Option<u8>,
    reaped: bool,
}

/// How often it is tried: a kernel may leave programs out on some of its threads, and which thread tells of a reaping is
/// chance. What is wrong with offsets is wrong each time.
const TRIES: u32 = 3;

/// Tests the hooks, and gives the host's namespaces. This process must be watched already.
///
/// A tracepoint's second program reports what the first was not run for, which nobody can bring about: here each is the first once.
pub(crate) async fn self_test(
    loaded: &mut Loaded,
    rings: &mut Rings,
) -> Result<Namespaces, LoadError> {
    let mut hooks = loaded.hooks.iter();
    let has_namespace_hook = hooks.any(|hook| hook.kind == Kind::Namespace && hook.how.is_ok());
    test(rings, has_namespace_hook).await?;
    loaded.put_seconds_behind().map_err(LoadError::Refused)?;
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
    let mut seen = Seen::default();
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
                seen.take(pid, &event);
            }
            if seen.reaped {
                return Ok::<_, String>(());
            }
            if rings.has_held() {
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
        Err(_) => return Err(seen.missing()),
    }
    let (Some((parent, at_fork)), Some(at_exec)) = (seen.forked, seen.executed) else {
        return Err(seen.missing());
    };
    compare_self(parent)?;
    compare_namespaces(&at_fork)?;
    compare_namespaces(&at_exec)?;
    if seen.ended != Some(CODE) {
        return Err(format!(
            "the helper's exit code was {CODE}, the record says {:?}",
            seen.ended
        ));
    }
    if has_namespace_hook && seen.changed != Some(0) {
        return Err(format!(
            "the helper's setns succeeded, the record says {:?}",
            seen.changed
        ));
    }
    if !seen.signalled {
        return Err("the helper's end sent a SIGCHLD that was not reported".to_owned());
    }
    Ok(at_exec)
}

impl Seen {
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
        format!(
            "no {} was reported; pause-trace has to run in the node's pid namespace (hostPID)",
            missing.join(", ")
        )
    }
}

/// The helper's parent is this process, which started when `/proc/self/stat` says.
fn compare_self(parent: ProcessId) -> Result<(), String> {
    if parent.pid != std::process::id() {
        return Err(format!(
            "this is pid {}, the record says {}",
            std::process::id(),
            parent.pid
        ));
    }
    let stat = fs::read_to_string("/proc/self/stat")
        .map_err(|error| format!("/proc/self/stat: {error}"))?;
    // Field 22 (proc_pid_stat(5)), counted from behind the name, which may hold anything.
    let ticks: Option<u64> = stat
        .rsplit_once(')')
        .and_then(|(_, fields)| fields.split_whitespace().nth(19)?.parse().ok());
    const NS_PER_TICK: u64 = 1_000_000_000 / 100; // USER_HZ is 100 on every architecture that is built for
    if ticks != Some(parent.start / NS_PER_TICK) {
        return Err(format!(
            "this process started at tick {ticks:?}, the record says {} ns",
            parent.start
        ));
    }
    Ok(())
}

fn compare_namespaces(seen: &Namespaces) -> Result<(), String> {
    for kind in NamespaceKind::ALL {
        let path = format!("/proc/self/ns/{}", kind.name());
        let inode = fs::metadata(&path)
            .map_err(|error| format!("{path}: {error}"))?
            .ino();
        if inode != u64::from(seen.get(kind)) {
            return Err(format!(
                "{path} is {inode}, the record says {}",
                seen.get(kind)
            ));
        }
    }
    Ok(())
}
