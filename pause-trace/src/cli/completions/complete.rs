//! What the shells complete. Their scripts call `pause-trace __complete INDEX WORD...` with the
//! words of the command line and the index of the one that is completed. It prints a candidate a
//! line, with a description after a tab, or `:files`.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::{Arg, Command, CommandFactory as _};

use super::super::Cli;
use crate::{
    conformance,
    node::cgroup::Hierarchies,
    pods::{self, PodView},
    reference::{faults, scenarios},
    rules, session,
};

/// How long a shell may wait for the names of the node's pods.
const PATIENCE: Duration = Duration::from_secs(2);

/// The line that stands for the names of files, which the shell completes itself.
const FILES: &str = ":files";

/// Prints the candidates. Nothing that goes wrong is said: the user is typing.
pub(crate) fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut args = args.map(|word| word.to_string_lossy().into_owned());
    let index = args.next().and_then(|index| index.parse().ok());
    let words: Vec<_> = args.collect();
    let mut out = io::stdout().lock();
    for (value, help) in candidates(&words, index.unwrap_or(words.len()), running_pods) {
        let separator = if help.is_empty() { "" } else { "\t" };
        if writeln!(out, "{value}{separator}{help}").is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

/// A value and its description, which may be empty.
type Candidate = (String, String);

/// The candidates for the word at `index`.
fn candidates(
    words: &[String],
    index: usize,
    pods: impl FnOnce() -> Vec<String>,
) -> Vec<Candidate> {
    let before = words.get(1..index.min(words.len())).unwrap_or_default();
    // bash makes a word of the "=" in "--select=PT1"; the other shells leave it in the word.
    let before: Vec<&str> = before
        .iter()
        .map(String::as_str)
        .filter(|word| *word != "=")
        .collect();
    let current = words.get(index).map_or("", String::as_str);
    let current = if current == "=" { "" } else { current };
    let mut root = Cli::command();
    root.build();
    let line = Line::read(&root, &before);
    let (begin, values) = match (line.pending, current.split_once('=')) {
        (Some(option), _) => (String::new(), line.values(option, current, pods)),
        (None, Some((name, value))) if name.starts_with("--") => {
            let begin = format!("{name}=");
            match option(line.command, name).filter(|option| takes_value(option)) {
                Some(option) => (begin, line.values(option, value, pods)),
                None => (begin, Vec::new()),
            }
        }
        (None, _) if current.starts_with('-') && !line.is_positional => {
            (String::new(), line.options())
        }
        (None, _) => (String::new(), line.words(current, pods)),
    };
    let with_begin = values
        .into_iter()
        .map(|(value, help)| match value.as_str() {
            FILES => (value, help),
            _ => (begin.clone() + &value, help),
        });
    with_begin
        .filter(|(value, _)| value == FILES || value.starts_with(current))
        .collect()
}

/// The words before the one that is completed.
struct Line<'a> {
    before: &'a [&'a str],
    command: &'a Command,
    /// The option whose value is completed.
    pending: Option<&'a Arg>,
    /// The number of positional arguments so far.
    positionals: usize,
    /// Whether `--` was given.
    is_positional: bool,
}

