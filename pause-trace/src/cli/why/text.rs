//! `why` as text.

use crate::{
    pods::PodView,
    text::{BAD, BOLD, DIM, DOUBTFUL, GOOD, Line, TERM, TextStyle, wrap},
    why::{Explanation, Reason},
};

/// Renders the reasons.
pub(super) fn shown(
    text_style: TextStyle,
    pod: &PodView,
    explanation: &Explanation,
    unknown: &[String],
) -> String {
    let mut text = String::new();
    let mut line = Line::new(text_style);
    line.paint(TERM, &pod.title())
        .push(" is ")
        .paint(BOLD, explanation.phase.name());
    text.push_str(&line.end());
    for (index, reason) in explanation.reasons.iter().enumerate() {
        text.push('\n');
        one(&mut text, text_style, index + 1, reason);
    }
    if !explanation.is_problem() && !explanation.is_undecided() {
        let what = match explanation.reasons.is_empty() {
            true => "nothing wrong was found",
            false => "nothing else was found; what is above may be intended",
        };
        text.push('\n');
        let mut line = Line::new(text_style);
        line.paint(GOOD, what);
        text.push_str(&line.end());
    }
    for sentence in unknown {
        let mut line = Line::new(text_style);
        line.paint(DOUBTFUL, "not known: ").push(sentence);
        text.push_str(&line.end());
    }
    text
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
            container: None,
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
