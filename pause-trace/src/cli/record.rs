//! `record`: a recording, and a report as text.

use std::path::PathBuf;

use anyhow::Result;

use super::{
    Console, Exit, Global,
    output::{Format, Output},
    recording::{Record, RequiredBound},
    select::Selection,
    summary,
    watch::{self, Node, Pods, Runtime},
};
use crate::{report, verdict::Severity};

/// Record the kernel's events of the node's pods, for `pause-trace replay`
///
/// Verifies and reports like `watch`. The file contains everything that verdicts depend on, for all
/// pods: --pod limits the report, not the recording. Events reach the file within a second, so a
/// crash loses at most the last second. A full disk ends the recording; the part that was written
/// can be replayed.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The file to record to; an existing file is overwritten
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) bound: RequiredBound,
    #[command(flatten)]
    pub(crate) pods: Pods,
    #[command(flatten)]
    pub(crate) runtime: Runtime,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

const EXAMPLES: &str = "\
Examples:
  pause-trace record -o node.ptrec                     until Ctrl-C
  pause-trace record -o node.ptrec --for 10m
  pause-trace record -o node.ptrec --max-size 256M     keep the newest 256 MiB, until a rare fault happens
  pause-trace replay node.ptrec                        judge it again, on any machine";

impl Args {
    pub(crate) fn run(&self, global: &Global) -> Result<Exit> {
        self.selection.validate()?;
        let clock = summary::clock()?;
        let output = Output {
            format: Format {
                chosen: report::Format::Text,
            },
            output: None,
            fail_on: Severity::Error,
        };
        let record = Record {
            record: Some(self.output.clone()),
        };
        output.refuse_recording(&record)?;
        let console = Console::open(&output, global, clock, false)?;
        let recording = record.start(clock, self.bound.max_size)?.required();
        let node = Node {
            pods: &self.pods,
            runtime: &self.runtime,
            follows_reference: false,
            recording: &recording,
            metrics: None,
            confine: global.confine(None),
        };
        let exit = watch::watch_alone(&node, &self.selection, global, (console, None))?;
        Ok(recording.close(exit))
    }
}
