//! How a pod went that the node no longer has, from a history alone.

use super::{
    Explanation,
    case::Holder,
    cause::{Cause, Phase, Reason},
    group, holders,
    lives::{End, FailedStart, Life, RunOf, Sent},
    processes::processes,
    runs::{MAX_RUNS, mebibytes},
};
use crate::{
    event::{Ktime, WaitStatus, signal_name},
    verdict::{Age, Duration},
};

/// Failed starts that are shown.
const MAX_STARTS: usize = 4;

/// What is known of a pod that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The reasons, and the phase, which is [`Phase::Removed`].
    pub explanation: Explanation,
    /// What is not known, in sentences.
    pub unknown: Vec<String>,
    /// Whether it is not known if something was wrong.
    pub is_undecided: bool,
}

impl Removed {
    /// Finds what went wrong in a life that is over, as far as is known at `now`. `since` is when
    /// the history begins.
    pub fn of(life: &Life, since: Ktime, now: Ktime) -> Self {
        let mut reasons = Vec::new();
        reasons.extend(failed_starts(life, now));
        for run in &life.runs {
            reasons.extend(out_of_memory(run, now));
        }
        let mut names: Vec<&str> = Vec::new();
        for run in life.runs.iter().filter(|run| has_failed(life, run)) {
            if !names.contains(&run.title.as_str()) {
                names.push(&run.title);
                reasons.push(failed(life, run, now));
            }
        }
        for promise in life.broken() {
            group::add_promise(&mut reasons, &promise);
        }
        let explanation = Explanation {
            phase: Phase::Removed,
            reasons: group::ranked(Phase::Removed, reasons),
        };
        let doubts = doubts(life);
        let is_undecided = !doubts.is_empty() && !explanation.is_problem();
        let mut unknown = doubts;
        if life.began.is_some_and(|began| began < since) {
            unknown.push(format!(
                "the pod began before the history, which reaches back {}: what happened earlier \
                 is not known",
                Age(now.saturating_sub(since))
            ));
        }
        Self {
            explanation,
            unknown,
            is_undecided,
        }
    }

    /// Adds what still holds a part of the pod, and what of that is not known.
    pub fn held_by(&mut self, holders: &[Holder], unknown: Vec<String>) {
        let reasons = &mut self.explanation.reasons;
        reasons.extend(holders.iter().map(holders::reason));
        reasons.sort_by_key(|reason| reason.cause);
        self.is_undecided &= !self.explanation.is_problem();
        self.unknown.extend(unknown);
    }
}

/// Why it is not known whether everything went well.
fn doubts(life: &Life) -> Vec<String> {
    let mut doubts = Vec::new();
    if let Some(doubt) = &life.doubt {
        doubts.push(format!("something may be missing: {doubt}"));
    }
    for run in &life.runs {
        match run.end {
            End::Running => doubts.push(format!("the end of {} was not observed", what(run))),
            End::Unseen => doubts.push(format!("how {} ended was not observed", what(run))),
            End::Ended { .. } if run.is_found && is_bad(run) => doubts.push(format!(
                "{} {}; whether it was stopped is not known, because it ran before the history",
                what(run),
                ended(run)
            )),
            _ => {}
        }
    }
    if life.removed.is_none() && life.failed_starts.is_empty() {
        doubts.push("the removal of the pod was not observed".to_owned());
    }
    doubts
}

/// `app`, `the pause`
fn what(run: &RunOf) -> &str {
    match run.is_sandbox {
        true => "the pause",
        false => &run.title,
    }
}

/// Whether it ended otherwise than with exit code 0 or after a stop of the runtime.
fn is_bad(run: &RunOf) -> bool {
    match run.end {
        End::Ended { status, .. } => {
            (status != WaitStatus::exited(0) || run.is_sandbox) && !run.is_stop_requested()
        }
        _ => false,
    }
}

/// The same, if it is certain.
fn has_failed(life: &Life, run: &RunOf) -> bool {
    // A stop signal may be among what is missing.
    is_bad(run) && !run.is_oom_killed && !run.is_found && life.doubt.is_none()
}

/// `ended with exit code 3`, `was killed by SIGKILL, which bash (pid 12) sent`
pub fn ended(run: &RunOf) -> String {
    let End::Ended { status, .. } = run.end else {
        return match run.end {
            End::NotStarted => "was not seen to start".to_owned(),
            _ => "ended in a way that was not observed".to_owned(),
        };
    };
    let mut how = match (status.code(), status.signal()) {
        (_, Some(signal)) => {
            let by = run.killed_by();
            let by = by.map_or(String::new(), |sent| format!(", which {} sent", sent.by));
            format!("was killed by {}{by}", signal_name(signal))
        }
        (Some(126), _) => "ended with exit code 126: the command cannot be executed".to_owned(),
        (Some(127), _) => "ended with exit code 127: the command was not found".to_owned(),
        _ => format!("ended with {status}"),
    };
    if run.is_oom_killed {
        how.push_str(" (OOM-killed)");
    }
    if let Some(stop) = run.stop_sent() {
        let End::Ended { time, .. } = run.end else {
            return how;
        };
        how.push_str(&format!(
            ", {} after {} from {}",
            Duration(time.saturating_sub(stop.time)),
            signal_name(stop.signal),
            stop.by
        ));
    }
    how
}

