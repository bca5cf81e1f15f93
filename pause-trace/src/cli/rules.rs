//! `rules`: the list of rules.

use clap::ValueEnum;

use super::{Exit, Global, output::Format, print};
use crate::{
    report::wire::{self, Body},
    rules::{self, Rule},
    text::{BAD, BOLD, DOUBTFUL, Line, TextStyle},
    verdict::Severity,
};

/// List the rules: what each one checks, and the severity of a violation
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) format: Format<Listing>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Listing {
    /// A table.
    Text,
    /// One JSON object per line.
    Json,
    /// A page with every rule's documentation.
    Markdown,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let text = match self.format.chosen {
            Listing::Text => table(global.text_style(), rules::all()),
            Listing::Json => json(rules::all())?,
            Listing::Markdown => rules::markdown(rules::all()),
        };
        print(&text)
    }
}

/// Renders one line per rule, with a blank line between families.
pub(super) fn table(text_style: TextStyle, rules: impl Iterator<Item = &'static Rule>) -> String {
    let mut text = String::new();
    let mut family = None;
    for rule in rules {
        if family.is_some_and(|family| family != rule.id.get(..3)) {
            text.push('\n');
        }
        family = Some(rule.id.get(..3));
        let severity = rule.severity.to_string();
        let mut line = Line::new(text_style);
        line.paint(BOLD, rule.id).pad(7);
        match rule.severity {
            Severity::Error => line.paint(BAD, &severity),
            Severity::Warning => line.paint(DOUBTFUL, &severity),
            Severity::Info => line.push(&severity),
        };
        line.pad(16).push(rule.name).pad(36).push(rule.summary);
        text.push_str(&line.end());
    }
    text
}

fn json(mut rules: impl Iterator<Item = &'static Rule>) -> serde_json::Result<String> {
    rules.try_fold(String::new(), |text, rule| {
        Ok(text + &wire::Line::new(Body::Rule(rule.into())).text()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: TextStyle = TextStyle::PLAIN;

    fn net_shared() -> impl Iterator<Item = &'static Rule> {
        rules::find("PT101").into_iter()
    }

    #[test]
    fn each_rule_is_one_line() {
        let summary = "a pod's container runs in a network namespace that is not the sandbox's";
        assert_eq!(
            table(PLAIN, net_shared()),
            format!("PT101  error    net-shared          {summary}\n")
        );
        let twice = rules::find("PT101").into_iter().chain(net_shared());
        assert_eq!(table(PLAIN, twice).lines().count(), 2);
    }

    #[test]
    fn json_is_one_object_per_line() {
        let text = json(net_shared()).expect("rules are JSON");
        assert!(
            text.starts_with(r#"{"schema":2,"type":"rule","id":"PT101","name":"net-shared","severity":"error","summary":""#),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);
    }
}
