//! `--config` and `config`: one TOML file with options, limits, severities and exceptions.

mod file;
mod options;
mod reload;
mod schema;

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::{ArgMatches, Command};

use self::{file::File, options::Options};
pub(crate) use self::{options::with_environment, reload::Reload};
use super::{Exit, Usage, print, summary};
use crate::{
    event::{Ktime, escape},
    policy::{Exception, Policy, Standing},
    probe,
    report::Clock,
    state::Limits,
    text::counted,
};

/// It is read if there is one and `--config` names no other.
const DEFAULT: &str = "/etc/pause-trace/config.toml";

/// Most bytes of a file.
const MAX_BYTES: u64 = 1 << 20;

/// What a file asks for.
#[derive(Debug)]
pub(crate) struct Config {
    path: PathBuf,
    options: Options,
    pub(crate) limits: Limits,
    pub(crate) policy: Policy,
}

impl Config {
    /// Reads the file that the command line names, else the default one if it exists.
    pub(crate) fn find(matches: &ArgMatches) -> Result<Option<Self>, Usage> {
        match matches.get_one::<PathBuf>("config") {
            Some(path) => Self::read(path).map(Some),
            None if Path::new(DEFAULT).exists() => Self::read(Path::new(DEFAULT)).map(Some),
            None => Ok(None),
        }
    }

    fn read(path: &Path) -> Result<Self, Usage> {
        let usage = |error: &dyn std::fmt::Display| Usage(format!("{}: {error}", path.display()));
        let text = read_text(path).map_err(|error| usage(&error))?;
        let file = File::parse(&text).map_err(|error| usage(&error))?;
        Ok(Self {
            path: path.to_owned(),
            options: file.options,
            limits: file.limits,
            policy: Policy::new(file.severities, file.exceptions),
        })
    }

    /// Reads the file again. Returns it and the options that differ, which need a restart.
    pub(crate) fn read_again(&self) -> Result<(Self, Vec<String>), Usage> {
        let again = Self::read(&self.path)?;
        let mut changed = self.options.differences(&again.options);
        let limits = file::different_limits(&self.limits, &again.limits);
        changed.extend(limits.into_iter().map(|name| format!("limits.{name}")));
        Ok((again, changed))
    }

    /// Makes the options of the file the defaults of the command line.
    pub(crate) fn apply(&self, command: Command) -> Command {
        self.options.apply(command)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Says on stderr which variables of the environment set options.
pub(crate) fn note_environment() {
    let variables: Vec<_> = options::environment().into_keys().collect();
    let _ = writeln!(
        io::stderr(),
        "pause-trace: the command line alone is right; the environment sets {}",
        variables.join(", ")
    );
}

/// A text of somebody else in a message: escaped, and its beginning if it is long.
fn shown(text: &str) -> String {
    const MAX: usize = 300;
    let mut escaped = String::new();
    let _ = escape(
        &text.as_bytes()[..text.floor_char_boundary(MAX)],
        &mut escaped,
    );
    if text.len() > MAX {
        escaped.push('…');
    }
    escaped
}

/// The text of a file of bounded size.
fn read_text(path: &Path) -> io::Result<String> {
    let data = fs::metadata(path)?;
    if !data.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if data.len() > MAX_BYTES {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    fs::read_to_string(path)
}

/// Sentences about exceptions that have expired, and at the end of a run about those that accepted
/// nothing.
pub(crate) fn notes(policy: &Policy, now: Ktime, clock: Clock, is_end: bool) -> Vec<String> {
    let mut notes = Vec::new();
    for (exception, standing) in policy.standing(now, clock) {
        let target = shown(&exception.target());
        let expires = exception.excepted.expires.as_deref().unwrap_or_default();
        notes.extend(match (standing, is_end) {
            (Standing::Expired(1..), _) | (Standing::Expired(0), false) => Some(format!(
                "the exception for {target} expired on {expires}: its findings count again"
            )),
            (Standing::Unused, true) => Some(format!(
                "the exception for {target} was not used: no finding matched it"
            )),
            (Standing::Expired(0), true) => Some(format!(
                "the exception for {target} expired on {expires} and was not used: no finding matched it"
            )),
            _ => None,
        });
    }
    if is_end && let Some(baseline) = policy.baseline() {
        let gone = baseline.gone();
        notes.extend((gone > 0).then(|| {
            let findings = counted(gone as u64, "finding");
            format!("{findings} of the baseline did not occur again")
        }));
    }
    notes
}

/// Check or show the configuration file
///
/// The file holds options of the command line, limits, severities of rules, and exceptions with a
/// reason and an expiry: docs/configuration.md describes it.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Action {
    /// Check a file; without FILE, the one that --config names, or the default one
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show what a file and the environment set
    Show {
        /// The file
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Write the JSON Schema of the file, for editors
    Schema,
}

impl Args {
    pub(crate) fn run(&self, chosen: Option<&Path>) -> Result<Exit> {
        let file = match &self.action {
            Action::Schema => return print(&schema::schema()),
            Action::Check { file } | Action::Show { file } => file.as_deref().or(chosen),
        };
        let config = match file {
            Some(path) => Some(Config::read(path)?),
            None if Path::new(DEFAULT).exists() => Some(Config::read(Path::new(DEFAULT))?),
            None => None,
        };
        match (&self.action, config) {
            (Action::Check { .. }, None) => {
                Err(Usage(format!("there is no {DEFAULT}; name a file")).into())
            }
            (Action::Check { .. }, Some(config)) => print(&config.checked()?),
            (_, config) => print(&in_force(config.as_ref())?),
        }
    }
}

impl Config {
    /// The result of a check that found no error.
    fn checked(&self) -> Result<String> {
        let mut text = format!("{}: ok\n", self.path.display());
        for note in notes(&self.policy, probe::now(), summary::clock()?, false) {
            let _ = writeln!(text, "{note}");
        }
        Ok(text)
    }
}

/// What the file and the environment set, as TOML with comments.
fn in_force(config: Option<&Config>) -> Result<String> {
    let mut text = match config {
        Some(config) => format!("# {}\n", config.path.display()),
        None => "# no configuration file\n".to_owned(),
    };
    let environment = options::environment();
    for (name, value) in &environment {
        let refused = options::refused_variable(name, value);
        let refused = refused.map_or(String::new(), |why| format!(", which is wrong: {why}"));
        let _ = writeln!(text, "# environment: {name}={}{refused}", shown(value));
    }
    if let Some(config) = config {
        text += &config.options.shown(&environment);
    }
    let Some(config) = config else {
        return Ok(text);
    };
    text += &file::limits_text(&config.limits);
    let changed = crate::rules::all().filter(|rule| config.policy.severity(rule) != rule.severity);
    let mut changed = changed.peekable();
    if changed.peek().is_some() {
        text += "\n[severity]\n";
    }
    for rule in changed {
        let severity = config.policy.severity(rule);
        let _ = writeln!(
            text,
            "{} = \"{severity}\"  # {}, else {}",
            rule.id, rule.name, rule.severity
        );
    }
    let clock = summary::clock()?;
    for (exception, standing) in config.policy.standing(probe::now(), clock) {
        let Exception { excepted, .. } = exception;
        let state = match standing {
            Standing::Expired(_) => "expired on",
            _ => "holds until",
        };
        let _ = writeln!(
            text,
            "\n# exception for {}: {state} {}: {}",
            shown(&exception.target()),
            excepted.expires.as_deref().unwrap_or_default(),
            shown(&excepted.reason)
        );
    }
    Ok(text)
}
