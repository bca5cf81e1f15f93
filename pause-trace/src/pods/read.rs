//! Reads what runtimes left in the file system about a container.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    event::{ContainerId, NamespaceKind, Namespaces},
    node::{
        bundle::{self, Bundle, BundleError, Entry, Kind, Location, Manager},
        identity::Identity,
    },
};

/// What was found.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) bundle: Bundle,
    pub(super) location: Location,
    /// Its sandbox, where files keep its namespaces.
    pub(super) pinned: Option<Pinned>,
}

/// A sandbox whose namespaces are kept by files.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) sandbox: ContainerId,
    pub(super) bundle: Bundle,
    pub(super) namespaces: Namespaces,
}

/// Reads the bundle of a container, of which the first of `pids` is a process, and the others were above it: where its shim
/// says that it is, else beside known ones.
pub(super) fn bundle(
    identity: &Identity,
    pids: &[u32],
    known: &[Location],
) -> Result<Read, BundleError> {
    let id = &identity.container;
    let location = bundle::find::find(identity, pids, Path::new("/proc"), Path::new("/"))
        .or_else(|error| known.iter().find_map(|known| known.beside(id)).ok_or(error))?;
    let bundle = bundle::read(&location)?;
    Ok(Read {
        pinned: pinned(&bundle, &location),
        bundle,
        location,
    })
}

/// The sandbox of a container of CRI-O, where the container joins its namespaces by files rather than through a process.
fn pinned(container: &Bundle, location: &Location) -> Option<Pinned> {
    let is_member = container.kind == Some(Kind::Container) && container.manager == Manager::Conmon;
    let sandbox = container.sandbox.clone().filter(|_| is_member)?;
    let file = |kind| match container.namespaces.get(kind) {
        Entry::Path(path) if !path.starts_with("/proc") => Some(path.clone()),
        _ => None,
    };
    let inode = |path: Option<PathBuf>| {
        let about = path.and_then(|path| fs::metadata(path).ok());
        about.map_or(0, |about| about.ino() as u32)
    };
    let [net, ipc, uts] = [NamespaceKind::Net, NamespaceKind::Ipc, NamespaceKind::Uts].map(file);
    ipc.as_ref().or(net.as_ref())?;
    let bundle = bundle::read(&location.beside(&sandbox)?).ok()?;
    Some(Pinned {
        sandbox,
        bundle,
        namespaces: Namespaces {
            net: inode(net),
            ipc: inode(ipc),
            uts: inode(uts),
            ..Namespaces::default()
        },
    })
}
