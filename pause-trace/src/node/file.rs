//! Bounded reads of files that this program does not control: a pod may decide their contents and
//! length.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    str::FromStr,
};

/// Reads at most `longest` bytes from the start of a file.
pub(super) fn read(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fill(File::open(path)?, longest, &mut bytes)?;
    Ok(bytes)
}

/// Replaces the contents of `buffer` with at most `longest` bytes from the start of a file.
pub(super) fn fill(file: File, longest: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    file.take(longest).read_to_end(buffer).map(drop)
}

pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// The fields of a line, separated by white space.
pub(super) fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty())
}

/// Parses a decimal number; anything else is `None`.
pub(super) fn number<T: FromStr>(digits: &[u8]) -> Option<T> {
    str::from_utf8(digits).ok()?.parse().ok()
}
