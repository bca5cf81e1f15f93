//! The command line: one file per subcommand.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
mod conform;
mod console;
pub(crate) mod doctor;
mod examine;
mod exit;
pub(crate) mod explain;
mod file;
mod history;
pub(crate) mod image;
pub(crate) mod inspect;
pub(crate) mod kubectl;
pub(crate) mod ls;
pub(crate) mod man;
mod metrics;
mod output;
pub(crate) mod pause;
mod pod_reporter;
mod pods;
mod progress;
pub(crate) mod record;
mod recording;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod rules;
pub(crate) mod run;
mod same;
mod scenario_reporter;
pub(crate) mod schema;
mod select;
mod suggest;
mod summary;
pub(crate) mod timeline;
pub(crate) mod top;
mod verify;
pub(crate) mod watch;
pub(crate) mod why;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use config::Config;
pub(crate) use console::Console;
pub(crate) use exit::{End, Exit, Missing, Usage};
pub(crate) use suggest::unknown;

use crate::{
    policy::Policy,
    probe::NamespaceHook,
    reference,
    session::{self, Confine},
    sink::{Failed, Target, journal::Priority},
    state::Limits,
    terminal::{self, Color},
    text::TextStyle,
};

/// Verifies, from inside the kernel, that the pods on a node are built the way Kubernetes promises.
///
/// The eBPF program reports facts and this program judges them. If facts were lost, the verdicts
/// that depend on them are inconclusive.
#[derive(Debug, Parser)]
#[command(name = "pause-trace", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Read options, limits, severities and exceptions from a file; the default is
    /// /etc/pause-trace/config.toml, if it exists
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    no violation at or above --fail-on (default: error), and enough evidence
  1    a violation at or above --fail-on
  2    wrong usage
  3    inconclusive: evidence was lost or is missing, or what you asked for (--pod, --cri) does not
       exist, and no violation is known
  4    cannot run: privileges, the pid or time namespace, the kernel, a full disk; the message says
       what to do
  130  Ctrl-C, after a clean detach; SIGTERM ends watch and record as --for does";

/// The options of every command.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// When to write in colour; "auto" respects NO_COLOR
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: Color,
    /// Also show verdicts that passed
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Print the log of the eBPF program on stderr
    #[arg(long, global = true)]
    pub(crate) kernel_log: bool,
    /// How to observe setns and unshare; the default is the best way that this kernel allows
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WAY",
        hide_short_help = true
    )]
    pub(crate) namespace_hook: Option<NamespaceHook>,
    /// Keep all privileges after the start, to debug pause-trace; see docs/security.md
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) no_sandbox: bool,
    /// The configuration file, if one is used. It lives as long as the program.
    #[arg(skip)]
    pub(crate) config: Option<&'static Config>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(run::Args),
    Watch(watch::Args),
    Ls(ls::Args),
    Inspect(inspect::Args),
    Why(why::Args),
    Timeline(timeline::Args),
    Top(top::Args),
    Check(check::Args),
    Record(record::Args),
    Replay(replay::Args),
    Report(report::Args),
    Rules(rules::Args),
    Explain(explain::Args),
    Schema(schema::Args),
    Config(config::Args),
    Doctor(doctor::Args),
    Pause(pause::Args),
    Image(image::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Parses, dispatches, and turns errors into a message and an exit code.
pub(crate) fn main() -> ExitCode {
    let result = parse().map_err(Into::into).and_then(dispatch);
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            // A closed stderr is no error: the exit code still reports the failure.
            let prefix = Priority::Error.prefix(&io::stderr());
            let _ = writeln!(io::stderr(), "{prefix}pause-trace: {error:#}");
            Exit::of(&error).into()
        }
    }
}

/// Parses the command line. It is parsed twice if there is a configuration file, whose options are
/// the defaults then.
fn parse() -> Result<Cli, Usage> {
    let command = config::with_environment(Cli::command());
    let mut matches = match command.clone().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => match Cli::command().try_get_matches() {
            // It shows what the environment sets, also if that is wrong.
            Ok(matches) if matches.subcommand_name() == Some("config") => matches,
            Ok(_) => {
                let _ = error.print();
                config::note_environment();
                process::exit(error.exit_code());
            }
            // The command line itself is wrong, or asks for help.
            Err(_) => error.exit(),
        },
    };
    // `config` reads the file itself, also a wrong one.
    let is_config = matches.subcommand_name() == Some("config");
    let config = match is_config {
        true => None,
        false => Config::find(&matches)?,
    };
    if let Some(config) = &config {
        matches = config.apply(command).get_matches();
    }
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    cli.global.config = config.map(|config| &*Box::leak(Box::new(config)));
    Ok(cli)
}

fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let Cli {
        global,
        config,
        command,
    } = cli;
    match command {
        Command::Run(args) => args.run(&global),
        Command::Watch(args) => args.run(&global),
        Command::Ls(args) => args.run(&global),
        Command::Inspect(args) => args.run(&global),
        Command::Why(args) => args.run(&global),
        Command::Timeline(args) => args.run(&global),
        Command::Top(args) => args.run(&global),
        Command::Check(args) => args.run(&global),
        Command::Record(args) => args.run(&global),
        Command::Replay(args) => args.run(&global),
        Command::Report(args) => args.run(&global),
        Command::Rules(args) => args.run(&global),
        Command::Explain(args) => args.run(&global),
        Command::Schema(args) => args.run(),
        Command::Config(args) => args.run(config.as_deref()),
        Command::Doctor(args) => args.run(&global),
        Command::Pause(args) => args.run(reference::pause_binary()),
        Command::Image(args) => args.run(),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    }
}

/// Writes a command's output to stdout. A reader that leaves before the end (`| head`) is no error.
fn print(content: &(impl AsRef<[u8]> + ?Sized)) -> anyhow::Result<Exit> {
    let mut out = io::stdout().lock();
    match out.write_all(content.as_ref()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Exit::Pass),
        Err(error) => match Target::Stdout.failed(error) {
            Failed::Closed(_) => Ok(Exit::Pass),
            failed => Err(failed.into()),
        },
    }
}

impl Global {
    /// The limits of rules about the node's pods.
    fn limits(&self) -> Limits {
        self.config.map_or(Limits::NODE, |config| config.limits)
    }

    /// The severities and exceptions of the node.
    fn policy(&self) -> Policy {
        self.config
            .map_or_else(Policy::default, |config| config.policy.clone())
    }

    /// The options of the eBPF program.
    fn probe(&self) -> session::Probe {
        session::Probe {
            namespace_hook: self.namespace_hook,
            kernel_log: self.kernel_log,
        }
    }

    /// What the process gives up once it observes. `later`: a file that it creates at its end.
    fn confine<'a>(&self, later: Option<&'a Path>) -> Confine<'a> {
        match (self.no_sandbox, later) {
            (true, _) => Confine::Off,
            (false, Some(path)) => Confine::Writing(path),
            (false, None) => Confine::Reading,
        }
    }

    /// Colour, width and character set of stdout.
    fn text_style(&self) -> TextStyle {
        terminal::text_style(&io::stdout(), self.color)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_argument_is_explained() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
        }
    }

    #[test]
    fn global_arguments_may_follow_the_command() {
        let cli = Cli::try_parse_from(["pause-trace", "rules", "-v", "--color", "never"])
            .expect("it parses");
        assert!(cli.global.verbose && cli.global.color == Color::Never);
    }
}
