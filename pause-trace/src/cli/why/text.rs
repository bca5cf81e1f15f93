//! `why` as text.

use crate::{
    pods::PodView,
    text::{BAD, BOLD, DIM, DOUBTFUL, GOOD, Line, TERM, TextStyle, wrap},
    why::{Explanation, Reason, Removed},
};

/// Renders the reasons.
pub(super) fn shown(
    text_style: TextStyle,
    pod: &PodView,
    explanation: &Explanation,
    unknown: &[String],
) -> String {
    let mut text = head(text_style, pod, explanation);
    push_reasons(&mut text, text_style, explanation);
    if !explanation.is_problem() && !explanation.is_undecided() {
        push_fine(&mut text, text_style, explanation);
    }
    push_unknown(&mut text, text_style, unknown);
    text
}

/// Renders what a history says of a pod that is gone. `runs` has a line for each run.
pub(super) fn removed(
    text_style: TextStyle,
    pod: &PodView,
    facts: &[String],
    runs: &[(String, String)],
    removed: &Removed,
) -> String {
    const RUN: usize = 2;
    const HOW: usize = 20;
    let explanation = &removed.explanation;
    let mut text = head(text_style, pod, explanation);
    for fact in facts {
        for part in wrap(fact, text_style.width) {
            let mut line = Line::new(text_style);
            line.push(&part);
            text.push_str(&line.end());
        }
    }
    let width = text_style
        .width
        .map(|width| width.saturating_sub(HOW).max(20));
    for (title, how) in runs {
        for (index, part) in wrap(how, width).iter().enumerate() {
            let mut line = Line::new(text_style);
            if index == 0 {
                line.pad(RUN).paint(TERM, title).push(" ");
            }
            line.pad(HOW).push(part);
            text.push_str(&line.end());
        }
    }
    push_reasons(&mut text, text_style, explanation);
    if !explanation.is_problem() && !removed.is_undecided {
        push_fine(&mut text, text_style, explanation);
    }
    push_unknown(&mut text, text_style, &removed.unknown);
    text
}

fn head(text_style: TextStyle, pod: &PodView, explanation: &Explanation) -> String {
    let mut line = Line::new(text_style);
    line.paint(TERM, &pod.title())
        .push(" is ")
        .paint(BOLD, explanation.phase.name());
    line.end()
}

fn push_reasons(text: &mut String, text_style: TextStyle, explanation: &Explanation) {
    for (index, reason) in explanation.reasons.iter().enumerate() {
        text.push('\n');
        one(text, text_style, index + 1, reason);
    }
}

fn push_fine(text: &mut String, text_style: TextStyle, explanation: &Explanation) {
    let what = match explanation.reasons.is_empty() {
        true => "nothing wrong was found",
        false => "nothing else was found; what is above may be intended",
    };
    text.push('\n');
    let mut line = Line::new(text_style);
    line.paint(GOOD, what);
    text.push_str(&line.end());
}

fn push_unknown(text: &mut String, text_style: TextStyle, unknown: &[String]) {
    for sentence in unknown {
        let mut line = Line::new(text_style);
        line.paint(DOUBTFUL, "not known: ").push(sentence);
        text.push_str(&line.end());
    }
}

fn one(text: &mut String, text_style: TextStyle, number: usize, reason: &Reason) {
    const INDENT: usize = 3;
    let width = text_style
        .width
        .map(|width| width.saturating_sub(INDENT).max(20));
    let style = if reason.cause.is_problem() {
        BAD
    } else {
        DOUBTFUL
    };
    for (index, part) in wrap(&capitalised(&reason.sentence), width)
        .iter()
        .enumerate()
    {
        let mut line = Line::new(text_style);
        if index == 0 {
            line.paint(style, &format!("{number}."));
        }
        line.pad(INDENT).paint(BOLD, part);
        text.push_str(&line.end());
    }
    let evidence = reason
        .evidence
        .iter()
        .map(|shown| (DIM, format!("- {shown}")));
    let next = (anstyle::Style::new(), format!("Next: {}", reason.next));
    for (style, sentence) in evidence.chain([next]) {
        for part in wrap(&sentence, width) {
            let mut line = Line::new(text_style);
            line.pad(INDENT).paint(style, &part);
            text.push_str(&line.end());
        }
    }
}

/// The sentence with a capital, unless it begins with a name, which is in the evidence in the same
/// letters, or with code.
fn capitalised(sentence: &str) -> String {
    for article in ["the ", "a ", "every ", "no "] {
        if let Some(rest) = sentence.strip_prefix(article) {
            let (first, others) = article.split_at(1);
            return format!("{}{others}{rest}", first.to_ascii_uppercase());
        }
    }
    sentence.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pods::testing,
        why::{Cause, Phase},
    };

    #[test]
    fn reasons_are_numbered_with_their_evidence_and_the_next_step() {
        let pods = testing::pods();
        let reason = |cause, sentence: &str| Reason {
            cause,
            containers: Vec::new(),
            sentence: sentence.to_owned(),
            evidence: vec!["app (pid 12)".to_owned()],
            next: "look".to_owned(),
        };
        let explanation = Explanation {
            phase: Phase::Running,
            reasons: vec![
                reason(Cause::Frozen, "the cgroup of app is frozen"),
                reason(Cause::Throttled, "app was throttled"),
            ],
        };
        let shown = shown(
            TextStyle::PLAIN,
            &pods[2],
            &explanation,
            &["no rule was checked".to_owned()],
        );
        let expected = "\
default/web is running

1. The cgroup of app is frozen
   - app (pid 12)
   Next: look

2. app was throttled
   - app (pid 12)
   Next: look
not known: no rule was checked
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_pod_without_a_reason_says_so() {
        let pods = testing::pods();
        let explanation = Explanation {
            phase: Phase::Completed,
            reasons: Vec::new(),
        };
        let shown = shown(TextStyle::PLAIN, &pods[2], &explanation, &[]);
        assert_eq!(
            shown,
            "default/web is completed\n\nnothing wrong was found\n"
        );
    }
}
