//! The file systems that a node's service manager mounts.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};

/// File systems of every node: type, mount point, options.
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

/// Mounts the file systems that do not depend on the cgroup layout.
pub(crate) fn basic() -> Result<()> {
    BASIC
        .into_iter()
        .try_for_each(|(kind, place, options)| mount_on(kind, Path::new(place), options))
}

/// Mounts cgroup v2 or v1 only, as current (`v2`) and older (`v1`) nodes do.
pub(crate) fn cgroups(layout: &str) -> Result<()> {
    match layout {
        "v2" => unified(),
        "v1" => controllers(),
        other => bail!("set up the cgroups: `{other}` is neither v1 nor v2"),
    }
}

/// Mounts cgroup v2 and enables the controllers that limit pods, as systemd does.
fn unified() -> Result<()> {
    mount_on("cgroup2", Path::new(CGROUPS), "")?;
    let file = Path::new(CGROUPS).join("cgroup.subtree_control");
    fs::write(&file, "+cpu +memory +pids").with_context(|| format!("write {}", file.display()))
}

/// Mounts each v1 controller in a hierarchy of its own.
fn controllers() -> Result<()> {
    mount_on("tmpfs", Path::new(CGROUPS), "mode=755")?;
    let known = fs::read_to_string("/proc/cgroups").context("read /proc/cgroups")?;
    let names = known.lines().filter(|line| !line.starts_with('#'));
    let mut mounted = 0;
    for name in names.filter_map(|line| line.split_whitespace().next()) {
        match mount_on("cgroup", &Path::new(CGROUPS).join(name), name) {
            Ok(()) => mounted += 1,
            // Newer kernels remove the v1 form of one controller after another.
            Err(error) => eprintln!("guest: failed to {error:#}"),
        }
    }
    if mounted == 0 {
        bail!("mount a cgroup v1 controller: this kernel has none");
    }
    Ok(())
}

fn mount_on(kind: &str, place: &Path, options: &str) -> Result<()> {
    fs::create_dir_all(place).with_context(|| format!("create {}", place.display()))?;
    mount(
        Some(kind),
        place,
        Some(kind),
        MsFlags::empty(),
        Some(options),
    )
    .with_context(|| format!("mount {kind} on {}", place.display()))
}
