//! Watches network namespaces that are pinned by mounts (`/run/netns/cni-…`).
//!
//! inotify reports the files that are created and deleted in a directory, so the directory is read
//! only once.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::{
    inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor},
    statfs::{FsType, statfs},
};
use tokio::io::unix::AsyncFd;

use super::Completed;
use crate::{
    event::{ContainerId, Fact, Text},
    sys,
};

/// The default directory of CNI's network namespaces.
pub(super) const USUAL: &str = "/run/netns";

/// The prefix of namespaces that runtimes create for pods. Other names are the administrator's.
const PREFIX: &str = "cni-";

/// The wait between the creation of a file and reading it: the namespace is mounted after the file
/// is created.
const MOUNT_DELAY: Duration = Duration::from_secs(1);

/// `NSFS_MAGIC` (include/uapi/linux/magic.h).
const NSFS: FsType = FsType(0x6e73_6673);

/// Watches directories of pinned namespaces.
pub(super) struct Pins {
    inotify: Inotify,
    readable: AsyncFd<OwnedFd>,
    directories: HashMap<WatchDescriptor, PathBuf>,
}

/// A change in a watched directory.
pub(super) enum Pinned {
    Added(PathBuf),
    Removed(PathBuf),
}

impl Pins {
    pub(super) fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let readable = sys::watched(inotify.as_fd().try_clone_to_owned()?)?;
        Ok(Self {
            inotify,
            readable,
            directories: HashMap::new(),
        })
    }

    /// Watches a directory, unless it is watched already or cannot be. Returns the paths of pods'
    /// namespaces in it.
    pub(super) fn watch(&mut self, directory: &Path) -> Vec<PathBuf> {
        let Ok(directory) = directory.canonicalize() else {
            return Vec::new();
        };
        if self.directories.values().any(|known| *known == directory) {
            return Vec::new();
        }
        let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_ONLYDIR;
        let Ok(descriptor) = self.inotify.add_watch(&directory, flags) else {
            return Vec::new();
        };
        self.directories.insert(descriptor, directory.clone());
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        entries
            .filter(|entry| is_pods(&entry.file_name()))
            .map(|entry| entry.path())
            .collect()
    }

    /// Waits for changes and returns them.
    pub(super) async fn changed(&self) -> io::Result<Vec<Pinned>> {
        loop {
            self.readable.readable().await?.clear_ready();
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(nix::errno::Errno::EAGAIN) => continue,
                Err(error) => return Err(error.into()),
            };
            let pinned = events.into_iter().filter_map(|event| {
                let name = event.name.filter(|name| is_pods(name))?;
                let path = self.directories.get(&event.wd)?.join(name);
                match event.mask.contains(AddWatchFlags::IN_DELETE) {
                    true => Some(Pinned::Removed(path)),
                    false => Some(Pinned::Added(path)),
                }
            });
            return Ok(pinned.collect());
        }
    }
}

fn is_pods(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// The namespace that a path pins for a sandbox; `None` if the path pins no namespace of a pod.
pub(super) fn pinned(path: &Path, sandbox: Option<&ContainerId>) -> Option<Fact> {
    // Canonical, as in the watched directory.
    let path = path.canonicalize().ok()?;
    if !is_pods(path.file_name()?) || statfs(&path).ok()?.filesystem_type() != NSFS {
        return None;
    }
    Some(Fact::NamespacePinned {
        namespace: u32::try_from(fs::metadata(&path).ok()?.ino()).ok()?,
        path: Text::new(&path.to_string_lossy()),
        sandbox: sandbox.cloned(),
    })
}

/// Reads a file that was just created.
pub(super) async fn added(path: PathBuf) -> Completed {
    tokio::time::sleep(MOUNT_DELAY).await;
    Completed::Fact(pinned(&path, None))
}

pub(super) fn removed(path: &Path) -> Fact {
    Fact::NamespaceUnpinned {
        path: Text::new(&path.to_string_lossy()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn created_and_deleted_names_of_pods_are_reported() {
        let directory =
            std::env::temp_dir().join(format!("pause-trace-pins-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join("cni-old"), "").expect("a file");
        fs::write(directory.join("vpn"), "").expect("a file");
        let mut pins = Pins::new().expect("inotify");
        assert_eq!(pins.watch(&directory).len(), 1);
        assert_eq!(pins.watch(&directory).len(), 0, "it is watched already");
        fs::write(directory.join("other"), "").expect("a file");
        fs::write(directory.join("cni-new"), "").expect("a file");
        fs::remove_file(directory.join("cni-old")).expect("it is there");
        let mut changes = Vec::new();
        while changes.len() < 2 {
            changes.extend(pins.changed().await.expect("events"));
        }
        assert!(matches!(&changes[0], Pinned::Added(path) if path.ends_with("cni-new")));
        assert!(matches!(&changes[1], Pinned::Removed(path) if path.ends_with("cni-old")));
        fs::remove_dir_all(&directory).expect("it is ours");
    }

    #[test]
    fn a_regular_file_is_not_a_namespace() {
        let path = std::env::temp_dir().join(format!("cni-{}", std::process::id()));
        fs::write(&path, "").expect("a file");
        assert_eq!(pinned(&path, None), None);
        fs::remove_file(&path).expect("it is ours");
        assert_eq!(pinned(Path::new("/run/netns/cni-nobody"), None), None);
    }
}
