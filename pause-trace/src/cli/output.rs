//! `--format`, `--output` and `--fail-on`, for all commands.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Usage, recording::Record, same};
use crate::{record, report, verdict::Severity};

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

impl Output {
    /// Fails if the report would be written to one of these files.
    pub(super) fn refuse_same(&self, files: Vec<same::Use<'_>>) -> Result<(), Usage> {
        let report = match &self.output {
            Some(path) => ("--output", &**path),
            None => ("standard output", Path::new("/dev/stdout")),
        };
        for file in files {
            same::refuse([file, report])?;
        }
        Ok(())
    }

    /// Fails if the report and the recording would be written to one file.
    pub(super) fn refuse_recording(&self, record: &Record) -> Result<(), Usage> {
        let Some(path) = &record.record else {
            return Ok(());
        };
        let before = record::previous(path);
        self.refuse_same(vec![("--record", path), ("--record (FILE.1)", &before)])
    }
}