impl<'a> Line<'a> {
    fn read(root: &'a Command, before: &'a [&'a str]) -> Self {
        let mut line = Self {
            before,
            command: root,
            pending: None,
            positionals: 0,
            is_positional: false,
        };
        for word in before {
            if line.pending.take().is_some() {
                continue;
            }
            match *word {
                _ if line.is_positional => line.positionals += 1,
                "--" => line.is_positional = true,
                word if word.starts_with('-') && word.len() > 1 => {
                    line.pending = option(line.command, word).filter(|option| takes_value(option));
                }
                word => match line.command.find_subcommand(word) {
                    Some(command) => line.command = command,
                    None => line.positionals += 1,
                },
            }
        }
        line
    }

    /// The options that were not given yet, or that may be given again.
    fn options(&self) -> Vec<Candidate> {
        let is_given = |option: &Arg| {
            let is_it =
                |word: &&str| self::option(self.command, word).is_some_and(|it| it == option);
            self.before.iter().any(is_it) && option.get_value_delimiter().is_none()
        };
        let options = self.command.get_arguments();
        let options = options.filter(|option| !option.is_positional() && !option.is_hide_set());
        options
            .filter(|option| !is_given(option))
            .filter_map(|option| Some((format!("--{}", option.get_long()?), help(option))))
            .collect()
    }

    /// The subcommands, or the values of the next positional argument.
    fn words(&self, current: &str, pods: impl FnOnce() -> Vec<String>) -> Vec<Candidate> {
        let about = |command: &Command| command.get_about().map(ToString::to_string);
        let commands = self.command.get_subcommands();
        let commands = commands.filter(|command| !command.is_hide_set());
        let mut words: Vec<_> = commands
            .map(|command| {
                let name = command.get_name().to_owned();
                (name, about(command).unwrap_or_default())
            })
            .collect();
        if let Some(next) = self.command.get_positionals().nth(self.positionals) {
            words.extend(self.values(next, current, pods));
        }
        words
    }

    /// The values of an argument.
    fn values(
        &self,
        argument: &Arg,
        current: &str,
        pods: impl FnOnce() -> Vec<String>,
    ) -> Vec<Candidate> {
        let possible: Vec<_> = argument
            .get_possible_values()
            .into_iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| {
                let help = value.get_help().map(ToString::to_string);
                (value.get_name().to_owned(), help.unwrap_or_default())
            })
            .collect();
        if !possible.is_empty() {
            return possible;
        }
        let plain = |names: Vec<String>| names.into_iter().map(|name| (name, String::new()));
        let name = argument.get_value_names().and_then(<[_]>::first);
        let name = name.map_or("", |name| name.as_str());
        match (argument.get_long(), name) {
            (Some("scenario"), _) if self.before.contains(&"--cri") => {
                let scenarios = conformance::scenarios::all();
                list(current, scenarios.map(|script| of(&script.scenario)))
            }
            (Some("scenario"), _) => {
                list(current, scenarios::all().map(|script| of(&script.scenario)))
            }
            (Some("inject"), _) => faults::all().map(|script| of(&script.scenario)).collect(),
            (Some(_), "RULE") => list(current, rules()),
            (None, "RULE") => rules().collect(),
            (_, "POD") => plain(pods()).collect(),
            (_, "FILE" | "PAGE" | "RECORDING" | "SOCKET") => {
                vec![(FILES.to_owned(), String::new())]
            }
            (_, "DURATION") => plain(["30s", "5m", "1h"].map(str::to_owned).into()).collect(),
            _ => Vec::new(),
        }
    }
}

/// The option that a word names: `--long`, `--long=value`, or the last letter of `-abc`.
fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let mut options = command.get_arguments();
    match word.strip_prefix("--") {
        Some(long) => {
            // "--long=value" is complete: it takes no further word.
            options.find(|option| option.get_long() == Some(long))
        }
        None => {
            let short = word.strip_prefix('-')?.chars().last();
            options.find(|option| short.is_some() && option.get_short() == short)
        }
    }
}

fn takes_value(option: &Arg) -> bool {
    option.get_action().takes_values()
}

/// The first line of the help.
fn help(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string);
    help.unwrap_or_default()
}

fn of(scenario: &crate::scenario::Scenario) -> Candidate {
    (scenario.name.to_owned(), scenario.title.to_owned())
}

/// The rules by id, then by name.
fn rules() -> impl Iterator<Item = Candidate> {
    let by_id = rules::all().map(|rule| (rule.id.to_owned(), rule.summary.to_owned()));
    let by_name = rules::all().map(|rule| (rule.name.to_owned(), rule.summary.to_owned()));
    by_id.chain(by_name)
}

