//! Compares the ways to observe setns and unshare: each has to report the same calls with the same
//! records.
//!
//! A process makes a fixed sequence of calls, some of which fail, once for each way. Times and
//! pids, which differ between runs, are left out, and inode numbers are replaced by their order of
//! appearance.

use std::{
    fmt::{self, Write as _},
    fs, io,
    process::Command,
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns, unshare},
};

use super::{
    load::{Options, load},
    ring::Rings,
    self_test::DEADLINE,
    verifier::{Verified, verified},
};
use crate::event::{Event, Fact, NamespaceCall, NamespaceKind, Namespaces};

/// First argument of the process that makes the calls.
pub(crate) const CALLER: &str = "__namespace-calls";

/// The number of calls that it makes.
const CALLS: usize = 14;

/// The exit code of a process that could make all calls.
const CODE: u8 = 74;

/// A call as one of the ways reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    call: NamespaceCall,
    flags: u64,
    errno: i32,
    /// The namespaces after the call, in the order of [`NamespaceKind::ALL`]. Each namespace is
    /// numbered within its kind, in order of appearance.
    namespaces: [usize; NamespaceKind::ALL.len()],
}

/// The calls that one way reported, and the cost of its programs.
pub(crate) struct Observed {
    pub(crate) calls: Vec<Call>,
    pub(crate) verified: Vec<Verified>,
}

/// Makes the calls: one for each kind of namespace, and some that the kernel refuses. Only their
/// records matter, not their results.
pub(crate) fn caller() -> u8 {
    let call = || -> io::Result<[Result<(), Errno>; CALLS]> {
        let (own, no_namespace) = (
            fs::File::open("/proc/self/ns/uts")?,
            fs::File::open("/dev/null")?,
        );
        let enter = |file: &fs::File, kind| setns(file, kind);
        Ok([
            enter(&own, CloneFlags::CLONE_NEWUTS),
            enter(&own, CloneFlags::empty()),
            enter(&own, CloneFlags::CLONE_NEWNET), // EINVAL: a namespace of another kind
            enter(&no_namespace, CloneFlags::empty()), // EINVAL
            unshare(CloneFlags::CLONE_NEWUTS),
            unshare(CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWCGROUP),
            unshare(CloneFlags::CLONE_PARENT), // EINVAL: nothing to unshare
            enter(&own, CloneFlags::CLONE_NEWUTS), // back
            unshare(CloneFlags::CLONE_NEWNET),
            unshare(CloneFlags::CLONE_NEWPID),
            unshare(CloneFlags::CLONE_NEWPID), // EINVAL: its children already have another
            unshare(CloneFlags::CLONE_NEWNS),
            unshare(CloneFlags::CLONE_NEWUSER),
            enter(&own, CloneFlags::CLONE_NEWUTS), // EPERM: owned by a user namespace above
        ])
    };
    match call() {
        Ok(_) => CODE,
        Err(_) => 1,
    }
}

/// Loads the program with the way that `options` select, and reports the calls of a process.
///
/// # Errors
/// Fails when this kernel does not support that way, or when some calls were not reported.
pub(crate) async fn see(options: &Options) -> Result<Observed, String> {
    let mut loaded = load(options).map_err(|error| error.to_string())?;
    if let Some(hook) = loaded
        .hooks
        .iter()
        .find(|hook| hook.name == "setns, unshare")
        && let Err(reason) = &hook.how
    {
        return Err(reason.clone());
    }
    let failed = |error: anyhow::Error| format!("failed to follow a process: {error:#}");
    loaded.watch(std::process::id()).map_err(failed)?;
    let mut rings = Rings::new(&mut loaded).map_err(failed)?;
    let calls = calls(&mut rings).await?;
    Ok(Observed {
        calls,
        verified: verified(&loaded),
    })
}

