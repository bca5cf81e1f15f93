//! The files of inputs: the corpus in the tree, and findings in the target directory.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
};

/// The directory of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The directory of a target's inputs.
pub(crate) fn of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name)
}

/// Where findings are written: `fuzz` in the target directory of cargo.
pub(crate) fn findings() -> PathBuf {
    // This program is `debug/deps/NAME` there.
    let own = std::env::current_exe().unwrap_or_default();
    own.ancestors()
        .nth(3)
        .unwrap_or(Path::new("."))
        .join("fuzz")
}

/// The contents of a directory's files, in the order of their names.
///
/// # Panics
/// When a file cannot be read. A directory that does not exist has none.
pub(crate) fn read(directory: &Path) -> Vec<Vec<u8>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => panic!("{}: {error}", directory.display()),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    let read = |path: &PathBuf| {
        fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    paths.iter().map(read).collect()
}

/// Writes an input under a name that follows from its contents, and returns its path.
pub(crate) fn write(directory: &Path, input: &[u8]) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let path = directory.join(format!("{:016x}", hasher.finish()));
    fs::write(&path, input)?;
    Ok(path)
}
