//! `pause`: the built-in pause binary as a file.

use std::path::PathBuf;

use anyhow::Result;

use super::{Exit, file};

/// Write the built-in pause binary to a file
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// The file to write; every user may execute it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

impl Args {
    pub(crate) fn run(&self, binary: &[u8]) -> Result<Exit> {
        file::write(&self.out, binary, 0o755, self.force)
    }
}
