//! Exit codes, the same as pause-trace's own: 1 something is wrong with the code, 4 it cannot run here.

use std::{fmt, fs, os::unix::fs::MetadataExt as _, process::ExitCode};

/// Nothing is wrong with the code: this machine lacks something, and the text says what to do about it.
#[derive(Debug)]
pub struct CannotRun(pub String);

impl fmt::Display for CannotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CannotRun {}

/// Does this process run as root?
pub fn is_root() -> bool {
    // The directory of a process belongs to its effective user.
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// The code to end with after an error.
pub fn code_of(error: &anyhow::Error) -> ExitCode {
    code_of_all(&[error])
}

/// The code to end with after several: one thing wrong with the code outweighs all that this machine lacks.
pub fn code_of_all(errors: &[&anyhow::Error]) -> ExitCode {
    match errors {
        [] => ExitCode::SUCCESS,
        _ if errors.iter().all(|error| error.is::<CannotRun>()) => ExitCode::from(4),
        _ => ExitCode::FAILURE,
    }
}
