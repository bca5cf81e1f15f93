//! The recording that a command writes beside its report: its options, its start and its end.

use std::{io, path::PathBuf, rc::Rc};

use anyhow::{Result, anyhow, bail};

use super::{Exit, Usage, summary};
use crate::{
    record::{FileRecorder, Recorder},
    report::Clock,
};

/// The smallest recording that is useful.
const MIN_SIZE: u64 = 64 << 10;

/// The `--record` option.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Record {
    /// Record the events to a file, for `pause-trace replay`; a full disk ends the recording, not
    /// the run
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

/// The `--max-size` option of commands whose recording is optional.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Bound {
    /// Keep only the newest part of the recording, in FILE and FILE.1, of at most this size
    /// together: 64M, 1G
    #[arg(long, value_name = "SIZE", value_parser = parse_size, requires = "record")]
    pub(crate) max_size: Option<u64>,
}

/// The `--max-size` option of commands that always record.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct RequiredBound {
    /// Keep only the newest part, in FILE and FILE.1, of at most this size together: 64M, 1G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_size: Option<u64>,
}

impl Record {
    /// Begins the recording, if the user requested one.
    pub(super) fn start(&self, clock: Clock, limit: Option<u64>) -> Result<Recording> {
        let begin = |path: &PathBuf| {
            let shown = path.display();
            FileRecorder::create(path, summary::opening(clock), limit).map_err(|error| match error
                .kind()
            {
                io::ErrorKind::StorageFull => anyhow!("failed to record to {shown}: {error}"),
                _ => Usage(format!("failed to create {shown}: {error}")).into(),
            })
        };
        let recorder = self.record.as_ref().map(begin).transpose()?;
        Ok(Recording {
            recorder: recorder.map(Rc::new),
            is_required: false,
        })
    }
}

/// The recording of a run, if it has one.
pub(super) struct Recording {
    recorder: Option<Rc<FileRecorder>>,
    /// The recording is the purpose of the run, so the run ends if the recording fails.
    is_required: bool,
}

impl Recording {
    pub(super) fn recorder(&self) -> Option<Rc<dyn Recorder>> {
        self.recorder.clone().map(|recorder| recorder as _)
    }

    /// Makes the recording the purpose of the run: the run ends if the recording fails.
    pub(super) fn required(self) -> Self {
        Self {
            is_required: true,
            ..self
        }
    }

    /// Returns an error if the recording failed and the run has no other purpose.
    pub(super) fn check(&self) -> Result<()> {
        if let Some(recorder) = self.recorder.as_ref().filter(|_| self.is_required)
            && let Some(why) = recorder.take_error()
        {
            bail!("{why}; `pause-trace replay` shows what was recorded before");
        }
        Ok(())
    }

    /// Ends the recording after the run. A run without violations whose recording is incomplete
    /// ends with [`Exit::CannotRun`].
    pub(super) fn close(self, exit: Exit) -> Exit {
        let Some(recorder) = self.recorder else {
            return exit;
        };
        recorder.close();
        if let Some(why) = recorder.take_error() {
            eprintln!("pause-trace: {why}; the end of the run is missing in the recording");
        }
        match exit {
            Exit::Pass | Exit::Inconclusive if recorder.has_failed() => Exit::CannotRun,
            _ => exit,
        }
    }
}

/// `64M`, `1G`, `512K`; a bare number is bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a number with a unit: 512K, 64M, 1G".to_owned())?;
    let shift = match unit {
        "" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        _ => return Err(format!("\"{unit}\" is not a unit of size: K, M or G")),
    };
    let size = number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("{text} is too large"))?;
    match size {
        MIN_SIZE.. => Ok(size),
        _ => Err(format!("the smallest size is {}K", MIN_SIZE >> 10)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, size) in [
            ("64K", 64 << 10),
            ("100MiB", 100 << 20),
            ("1G", 1 << 30),
            ("70000", 70_000),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "M", "1T", "63K", "-1M", "99999999999G", "1 M"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
