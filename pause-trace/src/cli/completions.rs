//! `completions`: completions for a shell.

pub(crate) mod complete;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Exit, print};

/// Print completions for a shell
///
/// bash, zsh and fish ask pause-trace for what fits: commands, options, rules, scenarios, faults,
/// and the pods that run, if the shell is root's. The other shells get commands and options.
#[derive(clap::Args, Clone, Copy, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  pause-trace completions bash > /etc/bash_completion.d/pause-trace
  pause-trace completions zsh > /usr/local/share/zsh/site-functions/_pause-trace
  pause-trace completions fish > /etc/fish/completions/pause-trace.fish";

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Exit> {
        match self.shell {
            Shell::Bash => print(include_str!("completions/pause-trace.bash")),
            Shell::Zsh => print(include_str!("completions/pause-trace.zsh")),
            Shell::Fish => print(include_str!("completions/pause-trace.fish")),
            other => {
                let mut text = Vec::new();
                clap_complete::generate(other, &mut Cli::command(), "pause-trace", &mut text);
                print(&text)
            }
        }
    }
}
