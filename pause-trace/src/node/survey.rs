//! A survey of the node's containers: their cgroups, and the processes in them.
//!
//! The cgroup tree shows which containers exist, and `/proc` shows their processes. Both change
//! while they are read: a caller that must not miss anything attaches the eBPF program before it
//! takes the survey. A process that ends during the survey is left out.

pub(crate) mod process;

use std::{
    collections::HashMap,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{
    cgroup::Hierarchy,
    file,
    identity::{Identity, identify},
};
use crate::event::{CgroupId, Text};
use process::{Directory, Process};

/// Cgroups of a container that are read. The limit keeps a pod that creates many from delaying the
/// rest of the survey.
const MAX_GROUPS: usize = 1024;

/// Bytes of `cgroup.procs` that are read: about a million pids.
const MAX_LIST_BYTES: u64 = 8 << 20;

/// All containers of a node.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) containers: Vec<Container>,
    /// Processes in containers that this pid namespace does not contain.
    pub(crate) hidden: usize,
}

/// A container with its cgroups and processes.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) identity: Identity,
    /// Its own cgroup and those inside it, each after its parent. Empty if only zombies are left of
    /// the container.
    pub(crate) groups: Vec<Group>,
    /// Sorted by pid.
    pub(crate) processes: Vec<Process>,
    /// Whether the container has more cgroups or processes than were read.
    pub(crate) is_cut: bool,
}

/// A cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) id: CgroupId,
    /// Its path from the root of the hierarchy.
    pub(crate) path: Text,
}

/// Takes a survey of the containers of a hierarchy.
///
/// # Errors
/// Fails when the hierarchy or `/proc` cannot be read at all.
pub(crate) fn survey(hierarchy: &Hierarchy) -> io::Result<Survey> {
    let mut survey = Surveyor::default();
    survey.walk(hierarchy)?;
    survey.read_processes(hierarchy)?;
    let mut survey = survey.survey;
    for container in &mut survey.containers {
        container
            .processes
            .sort_unstable_by_key(|process| process.pid);
    }
    Ok(survey)
}

/// A position in a survey: the index of a container, and one of its cgroups (0 if that has been
/// removed).
type Place = (usize, CgroupId);

#[derive(Default)]
struct Surveyor {
    survey: Survey,
    containers: HashMap<Identity, usize>,
    groups: HashMap<Bytes, Place>,
    members: HashMap<u32, Place>,
    buffer: Vec<u8>,
}

