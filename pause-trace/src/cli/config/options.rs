//! Options of the command line from the file and the environment. They become defaults, so the
//! command line wins, and the same code checks their values.

use std::{collections::BTreeMap, env, fmt::Write as _};

use clap::{Arg, ArgAction, Command, CommandFactory as _, error::ErrorKind};

use super::shown;
use crate::cli::{Cli, suggest};

/// What a variable of the environment begins with; the rest is the name of the option:
/// `PAUSE_TRACE_FAIL_ON`.
const PREFIX: &str = "PAUSE_TRACE_";

/// Options that choose what the program does, and not how.
const NOT_CONFIGURED: [&str; 3] = ["config", "help", "version"];

/// Values of options, by command and long name. The command is empty for all commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options(BTreeMap<(String, String), Vec<String>>);

/// The variable of an option.
fn variable(long: &str) -> String {
    format!("{PREFIX}{}", long.to_uppercase().replace('-', "_"))
}

/// Lets every option be set by a variable of the environment.
pub(crate) fn with_environment(command: Command) -> Command {
    for_each(command, |_, argument| match in_environment(&argument) {
        Some(long) => argument.env(variable(&long)).hide_env(true),
        None => argument,
    })
}

/// The long name of an option that a variable can set: also that of the file.
fn in_environment(argument: &Arg) -> Option<String> {
    match argument.get_long() {
        Some("config") => Some("config".to_owned()),
        _ => name(argument),
    }
}

/// The variables of the environment that set options, in order.
pub(super) fn environment() -> BTreeMap<String, String> {
    let mut known = Vec::new();
    _ = for_each(Cli::command(), |_, argument| {
        known.extend(in_environment(&argument).map(|long| variable(&long)));
        argument
    });
    let set = env::vars_os().filter_map(|(variable, value)| {
        let variable = variable.into_string().ok()?;
        let is_option = known.contains(&variable);
        is_option.then(|| (variable, value.to_string_lossy().into_owned()))
    });
    set.collect()
}

/// Why no command takes the value of a variable.
pub(super) fn refused_variable(name_of_variable: &str, value: &str) -> Option<String> {
    let mut refused = Vec::new();
    _ = for_each(Cli::command(), |_, argument| {
        if argument
            .get_long()
            .is_some_and(|long| variable(long) == name_of_variable)
        {
            refused.push(refuses(&argument, &[value.to_owned()]));
        }
        argument
    });
    let all: Option<Vec<_>> = refused.into_iter().collect();
    all?.pop()
}

/// Changes every argument. Arguments of all commands come with an empty name of a command.
fn for_each(command: Command, mut change: impl FnMut(&str, Arg) -> Arg) -> Command {
    let names: Vec<_> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let mut command = command.mut_args(|argument| change("", argument));
    for name in names {
        command = command.mut_subcommand(&name, |subcommand| {
            subcommand.mut_args(|argument| change(&name, argument))
        });
    }
    command
}

/// Whether a value is a table, or a list of tables (`[[name]]`), which no option has as its value.
fn is_tables(value: &toml::Value) -> bool {
    match value {
        toml::Value::Table(_) => true,
        toml::Value::Array(list) => !list.is_empty() && list.iter().all(toml::Value::is_table),
        _ => false,
    }
}

/// The long name of an option that can be configured.
pub(super) fn name(argument: &Arg) -> Option<String> {
    let long = argument.get_long()?;
    (!NOT_CONFIGURED.contains(&long)).then(|| long.to_owned())
}

impl Options {
    /// Takes the options of a table.
    pub(super) fn parse(table: toml::Table) -> Result<Self, String> {
        let command = Cli::command();
        let commands: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        let mut options = Self::default();
        for (key, value) in table {
            match value {
                toml::Value::Table(of_command) if commands.contains(&&*key) => {
                    for (name, value) in of_command {
                        options.add(&key, name, value)?;
                    }
                }
                value if is_tables(&value) => {
                    let tables = ["severity", "limits", "exception"];
                    let known = commands.iter().copied().chain(tables);
                    return Err(suggest::unknown_key("table", &key, known));
                }
                value => options.add("", key, value)?,
            }
        }
        options.refuse_conflicts()?;
        Ok(options)
    }

