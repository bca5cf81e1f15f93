//! The node's cgroups: the mounted hierarchies, the one that the verifier watches, and the cgroups
//! that this program creates in them.
//!
//! Three layouts exist: cgroup2 alone, version 1 controllers alone, and both side by side
//! ("hybrid"). A cgroup's id is the inode number of its directory ([`kernfs_ino`], since 5.5,
//! 64-bit machines). `bpf_get_current_cgroup_id` and the `cgroup_mkdir` tracepoint report the same
//! number.
//!
//! [`kernfs_ino`]: https://elixir.bootlin.com/linux/v6.12/A/ident/kernfs_ino

#[cfg(test)]
mod fuzz;
mod hierarchies;
mod limits;
mod removal;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::unistd::{AccessFlags, Pid};

pub(crate) use hierarchies::Hierarchies;
use removal::{PREFIX, is_ours};
pub(crate) use removal::{kill, remove};

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Its number in /proc/self/cgroup; cgroup2 has 0.
    pub(crate) id: u32,
    /// The mount point.
    pub(crate) mount: PathBuf,
    /// The cgroup at the root of the mount: `/`, except in a container without a cgroup namespace.
    pub(crate) root: String,
    /// Version 1 controllers (`pids`) and names (`name=systemd`); none for cgroup2.
    pub(crate) controllers: Vec<String>,
    /// The path of this process's cgroup.
    pub(crate) own: String,
}

impl Hierarchy {
    pub(crate) fn is_unified(&self) -> bool {
        self.id == 0
    }

    /// The directory of the cgroup with this path, if the mount contains it.
    pub(crate) fn directory(&self, path: &str) -> Option<PathBuf> {
        let below = path.strip_prefix(self.root.trim_end_matches('/'))?;
        // `/docker/abc` is not below `/docker/ab`, and `..` leads out of this process' cgroup
        // namespace.
        let is_below = below.is_empty() || below.starts_with('/');
        let leads_out = below.split('/').any(|part| part == "..");
        (is_below && !leads_out).then(|| self.mount.join(below.trim_start_matches('/')))
    }

    /// The path of the cgroup with this directory.
    pub(crate) fn path(&self, directory: &Path) -> Option<String> {
        let below = directory.strip_prefix(&self.mount).ok()?;
        Some(format!(
            "{}/{}",
            self.root.trim_end_matches('/'),
            below.display()
        ))
    }

    /// The directory to create cgroups in: the top of the hierarchy, which kubelet uses too. There,
    /// the limits of the session that started this program do not apply, and a threaded cgroup of
    /// this process does not make the new cgroups invalid. This process's own cgroup is the
    /// fallback, for a container that may not write to the top.
    fn base(&self) -> Option<PathBuf> {
        [Some(self.mount.clone()), self.directory(&self.own)]
            .into_iter()
            .flatten()
            .find(|directory| {
                super::may(directory, AccessFlags::W_OK).is_ok() && is_domain(directory)
            })
    }
}

/// Whether a cgroup can have children that contain processes. Version 1 and the root cgroup have no
/// `cgroup.type`.
fn is_domain(directory: &Path) -> bool {
    fs::read_to_string(directory.join("cgroup.type")).map_or(true, |kind| {
        kind.starts_with("domain") && !kind.contains("invalid")
    })
}

/// The node's hierarchies.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The watched hierarchy, then the version 1 hierarchies that a container is also placed in,
    /// each with the directory to create cgroups in.
    used: Vec<(Hierarchy, PathBuf)>,
    hybrid: bool,
    /// Whether this program may create cgroups.
    writable: bool,
}

