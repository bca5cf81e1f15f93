//! `pause`: the built-in pause binary as a file.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{Exit, Usage};

/// Write the built-in pause binary to a file
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Where to write it, executable for everyone
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

impl Args {
    pub(crate) fn run(&self, binary: &[u8]) -> Result<Exit> {
        let Self { out, force } = self;
        if !force && out.symlink_metadata().is_ok() {
            return Err(Usage(format!("{} exists; --force replaces it", out.display())).into());
        }
        replace(out, binary).with_context(|| format!("failed to write {}", out.display()))?;
        Ok(Exit::Pass)
    }
}

/// Writes beside the target and renames, so that nobody sees half a binary and one that is running can be replaced.
fn replace(out: &Path, binary: &[u8]) -> std::io::Result<()> {
    let Some(name) = out.file_name() else {
        return Err(ErrorKind::IsADirectory.into());
    };
    let mut beside = name.to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = out.with_file_name(beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&beside)?;
    let written = file
        .write_all(binary)
        .and_then(|()| file.set_permissions(Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&beside, out));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_exists_is_replaced_only_by_force() {
        let directory = std::env::temp_dir().join(format!("pause-trace-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let args = |force| Args {
            out: directory.join("pause"),
            force,
        };
        args(false).run(b"one").expect("a new file");
        let error = args(false).run(b"two").expect_err("it exists");
        assert_eq!(Exit::of(&error), Exit::Usage);
        args(true).run(b"three").expect("by force");
        assert_eq!(
            fs::read(directory.join("pause")).expect("it is there"),
            b"three"
        );
        let mode = directory
            .join("pause")
            .metadata()
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(
            fs::read_dir(&directory).expect("a directory").count(),
            1,
            "nothing is left beside it"
        );
        fs::remove_dir_all(&directory).expect("it was ours");
    }
}
