//! `record`: a recording and a report for people.

use std::path::PathBuf;

use anyhow::Result;

use super::{
    Console, Exit, Global,
    output::{Format, Output},
    recording::{AloneBound, Record},
    select::Selection,
    summary,
    watch::{self, Node, Pods, Runtime},
};
use crate::{report, verdict::Severity};

/// Record what the kernel sees of the node's pods, for `pause-trace replay`
///
/// Works and reports as `watch` does. The file holds everything that verdicts depend on, of all pods: --pod limits the report,
/// not the recording. Events reach the file within a second, so a crash loses at most that. A full disk ends the recording;
/// what the file holds by then can be replayed.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The file to record to; an existing file is overwritten
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) bound: AloneBound,
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
  pause-trace record -o node.ptrec --max-size 256M     the last of it, for as long as it takes to happen again
  pause-trace replay node.ptrec                        what it shows, on any machine";

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
        let console = Console::open(&output, global, clock, false)?;
        let record = Record {
            record: Some(self.output.clone()),
        };
        let recording = record.start(clock, self.bound.max_size)?.alone();
        let node = Node {
            pods: &self.pods,
            runtime: &self.runtime,
            comes_second: false,
            recording: &recording,
        };
        let exit = watch::watch_alone(&node, &self.selection, global, console)?;
        Ok(recording.close(exit))
    }
}
