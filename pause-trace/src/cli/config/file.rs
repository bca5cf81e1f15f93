//! The tables of the file: severities, limits and exceptions.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use clap::ValueEnum as _;
use glob::Pattern;
use jiff::{civil::Date, tz::TimeZone};
use serde::Deserialize;

use super::options::Options;
use crate::{
    cli::{config::shown, suggest, watch::parse_time},
    event::Ktime,
    policy::{self, Exception},
    rules,
    state::Limits,
    verdict::{Excepted, Severity},
};

/// Most bytes of a reason, which is in every report of a finding.
pub(super) const MAX_REASON: usize = 500;

/// The place of a limit.
type Place = fn(&mut Limits) -> &mut Ktime;

/// The names of the limits, and where they are.
const LIMITS: [(&str, Place); 8] = [
    ("zombie", |limits| &mut limits.zombie),
    ("stop", |limits| &mut limits.stop),
    ("init", |limits| &mut limits.init),
    ("teardown", |limits| &mut limits.teardown),
    ("removal", |limits| &mut limits.removal),
    ("pin", |limits| &mut limits.pin),
    ("identity", |limits| &mut limits.identity),
    ("reaction", |limits| &mut limits.reaction),
];

/// The limit that is a number.
const ZOMBIES: &str = "zombies";

/// A file, checked.
#[derive(Debug)]
pub(super) struct File {
    pub(super) options: Options,
    pub(super) limits: Limits,
    pub(super) severities: Vec<(String, Severity)>,
    pub(super) exceptions: Vec<Exception>,
}

/// The keys of an exception.
const EXCEPTION: [&str; 6] = ["rule", "namespace", "pod", "container", "reason", "expires"];

impl File {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut table: toml::Table = text.parse().map_err(|error| located(&error, text))?;
        let severities = take(&mut table, "severity")?;
        let limits = take(&mut table, "limits")?;
        if table.get("exception").is_some_and(toml::Value::is_table) {
            return Err("exception: write [[exception]], because there may be several".to_owned());
        }
        let exceptions: Vec<toml::Value> = take(&mut table, "exception")?;
        Ok(Self {
            options: Options::parse(table)?,
            limits: parse_limits(limits)?,
            severities: parse_severities(severities)?,
            exceptions: parse_exceptions(exceptions)?,
        })
    }
}

/// What is wrong and where, without the text of the line, which may contain anything.
fn located(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let message = shown(error.message());
    before.map_or(message.clone(), |before| {
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        format!("line {line}, column {column}: {message}")
    })
}

/// Takes a table out of another one. It may be missing.
fn take<T: Default + for<'a> Deserialize<'a>>(
    table: &mut toml::Table,
    key: &str,
) -> Result<T, String> {
    let Some(value) = table.remove(key) else {
        return Ok(T::default());
    };
    value
        .try_into()
        .map_err(|error| format!("{key}: {}", first_line(&error)))
}

fn first_line(error: &dyn std::fmt::Display) -> String {
    shown(error.to_string().lines().next().unwrap_or_default())
}

fn parse_severities(table: BTreeMap<String, String>) -> Result<Vec<(String, Severity)>, String> {
    let parse = |(rule, severity): (String, String)| {
        check_rule(&rule).map_err(|error| format!("severity: {error}"))?;
        let parsed = Severity::from_str(&severity, false).map_err(|_| {
            let shown = severity.escape_debug();
            format!("severity: {rule}: \"{shown}\" is not a severity: info, warning or error")
        })?;
        Ok((rule, parsed))
    };
    table.into_iter().map(parse).collect()
}

/// Refuses a pattern that matches no rule, because a typo must not change nothing in silence.
fn check_rule(pattern: &str) -> Result<(), String> {
    if policy::is_rule(pattern) {
        return Ok(());
    }
    let known = rules::all().flat_map(|rule| [rule.id, rule.name]);
    Err(suggest::unknown("rule", pattern, known, "pause-trace rules").to_string())
}

