//! Which container a cgroup belongs to. A container may create cgroups below its own; processes in
//! them belong to the container, too.

use std::collections::BTreeMap;

use bytes::Bytes;
use foldhash::{HashMap, HashSet};

use crate::event::{CgroupId, ContainerId, Fact, Ktime, Text};

/// Known cgroups, and containers by cgroup.
#[derive(Debug, Default)]
pub(super) struct CgroupIndex {
    containers: HashMap<CgroupId, ContainerId>,
    paths: HashMap<CgroupId, Text>,
    by_path: HashMap<Bytes, CgroupId>,
    /// When each of `paths` was created or found.
    made: HashMap<CgroupId, Ktime>,
    /// Cgroups that are in no pod.
    outside: HashSet<CgroupId>,
    /// The paths of cgroups that were removed before it was known what they are.
    unidentified: BTreeMap<CgroupId, Text>,
}

/// Most paths of removed cgroups. The ids of new cgroups are higher (`kernfs_new_node`), so the
/// oldest ones are dropped.
const MAX_UNIDENTIFIED: usize = 4096;

impl CgroupIndex {
    /// Adds a cgroup that was created or found. A cgroup below a container's cgroup belongs to the
    /// container.
    pub(super) fn created(&mut self, now: Ktime, cgroup: CgroupId, path: &Text) {
        let path = path.detached();
        // Not every cgroup that a container makes is recorded.
        let nearest = above(&path.0).find_map(|path| self.by_path.get(path));
        if let Some(container) = nearest.and_then(|nearest| self.containers.get(nearest)) {
            self.containers.insert(cgroup, container.clone());
        }
        self.by_path.insert(path.0.clone(), cgroup);
        self.paths.insert(cgroup, path);
        self.made.entry(cgroup).or_insert(now);
    }

    /// When a cgroup that exists was created, or found.
    pub(super) fn made(&self, cgroup: CgroupId) -> Option<Ktime> {
        self.made.get(&cgroup).copied()
    }

    /// Notes that a cgroup is in no pod, until a container claims it.
    pub(super) fn mark_outside(&mut self, cgroup: CgroupId) {
        self.outside.insert(cgroup);
        self.unidentified.remove(&cgroup);
    }

    /// Whether a cgroup is known to be in no pod.
    pub(super) fn is_outside(&self, cgroup: CgroupId) -> bool {
        self.outside.contains(&cgroup)
    }

    /// Whether a cgroup exists and is not known to be in no pod.
    pub(super) fn has_unknown_owner(&self, cgroup: CgroupId) -> bool {
        self.paths.contains_key(&cgroup) && !self.outside.contains(&cgroup)
    }

    /// The path of a cgroup that was removed before it was known what it is.
    pub(super) fn unidentified(&self, cgroup: CgroupId) -> Option<&Text> {
        self.unidentified.get(&cgroup)
    }

    pub(super) fn removed(&mut self, cgroup: CgroupId) {
        let is_identified = self.outside.remove(&cgroup) || self.containers.contains_key(&cgroup);
        self.made.remove(&cgroup);
        let Some(path) = self.paths.remove(&cgroup) else {
            return;
        };
        if self.by_path.get(&path.0) == Some(&cgroup) {
            self.by_path.remove(&path.0);
        }
        if !is_identified {
            self.unidentified.insert(cgroup, path);
            if self.unidentified.len() > MAX_UNIDENTIFIED {
                self.unidentified.pop_first();
            }
        }
    }

    /// Assigns a cgroup to a container, with the cgroups below it that have no container. An inner
    /// container keeps its own.
    pub(super) fn claim(&mut self, cgroup: CgroupId, container: &ContainerId) {
        self.outside.remove(&cgroup);
        self.unidentified.remove(&cgroup);
        let outer = self.containers.insert(cgroup, container.clone());
        let Some(path) = self.paths.get(&cgroup) else {
            return;
        };
        let below = self
            .by_path
            .iter()
            .filter(|(other, _)| is_below(other, &path.0));
        let below: Vec<_> = below.map(|(_, cgroup)| *cgroup).collect();
        for cgroup in below {
            let owner = self.containers.get(&cgroup);
            if owner.is_none() || owner == outer.as_ref() {
                self.containers.insert(cgroup, container.clone());
            }
        }
    }