    /// Fails if the options of a command exclude each other, which defaults do not do.
    fn refuse_conflicts(&self) -> Result<(), String> {
        let command = Cli::command();
        for command in command.get_subcommands() {
            let mut words = vec!["config".to_owned(), command.get_name().to_owned()];
            for argument in command.get_arguments() {
                let (Some(long), Some(values)) =
                    (name(argument), self.of(command.get_name(), argument))
                else {
                    continue;
                };
                match argument.get_action() {
                    ArgAction::SetTrue if *values == ["true"] => words.push(format!("--{long}")),
                    ArgAction::SetTrue => {}
                    _ => words.extend(values.iter().map(|value| format!("--{long}={value}"))),
                }
            }
            if let Err(error) = Cli::command().try_get_matches_from(words)
                && error.kind() == ErrorKind::ArgumentConflict
            {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                let first = first.trim_start_matches("error: ");
                return Err(format!("{}: {}", command.get_name(), shown(first)));
            }
        }
        Ok(())
    }

    /// The values that a command takes for an argument.
    fn of(&self, command: &str, argument: &Arg) -> Option<&Vec<String>> {
        let long = name(argument)?;
        let of = |command: &str| self.0.get(&(command.to_owned(), long.clone()));
        let values = of(command).or_else(|| of(""))?;
        // Commands may take different values, such as formats.
        refuses(argument, values).is_none().then_some(values)
    }

    fn add(&mut self, command: &str, option: String, value: toml::Value) -> Result<(), String> {
        let values = match value {
            toml::Value::Array(values) => values.into_iter().map(scalar).collect(),
            value => scalar(value).map(|value| vec![value]),
        };
        let values: Vec<String> = values
            .ok_or_else(|| format!("{option}: expected a string, a number, true or false"))?;
        check(command, &option, &values)?;
        self.0.insert((command.to_owned(), option), values);
        Ok(())
    }

    /// Makes these values the defaults.
    pub(super) fn apply(&self, command: Command) -> Command {
        for_each(command, |command, argument| {
            match self.of(command, &argument) {
                Some(values) => argument.default_values(values.clone()).required(false),
                None => argument,
            }
        })
    }

    /// As TOML. An option that a variable of the environment sets is a comment.
    pub(super) fn shown(&self, environment: &BTreeMap<String, String>) -> String {
        let (mut text, mut table) = (String::new(), "");
        for ((command, option), values) in &self.0 {
            if command != table {
                let _ = writeln!(text, "\n[{command}]");
                table = command;
            }
            let value = match &values[..] {
                [value] => format!("{value:?}"),
                values => format!("{values:?}"),
            };
            let variable = variable(option);
            let _ = match environment.contains_key(&variable) {
                true => writeln!(text, "# {option} = {value}, but {variable} is set"),
                false => writeln!(text, "{option} = {value}"),
            };
        }
        text
    }

    /// The options whose values differ.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let both = self.0.keys().chain(other.0.keys());
        let mut changed: Vec<_> = both
            .filter(|key| self.0.get(key) != other.0.get(key))
            .map(|(command, option)| match &**command {
                "" => option.clone(),
                command => format!("{command}.{option}"),
            })
            .collect();
        changed.sort();
        changed.dedup();
        changed
    }
}

