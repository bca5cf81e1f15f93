//! Finds in `/proc` what remains of a pod of which nothing runs: mounts of it in any mount
//! namespace, and namespaces that processes outside it are in, have open, or pin.
//!
//! Everything is bounded: a pod decides neither how many processes the node has nor how many files
//! they have open, but other pods do.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use nix::sys::statfs::{FsType, statfs};

use super::{
    cgroup::{Hierarchy, unescape},
    file::{lines, number, read},
    identity,
    procfs::{self, NS_PER_TICK},
    survey::process::{self, Directory, Link, Process},
};
use crate::event::{Ktime, NamespaceKind, Text};

/// Mount namespaces that are read.
const MAX_MOUNT_NAMESPACES: usize = 512;

/// Bytes of one `mountinfo` that are read, and of all of them.
const MAX_MOUNTINFO: u64 = 4 << 20;
const MAX_MOUNTINFOS: u64 = 64 << 20;

/// Open files of one process that are read, and of all processes.
const MAX_FILES: usize = 16 << 10;
const MAX_ALL_FILES: usize = 256 << 10;

/// Mount points that are kept of one mount namespace.
const MAX_PATHS: usize = 8;

/// The longest path that is kept, in bytes.
const MAX_PATH: usize = 512;

/// `NSFS_MAGIC` (include/uapi/linux/magic.h).
const NSFS: FsType = FsType(0x6e73_6673);

/// An id that is a part of a path. Shorter ones could be any word.
const MIN_ID: usize = 8;

/// What to search for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// The pod's uid, and the ids of its sandboxes and containers: one of them is a part of the
    /// path of each of its mounts.
    pub(crate) ids: HashSet<String>,
    /// The namespaces that its sandbox had, by inode number.
    pub(crate) namespaces: HashMap<u32, NamespaceKind>,
    /// When the pod's last process ended, for the namespaces that may be gone since then. The
    /// kernel may have given the number of one to another, so a process that started later proves
    /// nothing.
    pub(crate) until: HashMap<u32, Ktime>,
    /// The paths that pin its network namespace.
    pub(crate) pins: HashSet<String>,
    /// The processes of the pod, which do not count.
    pub(crate) own: HashSet<u32>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// The mounts by mount namespace.
    pub(crate) mounts: BTreeMap<u32, Mounts>,
    /// The processes outside the pod that keep a namespace, by its inode number.
    pub(crate) keepers: BTreeMap<u32, Vec<Keeper>>,
    /// The paths of the pod's that still pin a namespace.
    pub(crate) pins: Vec<String>,
    /// The namespaces that are in use by others: their inode numbers were given again.
    pub(crate) reused: HashSet<u32>,
    /// Whether there was more than is read.
    pub(crate) is_cut: bool,
}

/// The mounts of a pod in one mount namespace.
#[derive(Debug)]
pub(crate) struct Mounts {
    /// The process in it with the lowest pid.
    pub(crate) process: Process,
    /// How many other processes are in it.
    pub(crate) others: usize,
    /// The first mount points, escaped.
    pub(crate) paths: Vec<String>,
    /// How many there are.
    pub(crate) count: usize,
}

/// A process that keeps a namespace.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) process: Process,
    /// The file that is open; `None` if the process is in the namespace.
    pub(crate) open: Option<String>,
}

/// Searches every process. One that ends meanwhile is left out.
pub(crate) fn search(wanted: &Wanted, hierarchy: &Hierarchy) -> Remains {
    let mut remains = Remains::default();
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id() && !wanted.own.contains(pid))
        .collect();
    pids.sort_unstable();
    let processes: Vec<Process> = pids.into_iter().filter_map(process::read).collect();
    let mut namespaces: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    for process in &processes {
        if let Link::Inode(inode) = process.namespace(NamespaceKind::Mnt) {
            namespaces.entry(inode).or_default().push(process);
        }
    }
    remains.read_mounts(wanted, &namespaces);
    if !wanted.namespaces.is_empty() {
        remains.read_namespaces(wanted, &processes, hierarchy);
    }
    for inode in &remains.reused {
        remains.keepers.remove(inode);
    }
    remains
}

