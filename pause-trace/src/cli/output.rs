//! `--format`, `--output` and `--fail-on`, for all commands.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{report, verdict::Severity};

/// How a command shows what it has to say; `F` are the formats that it offers.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Format<F: Offered> {
    /// How to show it
    #[arg(
        id = "format",
        long = "format",
        value_enum,
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub(crate) chosen: F,
}

/// The formats of a command.
pub(crate) trait Offered: ValueEnum + Copy + Send + Sync + 'static {}

impl<F: ValueEnum + Copy + Send + Sync + 'static> Offered for F {}

/// Of commands that show something and judge nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shown {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where the report of a command that judges goes, and what makes it fail.
#[derive(Args, Clone, Debug)]
pub(crate) struct Output {
    #[command(flatten)]
    pub(crate) format: Format<report::Format>,
    /// Write the report to a file; violations and the summary also go to stderr as text
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The lowest severity that makes the exit code 1
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = Severity::Error)]
    pub(crate) fail_on: Severity,
}
