//! Which reason comes first, and what is said once although several things show it.

use super::{
    case::Promise,
    cause::{Cause, Phase, Reason},
    start::{MAX_SHOWN, listed},
};

/// The rules about an end that another reason may tell: who killed a container or the pause.
const OF_ENDS: [&str; 5] = ["PT202", "PT211", "PT303", "PT307", "PT310"];

/// Sorts the reasons, the stop that runs first, and groups those that are equal.
pub(super) fn ranked(phase: Phase, mut reasons: Vec<Reason>) -> Vec<Reason> {
    let is_stopping = phase == Phase::Stopping;
    // A stable sort: reasons of one cause stay in the order of the containers.
    reasons.sort_by_key(|reason| (!(is_stopping && reason.cause.is_of_stop()), reason.cause));
    let mut groups: Vec<Vec<Reason>> = Vec::new();
    for reason in reasons {
        let same = groups.iter_mut().find(|group| is_same(group, &reason));
        match same {
            Some(group) => group.push(reason),
            None => groups.push(vec![reason]),
        }
    }
    groups.into_iter().filter_map(merged).collect()
}

/// Whether a reason says of another container what those of a group say of theirs.
fn is_same(group: &[Reason], reason: &Reason) -> bool {
    let [title] = &reason.containers[..] else {
        return false;
    };
    let is_new = group.iter().all(|one| !one.containers.contains(title));
    let Some(first) = group.first().filter(|_| is_new) else {
        return false;
    };
    let [its_title] = &first.containers[..] else {
        return false;
    };
    first.cause == reason.cause
        && general(&first.sentence, its_title) == general(&reason.sentence, title)
}

/// The words of a sentence without what differs from container to container: its name, its pids,
/// and times. A pid of a sender stays.
fn general<'a>(sentence: &'a str, title: &str) -> Vec<&'a str> {
    let words: Vec<&str> = sentence.split(' ').collect();
    let bare = |at: usize| {
        words
            .get(at)
            .map(|word| word.trim_end_matches([',', ':', ';']))
    };
    let mut kept = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let is_pid = *word == "(pid" && bare(at + 2) != Some("sent");
        let is_age = bare(at + 1) == Some("ago");
        let is_span =
            [2, 3, 4].map(|next| bare(at + next)) == [Some("after"), Some("its"), Some("start")];
        at += match (is_pid || is_span, is_age) {
            (true, _) => 2,
            (_, true) => 1,
            _ => {
                kept.push(match bare(at) {
                    Some(bare) if bare == title => &word[bare.len()..],
                    _ => word,
                });
                1
            }
        };
    }
    kept
}

fn merged(group: Vec<Reason>) -> Option<Reason> {
    let count = group.len();
    let titles: Vec<String> = group
        .iter()
        .flat_map(|one| one.containers.clone())
        .collect();
    let mut evidence: Vec<String> = group.iter().flat_map(|one| one.evidence.clone()).collect();
    let first = group.into_iter().next()?;
    if count == 1 {
        return Some(first);
    }
    let others: Vec<&str> = titles.iter().skip(1).map(String::as_str).collect();
    if evidence.len() > MAX_SHOWN {
        let more = evidence.len() - (MAX_SHOWN - 1);
        evidence.truncate(MAX_SHOWN - 1);
        evidence.push(format!("and {more} more"));
    }
    Some(Reason {
        sentence: format!(
            "{count} containers: {}; the same is true of {}",
            first.sentence,
            listed(&others)
        ),
        containers: titles,
        evidence,
        ..first
    })
}

/// Adds a broken promise, to the reason that tells of the same end if there is one.
pub(super) fn add_promise(reasons: &mut Vec<Reason>, promise: &Promise) {
    let tells = |reason: &&mut Reason| match (reason.cause, &promise.container) {
        (Cause::PauseEnded, _) => promise.is_of_pause,
        (Cause::Failed | Cause::OomKilled, Some(title)) => reason.containers.contains(title),
        _ => false,
    };
    let told = reasons
        .iter_mut()
        .find(tells)
        .filter(|_| OF_ENDS.contains(&promise.rule));
    match told {
        Some(reason) => reason.evidence.push(sentence(promise)),
        None => reasons.push(Reason {
            cause: Cause::PromiseBroken,
            containers: promise.container.iter().cloned().collect(),
            sentence: sentence(promise),
            evidence: Vec::new(),
            next: format!(
                "`pause-trace explain {}` says what the rule checks",
                promise.rule
            ),
        }),
    }
}

fn sentence(promise: &Promise) -> String {
    format!("{} {}: {}", promise.rule, promise.name, promise.sentence)
}
