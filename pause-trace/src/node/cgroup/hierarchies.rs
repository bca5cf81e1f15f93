//! The node's hierarchies for callers that only read them: unlike [`super::Layout`], none has to be
//! writable.

use std::fs;

use anyhow::{Result, bail};

use super::{Hierarchy, parse, read};
use crate::event::Text;

/// The mounted hierarchies, the watched one first.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchies(pub(super) Vec<Hierarchy>);

impl Hierarchies {
    /// Reads them from /proc.
    ///
    /// # Errors
    /// Fails when no hierarchy that identifies containers is mounted.
    pub(crate) fn discover() -> Result<Self> {
        let mounts = read("/proc/self/mountinfo")?;
        let memberships = read("/proc/self/cgroup")?;
        let mut found = parse(&mounts, &memberships);
        let Some(first) = found.iter().filter_map(rank).min() else {
            bail!(
                "find a cgroup hierarchy: no hierarchy that runtimes use is mounted; mount cgroup2 at /sys/fs/cgroup"
            );
        };
        found.sort_by_key(|hierarchy| rank(hierarchy) != Some(first));
        Ok(Self(found))
    }

    /// The hierarchy that identifies containers: the same as [`super::Layout::watched`] if all are
    /// writable.
    pub(crate) fn watched(&self) -> &Hierarchy {
        &self.0[0]
    }

    /// The memory that a cgroup and its descendants are charged with, in bytes. Runtimes use the
    /// same path in every hierarchy. `None` if the memory controller is not enabled for the cgroup.
    pub(crate) fn memory(&self, path: &Text) -> Option<u64> {
        let path = str::from_utf8(&path.0).ok()?;
        self.0.iter().find_map(|hierarchy| {
            let file = match hierarchy.is_unified() {
                true => "memory.current",
                false => "memory.usage_in_bytes",
            };
            let text = fs::read_to_string(hierarchy.directory(path)?.join(file)).ok()?;
            text.trim().parse().ok()
        })
    }
}

/// The rank of a hierarchy for identifying containers; the lowest is the best.
fn rank(hierarchy: &Hierarchy) -> Option<usize> {
    if hierarchy.is_unified() {
        return Some(0);
    }
    let known = ["pids", "memory", "cpu", "freezer"];
    let mut ranked = known.iter().zip(1..);
    let found = ranked.find(|(name, _)| hierarchy.controllers.iter().any(|own| own == *name));
    found.map(|(_, rank)| rank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::cgroup::Layout;

    #[test]
    fn layout_and_hierarchies_watch_the_same_hierarchy() {
        let layout = Layout::discover().expect("there is a hierarchy to write to");
        let hierarchies = Hierarchies::discover().expect("there is a hierarchy");
        assert_eq!(hierarchies.watched(), layout.watched());
    }

    #[test]
    fn memory_is_read_if_the_controller_is_enabled() {
        let layout = Layout::discover().expect("there is a hierarchy to write to");
        let name = Layout::unique_name().expect("/proc is mounted");
        let mut group = layout.cgroup(&name);
        group.create().expect("as root, cgroups can be made");
        let hierarchies = Hierarchies::discover().expect("there is a hierarchy");
        let has_file = group.directories().iter().any(|directory| {
            ["memory.current", "memory.usage_in_bytes"]
                .iter()
                .any(|file| directory.join(file).exists())
        });
        let path = Text::new(group.path());
        assert_eq!(hierarchies.memory(&path).is_some(), has_file);
        assert_eq!(hierarchies.memory(&Text::new("/no/such/cgroup")), None);
    }
}
