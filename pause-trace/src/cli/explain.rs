//! `explain`: a rule's documentation in the terminal.

use super::{Exit, Global, print, unknown};
use crate::{
    rules::{self, Rule},
    text::{BAD, BOLD, DIM, Line, TERM, TextStyle, wrap},
};

/// Show what a rule checks, why it matters and how to fix a violation
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// A rule's id or name, like PT101 or net-shared
    #[arg(value_name = "RULE")]
    pub(crate) rule: String,
}

/// Longer lines are hard to read, even on a wide terminal.
const MAX_WIDTH: usize = 100;

impl Args {
    pub(crate) fn run(&self, global: &Global) -> anyhow::Result<Exit> {
        let known = || rules::all().flat_map(|rule| [rule.id, rule.name]);
        let rule = rules::find(&self.rule)
            .ok_or_else(|| unknown("rule", &self.rule, known(), "pause-trace rules"))?;
        print(&page(global.text_style(), rule))
    }
}

fn page(text_style: TextStyle, rule: &Rule) -> String {
    let mut line = Line::new(text_style);
    line.paint(BOLD, rule.id)
        .push(" ")
        .paint(BOLD, rule.name)
        .push(" · ")
        .paint(BAD, &rule.severity.to_string());
    let summary = wrap(rule.summary, Some(width(text_style)));
    let summary = summary
        .iter()
        .map(|part| Line::new(text_style).push(part).end());
    line.end() + &summary.collect::<String>() + &rendered(text_style, rule.doc)
}

fn width(text_style: TextStyle) -> usize {
    text_style.width.unwrap_or(MAX_WIDTH).clamp(40, MAX_WIDTH)
}

/// Renders Markdown as plain text: a blank line before headings, paragraphs and list items wrapped,
/// code blocks unchanged.
fn rendered(text_style: TextStyle, markdown: &str) -> String {
    let mut text = String::new();
    for source in markdown.trim_end().lines() {
        let mut line = Line::new(text_style);
        if let Some(heading) = source.strip_prefix("## ") {
            if !text.ends_with("\n\n") {
                text.push('\n');
            }
            text.push_str(&line.paint(BOLD, heading).end());
        } else if source.starts_with("    ") {
            text.push_str(&line.paint(DIM, source).end());
        } else {
            let (bullet, rest) = source
                .strip_prefix("- ")
                .map_or((0, source), |rest| (2, rest));
            for (index, part) in wrap(rest, Some(width(text_style) - bullet))
                .iter()
                .enumerate()
            {
                let mut line = Line::new(text_style);
                line.push(if bullet > 0 && index == 0 { "- " } else { "" });
                if line.columns() < bullet {
                    line.pad(bullet);
                }
                inline(&mut line, part);
                text.push_str(&line.end());
            }
            if rest.is_empty() {
                text.push('\n');
            }
        }
    }
    text
}

/// Paints `code` where the terminal has colour; otherwise keeps the backticks.
fn inline(line: &mut Line, text: &str) {
    if !text.matches('`').count().is_multiple_of(2) || !line.has_color() {
        line.push(text);
        return;
    }
    for (index, part) in text.split('`').enumerate() {
        if index.is_multiple_of(2) {
            line.push(part)
        } else {
            line.paint(TERM, part)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: TextStyle = TextStyle::PLAIN;

    const DOC: &str =
        "## What it checks\nThat `net` is one.\n\n## Example\n    net 1, `net` 2\n- one two\n";

    #[test]
    fn markdown_is_laid_out() {
        let expected =
            "\nWhat it checks\nThat `net` is one.\n\nExample\n    net 1, `net` 2\n- one two\n";
        assert_eq!(rendered(PLAIN, DOC), expected);
    }

    #[test]
    fn code_is_coloured_and_paragraphs_are_wrapped() {
        let text_style = TextStyle {
            color: true,
            width: Some(40),
            ..PLAIN
        };
        let text = rendered(
            text_style,
            "That `net` is the same for each and every one of them.",
        );
        assert_eq!(
            text,
            "That \x1b[36mnet\x1b[0m is the same for each and\nevery one of them.\n"
        );
        let item = rendered(text_style, "- one two three four five six seven eight nine");
        assert_eq!(item, "- one two three four five six seven\n  eight nine\n");
    }

    #[test]
    fn an_unknown_rule_is_a_usage_error() {
        let error = Args {
            rule: "PT1O1".to_owned(),
        }
        .run(&Global::default())
        .expect_err("no such rule");
        assert_eq!(Exit::of(&error), Exit::Usage);
        assert!(
            error.to_string().contains("did you mean \"PT101\"?"),
            "{error}"
        );
    }

    #[test]
    fn every_rule_can_be_shown() {
        for rule in rules::all() {
            let text = page(PLAIN, rule);
            assert!(
                text.starts_with(rule.id) && text.contains("\n\nHow to fix it\n"),
                "{text}"
            );
            assert!(
                text.lines()
                    .all(|line| line.starts_with("    ") || line.chars().count() <= MAX_WIDTH),
                "{text}"
            );
        }
    }
}
