//! A root that container runtimes can leave: pivot_root(2) refuses to leave the initramfs, which is
//! not the root of a real node.

use std::{
    env, fs, io,
    os::unix::fs::{chroot, symlink},
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};

const NEW: &str = "/new-root";

/// Moves all files to a tmpfs and makes that the root.
pub(crate) fn leave_initramfs() -> Result<()> {
    let to = Path::new(NEW);
    fs::create_dir(to).with_context(|| format!("create {NEW}"))?;
    let (tmpfs, none) = (Some("tmpfs"), None::<&str>);
    mount(
        tmpfs,
        to,
        tmpfs,
        MsFlags::empty(),
        Some("mode=755,size=80%"),
    )
    .with_context(|| format!("mount a file system on {NEW}"))?;
    move_all(Path::new("/"), to).context("move the initramfs' files")?;
    env::set_current_dir(to).with_context(|| format!("enter {NEW}"))?;
    mount(Some("."), "/", none, MsFlags::MS_MOVE, none).context("move the new root")?;
    chroot(".").context("change the root")?;
    env::set_current_dir("/").context("enter the new root")
}

/// Moves one file at a time, because the memory does not suffice for two copies of all.
fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let (entry, old) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        let (kind, new) = (fs::symlink_metadata(&old)?.file_type(), to.join(entry));
        if old == Path::new(NEW) {
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&new)?;
            move_all(&old, &new)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&old)?, &new)?;
        } else if kind.is_file() {
            fs::copy(&old, &new)?;
            fs::remove_file(&old)?;
        }
    }
    Ok(())
}
