//! `completions`: completions for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Exit, print};

/// Print completions for a shell
///
/// For bash: pause-trace completions bash > /etc/bash_completion.d/pause-trace
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<Exit> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "pause-trace", &mut text);
        print(&text)
    }
}