impl Remains {
    fn read_mounts(&mut self, wanted: &Wanted, namespaces: &BTreeMap<u32, Vec<&Process>>) {
        self.is_cut |= namespaces.len() > MAX_MOUNT_NAMESPACES;
        let mut left = MAX_MOUNTINFOS;
        for (inode, members) in namespaces.iter().take(MAX_MOUNT_NAMESPACES) {
            // The first ones may have ended.
            let table = members.iter().find_map(|process| {
                let path = procfs::speaker(process.pid).join("mountinfo");
                let table = read(&path, MAX_MOUNTINFO.min(left)).ok()?;
                (!table.is_empty()).then_some((*process, table))
            });
            let Some((process, table)) = table else {
                continue;
            };
            let length = table.len() as u64;
            self.is_cut |= length == MAX_MOUNTINFO.min(left);
            left = left.saturating_sub(length);
            let of_pod = Table::of(&table, wanted);
            for path in of_pod.pins {
                if !self.pins.contains(&path) {
                    self.pins.push(path);
                }
            }
            self.reused.extend(of_pod.pinned_elsewhere);
            if of_pod.count > 0 {
                let mounts = Mounts {
                    process: process.clone(),
                    others: members.len() - 1,
                    paths: of_pod.paths,
                    count: of_pod.count,
                };
                self.mounts.insert(*inode, mounts);
            }
        }
    }

    fn read_namespaces(&mut self, wanted: &Wanted, processes: &[Process], hierarchy: &Hierarchy) {
        let kinds: HashSet<NamespaceKind> = wanted.namespaces.values().copied().collect();
        let mut left = MAX_ALL_FILES;
        for process in processes {
            for kind in &kinds {
                let Link::Inode(inode) = process.namespace(*kind) else {
                    continue;
                };
                if wanted.namespaces.get(&inode) != Some(kind) {
                    continue;
                }
                match is_in_container(process.pid, hierarchy) {
                    // Another pod has it: the number was given again.
                    true => drop(self.reused.insert(inode)),
                    false => self.keep(wanted, inode, process, None),
                }
            }
            self.read_files(wanted, process, &mut left);
        }
    }

    fn read_files(&mut self, wanted: &Wanted, process: &Process, left: &mut usize) {
        let directory = procfs::speaker(process.pid).join("fd");
        let mut seen = HashSet::new();
        for (index, entry) in fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .enumerate()
        {
            if index == MAX_FILES || *left == 0 {
                self.is_cut = true;
                return;
            }
            *left -= 1;
            let path = entry.path();
            let Some((kind, inode)) = fs::read_link(&path)
                .ok()
                .and_then(|link| namespace(link.as_os_str().as_encoded_bytes()))
            else {
                continue;
            };
            if wanted.namespaces.get(&inode) == Some(&kind) && seen.insert(inode) {
                self.keep(wanted, inode, process, Some(path.display().to_string()));
            }
        }
    }

    fn keep(&mut self, wanted: &Wanted, inode: u32, process: &Process, open: Option<String>) {
        let started = process.start_ticks * NS_PER_TICK;
        if wanted
            .until
            .get(&inode)
            .is_some_and(|until| started > *until)
        {
            return;
        }
        let keepers = self.keepers.entry(inode).or_default();
        if keepers.iter().all(|known| known.process.pid != process.pid) {
            keepers.push(Keeper {
                process: process.clone(),
                open,
            });
        }
    }
}

/// The namespace that a runtime has pinned at this path; `None` if it pins none. What is below
/// `/proc` belongs to a process, and another one may have its pid by now.
pub(crate) fn pinned_at(path: &Path) -> Option<u32> {
    let is_pin = !path.starts_with("/proc") && statfs(path).ok()?.filesystem_type() == NSFS;
    let inode = fs::metadata(path).ok().filter(|_| is_pin)?.ino();
    u32::try_from(inode).ok()
}