    pub(super) fn forget(&mut self, container: &ContainerId) {
        self.containers.retain(|_, owner| owner != container);
    }

    pub(super) fn container(&self, cgroup: CgroupId) -> Option<&ContainerId> {
        self.containers.get(&cgroup)
    }

    /// The existing cgroups as facts, parents before children.
    pub(super) fn facts(&self) -> impl Iterator<Item = Fact> {
        let mut there: Vec<_> = self.paths.iter().collect();
        there.sort_unstable_by_key(|(cgroup, path)| (*path, *cgroup));
        let mut outside: Vec<_> = self.outside.iter().copied().collect();
        outside.sort_unstable();
        let made = there.into_iter().map(|(cgroup, path)| Fact::CgroupMade {
            cgroup: *cgroup,
            path: path.clone(),
        });
        let outside = outside.into_iter();
        made.chain(outside.map(|cgroup| Fact::NotInPod { cgroup }))
    }

    /// All that exist.
    pub(super) fn ids(&self) -> impl Iterator<Item = CgroupId> {
        self.paths.keys().copied()
    }

    pub(super) fn path(&self, cgroup: CgroupId) -> Option<&Text> {
        self.paths.get(&cgroup)
    }

    /// Whether a cgroup is below another one.
    pub(super) fn is_below(&self, cgroup: CgroupId, other: CgroupId) -> bool {
        let paths = self.paths.get(&cgroup).zip(self.paths.get(&other));
        paths.is_some_and(|(path, other)| is_below(&path.0, &other.0))
    }
}

/// Whether the cgroup with the first path is below that with the second one.
fn is_below(path: &[u8], other: &[u8]) -> bool {
    let rest = path.strip_prefix(other);
    rest.is_some_and(|rest| rest.starts_with(b"/"))
}

/// The paths of the cgroups above a cgroup, the parent first.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(parent(path), |path| parent(path))
}

/// The path of a cgroup's parent.
fn parent(path: &[u8]) -> Option<&[u8]> {
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    Some(&path[..slash])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(made: &[(CgroupId, &str)]) -> CgroupIndex {
        let mut index = CgroupIndex::default();
        for (id, path) in made {
            index.created(0, *id, &Text::new(path));
        }
        index
    }

    fn owner(index: &CgroupIndex, cgroup: CgroupId) -> Option<&str> {
        index.container(cgroup).map(|container| &**container)
    }

    #[test]
    fn cgroups_below_a_container_belong_to_it_at_any_depth() {
        let mut index = index(&[(1, "/pods/a")]);
        index.claim(1, &"a".into());
        index.created(0, 2, &Text::new("/pods/a/init.scope"));
        index.created(0, 3, &Text::new("/pods/a/init.scope/deep"));
        index.created(0, 4, &Text::new("/pods/ab"));
        // The one between was not recorded.
        index.created(0, 5, &Text::new("/pods/a/unseen/deep"));
        assert_eq!([3, 5].map(|cgroup| owner(&index, cgroup)), [Some("a"); 2]);
        assert_eq!(owner(&index, 4), None);
        index.forget(&"a".into());
        assert_eq!(owner(&index, 3), None);
    }

    #[test]
    fn a_container_that_is_declared_late_gets_the_cgroups_below_its_own() {
        let mut index = index(&[(1, "/a"), (2, "/a/b"), (3, "/ab"), (4, "/a/c")]);
        index.claim(4, &"inner".into());
        index.claim(1, &"a".into());
        assert_eq!(owner(&index, 2), Some("a"));
        assert_eq!(owner(&index, 3), None);
        assert_eq!(owner(&index, 4), Some("inner"));
    }

    #[test]
    fn an_inner_container_takes_its_cgroup_from_the_outer() {
        let mut index = index(&[(1, "/a"), (2, "/a/b"), (3, "/a/b/c")]);
        index.claim(1, &"a".into());
        index.claim(2, &"b".into());
        assert_eq!(owner(&index, 1), Some("a"));
        assert_eq!(owner(&index, 3), Some("b"));
    }

    #[test]
    fn a_reused_path_is_another_cgroup() {
        let mut index = index(&[(1, "/a"), (2, "/a")]);
        index.removed(1);
        index.claim(2, &"a".into());
        index.created(0, 3, &Text::new("/a/x"));
        assert_eq!(owner(&index, 3), Some("a"));
        assert_eq!(index.path(1), None);
    }
}
