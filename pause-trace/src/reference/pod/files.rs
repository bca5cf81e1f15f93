//! Program files for the pause, and random ids.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::PodError;

/// Opens this executable.
pub(super) fn own_file() -> Result<OwnedFd, PodError> {
    let path = "/proc/self/exe";
    fs::File::open(path)
        .map(Into::into)
        .map_err(|error| PodError::io(format!("open {path}"), error))
}

/// Creates an executable file in memory.
pub(super) fn program_file(bytes: &[u8]) -> Result<OwnedFd, PodError> {
    let what = "copy the pause to a memfd";
    let written =
        memfd_create(c"pause", MFdFlags::MFD_CLOEXEC).map_err(|error| PodError::io(what, error))?;
    let mut file = fs::File::from(written);
    file.write_all(bytes)
        .map_err(|error| PodError::io(what, error))?;
    // Read-only: a file that is open for writing cannot be executed (ETXTBSY).
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    fs::File::open(path)
        .map(Into::into)
        .map_err(|error| PodError::io(what, error))
}

pub(super) fn random_uuid() -> Result<String, PodError> {
    let path = "/proc/sys/kernel/random/uuid";
    let text =
        fs::read_to_string(path).map_err(|error| PodError::io(format!("read {path}"), error))?;
    Ok(text.trim().to_owned())
}

pub(super) fn random_id() -> Result<String, PodError> {
    Ok(format!("{}{}", random_uuid()?, random_uuid()?).replace('-', ""))
}
