//! Reads a container's bundle and pinned namespaces from the file system.

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

/// The bundle of a container.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) bundle: Bundle,
    pub(super) location: Location,
    /// Its sandbox, if files pin the sandbox's namespaces.
    pub(super) pinned: Option<Pinned>,
}

/// A sandbox whose namespaces are pinned by files.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) sandbox: ContainerId,
    pub(super) bundle: Bundle,
    pub(super) namespaces: Namespaces,
}

/// Reads the bundle of a container: through its shim, otherwise next to known bundles. The first of
/// `pids` is a process of the container, the others were its ancestors.
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

/// The sandbox of a CRI-O container that joins its namespaces through files instead of a process.
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