fn times(run: &RunOf, now: Ktime) -> String {
    let End::Ended { time, .. } = run.end else {
        return String::new();
    };
    let lived = run.started.map_or(String::new(), |started| {
        format!(
            ", {} after its start",
            Duration(time.saturating_sub(started))
        )
    });
    format!("{} ago{lived}", Age(now.saturating_sub(time)))
}

/// The runs of a container that failed. `first` is the oldest of them.
fn failed(life: &Life, first: &RunOf, now: Ktime) -> Reason {
    let same = |run: &&RunOf| run.title == first.title && has_failed(life, run);
    let runs: Vec<&RunOf> = life.runs.iter().filter(same).collect();
    let last = runs.last().copied().unwrap_or(first);
    let name = what(last);
    // What the sentence says of the last run is not said again.
    let mut evidence: Vec<String> = vec![format!("it ended {}", times(last, now))];
    let earlier = runs.iter().rev().skip(1).take(MAX_RUNS - 1);
    evidence.extend(earlier.map(|run| format!("{} {}", ended(run), times(run, now))));
    let is_told = |sent: &&Sent| last.killed_by().is_some_and(|killer| killer == *sent);
    let sent = last.sent.iter().rev().filter(|sent| !is_told(sent));
    evidence.extend(sent.take(MAX_RUNS).map(|sent| {
        let ago = Age(now.saturating_sub(sent.time));
        format!("{} to it {ago} ago", sent.sentence())
    }));
    let again = match runs.len() {
        1 => String::new(),
        count => format!("; {count} of its runs failed"),
    };
    let (cause, next) = match last.is_sandbox {
        true => (
            Cause::PauseEnded,
            "the runtime did not stop it, so the kubelet made a new sandbox, or the pod failed \
             (\"pod sandbox changed\"): see who sent the signal"
                .to_owned(),
        ),
        false => (
            Cause::Failed,
            format!(
                "the logs below /var/log/pods, if the kubelet has kept them, for what {name} said"
            ),
        ),
    };
    Reason {
        cause,
        containers: named(last),
        sentence: format!("{name} {}{again}", ended(last)),
        evidence,
        next,
    }
}

/// The name of the container of a run; none for the pause.
fn named(run: &RunOf) -> Vec<String> {
    match run.is_sandbox {
        true => Vec::new(),
        false => vec![run.title.clone()],
    }
}

fn out_of_memory(run: &RunOf, now: Ktime) -> Option<Reason> {
    let who = match (run.is_oom_killed, run.oom_kills) {
        (true, _) => format!("{} was killed by the OOM killer", what(run)),
        (false, 0) => return None,
        (false, count) => format!(
            "the OOM killer killed {} in {}",
            processes(count),
            what(run)
        ),
    };
    let limit = run.memory_limit.map_or(String::new(), |limit| {
        format!("; its memory limit was {}", mebibytes(limit))
    });
    Some(Reason {
        cause: Cause::OomKilled,
        containers: named(run),
        sentence: format!("{who}{limit}"),
        evidence: match run.end {
            End::Ended { .. } => vec![format!("{} {}", ended(run), times(run, now))],
            _ => Vec::new(),
        },
        next: "raise the memory limit, or find what needs so much: `journalctl -k` lists the \
               processes and their memory at the time of the kill"
            .to_owned(),
    })
}

fn failed_starts(life: &Life, now: Ktime) -> Option<Reason> {
    let last = life.failed_starts.last()?;
    let line = |start: &FailedStart| {
        format!(
            "{} failed {} ago: {} after {}",
            start.step,
            Age(now.saturating_sub(start.time)),
            start.status,
            Duration(start.took)
        )
    };
    let title = life.title(last.container.as_ref());
    let of = match &title {
        Some(title) => title.as_str(),
        None => "the pod",
    };
    let again = match life.failed_starts.len() {
        1 => String::new(),
        count => format!("; {count} programs failed so"),
    };
    Some(Reason {
        cause: Cause::StartFailed,
        containers: title.iter().cloned().collect(),
        sentence: format!(
            "a start of {of} failed: {} ended with {} after {}{again}",
            last.step,
            last.status,
            Duration(last.took)
        ),
        evidence: life
            .failed_starts
            .iter()
            .rev()
            .take(MAX_STARTS)
            .map(line)
            .collect(),
        next: "the logs of the kubelet and of the runtime have what the program said".to_owned(),
    })
}
