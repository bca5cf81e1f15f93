//! The destination of a report, and errors in writing to it.

use std::{
    fmt,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

pub(crate) mod journal;
mod queue;

use queue::Queue;

/// A report that could not be delivered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// The reader has closed the pipe (`| head -1`). This is not a failure: the run stops without a
    /// message.
    #[error("the reader of {0} has closed it")]
    Closed(Target),
    /// Another error, such as a full disk.
    #[error("failed to write {target}")]
    Write { target: Target, source: io::Error },
}

/// The destination of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    File(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Target {
    pub(crate) fn new(path: Option<&Path>) -> Self {
        path.map_or(Self::Stdout, |path| Self::File(path.to_owned()))
    }

    /// Opens the destination. A file is created at once, so that a path that cannot be written is
    /// reported before the work starts.
    /// Standard output never holds the program up: `dropped` is the line that says how many lines
    /// its reader was too slow for.
    pub(crate) fn open(
        &self,
        dropped: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Box<dyn Write + Send>> {
        Ok(match self {
            Self::Stdout => Box::new(Queue::new(io::stdout(), dropped)?),
            Self::File(path) => Box::new(BufWriter::new(File::create(path)?)),
        })
    }

    /// Classifies an error in writing to it.
    pub(crate) fn failed(&self, source: io::Error) -> Failed {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Failed::Closed(self.clone()),
            _ => Failed::Write {
                target: self.clone(),
                source,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_names_the_file() {
        let target = Target::File("/dev/full".into());
        let mut out = target
            .open(|_| String::new())
            .expect("/dev/full can be opened");
        let error = out
            .write_all(b"x")
            .and_then(|()| out.flush())
            .expect_err("it is full");
        let error = anyhow::Error::from(target.failed(error));
        assert_eq!(
            format!("{error:#}"),
            "failed to write /dev/full: No space left on device (os error 28)"
        );
    }

    #[test]
    fn a_closed_pipe_is_not_a_failure() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        drop(reader);
        let error = writer.write_all(b"x").expect_err("the reader is closed");
        assert!(matches!(
            Target::Stdout.failed(error),
            Failed::Closed(Target::Stdout)
        ));
    }
}
