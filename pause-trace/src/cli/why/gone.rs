//! The answer about a pod that the node no longer has, from the history of a `watch` alone.

use super::{json, text};
use crate::{
    cli::{
        Exit, Global,
        output::StateFormat,
        pods::{NodeSnapshot, age},
        print,
    },
    event::Ktime,
    pods::PodView,
    verdict::Duration,
    why::{End, Life, Removed, RunOf, how_it_ended},
};

/// Most runs of containers that the text lists: the newest.
const MAX_RUNS: usize = 24;

/// Writes the answer.
pub(super) fn answer(
    node: &NodeSnapshot,
    pod: &PodView,
    format: StateFormat,
    global: &Global,
) -> anyhow::Result<Exit> {
    let told = node.told.as_ref();
    let Some((told, life)) = told.and_then(|told| Some((told, told.life(&pod.id)?))) else {
        return Ok(Exit::Inconclusive); // who found the pod found it there
    };
    let removed = Removed::of(life, told.since(), node.now);
    match format {
        StateFormat::Json => print(&json::removed(node, told, pod, life, &removed)?)?,
        StateFormat::Text => {
            let text_style = global.text_style();
            let facts = facts(life, node.now);
            let runs = runs(life, node.now);
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
fn runs(life: &Life, now: Ktime) -> Vec<(String, String)> {
    let shown = life.runs.iter().rev().take(MAX_RUNS).rev();
    let mut lines: Vec<_> = shown.map(|run| run_line(run, now)).collect();
    if let Some(more @ 1..) = life.runs.len().checked_sub(MAX_RUNS) {
        lines.insert(0, ("…".to_owned(), format!("{more} earlier")));
    }
    lines
}

fn run_line(run: &RunOf, now: Ktime) -> (String, String) {
    let when = match run.end {
        End::Ended { time, .. } => format!("; {} ago", age(now.saturating_sub(time))),
        End::NotStarted | End::Running | End::Unseen => String::new(),
    };
    let title = match run.is_sandbox {
        true => "the pause".to_owned(),
        false => run.title.clone(),
    };
    (title, format!("{}{when}", how_it_ended(run)))
}
