//! `--format`, `--output` and `--fail-on`, for all commands.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{report, verdict::Severity};

/// The `--format` option; `F` lists the formats that the command offers.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Format<F: FormatSet> {
    /// The output format
    #[arg(
        id = "format",
        long = "format",
        value_enum,
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub(crate) chosen: F,
}

/// A set of formats that a command offers.
pub(crate) trait FormatSet: ValueEnum + Copy + Send + Sync + 'static {}

impl<F: ValueEnum + Copy + Send + Sync + 'static> FormatSet for F {}

/// The formats of commands that show state and judge nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateFormat {
    /// Text for a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

/// The options of commands that write a report: its format and file, and the severity that makes
/// the command fail.
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
