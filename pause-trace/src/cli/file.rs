//! Atomic writes: a file is complete, or it does not exist.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use anyhow::{Context, Result};

use super::{Exit, Usage};

/// Writes a new file; replaces an existing one only with `force`.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32, force: bool) -> Result<Exit> {
    let refuse = |why: &str| Err(Usage(format!("{} {why}", path.display())).into());
    match path.symlink_metadata() {
        // The rename would replace a device or a link by a file, which is rarely intended.
        Ok(there) if !there.is_file() => return refuse("exists, and is not a regular file"),
        Ok(_) if !force => return refuse("exists; --force replaces it"),
        _ => {}
    }
    replace(path, content, mode).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(Exit::Pass)
}

/// Writes a temporary file beside the target and renames it. No reader sees half a file, and a
/// program that is running can be replaced.
fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let Some(name) = path.file_name() else {
        return Err(ErrorKind::IsADirectory.into());
    };
    let mut beside = name.to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&beside)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        // A full disk may be reported only here.
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, path::PathBuf};

    use super::*;

    fn directory(name: &str) -> PathBuf {
        let name = format!("pause-trace-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).expect("a directory");
        directory
    }

    #[test]
    fn an_existing_file_is_replaced_only_with_force() {
        let directory = directory("force");
        let path = directory.join("pause");
        let write = |content: &[u8], force| write(&path, content, 0o755, force);
        write(b"one", false).expect("a new file");
        let error = write(b"two", false).expect_err("it exists");
        assert_eq!(Exit::of(&error), Exit::Usage);
        write(b"three", true).expect("force was given");
        assert_eq!(fs::read(&path).expect("it is there"), b"three");
        let mode = path.metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(
            fs::read_dir(&directory).expect("a directory").count(),
            1,
            "nothing is left beside it"
        );
        fs::remove_dir_all(&directory).expect("the test created it");
    }

    #[test]
    fn directories_and_links_are_not_replaced_even_with_force() {
        let directory = directory("link");
        let link = directory.join("link");
        symlink("elsewhere", &link).expect("a link");
        for path in [&directory, &link] {
            let error = write(path, b"x", 0o644, true).expect_err("it is not a file");
            assert_eq!(Exit::of(&error), Exit::Usage, "{error}");
        }
        assert!(link.is_symlink());
        fs::remove_dir_all(&directory).expect("the test created it");
    }
}