fn parse_limits(table: toml::Table) -> Result<Limits, String> {
    let mut limits = Limits::NODE;
    for (name, value) in table {
        let wrong = |error: &str| format!("limits: {name}: {error}");
        if name == ZOMBIES {
            let number = value
                .as_integer()
                .and_then(|number| u32::try_from(number).ok());
            let number = number.filter(|number| *number > 0);
            limits.zombies = number.ok_or_else(|| wrong("expected a number above 0"))?;
            continue;
        }
        let Some((_, limit)) = LIMITS.iter().find(|(known, _)| *known == name) else {
            let error = suggest::unknown_key("limit", &name, limit_names());
            return Err(format!("limits: {error}"));
        };
        let text = match &value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(seconds) => seconds.to_string(),
            _ => return Err(wrong("expected a time: 500ms, 30s, 5m")),
        };
        let time = parse_time(&text).map_err(|error| wrong(&error))?;
        let ns = Ktime::try_from(time.as_nanos()).map_err(|_| wrong("too long"))?;
        if ns == 0 {
            return Err(wrong("nothing can happen in no time"));
        }
        *limit(&mut limits) = ns;
    }
    Ok(limits)
}

/// The names of the limits that differ.
pub(super) fn different_limits(one: &Limits, other: &Limits) -> Vec<&'static str> {
    let (mut first, mut second) = (*one, *other);
    let times = LIMITS
        .into_iter()
        .filter(|(_, limit)| limit(&mut first) != limit(&mut second))
        .map(|(name, _)| name);
    let mut names: Vec<_> = times.collect();
    names.extend((one.zombies != other.zombies).then_some(ZOMBIES));
    names
}

/// The names of all limits.
pub(super) fn limit_names() -> impl Iterator<Item = &'static str> {
    LIMITS.iter().map(|(name, _)| *name).chain([ZOMBIES])
}

fn parse_exceptions(values: Vec<toml::Value>) -> Result<Vec<Exception>, String> {
    let numbered = values.into_iter().enumerate();
    let parse = |(index, value): (usize, toml::Value)| {
        parse_exception(value).map_err(|error| format!("exception {}: {error}", index + 1))
    };
    numbered.map(parse).collect()
}

fn parse_exception(value: toml::Value) -> Result<Exception, String> {
    let toml::Value::Table(mut table) = value else {
        return Err(format!("expected a table, found {}", kind(&value)));
    };
    if let Some(unknown) = table.keys().find(|key| !EXCEPTION.contains(&&***key)) {
        return Err(suggest::unknown_key("key", unknown, EXCEPTION.into_iter()));
    }
    let rules = match table.remove("rule") {
        None => Vec::new(),
        Some(toml::Value::String(rule)) => vec![rule],
        Some(toml::Value::Array(rules)) => {
            let rules = rules.into_iter().map(|rule| text_of("rule", rule));
            rules.collect::<Result<_, _>>()?
        }
        Some(other) => {
            let found = kind(&other);
            return Err(format!(
                "rule: expected a text or a list of texts, found {found}"
            ));
        }
    };
    rules.iter().try_for_each(|rule| check_rule(rule))?;
    let mut optional = |key: &str| {
        let value = table.remove(key);
        value.map(|value| text_of(key, value)).transpose()
    };
    let names = ["namespace", "pod", "container"].map(&mut optional);
    let [namespace, pod, container] = names;
    let reason = optional("reason")?.ok_or("missing field `reason`")?;
    let reason = reason.trim();
    if reason.is_empty() {
        return Err("the reason is empty".to_owned());
    }
    if reason.len() > MAX_REASON || reason.chars().any(char::is_control) {
        return Err(format!(
            "the reason is not one line of at most {MAX_REASON} bytes"
        ));
    }
    let expires = table.remove("expires").ok_or("missing field `expires`")?;
    let pattern = |key: &str, text: Result<Option<String>, String>| {
        let parse = |text: String| match text.chars().any(char::is_control) {
            true => Err(format!("{key}: a name has no control characters")),
            false => Pattern::new(&text).map_err(|error| format!("{key}: {error}")),
        };
        text?.map(parse).transpose()
    };
    let (expires, until) = last_day(&expires)?;
    let exception = Exception {
        rules,
        namespace: pattern("namespace", namespace)?,
        pod: pattern("pod", pod)?,
        container: pattern("container", container)?,
        excepted: Arc::new(Excepted {
            reason: reason.to_owned(),
            expires: Some(expires),
        }),
        until,
    };
    if exception.is_about_all() {
        return Err(
            "it would accept every finding: name a rule, a namespace, a pod or a container"
                .to_owned(),
        );
    }
    Ok(exception)
}

