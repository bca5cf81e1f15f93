//! The answer about a pod that the node no longer has, from the history of a `watch` alone.

use super::{case::Seen, holders, json, text};
use crate::{
    cli::{Exit, Global, output::StateFormat, pods::age, print},
    event::Ktime,
    verdict::Duration,
    why::{Cause, End, Life, Reason, Removed, RunOf, how_it_ended},
};

/// Most runs of containers that the text lists: the newest.
const MAX_RUNS: usize = 24;

/// Why nothing was searched.
const NOT_SEARCHED: &str = "whether a process keeps a namespace or a mount of the pod: that is \
     searched for only if its removal was observed";

/// Writes the answer.
pub(super) async fn answer(
    seen: &Seen<'_>,
    format: StateFormat,
    global: &Global,
) -> anyhow::Result<Exit> {
    let (node, pod) = (seen.node, seen.pod);
    let told = node.told.as_ref();
    let Some((told, life)) = told.and_then(|told| Some((told, told.life(&pod.id)?))) else {
        return Ok(Exit::Inconclusive); // who found the pod found it there
    };
    let mut removed = Removed::of(life, told.since(), node.now);
    // Something of it may run as long as its removal was not seen.
    let (held, unknown) = match life.removed {
        Some(_) => holders::of(seen).await,
        None => (Vec::new(), vec![NOT_SEARCHED.to_owned()]),
    };
    removed.held_by(&held, unknown);
    match format {
        StateFormat::Json => print(&json::removed(node, told, pod, life, &removed)?)?,
        StateFormat::Text => {
            let text_style = global.text_style();
            let facts = facts(life, node.now);
            let runs = runs(life, &removed, node.now);
            let mut text = text::removed(text_style, pod, &facts, &runs, &removed);
            text.push_str(&told.text(&pod.id, node.now, text_style));
            print(&text)?
        }
    };
    Ok(match () {
        () if removed.explanation.is_problem() => Exit::Violation,
        () if removed.is_undecided => Exit::Inconclusive,
        () => Exit::Pass,
    })
}

/// When it was removed, and how long its stop took.
fn facts(life: &Life, now: Ktime) -> Vec<String> {
    let removed = life.removed.map(|removed| {
        let lived = life.began.map_or(String::new(), |began| {
            format!(", {} after it began", age(removed.saturating_sub(began)))
        });
        format!("removed {} ago{lived}", age(now.saturating_sub(removed)))
    });
    let stop = life.stop_took().map(|took| {
        format!(
            "its stop took {}, from the first stop signal to the end of the last container",
            Duration(took)
        )
    });
    removed.into_iter().chain(stop).collect()
}

/// The name and the end of each run.
fn runs(life: &Life, removed: &Removed, now: Ktime) -> Vec<(String, String)> {
    let shown = life.runs.iter().rev().take(MAX_RUNS).rev();
    let mut lines: Vec<_> = shown.map(|run| run_line(run, removed, now)).collect();
    if let Some(more @ 1..) = life.runs.len().checked_sub(MAX_RUNS) {
        lines.insert(0, ("…".to_owned(), format!("{more} earlier")));
    }
    lines
}

fn run_line(run: &RunOf, removed: &Removed, now: Ktime) -> (String, String) {
    let when = match run.end {
        End::Ended { time, .. } => format!("; {} ago", age(now.saturating_sub(time))),
        End::NotStarted | End::Running | End::Unseen => String::new(),
    };
    let title = match run.is_sandbox {
        true => "the pause".to_owned(),
        false => run.title.clone(),
    };
    // What a reason tells is not told twice.
    let how = how_it_ended(run);
    let tells = |reason: &Reason| {
        let is_its = match run.is_sandbox {
            true => reason.cause == Cause::PauseEnded,
            false => reason.containers.contains(&run.title),
        };
        let rest = reason.sentence.split_once(&*how).map(|(_, rest)| rest);
        // Exit code 1 is not 127.
        is_its && rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
    };
    let told = removed.explanation.reasons.iter().position(tells);
    let how = match told {
        Some(at) => format!("ended: see {}", at + 1),
        None => how,
    };
    (title, format!("{how}{when}"))
}