/// The candidates for the last of several values with commas between them.
fn list(current: &str, all: impl Iterator<Item = Candidate>) -> Vec<Candidate> {
    let (given, begin) = match current.rsplit_once(',') {
        Some((given, _)) => (given, format!("{given},")),
        None => ("", String::new()),
    };
    let given: BTreeSet<&str> = given.split(',').collect();
    all.filter(|(value, _)| !given.contains(value.as_str()))
        .map(|(value, help)| (begin.clone() + &value, help))
        .collect()
}

/// The names of the pods that run on this node, as far as this user may see them.
fn running_pods() -> Vec<String> {
    let listing = async {
        let hierarchies = Hierarchies::discover()?;
        let collected = tokio::time::timeout(PATIENCE, pods::collect(&hierarchies, None, None));
        anyhow::Ok(collected.await??.pods)
    };
    let pods = session::block_on(listing).unwrap_or_default();
    let mut names: Vec<_> = pods.iter().map(PodView::title).collect();
    // The shell puts the name on the command line, and the pod has chosen it.
    names.retain(|name| is_harmless(name));
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether a shell takes the text literally.
fn is_harmless(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    text.chars().all(is_plain) && !text.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The candidates for the last word.
    fn completed(line: &str) -> Vec<String> {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let pods = || vec!["default/web".to_owned(), "default/db".to_owned()];
        let found = candidates(&words, words.len() - 1, pods);
        found.into_iter().map(|(value, _)| value).collect()
    }

    #[test]
    fn commands_and_their_options_are_completed() {
        assert_eq!(completed("pause-trace wat"), ["watch"]);
        assert_eq!(completed("pause-trace -v ins"), ["inspect"]);
        assert_eq!(completed("pause-trace watch --o"), ["--once", "--output"]);
        assert_eq!(completed("pause-trace watch --once --o"), ["--output"]);
        assert_eq!(completed("pause-trace watch --once --col"), ["--color"]);
        assert_eq!(completed("pause-trace watch --format s"), ["sarif"]);
        assert_eq!(
            completed("pause-trace watch --format=s"),
            ["--format=sarif"]
        );
        assert_eq!(completed("pause-trace watch --format = s"), ["sarif"]);
        assert_eq!(completed("pause-trace completions z"), ["zsh"]);
        assert_eq!(completed("pause-trace watch w"), [] as [&str; 0]);
        assert_eq!(completed("pause-trace __c"), [] as [&str; 0]);
    }

    #[test]
    fn names_are_completed() {
        assert_eq!(
            completed("pause-trace explain PT10"),
            [
                "PT101", "PT102", "PT103", "PT104", "PT105", "PT106", "PT107", "PT108", "PT109"
            ]
        );
        assert_eq!(completed("pause-trace explain net-sh"), ["net-shared"]);
        assert_eq!(
            completed("pause-trace watch --select PT101,PT102,net-sh"),
            ["PT101,PT102,net-shared"]
        );
        assert_eq!(
            completed("pause-trace watch --ignore=PT101,PT102,net-sh"),
            ["--ignore=PT101,PT102,net-shared"]
        );
        assert_eq!(
            completed("pause-trace check --scenario pod-pl"),
            ["pod-plain"]
        );
        assert_eq!(completed("pause-trace check --inject own-n"), ["own-net"]);
        for line in [
            "watch --once --pod def",
            "inspect def",
            "timeline --follow def",
        ] {
            let line = format!("pause-trace {line}");
            assert_eq!(completed(&line), ["default/web", "default/db"], "{line}");
        }
        assert_eq!(
            completed("pause-trace inspect default/web d"),
            [] as [&str; 0]
        );
        assert_eq!(completed("pause-trace replay n"), [FILES]);
        assert_eq!(completed("pause-trace watch --cri /r"), [FILES]);
    }

    #[test]
    fn a_name_that_a_shell_would_run_is_not_offered() {
        assert!(is_harmless("kube-system/coredns-5d78c9869d-x2x_y.z"));
        for name in [
            "a$(reboot)",
            "a b",
            "a;b",
            "`x`",
            "a\\u{1b}",
            "-rf",
            "a'b",
            "~x",
        ] {
            assert!(!is_harmless(name), "{name}");
        }
    }
}