/// The text that is the value of a key.
fn text_of(key: &str, value: toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text),
        toml::Value::Array(_) => Err(format!(
            "{key}: expected one text, found a list; write an exception for each"
        )),
        other => Err(format!("{key}: expected a text, found {}", kind(&other))),
    }
}

/// What a value is, with its article.
fn kind(value: &toml::Value) -> &'static str {
    match value {
        toml::Value::String(_) => "a text",
        toml::Value::Integer(_) | toml::Value::Float(_) => "a number",
        toml::Value::Boolean(_) => "a boolean",
        toml::Value::Datetime(_) => "a date",
        toml::Value::Array(_) => "a list",
        toml::Value::Table(_) => "a table",
    }
}

/// The last day, and its end in ns since 1970.
fn last_day(expires: &toml::Value) -> Result<(String, i64), String> {
    const EXPECTED: &str = "expires: expected a day such as 2027-01-31";
    let text = match expires {
        toml::Value::Datetime(time) => time.to_string(),
        toml::Value::String(text) => text.clone(),
        _ => return Err(EXPECTED.to_owned()),
    };
    let date = Date::strptime("%Y-%m-%d", &text).map_err(|_| EXPECTED)?;
    let end = || {
        let end = date.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?;
        i64::try_from(end.timestamp().as_nanosecond()).ok()
    };
    let until = end().ok_or("expires: the day is out of range")?;
    Ok((date.to_string(), until))
}

