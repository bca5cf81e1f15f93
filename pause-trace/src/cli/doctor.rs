//! `doctor`: which hooks, features and runtimes this kernel and node offer.

use super::{
    Exit, Global,
    examine::examine,
    output::{Format, StateFormat},
    print,
};
use crate::{
    report::wire::{self, Body, Check, State},
    text::{BAD, BOLD, DIM, DOUBTFUL, GOOD, Line, TextStyle, wrap},
};

/// Show which hooks and features this kernel and node offer, what cannot be verified without the
/// missing ones, and which container runtimes run and answer
///
/// Exit codes: 0 everything can be verified · 3 something cannot be verified · 4 the program cannot
/// run.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) format: Format<StateFormat>,
    /// Also try every way to observe setns and unshare, and compare what they report
    #[arg(long)]
    pub(crate) thorough: bool,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        crate::sys::require_memory(crate::session::MEMORY_MIB)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let checks = &runtime.block_on(examine(global, self.thorough));
        let text = match self.format.chosen {
            StateFormat::Text => shown(global.text_style(), checks, global.verbose),
            StateFormat::Json => json(checks)?,
        };
        print(&text)?;
        Ok(exit(checks))
    }
}

fn exit(checks: &[Check]) -> Exit {
    let missing = |required| {
        checks
            .iter()
            .any(|check| check.state == State::Missing && check.required == required)
    };
    if missing(true) {
        Exit::CannotRun
    } else if missing(false) {
        Exit::Inconclusive
    } else {
        Exit::Pass
    }
}

fn shown(text_style: TextStyle, checks: &[Check], verbose: bool) -> String {
    let name = checks
        .iter()
        .map(|check| check.name.chars().count())
        .max()
        .unwrap_or_default()
        + 4;
    let mut text = String::new();
    for check in checks {
        let (style, mark) = match check.state {
            State::Ok => (GOOD, "✓"),
            State::Degraded => (DOUBTFUL, "~"),
            State::Missing => (BAD, "✗"),
        };
        let mut line = Line::new(text_style);
        line.paint(style, mark)
            .push(" ")
            .push(&check.name)
            .pad(name)
            .push(&check.detail);
        text.push_str(&line.end());
        for (name, number) in check.numbers.iter().filter(|_| verbose) {
            let mut line = Line::new(text_style);
            line.pad(4).paint(DIM, &format!("{number:>8}  {name}"));
            text.push_str(&line.end());
        }
        for (what, sentence) in [("", &check.consequence), ("fix: ", &check.fix)] {
            let width = text_style
                .width
                .map(|width| width.saturating_sub(4 + what.len()).max(20));
            let parts = if sentence.is_empty() {
                Vec::new()
            } else {
                wrap(sentence, width)
            };
            for (index, part) in parts.iter().enumerate() {
                let mut line = Line::new(text_style);
                line.pad(4).paint(DIM, if index == 0 { what } else { "" });
                if line.columns() < 4 + what.len() {
                    line.pad(4 + what.len());
                }
                text.push_str(&line.push(part).end());
            }
        }
    }
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let (style, verdict) = match exit(checks) {
        Exit::CannotRun => (BAD, "pause-trace cannot run here"),
        Exit::Inconclusive => (
            DOUBTFUL,
            "verdicts that depend on the missing parts stay inconclusive",
        ),
        _ => (GOOD, "everything can be verified here"),
    };
    let mut line = Line::new(text_style);
    line.paint(style, verdict).paint(
        BOLD,
        &format!(
            " · {} ok, {} degraded, {} missing",
            count(State::Ok),
            count(State::Degraded),
            count(State::Missing)
        ),
    );
    text + "\n" + &line.end()
}

fn json(checks: &[Check]) -> serde_json::Result<String> {
    let lines = checks
        .iter()
        .map(|check| wire::Line::new(Body::Check(check.clone())).text());
    lines.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const PLAIN: TextStyle = TextStyle::PLAIN;

    fn check(name: &str, state: State, required: bool) -> Check {
        let bad = state != State::Ok;
        let if_bad = |text: &str| if bad { text.to_owned() } else { String::new() };
        Check {
            name: name.to_owned(),
            state,
            detail: "tp_btf".to_owned(),
            consequence: if_bad("PT402 stays inconclusive"),
            fix: if_bad("boot a kernel with CONFIG_DEBUG_INFO_BTF=y"),
            required,
            numbers: BTreeMap::new(),
        }
    }

    #[test]
    fn a_check_is_a_line_followed_by_its_consequence_and_fix() {
        let checks = [
            check("BTF", State::Ok, true),
            check("mark_victim", State::Missing, false),
        ];
        let expected = "\
✓ BTF          tp_btf
✗ mark_victim  tp_btf
    PT402 stays inconclusive
    fix: boot a kernel with CONFIG_DEBUG_INFO_BTF=y

verdicts that depend on the missing parts stay inconclusive · 1 ok, 0 degraded, 1 missing
";
        assert_eq!(shown(PLAIN, &checks, false), expected);
        let narrow = shown(
            TextStyle {
                width: Some(34),
                ..PLAIN
            },
            &checks,
            false,
        );
        assert!(
            narrow.contains("    fix: boot a kernel with\n         CONFIG_DEBUG_INFO_BTF=y\n"),
            "{narrow}"
        );
    }

    #[test]
    fn the_exit_code_reports_what_cannot_be_verified() {
        assert_eq!(exit(&[check("a", State::Degraded, true)]), Exit::Pass);
        assert_eq!(
            exit(&[check("a", State::Missing, false)]),
            Exit::Inconclusive
        );
        assert_eq!(
            exit(&[
                check("a", State::Missing, false),
                check("b", State::Missing, true)
            ]),
            Exit::CannotRun
        );
    }

    #[test]
    fn json_is_one_object_per_line() {
        let text = json(&[check("BTF", State::Ok, true)]).expect("checks are JSON");
        let expected = r#"{"schema":2,"type":"check","name":"BTF","state":"ok","detail":"tp_btf","consequence":"","fix":"","required":true}"#;
        assert_eq!(text, format!("{expected}\n"));
    }

    #[test]
    fn numbers_are_shown_with_verbose_and_in_json() {
        let checks = [Check {
            numbers: [("task_struct.pid".to_owned(), 2464)].into(),
            ..check("BTF", State::Ok, true)
        }];
        assert!(!shown(PLAIN, &checks, false).contains("task_struct"));
        let text = shown(PLAIN, &checks, true);
        assert!(text.contains("        2464  task_struct.pid\n"), "{text}");
        let text = json(&checks).expect("checks are JSON");
        assert!(
            text.ends_with("\"numbers\":{\"task_struct.pid\":2464}}\n"),
            "{text}"
        );
    }
}
