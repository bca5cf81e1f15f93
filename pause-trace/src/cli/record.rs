//! `record`: a recording, and a report as text.

use std::{fs::File, io, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    Console, Exit, Global, Missing, Usage,
    history::{Ask, say, source},
    output::Output,
    recording::{Record, RequiredBound},
    select::Selection,
    summary,
    watch::{self, Node, Pods, Runtime, parse_duration},
};
use crate::{
    probe,
    record::{Ending, Entry, Next, Opening, Packer, Recording, encode, write_head},
    verdict::Severity,
};

/// The size at which a frame is written.
const FRAME_BYTES: usize = 64 << 10;

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
    /// Write what a `watch` that runs has kept of the last 10m, say, and end
    ///
    /// Nothing is observed, and the whole node is in the file. It may reach back further than this,
    /// or less far, and says how far.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with_all = LIVE)]
    last: Option<Duration>,
    #[command(flatten)]
    ask: Ask,
}

/// The options that say how to observe.
const LIVE: [&str; 9] = [
    "max_size",
    "once",
    "duration",
    "pod",
    "require_pods",
    "min_severity",
    "cri",
    "select",
    "no_history",
];

const EXAMPLES: &str = "\
Examples:
  pause-trace record -o node.ptrec                     until Ctrl-C
  pause-trace record -o node.ptrec --for 10m
  pause-trace record -o node.ptrec --max-size 256M     keep the newest 256 MiB, until a rare fault happens
  pause-trace record -o node.ptrec --last 10m          what a running `watch` has kept, at once
  pause-trace replay node.ptrec                        judge it again, on any machine";

impl Args {
    pub(crate) fn run(&self, global: &Global) -> Result<Exit> {
        if let Some(last) = self.last {
            return self.write_last(last, global);
        }
        self.selection.validate()?;
        let clock = summary::clock()?;
        let output = Output::text(Severity::Error);
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
            history: None,
            confine: global.confine(None),
        };
        let exit = watch::watch_alone(&node, &self.selection, global, (console, None))?;
        Ok(recording.close(exit))
    }

    /// Writes the history of a `watch` as one file.
    fn write_last(&self, last: Duration, global: &Global) -> Result<Exit> {
        let Some(history) = self.ask.ask(global) else {
            return Err(Missing(format!(
                "no `watch` answers at {}, so nothing is known of what happened before; start \
                 `pause-trace watch`, or record from now on without --last",
                self.ask.socket().display()
            ))
            .into());
        };
        let last = u64::try_from(last.as_nanos()).unwrap_or(u64::MAX);
        let history = history.since_about(probe::now().saturating_sub(last));
        let source = source(&history);
        let mut recording = history.into_recording()?;
        let shown = self.output.display();
        let file = File::create(&self.output)
            .map_err(|error| Usage(format!("failed to create {shown}: {error}")))?;
        copy(&mut recording, file).with_context(|| format!("failed to write {shown}"))?;
        say(&format!("{shown} is {source}"));
        Ok(Exit::Pass)
    }
}

/// Copies a recording of one or two segments into one file.
fn copy(recording: &mut Recording, mut file: File) -> io::Result<()> {
    write_head(&mut file)?;
    // A file of the same recording beside this one does not belong to it.
    let opening = Opening {
        recording: probe::now(),
        ..recording.opening.clone()
    };
    let mut packer = Packer::default();
    let mut entries = encode(&Entry::Opening(opening), Vec::new())?;
    loop {
        entries = match &recording.next_entry()? {
            Next::Entry(entry) => encode(&entry.as_ref(), entries)?,
            Next::End(ending) => {
                if *ending == Ending::Closed {
                    entries = encode(&Entry::Closed, entries)?;
                }
                packer.write_frame(&entries, &mut file)?;
                return file.sync_data().or_else(|error| match error.kind() {
                    // Pipes and devices do not support it.
                    io::ErrorKind::InvalidInput => Ok(()),
                    _ => Err(error),
                });
            }
        };
        if entries.len() >= FRAME_BYTES {
            packer.write_frame(&entries, &mut file)?;
            entries.clear();
        }
    }
}
