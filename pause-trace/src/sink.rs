//! Where a report goes, and what it means when it can't.

use std::{
    fmt,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// A report that could not be delivered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// Whoever read it has gone (`| head -1`). No fault: the run stops quietly.
    #[error("nobody reads {0} any more")]
    Closed(Target),
    /// The disk is full, the device is gone …
    #[error("failed to write {target}")]
    Write { target: Target, source: io::Error },
}

/// Where a report goes.
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

    /// Opens it. A file is made here and now, so that a path that can't be written is known before the work is done.
    pub(crate) fn open(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(match self {
            Self::Stdout => Box::new(BufWriter::new(io::stdout())),
            Self::File(path) => Box::new(BufWriter::new(File::create(path)?)),
        })
    }

    /// What an error in writing to it means.
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
    fn a_full_disk_is_told_by_name() {
        let target = Target::File("/dev/full".into());
        let mut out = target.open().expect("/dev/full can be opened");
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
    fn a_reader_that_left_is_no_fault() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        drop(reader);
        let error = writer.write_all(b"x").expect_err("nobody reads");
        assert!(matches!(
            Target::Stdout.failed(error),
            Failed::Closed(Target::Stdout)
        ));
    }
}