/// A value as it would stand on the command line.
fn scalar(value: toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Fails if no command has this option, or if it does not take one of these values.
fn check(command: &str, option: &str, values: &[String]) -> Result<(), String> {
    let (mut known, mut arguments) = (Vec::new(), Vec::new());
    _ = for_each(Cli::command(), |of, argument| {
        if let Some(long) = name(&argument)
            && (command.is_empty() || of == command)
        {
            if long == option {
                arguments.push(argument.clone());
            }
            known.push(long);
        }
        argument
    });
    if arguments.is_empty() {
        let what = match command {
            "" => "option".to_owned(),
            command => format!("option of {command}"),
        };
        return Err(suggest::unknown_key(
            &what,
            option,
            known.iter().map(String::as_str),
        ));
    }
    // Commands may take different values, such as formats: one of them has to take these.
    let mut refused = None;
    for argument in arguments {
        match refuses(&argument, values) {
            None => return Ok(()),
            Some(error) => refused = Some(error),
        }
    }
    refused.map_or(Ok(()), |error| Err(format!("{option}: {error}")))
}

/// Why an argument does not take these values.
fn refuses(argument: &Arg, values: &[String]) -> Option<String> {
    if matches!(argument.get_action(), ArgAction::SetTrue) {
        let is_flag = matches!(values, [value] if value == "true" || value == "false");
        return (!is_flag).then(|| "expected true or false".to_owned());
    }
    let long = argument.get_long()?;
    let words = values.iter().map(|value| format!("--{long}={value}"));
    let words = std::iter::once("config".to_owned()).chain(words);
    let alone = Command::new("config")
        .disable_help_flag(true)
        .arg(argument.clone());
    let error = alone.try_get_matches_from(words).err()?;
    let is_value = matches!(
        error.kind(),
        ErrorKind::InvalidValue
            | ErrorKind::ValueValidation
            | ErrorKind::TooManyValues
            | ErrorKind::ArgumentConflict
    );
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    is_value.then(|| shown(first.trim_start_matches("error: ")))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;
    use crate::{cli, verdict::Severity};

    fn parse(text: &str) -> Result<Options, String> {
        Options::parse(text.parse().expect("TOML"))
    }

    fn watch(options: &Options, words: &[&str]) -> cli::watch::Args {
        let words = ["pause-trace", "watch"].iter().chain(words);
        let command = options.apply(Cli::command());
        let matches = command.try_get_matches_from(words).expect("it parses");
        match Cli::from_arg_matches(&matches).expect("it parses").command {
            cli::Command::Watch(args) => args,
            _ => unreachable!("it is watch"),
        }
    }

    #[test]
    fn the_command_line_wins_over_the_table_of_a_command_and_that_over_the_rest() {
        let options = parse(
            "fail-on = 'warning'\nselect = ['PT1', 'PT3']\nverbose = true\nrequire-pods = 2\n\
             [watch]\nmin-severity = 'error'\n[replay]\nmin-severity = 'warning'",
        )
        .expect("it is right");
        let args = watch(&options, &[]);
        assert_eq!(args.output.fail_on, Severity::Warning);
        assert_eq!(args.selection.select, ["PT1", "PT3"]);
        assert_eq!(args.pods.wanted.require_pods, Some(2));
        assert_eq!(args.pods.wanted.min_severity, Severity::Error);
        let args = watch(&options, &["--fail-on", "info", "--select", "PT4"]);
        assert_eq!(args.output.fail_on, Severity::Info);
        assert_eq!(args.selection.select, ["PT4"]);
    }

    #[test]
    fn wrong_keys_and_values_are_refused_with_a_hint() {
        for (text, expected) in [
            (
                "fail-in = 'error'",
                "there is no option \"fail-in\"; did you mean \"fail-on\"?",
            ),
            ("config = 'x'", "there is no option \"config\""),
            (
                "fail-on = 'fatal'",
                "fail-on: invalid value 'fatal' for '--fail-on <SEVERITY>'",
            ),
            (
                "fail-on = 1.5",
                "fail-on: expected a string, a number, true or false",
            ),
            ("verbose = 'loud'", "verbose: expected true or false"),
            (
                "for = 'soon'",
                "for: invalid value 'soon' for '--for <DURATION>': ",
            ),
            (
                "[wach]\nonce = true",
                "there is no table \"wach\"; did you mean \"watch\"?",
            ),
            (
                "[watch]\nfile = 'x'",
                "there is no option of watch \"file\"",
            ),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_value_of_one_command_is_enough() {
        // `ls` has text and json alone.
        parse("format = 'sarif'").expect("watch has it");
        parse("[ls]\nformat = 'sarif'").expect_err("ls does not have it");
    }

    #[test]
    fn every_command_takes_its_own_defaults_back() {
        let command = with_environment(Cli::command());
        command.debug_assert();
        let options = parse("verbose = false\ncolor = 'never'").expect("right");
        options.apply(Cli::command()).debug_assert();
    }

    #[test]
    fn an_option_that_the_environment_sets_is_a_comment() {
        let options = parse("fail-on = 'info'\nselect = ['PT1', 'PT2']").expect("right");
        let set = [("PAUSE_TRACE_FAIL_ON".to_owned(), "error".to_owned())];
        assert_eq!(
            options.shown(&BTreeMap::from(set)),
            "# fail-on = \"info\", but PAUSE_TRACE_FAIL_ON is set\nselect = [\"PT1\", \"PT2\"]\n"
        );
    }

    #[test]
    fn changed_options_are_named() {
        let one = parse("fail-on = 'info'\n[watch]\nonce = true").expect("right");
        let other = parse("fail-on = 'error'\nverbose = true\n[watch]\nonce = true");
        let changed = one.differences(&other.expect("right"));
        assert_eq!(changed, ["fail-on", "verbose"]);
    }
}
