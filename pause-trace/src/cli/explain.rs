//! `explain`: a rule's documentation in the terminal.

use super::{Exit, Global, print, rules::table, unknown};
use crate::{
    rules::{self, Rule},
    text::{BAD, BOLD, DIM, Line, TERM, TextStyle, wrap},
};

/// Show what a rule checks, why it matters and how to fix a violation
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// A rule's id or name, like PT101 or net-shared; the beginning of several, like PT3, lists
    /// those
    #[arg(value_name = "RULE")]
    pub(crate) rule: String,
}

/// Fewer letters are not the beginning of a name.
const MIN_PREFIX: usize = 2;

/// Longer lines are hard to read, even on a wide terminal.
const MAX_WIDTH: usize = 100;

impl Args {
    pub(crate) fn run(&self, global: &Global) -> anyhow::Result<Exit> {
        let known = || rules::all().flat_map(|rule| [rule.id, rule.name]);
        if let Some(rule) = rules::find(&self.rule) {
            return print(&page(global.text_style(), rule));
        }
        let begin: Vec<_> = match self.rule.len() >= MIN_PREFIX {
            true => rules::begin(&self.rule).collect(),
            false => Vec::new(),
        };
        match begin[..] {
            [] => Err(unknown("rule", &self.rule, known(), "pause-trace rules").into()),
            [rule] => print(&page(global.text_style(), rule)),
            _ => print(&listed(global.text_style(), &begin)),
        }
    }
}

/// The rules whose id or name begins as the user wrote.
fn listed(text_style: TextStyle, rules: &[&'static Rule]) -> String {
    let mut text = table(text_style, rules.iter().copied());
    let first = rules.first().map_or("ID", |rule| rule.id);
    let mut line = Line::new(text_style);
    line.paint(DIM, &format!("`pause-trace explain {first}` explains one"));
    text.push('\n');
    text + &line.end()
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
    fn the_beginning_of_several_rules_lists_them() {
        let ids = |prefix| -> Vec<_> { rules::begin(prefix).map(|rule| rule.id).collect() };
        let signals = ids("pt3");
        assert!(signals.len() > 5, "{signals:?}");
        assert!(signals.iter().all(|id| id.starts_with("PT3")));
        assert_eq!(ids("net-shared"), ["PT101"]);
        assert!(ids("PT9999").is_empty() && ids("\u{e9}").is_empty());
        let rules: Vec<_> = rules::begin("PT3").collect();
        let text = listed(PLAIN, &rules);
        assert!(text.starts_with("PT301  error    stop-ignored"), "{text}");
        assert!(
            text.ends_with("\n\n`pause-trace explain PT301` explains one\n"),
            "{text}"
        );
        let run = |rule: &str| {
            Args {
                rule: rule.to_owned(),
            }
            .run(&Global::default())
        };
        assert_eq!(run("PT3").expect("it lists them"), Exit::Pass);
        for none in ["", "P", "PT39"] {
            let error = run(none).expect_err("no such rule");
            assert_eq!(Exit::of(&error), Exit::Usage);
        }
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
