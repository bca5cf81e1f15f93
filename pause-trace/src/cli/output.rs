//! `--format`, `--output` and `--fail-on`: what every command that judges takes.

use std::path::PathBuf;

use clap::Args;

use crate::{report::Format, verdict::Severity};

#[derive(Args, Clone, Debug)]
pub(crate) struct Output {
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Write the report to a file; violations and the summary also go to stderr as text
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The lowest severity that makes the exit code 1
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = Severity::Error)]
    pub(crate) fail_on: Severity,
}
