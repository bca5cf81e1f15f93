//! Exit codes, with the meaning that they have for pause-trace: 1 the code has a fault, 4 the task
//! cannot run on this machine.

use std::{fmt, fs, os::unix::fs::MetadataExt as _, process::ExitCode};

/// This machine lacks something that a task needs; the code has no fault. The text says what to do.
#[derive(Debug)]
pub struct CannotRun(pub String);

impl fmt::Display for CannotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CannotRun {}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    // The owner of a process's directory in /proc is its effective user.
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// The exit code for an error.
pub fn code_of(error: &anyhow::Error) -> ExitCode {
    code_of_all(&[error])
}

/// The exit code for several errors: a fault of the code outweighs whatever the machine lacks.
pub fn code_of_all(errors: &[&anyhow::Error]) -> ExitCode {
    match errors {
        [] => ExitCode::SUCCESS,
        _ if errors.iter().all(|error| error.is::<CannotRun>()) => ExitCode::from(4),
        _ => ExitCode::FAILURE,
    }
}
