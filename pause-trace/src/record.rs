//! Recordings in files: opens, writes and rotates them. `pause-trace-core` defines the format.

#[cfg(test)]
mod file_tests;
mod write;

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

pub(crate) use pause_trace_core::record::{
    Begin, End, Ending, Entry, FILE_HEAD, LeftOut, MAX_RAW, Mark, Next, Opening, Packer,
    PlayResult, Recorder, Run, ScenarioEnd, Segment, Shares, Unreadable, encode, write_head,
};
pub(crate) use write::FileRecorder;

/// What reading a recording needs: two of the largest frames, and what is judged.
pub(crate) const MEMORY_MIB: usize = 64;

/// A recording read from files, or from the history of a watch.
pub(crate) type Recording = pause_trace_core::record::Recording<Box<dyn Read>>;

/// Opens a recording, including its previous segment if that exists.
pub(crate) fn open(path: &Path) -> Result<Recording, Unreadable> {
    Ok(Recording::new(open_segment(path)?, || {
        open_segment(&previous(path)).ok()
    }))
}

fn open_segment(path: &Path) -> Result<Segment<Box<dyn Read>>, Unreadable> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
    }
    Segment::new(Box::new(BufReader::new(file)))
}

/// The file of the previous segment.
pub(crate) fn previous(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".1");
    name.into()
}