/// Runs the process that makes the calls, and returns the reported calls.
async fn calls(rings: &mut Rings) -> Result<Vec<Call>, String> {
    let (pid, status) = Command::new("/proc/self/exe")
        .arg(CALLER)
        .spawn()
        .and_then(|mut child| Ok((child.id(), child.wait()?)))
        .map_err(|error| format!("failed to run a process that calls setns: {error}"))?;
    if status.code() != Some(i32::from(CODE)) {
        return Err(format!("the process that calls setns ended with {status}"));
    }
    let readiness = rings
        .readiness()
        .map_err(|error| format!("failed to wait for the rings: {error}"))?;
    let mut events = Vec::new();
    let collect = async {
        loop {
            rings
                .drain(&mut events)
                .map_err(|error| format!("failed to read the rings: {error:#}"))?;
            // The exit record comes after the records of all calls.
            if events.iter().any(|event| is_end(event, pid)) {
                return Ok::<_, String>(());
            }
            if rings.has_held() {
                tokio::task::yield_now().await;
            } else {
                readiness
                    .wait()
                    .await
                    .map_err(|error| format!("failed to wait for the rings: {error}"))?;
            }
        }
    };
    tokio::time::timeout(DEADLINE, collect)
        .await
        .map_err(|_| "the end of a process was not reported".to_owned())??;
    let calls = normalised(&events, pid);
    match calls.len() {
        CALLS => Ok(calls),
        count => Err(format!("{count} of {CALLS} calls were reported")),
    }
}

fn is_end(event: &Event, pid: u32) -> bool {
    matches!(&event.fact, Fact::Exit { task, .. } if task.process.pid == pid)
}

/// The calls of a process without times, pids and inode numbers.
fn normalised(events: &[Event], pid: u32) -> Vec<Call> {
    let mut known: [Vec<u32>; NamespaceKind::ALL.len()] = Default::default();
    let mut number = |namespaces: &Namespaces| {
        let mut numbers = [0; NamespaceKind::ALL.len()];
        for ((kind, known), number) in NamespaceKind::ALL.iter().zip(&mut known).zip(&mut numbers) {
            let inode = namespaces.get(*kind);
            let position = known.iter().position(|seen| *seen == inode);
            *number = position.unwrap_or_else(|| {
                known.push(inode);
                known.len() - 1
            });
        }
        numbers
    };
    events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::NamespaceChange {
                task,
                call,
                flags,
                errno,
                ..
            } if task.process.pid == pid => Some(Call {
                call: *call,
                flags: *flags,
                errno: *errno,
                namespaces: number(&task.namespaces),
            }),
            _ => None,
        })
        .collect()
}

/// Describes the first difference between two sequences of calls; `None` if they are equal.
pub(crate) fn difference(one: &[Call], other: &[Call]) -> Option<String> {
    let longer = one.len().max(other.len());
    let at = (0..longer).find(|at| one.get(*at) != other.get(*at))?;
    let word = |call: Option<&Call>| call.map_or("nothing".to_owned(), Call::to_string);
    Some(format!(
        "call {}: {}, and {}",
        at + 1,
        word(one.get(at)),
        word(other.get(at))
    ))
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut changed = String::new();
        for (kind, number) in NamespaceKind::ALL.iter().zip(self.namespaces) {
            if number > 0 {
                write!(changed, " {}#{number}", kind.name())?;
            }
        }
        write!(
            f,
            "{:?} {:#x} = {}{changed}",
            self.call, self.flags, self.errno
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{CgroupId, Comm, ProcessId, TaskInfo};

    fn change(pid: u32, flags: u64, errno: i32, uts: u32) -> Event {
        let namespaces = Namespaces {
            uts,
            net: 7,
            ..Namespaces::default()
        };
        let fact = Fact::NamespaceChange {
            task: TaskInfo {
                process: ProcessId { pid, start: 1 },
                parent: ProcessId::default(),
                cgroup: CgroupId::default(),
                namespaces,
                ns_pid: pid,
                comm: Comm::default(),
            },
            tid: pid,
            call: NamespaceCall::Setns,
            flags,
            errno,
        };
        Event { time: 1, fact }
    }

    #[test]
    fn pids_and_inode_numbers_are_ignored() {
        let one = [
            change(5, 1, 0, 100),
            change(9, 9, 0, 9),
            change(5, 2, 1, 200),
        ];
        let other = [change(6, 1, 0, 300), change(6, 2, 1, 400)];
        let (one, other) = (normalised(&one, 5), normalised(&other, 6));
        assert_eq!(one.len(), 2);
        assert_eq!(difference(&one, &other), None);
    }

    #[test]
    fn a_difference_names_both_calls() {
        let one = normalised(&[change(5, 1, 0, 100), change(5, 2, 0, 200)], 5);
        let other = normalised(&[change(5, 1, 0, 100), change(5, 2, 22, 100)], 5);
        let expected = "call 2: Setns 0x2 = 0 uts#1, and Setns 0x2 = 22";
        assert_eq!(difference(&one, &other).as_deref(), Some(expected));
        let expected = "call 2: Setns 0x2 = 0 uts#1, and nothing";
        assert_eq!(difference(&one, &other[..1]).as_deref(), Some(expected));
    }
}