impl Layout {
    /// Reads the layout from /proc. If no hierarchy is writable, as in a container that mounts them
    /// read-only, the node's pods can be observed all the same.
    ///
    /// # Errors
    /// Fails when no hierarchy is mounted.
    pub(crate) fn discover() -> Result<Self> {
        let mounts = read("/proc/self/mountinfo")?;
        let memberships = read("/proc/self/cgroup")?;
        let hierarchies = parse(&mounts, &memberships);
        let count = hierarchies.len();
        let writable = Self::choose(&hierarchies, Hierarchy::base, true);
        let layout = writable.or_else(|| {
            Self::choose(
                &hierarchies,
                |hierarchy| Some(hierarchy.mount.clone()),
                false,
            )
        });
        layout.with_context(|| {
            format!("find a cgroup hierarchy: none of {count} mounted identifies containers; mount cgroup2 at /sys/fs/cgroup")
        })
    }

    /// Fails if this program may not create cgroups.
    pub(crate) fn require_writable(&self) -> Result<()> {
        if !self.writable {
            bail!(
                "create cgroups: no cgroup hierarchy is writable; run as root, in a container with /sys/fs/cgroup mounted \
                 read-write"
            );
        }
        Ok(())
    }

    /// The directories of this program's cgroups whose name `matches`, in every mounted hierarchy:
    /// at the top, where runtimes create cgroups, and in the slice that systemd creates for their
    /// prefix.
    pub(crate) fn find_own(matches: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
        let mounts = read("/proc/self/mountinfo")?;
        let memberships = read("/proc/self/cgroup")?;
        let hierarchies = parse(&mounts, &memberships);
        let places = hierarchies.iter().flat_map(|hierarchy| {
            ["/", "/pause.slice/pause-trace.slice"]
                .into_iter()
                .filter_map(|place| hierarchy.directory(place))
        });
        let is_taken = |directory: &PathBuf| {
            let name = directory.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(PREFIX) && matches(name))
        };
        Ok(places
            .flat_map(|place| removal::children(&place))
            .filter(is_taken)
            .collect())
    }

    /// Chooses the hierarchies for which `base` returns a directory.
    fn choose(
        hierarchies: &[Hierarchy],
        base: impl Fn(&Hierarchy) -> Option<PathBuf>,
        writable: bool,
    ) -> Option<Self> {
        let hybrid = hierarchies.iter().any(Hierarchy::is_unified)
            && hierarchies
                .iter()
                .any(|hierarchy| !hierarchy.controllers.is_empty());
        let mut used: Vec<(Hierarchy, PathBuf)> = Vec::new();
        let wanted = |hierarchy: &Hierarchy, controller: &str| {
            hierarchy.controllers.iter().any(|name| name == controller)
        };
        let unified = hierarchies
            .iter()
            .filter(|hierarchy| hierarchy.is_unified());
        let version_1 = ["pids", "memory", "cpu", "freezer"]
            .into_iter()
            .flat_map(|name| {
                hierarchies
                    .iter()
                    .filter(move |hierarchy| wanted(hierarchy, name))
            });
        for hierarchy in unified.chain(version_1) {
            // One hierarchy is enough to identify a container; limits are set in those of `pids`
            // and `memory`. A hierarchy may have several controllers.
            let needed = used.is_empty()
                || ["pids", "memory"]
                    .into_iter()
                    .any(|name| wanted(hierarchy, name));
            if needed
                && !used.iter().any(|(taken, _)| taken.id == hierarchy.id)
                && let Some(base) = base(hierarchy)
            {
                used.push((hierarchy.clone(), base));
            }
        }
        (!used.is_empty()).then_some(Self {
            used,
            hybrid,
            writable,
        })
    }

    /// The hierarchy by which the verifier identifies containers: cgroup2 if it is writable,
    /// otherwise the first of the version 1 hierarchies that every runtime uses.
    pub(crate) fn watched(&self) -> &Hierarchy {
        &self.used[0].0
    }

    /// The name of the layout: `v2`, `v1` or `hybrid`.
    pub(crate) fn name(&self) -> &'static str {
        match (self.hybrid, self.watched().is_unified()) {
            (true, _) => "hybrid",
            (false, true) => "v2",
            (false, false) => "v1",
        }
    }

    /// A cgroup of this program in each hierarchy in use, not yet created. `name` begins with
    /// `pause-trace-` and may have several components; each component needs a [`Cgroup`] of its
    /// own.
    pub(crate) fn cgroup(&self, name: &str) -> Cgroup {
        debug_assert!(name.starts_with(PREFIX), "{name}");
        let directories = self
            .used
            .iter()
            .map(|(_, base)| base.join(name))
            .collect::<Vec<_>>();
        Cgroup {
            path: self.watched().path(&directories[0]).unwrap_or_default(),
            directories,
            id: None,
        }
    }

    /// A name for [`Layout::cgroup`] that no other run of this program uses.
    pub(crate) fn unique_name() -> Result<String> {
        let uuid = read("/proc/sys/kernel/random/uuid")?;
        Ok(format!("{PREFIX}{}", &uuid[..13]))
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

/// Combines the mounts with this process's memberships, which contain the hierarchy ids.
fn parse(mountinfo: &str, memberships: &str) -> Vec<Hierarchy> {
    // 31 23 0:28 /root /mount/point rw,relatime optional… - cgroup source rw,pids
    let mounts: Vec<_> = mountinfo
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let kind = *right.first()?;
            matches!(kind, "cgroup" | "cgroup2").then_some(())?;
            Some((
                kind,
                unescape(left.get(3)?),
                unescape(left.get(4)?),
                (*right.get(2)?).to_owned(),
            ))
        })
        .collect();
    memberships
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let id: u32 = fields.next()?.parse().ok()?;
            let names = fields.next()?;
            let own = fields.next()?.to_owned();
            let controllers: Vec<String> = names
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect();
            let (_, root, mount, _) = mounts.iter().find(|(kind, _, _, options)| match id {
                0 => *kind == "cgroup2",
                _ => {
                    *kind == "cgroup"
                        && controllers
                            .iter()
                            .all(|name| options.split(',').any(|option| option == name))
                }
            })?;
            Some(Hierarchy {
                id,
                mount: mount.into(),
                root: root.clone(),
                controllers,
                own,
            })
        })
        .collect()
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
pub(super) fn unescape(field: &str) -> String {
    ["\\040 ", "\\011\t", "\\012\n", "\\134\\"]
        .into_iter()
        .fold(field.to_owned(), |text, code| {
            text.replace(&code[..4], &code[4..])
        })
}

