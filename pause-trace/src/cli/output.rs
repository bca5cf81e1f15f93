//! `--format`, `--output`, `--fail-on`, `--baseline` and `--quiet`, for all commands.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use super::{Usage, recording::Record, same};
use crate::{policy::Baseline, record, report, verdict::Severity};

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
    /// Fail on new findings only; this JSON report of an earlier run has those that are known
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Leave out news, passes and progress; text then has findings and inconclusive verdicts only
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

impl Output {
    /// Text on stdout.
    pub(super) fn text(fail_on: Severity) -> Self {
        Self {
            format: Format {
                chosen: report::Format::Text,
            },
            output: None,
            fail_on,
            baseline: None,
            quiet: false,
        }
    }

    /// Reads the baseline, if there is one.
    pub(super) fn baseline(&self) -> Result<Option<Baseline>, Usage> {
        let Some(path) = &self.baseline else {
            return Ok(None);
        };
        let failed = |error: String| Usage(format!("--baseline {}: {error}", path.display()));
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        let baseline = Baseline::read(BufReader::new(file), path);
        baseline
            .map(Some)
            .map_err(|error| failed(error.to_string()))
    }

    /// Fails if the report would be written to one of these files.
    pub(super) fn refuse_same(&self, files: Vec<same::Use<'_>>) -> Result<(), Usage> {
        let report = match &self.output {
            Some(path) => ("--output", &**path),
            None => ("standard output", Path::new("/dev/stdout")),
        };
        let baseline = self.baseline.as_deref().map(|path| ("--baseline", path));
        for file in files.into_iter().chain(baseline) {
            same::refuse([file, report])?;
        }
        Ok(())
    }

    /// Fails if the report and the recording would be written to one file.
    pub(super) fn refuse_recording(&self, record: &Record) -> Result<(), Usage> {
        let Some(path) = &record.record else {
            return self.refuse_same(Vec::new());
        };
        if let Some(baseline) = &self.baseline {
            same::refuse([("--baseline", &**baseline), ("--record", path)])?;
        }
        let before = record::previous(path);
        self.refuse_same(vec![("--record", path), ("--record (FILE.1)", &before)])
    }
}
