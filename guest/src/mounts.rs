//! What a node has mounted when its service manager is done.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};

/// File systems that every node has: type, where, options.
const BASIC: [(&str, &str, &str); 8] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", "mode=755"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("mqueue", "/dev/mqueue", ""),
    ("tmpfs", "/run", "mode=755"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("tracefs", "/sys/kernel/tracing", ""),
];

const CGROUPS: &str = "/sys/fs/cgroup";

/// Mounts what does not depend on the layout of cgroups.
pub(crate) fn basic() -> Result<()> {
    BASIC
        .into_iter()
        .try_for_each(|(kind, place, options)| mount_on(kind, Path::new(place), options))
}

/// Mounts cgroups as a node of today (`v2`) or of before (`v1`) has them, and nothing of the other version.
pub(crate) fn cgroups(layout: &str) -> Result<()> {
    match layout {
        "v2" => unified(),
        "v1" => controllers(),
        other => bail!("lay out the cgroups: `{other}` is neither v1 nor v2"),
    }
}

/// With the controllers that limit pods, as systemd enables them.
fn unified() -> Result<()> {
    mount_on("cgroup2", Path::new(CGROUPS), "")?;
    let file = Path::new(CGROUPS).join("cgroup.subtree_control");
    fs::write(&file, "+cpu +memory +pids").with_context(|| format!("write {}", file.display()))
}

/// Each controller in a hierarchy of its own.
fn controllers() -> Result<()> {
    mount_on("tmpfs", Path::new(CGROUPS), "mode=755")?;
    let known = fs::read_to_string("/proc/cgroups").context("read /proc/cgroups")?;
    let names = known.lines().filter(|line| !line.starts_with('#'));
    let mut mounted = 0;
    for name in names.filter_map(|line| line.split_whitespace().next()) {
        match mount_on("cgroup", &Path::new(CGROUPS).join(name), name) {
            Ok(()) => mounted += 1,
            // Kernels drop the old form of one controller after the other.
            Err(error) => eprintln!("guest: failed to {error:#}"),
        }
    }
    if mounted == 0 {
        bail!("mount a version 1 controller: this kernel has none left");
    }
    Ok(())
}

fn mount_on(kind: &str, place: &Path, options: &str) -> Result<()> {
    fs::create_dir_all(place).with_context(|| format!("make {}", place.display()))?;
    mount(
        Some(kind),
        place,
        Some(kind),
        MsFlags::empty(),
        Some(options),
    )
    .with_context(|| format!("mount {kind} on {}", place.display()))
}