fn is_in_container(pid: u32, hierarchy: &Hierarchy) -> bool {
    let directory = Directory::open(pid).ok();
    let path = directory.and_then(|directory| directory.cgroup(hierarchy.id, &mut Vec::new()));
    path.is_some_and(|path| identity::of_container(&path).is_some())
}

/// The kind and the number in `net:[4026531840]`.
fn namespace(link: &[u8]) -> Option<(NamespaceKind, u32)> {
    let at = link.iter().position(|byte| *byte == b':')?;
    let kind = NamespaceKind::ALL
        .into_iter()
        .find(|kind| kind.name().as_bytes() == &link[..at])?;
    let digits = link[at..].strip_prefix(b":[")?.strip_suffix(b"]")?;
    Some((kind, number(digits)?))
}

/// What one mount table has of a pod.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    /// The first mount points, escaped.
    paths: Vec<String>,
    count: usize,
    /// The pod's paths that pin a namespace.
    pins: Vec<String>,
    /// The wanted namespaces that other paths pin.
    pinned_elsewhere: Vec<u32>,
}

impl Table {
    /// Reads a `mountinfo` (proc_pid_mountinfo(5)): the fourth field is the directory of the file
    /// system that is mounted, the fifth one the mount point.
    fn of(table: &[u8], wanted: &Wanted) -> Self {
        let mut found = Self::default();
        for line in lines(table) {
            let mut fields = line.split(|byte| *byte == b' ').skip(3);
            let (Some(root), Some(point)) = (fields.next(), fields.next()) else {
                continue;
            };
            if let Some((_, inode)) = namespace(root) {
                let path = escaped(point, point.len());
                if wanted.pins.iter().any(|pin| is_same(pin, &path)) {
                    found.pins.push(shown(point));
                } else if wanted.namespaces.contains_key(&inode) && !has_id(point, wanted) {
                    found.pinned_elsewhere.push(inode);
                }
            } else if has_id(root, wanted) || has_id(point, wanted) {
                found.count += 1;
                if found.paths.len() < MAX_PATHS {
                    found.paths.push(shown(point));
                }
            }
        }
        found
    }
}

/// `/var/run` is a link to `/run` on every distribution of today.
fn is_same(one: &str, other: &str) -> bool {
    let plain = |path: &str| {
        path.strip_prefix("/var/run/")
            .map(|rest| format!("/run/{rest}"))
    };
    plain(one).as_deref().unwrap_or(one) == plain(other).as_deref().unwrap_or(other)
}

fn has_id(path: &[u8], wanted: &Wanted) -> bool {
    path.split(|byte| *byte == b'/')
        .filter(|part| part.len() >= MIN_ID)
        .filter_map(|part| str::from_utf8(part).ok())
        .any(|part| wanted.ids.contains(part))
}

fn shown(path: &[u8]) -> String {
    escaped(path, MAX_PATH)
}