impl Surveyor {
    /// Finds the cgroups of the containers and the processes listed in them.
    fn walk(&mut self, hierarchy: &Hierarchy) -> io::Result<()> {
        let root = hierarchy.root.trim_end_matches('/').as_bytes().to_vec();
        fs::read_dir(&hierarchy.mount)?;
        let mut left: Vec<(PathBuf, Vec<u8>)> = vec![(hierarchy.mount.clone(), root)];
        while let Some((directory, path)) = left.pop() {
            // The cgroup was removed during the walk.
            let Ok(about) = fs::symlink_metadata(&directory) else {
                continue;
            };
            if let Some((identity, _)) = identify(&path)
                && !self.group(identity, &path, about.ino(), &directory)
            {
                continue;
            }
            // kernfs sets a directory's link count to its subdirectories plus 2
            // (`kernfs_refresh_inode`), so a leaf need not be read.
            if about.nlink() == 2 {
                continue;
            }
            let below = fs::read_dir(&directory).into_iter().flatten().flatten();
            for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                let path = [&path, &b"/"[..], entry.file_name().as_bytes()].concat();
                left.push((entry.path(), path));
            }
        }
        Ok(())
    }

    /// Adds a cgroup of a container; returns whether to descend into it.
    fn group(&mut self, identity: Identity, path: &[u8], id: CgroupId, directory: &Path) -> bool {
        let at = self.container(identity);
        let container = &mut self.survey.containers[at];
        if container.groups.len() >= MAX_GROUPS {
            container.is_cut = true;
            return false;
        }
        let path = Bytes::copy_from_slice(path);
        let text = Text(path.clone());
        container.groups.push(Group { id, path: text });
        self.groups.insert(path, (at, id));
        // A threaded cgroup has no readable list: its processes are listed in the domain cgroup
        // above it.
        if let Ok(list) = file::read(&directory.join("cgroup.procs"), MAX_LIST_BYTES) {
            container.is_cut |= list.len() as u64 == MAX_LIST_BYTES;
            // A truncated number would be the pid of another process.
            let end = list.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
            for line in file::lines(&list[..end]) {
                match file::number(line) {
                    // A process outside this pid namespace and its descendants.
                    Some(0) => self.survey.hidden += 1,
                    Some(pid) => drop(self.members.insert(pid, (at, id))),
                    None => {}
                }
            }
        }
        true
    }

    fn container(&mut self, identity: Identity) -> usize {
        if let Some(at) = self.containers.get(&identity) {
            return *at;
        }
        let at = self.survey.containers.len();
        self.survey.containers.push(Container {
            identity: identity.clone(),
            groups: Vec::new(),
            processes: Vec::new(),
            is_cut: false,
        });
        self.containers.insert(identity, at);
        at
    }

    /// Reads all processes: `cgroup.procs` does not list zombies.
    fn read_processes(&mut self, hierarchy: &Hierarchy) -> io::Result<()> {
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = file::number(entry.file_name().as_bytes()) else {
                continue;
            };
            if let Some((at, process)) = self.read_process(pid, hierarchy) {
                self.survey.containers[at].processes.push(process);
            }
        }
        Ok(())
    }

    /// Reads a process and finds its container; `None` if it has none or has ended.
    fn read_process(&mut self, pid: u32, hierarchy: &Hierarchy) -> Option<(usize, Process)> {
        let directory = Directory::open(pid).ok()?;
        let stat = directory.stat(&mut self.buffer)?;
        let (at, cgroup) = match self.members.get(&pid) {
            Some(place) => *place,
            None if stat.is_zombie() => {
                let path = directory.cgroup(hierarchy.id, &mut self.buffer)?;
                self.place_of_zombie(&path, stat.parent, hierarchy)?
            }
            None => return None,
        };
        Some((at, directory.process(stat, cgroup, &mut self.buffer)?))
    }

    /// The container and cgroup of a zombie whose `/proc/PID/cgroup` says `path`.
    fn place_of_zombie(
        &mut self,
        path: &[u8],
        parent: u32,
        hierarchy: &Hierarchy,
    ) -> Option<Place> {
        // Version 1 reports every zombie in the root cgroup (`proc_cgroup_show`). Its parent is
        // nearly always in the same container.
        if !hierarchy.is_unified() && path == b"/" {
            return self.members.get(&parent).copied();
        }
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        if let Some(place) = self.groups.get(path) {
            return Some(*place);
        }
        let (identity, _) = identify(path)?;
        Some((self.container(identity), 0))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::MetadataExt as _,
        process::{Child, Command, Stdio},
    };

    use nix::{
        sys::wait::{Id, WaitPidFlag, waitid},
        unistd::Pid,
    };

    use super::{process::Link, *};
    use crate::{
        event::NamespaceKind,
        node::cgroup::{self, Cgroup, Layout},
    };

    const ID: &str = "8852eac251d8a963b28d3accf45d9d1173c668558fcd8049345e9d4589599bc9";

    /// A process that is killed and reaped when it is dropped.
    struct Sleeper(Child);

    impl Sleeper {
        fn new() -> Self {
            let child = Command::new("sleep")
                .arg("1000")
                .stdin(Stdio::null())
                .spawn();
            Self(child.expect("sleep(1) is installed"))
        }

        fn pid(&self) -> u32 {
            self.0.id()
        }

        fn put_into(&self, group: &Cgroup) {
            for directory in group.directories() {
                cgroup::attach(directory, Pid::from_raw(self.pid() as i32)).expect("attach");
            }
        }

        /// Kills the process and leaves it as a zombie.
        fn end(&mut self) {
            self.0.kill().expect("it is our child");
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            let pid = Pid::from_raw(self.pid() as i32);
            waitid(Id::Pid(pid), flags).expect("it is our child");
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            // The test may have killed it already.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn group(layout: &Layout, name: &str) -> Cgroup {
        let mut group = layout.cgroup(name);
        group.create().expect("as root, cgroups can be made");
        group
    }

    #[test]
    fn a_container_its_nested_cgroups_and_its_zombies_are_found() {
        let layout = Layout::discover().expect("there is a hierarchy to write to");
        let name = Layout::unique_name().expect("/proc is mounted");
        let _parent = group(&layout, &name);
        let own = group(&layout, &format!("{name}/{ID}"));
        let mut nested = group(&layout, &format!("{name}/{ID}/inside"));
        let (main, worker, mut zombie) = (Sleeper::new(), Sleeper::new(), Sleeper::new());
        main.put_into(&own);
        worker.put_into(&nested);
        zombie.put_into(&nested);
        zombie.end();

        let read = || {
            let survey = survey(layout.watched()).expect("it can be read");
            let mut found = survey.containers.into_iter().filter(|found| {
                let is_ours = |group: &Group| group.path.to_string().contains(&name);
                &*found.identity.container == ID && found.groups.iter().any(is_ours)
            });
            found.next().expect("the container is there")
        };
        let container = read();
        assert_eq!(
            container
                .groups
                .iter()
                .map(|group| group.id)
                .collect::<Vec<_>>(),
            [own.id(), nested.id()]
        );
        assert_eq!(container.groups[1].path.to_string(), nested.path());
        let find = |container: &Container, sleeper: &Sleeper| {
            let found = container
                .processes
                .iter()
                .find(|found| found.pid == sleeper.pid());
            found.cloned().expect("the process is listed")
        };
        let listed = find(&container, &main);
        assert_eq!(
            (listed.cgroup, listed.parent),
            (own.id(), std::process::id())
        );
        assert_eq!((listed.ns_pid, listed.pid_level), (listed.pid, 0));
        assert_eq!(
            (listed.comm.to_string(), listed.is_zombie()),
            ("sleep".to_owned(), false)
        );
        let net = fs::metadata("/proc/self/ns/net").expect("our own").ino() as u32;
        assert_eq!(listed.namespace(NamespaceKind::Net), Link::Inode(net));
        assert_eq!(find(&container, &worker).cgroup, nested.id());

        let dead = find(&container, &zombie);
        assert!(dead.is_zombie());
        assert_eq!(dead.namespace(NamespaceKind::Net), Link::Gone);
        if layout.watched().is_unified() {
            assert_eq!(dead.cgroup, nested.id());
            // A zombie does not keep its cgroup from being removed.
            drop(worker);
            nested.remove().expect("it has no processes");
            let container = read();
            assert_eq!(container.groups.len(), 1);
            assert_eq!(find(&container, &zombie).cgroup, 0);
        }
    }

    #[test]
    fn a_container_with_too_many_cgroups_does_not_hide_the_others() {
        let mut surveyor = Surveyor::default();
        let nowhere = PathBuf::from("/nowhere");
        let mut add = |path: &str| {
            let (identity, _) = identify(path.as_bytes()).expect("it is a container's");
            surveyor.group(identity, path.as_bytes(), 1, &nowhere)
        };
        for at in 0..MAX_GROUPS {
            assert!(add(&format!("/docker/{ID}/{at}")));
        }
        assert!(!add(&format!("/docker/{ID}/more")));
        let other = ID.replace('8', "9");
        assert!(add(&format!("/docker/{other}")));
        let cut: Vec<bool> = surveyor
            .survey
            .containers
            .iter()
            .map(|found| found.is_cut)
            .collect();
        assert_eq!(cut, [true, false]);
    }
}