/// A cgroup of this program in each hierarchy in use. Dropping it kills its processes and removes
/// it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    /// The directory in the watched hierarchy comes first.
    directories: Vec<PathBuf>,
    path: String,
    id: Option<u64>,
}

impl Cgroup {
    /// Creates it; its parent must exist.
    pub(crate) fn create(&mut self) -> Result<u64> {
        for directory in &self.directories {
            fs::create_dir(directory)
                .with_context(|| format!("create the cgroup {}", directory.display()))?;
        }
        let id = fs::metadata(&self.directories[0])
            .with_context(|| format!("look up the cgroup {}", self.path))?
            .ino();
        self.id = Some(id);
        Ok(id)
    }

    /// Its id in the watched hierarchy; 0 before it has been created.
    pub(crate) fn id(&self) -> u64 {
        self.id.unwrap_or(0)
    }

    /// Its path in the watched hierarchy.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Its directories; that in the watched hierarchy comes first.
    pub(crate) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Limits its memory, including swap if the kernel accounts for swap.
    ///
    /// # Errors
    /// `Unsupported` when the memory controller is not delegated to the cgroups of this program.
    pub(crate) fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        for directory in &self.directories {
            for (limit, swap, most) in [
                (
                    "memory.limit_in_bytes",
                    "memory.memsw.limit_in_bytes",
                    bytes,
                ),
                ("memory.max", "memory.swap.max", 0),
            ] {
                if limit == "memory.max" {
                    delegate(directory, "+memory");
                }
                if directory.join(limit).exists() {
                    fs::write(directory.join(limit), bytes.to_string())?;
                    // The file is absent when swap accounting is off.
                    let _ = fs::write(directory.join(swap), most.to_string());
                    return Ok(());
                }
            }
        }
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "no memory controller for this cgroup",
        ))
    }

    /// Makes the OOM killer kill all processes of this cgroup if it kills one, as Kubernetes does
    /// for a container. Returns whether this version of cgroups can do that: only v2 can.
    pub(crate) fn kill_as_group(&self) -> io::Result<bool> {
        let files = self.directories.iter();
        let mut files = files.map(|directory| directory.join("memory.oom.group"));
        match files.find(|file| file.exists()) {
            Some(file) => fs::write(file, "1").map(|()| true),
            None => Ok(false),
        }
    }

    /// Kills its processes and removes it. No error if it has already been removed.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        self.id = None;
        self.directories
            .iter()
            .map(|directory| remove(directory))
            .fold(Ok(()), Result::and)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.id.is_some()
            && let Err(error) = self.remove()
        {
            eprintln!(
                "pause-trace: failed to remove the cgroup {}: {error}",
                self.path
            );
        }
    }
}