/// A path of `mountinfo` as every output has paths: the kernel's own escapes are undone first. Only
/// the first bytes of it are kept.
fn escaped(path: &[u8], longest: usize) -> String {
    let path = unescape(&String::from_utf8_lossy(path));
    let end = path.floor_char_boundary(longest);
    Text::new(&path[..end]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::cgroup::Hierarchies;

    const UID: &str = "8852eac2-0000-4000-8000-000000000001";

    fn wanted() -> Wanted {
        Wanted {
            until: HashMap::new(),
            ids: [UID.to_owned(), "a".repeat(64), "run".to_owned()].into(),
            namespaces: [(4_026_532_252, NamespaceKind::Net)].into(),
            pins: ["/var/run/netns/cni-1".to_owned()].into(),
            own: HashSet::new(),
        }
    }

    fn table(mounts: &[(&str, &str)]) -> Table {
        let lines: Vec<_> = mounts
            .iter()
            .map(|(root, point)| format!("36 35 98:0 {root} {point} rw - ext4 /dev/x rw\n"))
            .collect();
        Table::of(lines.concat().as_bytes(), &wanted())
    }

    #[test]
    fn mounts_of_the_pod_have_one_of_its_ids_in_a_path() {
        let volume = format!("/var/lib/kubelet/pods/{UID}/volumes/x");
        let rootfs = format!("/run/containerd/{}/rootfs", "a".repeat(64));
        let found = table(&[
            ("/", "/"),
            ("/", &volume),
            ("/", &rootfs),
            // Mounted elsewhere.
            (&volume, "/mnt"),
            // Of other pods, and words that are too short for an id.
            ("/", "/var/lib/kubelet/pods/8852eac2-other/volumes/x"),
            ("/", &format!("/x/{UID}-2")),
            ("/", "/run/lock"),
        ]);
        assert_eq!(found.count, 3);
        assert_eq!(found.paths, [volume, rootfs, "/mnt".to_owned()]);
    }

    #[test]
    fn the_kept_paths_are_bounded_and_escaped() {
        let long = format!("/{UID}/\x1b{}", "x".repeat(2_000));
        let found = table(&vec![("/", long.as_str()); 1_000]);
        assert_eq!((found.count, found.paths.len()), (1_000, MAX_PATHS));
        assert!(found.paths[0].starts_with(&format!("/{UID}/\\u{{1b}}")));
        assert!(found.paths[0].len() < MAX_PATH + 8);
        assert_eq!(
            Table::of(b"36 35\n\n \xff / /", &wanted()),
            Table::default()
        );
    }

    #[test]
    fn a_path_is_escaped_once() {
        let found = table(&[("/", &format!("/{UID}/a\\040b\\134c\\011d"))]);
        // As the program shows a path with a space, a backslash and a tab.
        let expected = Text::new(&format!("/{UID}/a b\\c\td")).to_string();
        assert_eq!(found.paths, [expected]);
        assert!(!found.paths[0].contains("040"), "{:?}", found.paths);
    }

    #[test]
    fn a_pin_is_the_pods_by_its_path_and_another_one_shows_that_the_number_is_reused() {
        let found = table(&[
            ("net:[4026532252]", "/run/netns/cni-1"),
            ("net:[4026532999]", "/run/netns/vpn"),
        ]);
        assert_eq!(found.pins, ["/run/netns/cni-1"]);
        assert_eq!(found.pinned_elsewhere, [0_u32; 0]);
        let found = table(&[("net:[4026532252]", "/run/netns/cni-2")]);
        assert_eq!(found.pins, [""; 0]);
        assert_eq!(found.pinned_elsewhere, [4_026_532_252]);
    }

    #[test]
    fn only_links_of_namespaces_name_one() {
        let net = Some((NamespaceKind::Net, 4_026_532_252));
        assert_eq!(namespace(b"net:[4026532252]"), net);
        for other in [
            "socket:[12]",
            "/dev/null",
            "net:[]",
            "net:[x]",
            "net:5",
            ":[5]",
        ] {
            assert_eq!(namespace(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_process_that_is_in_a_namespace_keeps_it_unless_it_is_the_pods() {
        // The parent of this process, which runs outside containers or in one.
        let parent = process::read(std::os::unix::process::parent_id()).expect("it runs");
        let Link::Inode(inode) = parent.namespace(NamespaceKind::Uts) else {
            return; // not permitted
        };
        let hierarchies = Hierarchies::discover().expect("there is one");
        let mut wanted = Wanted {
            namespaces: [(inode, NamespaceKind::Uts)].into(),
            ..Wanted::default()
        };
        let found = search(&wanted, hierarchies.watched());
        let kept = |remains: &Remains| {
            let mut keepers = remains.keepers.values().flatten();
            keepers.any(|keeper| keeper.process.pid == parent.pid)
                || remains.reused.contains(&inode)
        };
        assert!(kept(&found), "{found:?}");
        wanted.own.insert(parent.pid);
        let found = search(&wanted, hierarchies.watched());
        let mut keepers = found.keepers.values().flatten();
        assert!(!keepers.any(|keeper| keeper.process.pid == parent.pid));
        // It started later than the pod ended.
        wanted.own.clear();
        wanted.until.insert(inode, 0);
        let found = search(&wanted, hierarchies.watched());
        assert!(found.keepers.is_empty(), "{found:?}");
    }
}
