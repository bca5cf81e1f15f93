//! Looks up existing cgroups and their processes.

use std::{fs, os::unix::fs::MetadataExt as _};

use anyhow::{Context as _, Result};

use crate::{
    event::{CgroupId, ContainerId, Text},
    node::{cgroup::Hierarchy, identity, procfs, survey::process::membership},
};

/// The depth to which cgroups are searched. Kubelet's have six levels under systemd, and a node in
/// a container adds as many.
const MAX_DEPTH: usize = 32;

/// Every cgroup of a hierarchy with its id, parents first. A cgroup that is removed meanwhile is
/// left out.
pub(super) fn walk(hierarchy: &Hierarchy) -> Result<Vec<(CgroupId, Text)>> {
    let mut found = Vec::new();
    let top = fs::read_dir(&hierarchy.mount)
        .with_context(|| format!("read {}", hierarchy.mount.display()))?;
    visit(hierarchy, top, 0, &mut found);
    Ok(found)
}

fn visit(
    hierarchy: &Hierarchy,
    entries: fs::ReadDir,
    depth: usize,
    found: &mut Vec<(CgroupId, Text)>,
) {
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let directory = entry.path();
        if let (Ok(about), Some(path)) = (entry.metadata(), hierarchy.path(&directory)) {
            found.push((about.ino(), Text::new(&path)));
        }
        if depth < MAX_DEPTH
            && let Ok(entries) = fs::read_dir(&directory)
        {
            visit(hierarchy, entries, depth + 1, found);
        }
    }
}

/// Whether a cgroup is that of a container, or contains kubelet's containers. What a container has
/// made below its own counts as its own, and can be any number.
pub(super) fn is_of_pods(path: &[u8]) -> bool {
    let mut components = path.split(|byte| *byte == b'/');
    match identity::identify(path) {
        Some((_, below)) => below.is_empty(),
        None => components.any(|part| part.starts_with(b"kubepods")),
    }
}

/// The id of the parent of a cgroup.
pub(super) fn above(hierarchy: &Hierarchy, path: &Text) -> Option<CgroupId> {
    let path = str::from_utf8(&path.0).ok()?;
    let (above, _) = path
        .rsplit_once('/')
        .filter(|(above, _)| !above.is_empty())?;
    id_of(hierarchy, above)
}

/// The id of the cgroup with this path.
fn id_of(hierarchy: &Hierarchy, path: &str) -> Option<CgroupId> {
    Some(fs::metadata(hierarchy.directory(path)?).ok()?.ino())
}

/// The path of a cgroup that `pid` was moved to. If the process has ended or left the cgroup, the
/// hierarchy is searched.
pub(super) fn path_of_cgroup(hierarchy: &Hierarchy, cgroup: CgroupId, pid: u32) -> Option<Text> {
    let is_it = |path: &Text| {
        let path = str::from_utf8(&path.0).ok();
        path.and_then(|path| id_of(hierarchy, path)) == Some(cgroup)
    };
    path_of(hierarchy, pid).filter(is_it).or_else(|| {
        let cgroups = walk(hierarchy).ok()?;
        let found = cgroups.into_iter().find(|(id, _)| *id == cgroup);
        found.map(|(_, path)| path)
    })
}

/// The path of the cgroup of a process.
pub(super) fn path_of(hierarchy: &Hierarchy, pid: u32) -> Option<Text> {
    // Not text: a container may give the cgroups that it creates any names.
    let memberships = fs::read(format!("/proc/{pid}/cgroup")).ok()?;
    let path = membership(&memberships, hierarchy.id)?;
    Some(Text(path.to_vec().into()))
}

/// The container of the process `pid`, or `Some(None)` if it is in no container. `None` if there is
/// no such process, or it is younger than the process `not_after`.
pub(super) fn container_of(
    hierarchy: &Hierarchy,
    pid: u32,
    not_after: u32,
) -> Option<Option<ContainerId>> {
    if procfs::start_ticks(pid)? > procfs::start_ticks(not_after).unwrap_or(u64::MAX) {
        return None;
    }
    let path = path_of(hierarchy, pid)?;
    Some(identity::identify(&path.0).map(|(identity, _)| identity.container))
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, io::ErrorKind, os::unix::ffi::OsStrExt as _, process::Command};

    use super::*;
    use crate::node::cgroup::Layout;

    #[test]
    fn the_path_of_a_cgroup_need_not_be_text() {
        let layout = Layout::discover().expect("there is a hierarchy to write to");
        let hierarchy = layout.watched();
        let name = format!("pause-trace-text-{}-", std::process::id());
        let name = [name.as_bytes(), b"\xff"].concat();
        let directory = hierarchy.mount.join(OsStr::from_bytes(&name));
        fs::create_dir(&directory).expect("as root, cgroups can be made");
        let mut child = Command::new("sleep")
            .arg("1000")
            .spawn()
            .expect("it executes");
        let moved = fs::write(directory.join("cgroup.procs"), child.id().to_string());
        let path = path_of(hierarchy, child.id());
        let container = container_of(hierarchy, child.id(), child.id());
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        // A cgroup is empty a moment after its last process was reaped.
        while fs::remove_dir(&directory).is_err_and(|error| error.kind() == ErrorKind::ResourceBusy)
        {
            std::thread::yield_now();
        }
        moved.expect("as root, processes can be moved");
        assert!(path.is_some_and(|path| path.0.ends_with(&name)));
        assert_eq!(container, Some(None));
    }

    #[test]
    fn the_cgroup_of_a_process_that_ended_or_moved_is_searched() {
        let mount = std::env::temp_dir().join(format!("pause-trace-tree-{}", std::process::id()));
        let directory = mount.join("system.slice/docker-x.scope");
        fs::create_dir_all(&directory).expect("the directory for temporary files is writable");
        let cgroup = fs::metadata(&directory).expect("it was made").ino();
        let hierarchy = Hierarchy {
            id: 0,
            mount: mount.clone(),
            root: "/".to_owned(),
            controllers: Vec::new(),
            own: "/".to_owned(),
        };
        // No process has pid 0, and this process is in no cgroup of that hierarchy.
        let found = [0, std::process::id()].map(|pid| path_of_cgroup(&hierarchy, cgroup, pid));
        let missing = path_of_cgroup(&hierarchy, u64::MAX, 0);
        fs::remove_dir_all(&mount).expect("it was made");
        let path = Some(Text::new("/system.slice/docker-x.scope"));
        assert_eq!(found, [path.clone(), path]);
        assert_eq!(missing, None);
    }
}