/// Enables a controller for the children of this program's cgroups above `directory`. These cgroups
/// contain no processes, which cgroup2's no-internal-process rule requires, and the settings of
/// other cgroups are not changed.
fn delegate(directory: &Path, controller: &str) {
    let ours: Vec<&Path> = directory
        .ancestors()
        .skip(1)
        .filter(|above| is_ours(above))
        .collect();
    for above in ours.into_iter().rev() {
        // Fails if the parent does not have the controller; the caller then finds no limit file.
        let _ = fs::write(above.join("cgroup.subtree_control"), controller);
    }
}

/// Moves a process into the cgroup of this directory.
pub(crate) fn attach(directory: &Path, pid: Pid) -> io::Result<()> {
    fs::write(directory.join("cgroup.procs"), pid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(mountinfo: &str, memberships: &str) -> Vec<(u32, String, String)> {
        parse(mountinfo, memberships)
            .into_iter()
            .map(|found| (found.id, found.mount.display().to_string(), found.root))
            .collect()
    }

    #[test]
    fn cgroup2_alone() {
        let mounts =
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            parsed(mounts, "0::/user.slice/session-1.scope\n"),
            [(0, "/sys/fs/cgroup".into(), "/".into())]
        );
    }

    #[test]
    fn hierarchies_that_are_not_mounted_are_left_out() {
        let mounts = "29 31 0:30 / /sys/fs/cgroup/cpu\\040x rw - cgroup cgroup rw,cpu,cpuacct\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            parsed(mounts, "9:name=systemd:/\n2:cpu,cpuacct:/\n0::/\n"),
            [
                (2, "/sys/fs/cgroup/cpu x".into(), "/".into()),
                (0, "/sys/fs/cgroup/unified".into(), "/".into())
            ]
        );
    }

    #[test]
    fn a_container_without_a_cgroup_namespace() {
        let mounts = "30 23 0:26 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let found = parse(mounts, "0::/docker/ab\n");
        assert_eq!(
            found[0].directory("/docker/ab/x"),
            Some("/sys/fs/cgroup/x".into())
        );
        assert_eq!(
            found[0].directory("/docker/ab"),
            Some("/sys/fs/cgroup/".into())
        );
        for other in ["/other", "/docker/abc/x", "/docker/ab/../x"] {
            assert_eq!(found[0].directory(other), None, "{other}");
        }
        assert_eq!(
            found[0].path(Path::new("/sys/fs/cgroup/x")).as_deref(),
            Some("/docker/ab/x")
        );
    }

    #[test]
    fn cgroups_of_others_are_not_removed() {
        let error = remove(Path::new("/sys/fs/cgroup/kubepods")).expect_err("not ours");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
