//! Containers that fail, that are started again, and that run out of memory.

use super::{
    case::{Case, Container, Ended, Run},
    cause::{Cause, Reason},
    processes::processes,
};
use crate::{
    event::{Ktime, signal_name},
    text::counted,
    verdict::{Age, Duration},
};

/// Earlier runs that are shown.
pub(super) const MAX_RUNS: usize = 5;

/// The longest message of a runtime that is shown, in bytes.
const MAX_MESSAGE: usize = 300;

/// A container that has run for this long after its last start is no longer restarting.
const STABLE: Ktime = 600_000_000_000;

impl Container {
    /// Whether it ended and was started again, or waits for that.
    pub(super) fn is_restarting(&self) -> bool {
        let is_new = match &self.run {
            Run::Running { age } | Run::Created { age } => *age < STABLE,
            Run::Ended(ended) => ended.code != 0,
            Run::Unknown => false,
        };
        !self.is_sandbox() && (self.attempt > 0 || !self.earlier.is_empty()) && is_new
    }

    /// The last end of a run, if the runtime lists it.
    fn last_end(&self) -> Option<&Ended> {
        match &self.run {
            Run::Ended(ended) => Some(ended),
            _ => self.earlier.first(),
        }
    }
}

pub(super) fn reasons(case: &Case, reasons: &mut Vec<Reason>) {
    for container in &case.containers {
        if let Some(reason) = out_of_memory(container) {
            reasons.push(reason);
        }
        match &container.run {
            Run::Ended(ended) if ended.lived.is_none() && ended.code != 0 => {
                reasons.push(start_failed(container, ended));
            }
            _ if container.is_restarting() => reasons.push(restarting(container)),
            Run::Ended(ended) if ended.code != 0 && !container.is_sandbox() => {
                reasons.push(failed(container, ended));
            }
            _ => {}
        }
    }
}

/// What an exit code means.
fn meaning(code: i32) -> String {
    match code {
        126 => "exit code 126: the command cannot be executed".to_owned(),
        127 => "exit code 127: the command was not found".to_owned(),
        129..=192 => format!("exit code {code}: killed by {}", signal_name(code - 128)),
        _ => format!("exit code {code}"),
    }
}

fn message(ended: &Ended) -> Option<String> {
    let message = ended.message.trim();
    if message.is_empty() {
        return None;
    }
    // Each part of a runtime wraps the error of the next, so the cause is at the end.
    let mut begin = message.len().saturating_sub(MAX_MESSAGE);
    while !message.is_char_boundary(begin) {
        begin += 1;
    }
    let more = if begin > 0 { "…" } else { "" };
    Some(format!("the runtime says: {more}{}", &message[begin..]))
}

/// One end in a line: `12.0 s ago after 73 ms: exit code 1 (Error)`.
fn line(ended: &Ended) -> String {
    let reason = match ended.reason.is_empty() {
        true => String::new(),
        false => format!(" ({})", ended.reason),
    };
    let lived = ended
        .lived
        .map_or(", before it started".to_owned(), |lived| {
            format!(", {} after its start", Duration(lived))
        });
    format!(
        "ended {} ago{lived}: {}{reason}",
        Age(ended.ago),
        meaning(ended.code)
    )
}

fn start_failed(container: &Container, ended: &Ended) -> Reason {
    let what = message(ended).unwrap_or_else(|| line(ended));
    Reason {
        cause: Cause::StartFailed,
        containers: vec![container.title.clone()],
        sentence: format!("{} could not be started: {what}", container.title),
        evidence: vec![line(ended)],
        next: "check the command, the image and the mounts of the container".to_owned(),
    }
}

fn restarting(container: &Container) -> Reason {
    let times = match container.attempt {
        0 => "again".to_owned(),
        attempt => counted(u64::from(attempt), "time"),
    };
    let mut sentence = format!("{} was started again {times}", container.title);
    if container.attempt == 0 {
        sentence = format!("{} was started again", container.title);
    }
    match container.last_end() {
        Some(ended) => sentence.push_str(&format!("; its last run {}", line(ended))),
        None => sentence.push_str("; the runtime does not list how its runs ended"),
    }
    let last = match &container.run {
        Run::Ended(ended) => Some(ended),
        _ => None,
    };
    let ends = last.into_iter().chain(&container.earlier);
    let mut evidence: Vec<_> = ends.clone().take(MAX_RUNS).map(line).collect();
    evidence.extend(ends.filter_map(message).next());
    Reason {
        cause: Cause::Restarting,
        containers: vec![container.title.clone()],
        sentence,
        evidence,
        next: format!(
            "`kubectl logs --previous` or `crictl logs {}` for what it said before it ended; the \
             kubelet waits longer each time, up to 5 minutes (CrashLoopBackOff)",
            short(&container.id)
        ),
    }
}

fn failed(container: &Container, ended: &Ended) -> Reason {
    Reason {
        cause: Cause::Failed,
        containers: vec![container.title.clone()],
        sentence: format!("{} {}", container.title, line(ended)),
        evidence: message(ended).into_iter().collect(),
        next: match ended.code {
            137 => "it was killed with SIGKILL: by the OOM killer, or because its grace period \
                    was over; `pause-trace watch` names the sender"
                .to_owned(),
            _ => format!("`crictl logs {}` for what it said", short(&container.id)),
        },
    }
}

fn out_of_memory(container: &Container) -> Option<Reason> {
    let limits = &container.limits;
    let is_killed = |ended: &&Ended| ended.reason == "OOMKilled";
    let ended = match &container.run {
        Run::Ended(ended) => Some(ended).filter(is_killed),
        _ => container.earlier.iter().find(is_killed),
    };
    let who = match (ended, limits.oom_kills) {
        (Some(_), _) => format!("{} was killed by the OOM killer", container.title),
        (None, 0) => return None,
        (None, count) => format!(
            "the OOM killer has killed {} in {}",
            processes(count),
            container.title
        ),
    };
    let limit = limits.memory.map_or(String::new(), |limit| {
        format!("; its memory limit is {}", mebibytes(limit))
    });
    let used = limits.memory_used;
    Some(Reason {
        cause: Cause::OomKilled,
        containers: vec![container.title.clone()],
        sentence: format!("{who}{limit}"),
        evidence: ended
            .map(line)
            .into_iter()
            .chain(used.map(|used| format!("it is charged with {} now", mebibytes(used))))
            .collect(),
        next: "raise the memory limit, or find what needs so much: `journalctl -k` lists the \
               processes and their memory at the time of the kill"
            .to_owned(),
    })
}

/// `64 MiB`, `1.5 MiB`
pub(super) fn mebibytes(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes % MIB {
        0 => format!("{} MiB", bytes / MIB),
        rest => format!("{}.{} MiB", bytes / MIB, rest * 10 / MIB),
    }
}

/// The digits of an id that other tools show.
pub(super) fn short(id: &str) -> &str {
    id.get(..13).unwrap_or(id)
}
