//! Reading files of others within bounds: what is in them may be a pod's doing, and so is how long they are.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    str::FromStr,
};

/// The beginning of a file.
pub(super) fn read(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fill(File::open(path)?, longest, &mut bytes)?;
    Ok(bytes)
}

/// Reads the beginning of a file into `buffer`, in place of what is there.
pub(super) fn fill(file: File, longest: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    file.take(longest).read_to_end(buffer).map(drop)
}

pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// What white space separates.
pub(super) fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty())
}

/// A decimal number and nothing else.
pub(super) fn number<T: FromStr>(digits: &[u8]) -> Option<T> {
    str::from_utf8(digits).ok()?.parse().ok()
}
