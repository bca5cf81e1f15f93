//! setns and unshare by each way to see them: the same calls have to make the same records.
//!
//! One process makes a known row of calls, of which some fail, once for each way. What differs by nature (times, pids, inode
//! numbers) is left out, or numbered in the order in which it came.

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

/// How many calls it makes.
const CALLS: usize = 14;

/// The exit code of a caller that could make them.
const CODE: u8 = 74;

/// One call, as a way to see it reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    call: NamespaceCall,
    flags: u64,
    errno: i32,
    /// After the call, in the order of [`NamespaceKind::ALL`]: the how manieth namespace of its kind that was seen.
    namespaces: [usize; NamespaceKind::ALL.len()],
}

/// What one way to see setns and unshare has shown.
pub(crate) struct Seen {
    pub(crate) calls: Vec<Call>,
    pub(crate) verified: Vec<Verified>,
}

/// Makes the calls: each kind of namespace once, and what the kernel refuses. Their results do not matter, being seen does.
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
            enter(&own, CloneFlags::CLONE_NEWNET), // EINVAL: of another kind
            enter(&no_namespace, CloneFlags::empty()), // EINVAL
            unshare(CloneFlags::CLONE_NEWUTS),
            unshare(CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWCGROUP),
            unshare(CloneFlags::CLONE_PARENT), // EINVAL: nothing to unshare
            enter(&own, CloneFlags::CLONE_NEWUTS), // back
            unshare(CloneFlags::CLONE_NEWNET),
            unshare(CloneFlags::CLONE_NEWPID),
            unshare(CloneFlags::CLONE_NEWPID), // EINVAL: it has one for its children already
            unshare(CloneFlags::CLONE_NEWNS),
            unshare(CloneFlags::CLONE_NEWUSER),
            enter(&own, CloneFlags::CLONE_NEWUTS), // EPERM: of a user namespace above
        ])
    };
    match call() {
        Ok(_) => CODE,
        Err(_) => 1,
    }
}

/// Loads the program with the one way that `options` name, and has the calls made.
///
/// # Errors
/// When this kernel does not have that way, and when not all of the calls were reported.
pub(crate) async fn see(options: &Options) -> Result<Seen, String> {
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
    Ok(Seen {
        calls,
        verified: verified(&loaded),
    })
}

/// Has the calls made, and gives what was reported of them.
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
            // Its end comes after all of its calls.
            if events.iter().any(|event| is_end(event, pid)) {
                return Ok::<_, String>(());
            }
            if !rings.has_held() {
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
        count => Err(format!("of {CALLS} calls {count} were reported")),
    }
}

fn is_end(event: &Event, pid: u32) -> bool {
    matches!(&event.fact, Fact::Exit { task, .. } if task.process.pid == pid)
}

/// What a process' calls come to apart from times, pids and inode numbers.
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

/// Where two rows of calls differ first, in words; `None` where they are the same.
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
    fn pids_and_inode_numbers_make_no_difference() {
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
    fn what_differs_is_said_with_both() {
        let one = normalised(&[change(5, 1, 0, 100), change(5, 2, 0, 200)], 5);
        let other = normalised(&[change(5, 1, 0, 100), change(5, 2, 22, 100)], 5);
        let expected = "call 2: Setns 0x2 = 0 uts#1, and Setns 0x2 = 22";
        assert_eq!(difference(&one, &other).as_deref(), Some(expected));
        let expected = "call 2: Setns 0x2 = 0 uts#1, and nothing";
        assert_eq!(difference(&one, &other[..1]).as_deref(), Some(expected));
    }
}