/// The limits that differ from the built-in ones, as TOML.
pub(super) fn limits_text(limits: &Limits) -> String {
    let (mut ours, mut usual) = (*limits, Limits::NODE);
    let mut text = String::new();
    for (name, limit) in LIMITS {
        let (ns, usual) = (*limit(&mut ours), *limit(&mut usual));
        if ns != usual {
            let _ = writeln!(
                text,
                "{name} = \"{}ms\"  # else {}ms",
                ns / 1_000_000,
                usual / 1_000_000
            );
        }
    }
    if limits.zombies != usual.zombies {
        let _ = writeln!(
            text,
            "{ZOMBIES} = {}  # else {}",
            limits.zombies, usual.zombies
        );
    }
    match text.is_empty() {
        true => text,
        false => format!("\n[limits]\n{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
        fail-on = "warning"
        [severity]
        PT302 = "error"
        PT5 = "info"
        [limits]
        stop = "10s"
        zombie = 7
        zombies = 100
        [[exception]]
        rule = ["PT302", "zombie"]
        namespace = "kube-system"
        pod = "legacy-*"
        container = "app"
        reason = "its successor comes in January"
        expires = 2027-01-31
        [[exception]]
        pod = "x"
        reason = "a day as text"
        expires = "2027-02-01"
    "#;

    #[test]
    fn a_whole_file_is_read() {
        let file = File::parse(WHOLE).expect("it is right");
        assert_eq!(file.limits.stop, 10_000_000_000);
        assert_eq!(file.limits.zombie, 7_000_000_000);
        assert_eq!(file.limits.zombies, 100);
        assert_eq!(file.limits.init, Limits::NODE.init);
        let severities = [("PT302", Severity::Error), ("PT5", Severity::Info)];
        assert_eq!(
            file.severities,
            severities.map(|(rule, severity)| (rule.to_owned(), severity))
        );
        let [first, second] = &file.exceptions[..] else {
            panic!("there are two: {:?}", file.exceptions);
        };
        assert_eq!(first.target(), "PT302, zombie kube-system/legacy-*/app");
        assert_eq!(first.excepted.expires.as_deref(), Some("2027-01-31"));
        // 2027-02-01T00:00:00Z
        assert_eq!(first.until, 1_801_440_000_000_000_000);
        assert_eq!(second.target(), "every rule */x/*");
        assert_eq!(second.until - first.until, 86_400_000_000_000);
        assert_eq!(
            limits_text(&file.limits),
            "\n[limits]\nzombie = \"7000ms\"  # else 5000ms\nstop = \"10000ms\"  # else 5000ms\nzombies = 100  # else 64\n"
        );
    }

    #[test]
    fn an_error_is_short_and_has_no_control_characters() {
        for text in [
            format!("a = \"{}", "x".repeat(100_000)),
            "a = \"\u{1b}[31m\u{9b}\u{202e}".to_owned(),
            "fail-on = \"\\u001b\\u009b\\u202e\"".to_owned(),
            format!("fail-on = '{}'", "x".repeat(100_000)),
            format!("'{}' = 1", "\u{202e}".repeat(100_000)),
            format!("a = {}", "[".repeat(100_000)),
        ] {
            let error = File::parse(&text).expect_err(&text);
            let is_hidden = |c: char| c.is_control() || c == '\u{202e}';
            assert!(
                error.len() < 2_000 && !error.contains(is_hidden),
                "{error:?}"
            );
        }
    }

    #[test]
    fn wrong_files_are_refused_with_a_hint() {
        let exception =
            |lines: &str| format!("[[exception]]\nreason = 'x'\nexpires = 2027-01-31\n{lines}");
        for (text, expected) in [
            ("fail-on = ".to_owned(), "line 1, column "),
            (
                "[severity]\nPT999 = 'info'".to_owned(),
                "severity: there is no rule \"PT999\"",
            ),
            (
                "[severity]\nPT101 = 'fatal'".to_owned(),
                "severity: PT101: \"fatal\" is not a severity",
            ),
            (
                "[limits]\nzombi = '5s'".to_owned(),
                "limits: there is no limit \"zombi\"; did you mean \"zombie\"?",
            ),
            (
                "[limits]\nstop = 'soon'".to_owned(),
                "limits: stop: expected a number",
            ),
            (
                "[limits]\nstop = 0".to_owned(),
                "limits: stop: nothing can happen in no time",
            ),
            (
                "[limits]\nzombies = -1".to_owned(),
                "limits: zombies: expected a number above 0",
            ),
            ("exception = 5".to_owned(), "exception: "),
            (exception(""), "exception 1: it would accept every finding"),
            (
                exception("rule = 'PT'\nnamespace = '*'\npod = '**'"),
                "exception 1: it would accept every finding",
            ),
            (
                exception("pod = \"a\\u001b*\""),
                "exception 1: pod: a name has no control characters",
            ),
            (
                exception("rule = 'PT999'"),
                "exception 1: there is no rule \"PT999\"",
            ),
            (exception("pod = 'a['"), "exception 1: pod: "),
            (
                exception("pods = 'a'"),
                "exception 1: there is no key \"pods\"; did you mean \"pod\"?",
            ),
            (
                exception("namspace = 'a'"),
                "exception 1: there is no key \"namspace\"; did you mean \"namespace\"?",
            ),
            (
                exception("owner = 'a'"),
                "exception 1: there is no key \"owner\"",
            ),
            (
                exception("namespace = ['a', 'b']"),
                "exception 1: namespace: expected one text, found a list",
            ),
            (
                exception("container = 7"),
                "exception 1: container: expected a text, found a number",
            ),
            (
                exception("rule = 7"),
                "exception 1: rule: expected a text or a list of texts, found a number",
            ),
            (
                exception("rule = ['PT101', 7]"),
                "exception 1: rule: expected a text, found a number",
            ),
            (
                "[[exception]]\nrule = 'PT1'\nreason = ['x']\nexpires = 2027-01-31".to_owned(),
                "exception 1: reason: expected one text, found a list",
            ),
            (
                "exception = [5]".to_owned(),
                "exception 1: expected a table",
            ),
            (
                exception("rule = 'PT1'").replace("[[exception]]", "[[exceptions]]"),
                "there is no table \"exceptions\"; did you mean \"exception\"?",
            ),
            (
                exception("rule = 'PT1'").replace("[[exception]]", "[exception]"),
                "exception: write [[exception]]",
            ),
            (
                "[[exception]]\nrule = 'PT1'\nexpires = 2027-01-31".to_owned(),
                "exception 1: missing field `reason`",
            ),
            (
                "[[exception]]\nrule = 'PT1'\nreason = 'x'".to_owned(),
                "exception 1: missing field `expires`",
            ),
            (
                "[[exception]]\nrule = 'PT1'\nreason = ' '\nexpires = 2027-01-31".to_owned(),
                "exception 1: the reason is empty",
            ),
            (
                "[[exception]]\nrule = 'PT1'\nreason = \"a\\nb\"\nexpires = 2027-01-31".to_owned(),
                "exception 1: the reason is not one line",
            ),
            (
                "[[exception]]\nrule = 'PT1'\nreason = 'x'\nexpires = 12:30:00".to_owned(),
                "exception 1: expires: expected a day",
            ),
        ] {
            let error = File::parse(&text).expect_err(&text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
