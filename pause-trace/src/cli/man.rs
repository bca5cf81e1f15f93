//! `man`: manual pages.

use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;
use clap_mangen::Man;

use super::{Cli, Exit, print};

/// Print the manual page, or write one page per command
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Write pause-trace.1, pause-trace-check.1 … into this directory
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) out: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(&self) -> anyhow::Result<Exit> {
        if let Some(out) = &self.out {
            clap_mangen::generate_to(Cli::command(), out)
                .with_context(|| format!("failed to write manual pages to {}", out.display()))?;
            return Ok(Exit::Pass);
        }
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page)?;
        print(&page)
    }
}
