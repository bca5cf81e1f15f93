//! Finds the holders of a namespace in `/proc`: tasks in it, open files of it, and mounts.

use std::{collections::HashSet, fs, io, path::Path};

use crate::event::NamespaceKind;

/// The result of a search.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    /// The number of processes that were read.
    pub(crate) looked_at: u32,
    /// `/proc` paths that name one of the namespaces, or the cgroup.
    pub(crate) found: Vec<String>,
}

/// Searches every process for these namespaces (inode numbers), and for a cgroup with `cgroup` in
/// its path. The open files of this process are ignored, and so is a process that ends during the
/// search.
pub(crate) fn of(namespaces: &HashSet<u64>, cgroup: &str) -> io::Result<Holders> {
    let mut holders = Holders::default();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        holders.looked_at += 1;
        let process = entry.path();
        for task in entries(&process.join("task")) {
            holders.links(&task.join("ns"), namespaces);
        }
        if pid != std::process::id() {
            holders.links(&process.join("fd"), namespaces);
        }
        holders.mounts(&process.join("mountinfo"), namespaces);
        let memberships = process.join("cgroup");
        if fs::read_to_string(&memberships).is_ok_and(|text| text.contains(cgroup)) {
            holders.found.push(memberships.display().to_string());
        }
    }
    Ok(holders)
}

impl Holders {
    fn links(&mut self, directory: &Path, namespaces: &HashSet<u64>) {
        for link in entries(directory) {
            let target = fs::read_link(&link).ok();
            let target = target.as_deref().and_then(Path::to_str).and_then(inode);
            if target.is_some_and(|inode| namespaces.contains(&inode)) {
                self.found.push(link.display().to_string());
            }
        }
    }

    /// A bind-mounted namespace has `net:[4026531840]` in the fourth field, the root of the mount.
    fn mounts(&mut self, file: &Path, namespaces: &HashSet<u64>) {
        let text = fs::read_to_string(file).unwrap_or_default();
        let roots = text
            .lines()
            .filter_map(|line| line.split(' ').nth(3))
            .filter_map(inode);
        for inode in roots.filter(|inode| namespaces.contains(inode)) {
            self.found.push(format!("{} ({inode})", file.display()));
        }
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
}

/// The number in `net:[4026531840]`. Links of sockets and pipes have the same form.
fn inode(link: &str) -> Option<u64> {
    let (kind, number) = link.split_once(":[")?;
    let is_namespace = NamespaceKind::ALL.iter().any(|known| known.name() == kind);
    number
        .strip_suffix(']')?
        .parse()
        .ok()
        .filter(|_| is_namespace)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn only_links_of_namespaces_have_an_inode() {
        assert_eq!(inode("net:[4026531840]"), Some(4_026_531_840));
        assert_eq!(inode("socket:[17]"), None);
        assert_eq!(inode("/dev/null"), None);
    }

    #[test]
    fn this_process_holds_its_own() {
        let own = fs::metadata("/proc/self/ns/net")
            .expect("/proc is mounted")
            .ino();
        let found = of(&HashSet::from([own]), "no such cgroup")
            .expect("/proc is readable")
            .found;
        let expected = format!("/proc/{0}/task/{0}/ns/net", std::process::id());
        assert!(found.contains(&expected), "{found:?}");
    }
}
