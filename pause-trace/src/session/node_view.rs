//! Whether this process sees the node as the kernel's records describe it.
//!
//! The records contain pids of the initial pid namespace and times of the initial time namespace.
//! In another namespace every pid or time would be wrong, and the self-test would fail for a reason
//! that it cannot name.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use nix::sched::{CloneFlags, setns};

/// `PROC_CGROUP_INIT_INO`, `PROC_PID_INIT_INO` and `PROC_TIME_INIT_INO`, include/linux/proc_ns.h.
const INITIAL_CGROUP: u64 = 0xEFFF_FFFB;
const INITIAL_PID: u64 = 0xEFFF_FFFC;
const INITIAL_TIME: u64 = 0xEFFF_FFFA;

/// Why the records do not describe what this process sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// `4026532180, not the initial one`.
    pub(crate) detail: String,
    pub(crate) consequence: &'static str,
    pub(crate) fix: &'static str,
}

/// Fails in another pid namespace than the initial one.
pub(crate) fn require_pid_namespace() -> Result<()> {
    refuse("pid namespace", pid_namespace())
}

/// Makes this thread and those that it starts see cgroups by the paths that the node has for them.
///
/// On cgroup v2 a runtime gives a container that is not privileged a cgroup namespace, in which
/// `/proc/PID/cgroup` shows paths relative to the container's own cgroup. Process 2 of the initial
/// pid namespace is kthreadd, which is in the initial namespace of every kind.
pub(crate) fn enter_cgroup_namespace() -> Result<()> {
    match inode("/proc/self/ns/cgroup".into()) {
        Ok(INITIAL_CGROUP) => return Ok(()),
        // The kernel has no such namespaces.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        _ => {}
    }
    let entered = File::open("/proc/2/ns/cgroup")
        .and_then(|initial| Ok(setns(initial, CloneFlags::CLONE_NEWCGROUP)?));
    let own = inode("/proc/self/ns/cgroup".into());
    match (entered, own) {
        (Ok(()), Ok(INITIAL_CGROUP)) => Ok(()),
        (Err(error), _) => bail!(
            "the cgroup namespace of this process is not the initial one, and it failed to enter that: {error}; run it \
             with CAP_SYS_ADMIN and CAP_SYS_PTRACE, or in the initial cgroup namespace"
        ),
        _ => bail!(
            "the cgroup namespace of process 2 is not the initial one, so /proc shows other paths of cgroups than the \
             node has; run it on the node itself"
        ),
    }
}

/// Fails in a time namespace whose boot time differs from that of the records.
pub(crate) fn require_time_namespace() -> Result<()> {
    refuse("time namespace", time_namespace())
}

fn refuse(name: &str, compared: Result<String, Mismatch>) -> Result<()> {
    match compared {
        Ok(_) => Ok(()),
        Err(Mismatch {
            detail,
            consequence,
            fix,
        }) => bail!("the {name} of this process is {detail}: {consequence}; {fix}"),
    }
}

/// Compares this process' pid namespace with the initial one. Describes it if they are the same.
pub(crate) fn pid_namespace() -> Result<String, Mismatch> {
    compare_pid(Path::new("/proc/self"))
}

fn compare_pid(process: &Path) -> Result<String, Mismatch> {
    match inode(process.join("ns/pid")) {
        Ok(INITIAL_PID) => Ok("the initial one".to_owned()),
        Ok(other) => Err(Mismatch {
            detail: format!("{other}, not the initial one"),
            consequence: "the kernel's pids differ from those of this pid namespace",
            fix: "run it on the node itself, or in a pod with hostPID: true",
        }),
        Err(error) => Err(Mismatch {
            detail: format!("unknown ({error})"),
            consequence: "the kernel's pids may differ from those of this process",
            fix: "mount /proc",
        }),
    }
}

/// Compares this process' boot time with that of the records. Describes its time namespace if they
/// are the same.
pub(crate) fn time_namespace() -> Result<String, Mismatch> {
    compare_time(Path::new("/proc/self"))
}

fn compare_time(process: &Path) -> Result<String, Mismatch> {
    let own = inode(process.join("ns/time"));
    match own {
        Ok(INITIAL_TIME) => return Ok("the initial one".to_owned()),
        // Before Linux 5.6, or without CONFIG_TIME_NS.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok("the kernel has none".to_owned());
        }
        _ => {}
    }
    let mismatch = |detail| Mismatch {
        detail,
        consequence: "the times of the kernel's records differ from this process' clock",
        fix: "run it in the initial time namespace",
    };
    // The offsets are those of the namespace of future children, which is nearly always the
    // process' own.
    let is_own = own.ok() == inode(process.join("ns/time_for_children")).ok();
    let offsets = fs::read_to_string(process.join("timens_offsets"));
    match offsets.ok().as_deref().and_then(boot_offset) {
        Some((0, 0)) if is_own => Ok("another one, with the same boot time".to_owned()),
        Some((seconds, ns)) if is_own => {
            let offset = i128::from(seconds) * 1_000_000_000 + i128::from(ns);
            let ms = offset / 1_000_000;
            Err(mismatch(format!(
                "not the initial one (its boot time differs by {ms} ms)"
            )))
        }
        _ => Err(mismatch(
            "not the initial one (its boot time is unknown)".to_owned(),
        )),
    }
}

/// The seconds and nanoseconds of the line `boottime SECONDS NANOSECONDS` (time_namespaces(7)).
fn boot_offset(offsets: &str) -> Option<(i64, i64)> {
    let mut lines = offsets.lines().map(str::split_whitespace);
    lines.find_map(|mut line| {
        // The kernel writes the name of the clock, and accepts its number.
        let is_boot_time = matches!(line.next()?, "boottime" | "7");
        let offset = (line.next()?.parse().ok()?, line.next()?.parse().ok()?);
        is_boot_time.then_some(offset)
    })
}

fn inode(link: PathBuf) -> io::Result<u64> {
    fs::metadata(link).map(|metadata| metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_the_boot_time_is_read() {
        let offsets = "monotonic           0         0\nboottime     -864000       500\n";
        assert_eq!(boot_offset(offsets), Some((-864_000, 500)));
        assert_eq!(boot_offset("monotonic 5 0\n"), None);
        assert_eq!(boot_offset(""), None);
    }

    #[test]
    fn an_unknown_pid_namespace_is_refused_and_a_kernel_without_time_namespaces_is_not() {
        let nowhere = Path::new("/proc/nowhere");
        let mismatch = compare_pid(nowhere).expect_err("there is no such process");
        assert_eq!(mismatch.fix, "mount /proc");
        assert!(compare_time(nowhere).is_ok());
    }

    #[test]
    fn a_refusal_names_the_namespace_and_the_fix() {
        let mismatch = Mismatch {
            detail: "4026532180, not the initial one".to_owned(),
            consequence: "the pids differ",
            fix: "use hostPID",
        };
        let error = refuse("pid namespace", Err(mismatch)).expect_err("they differ");
        assert_eq!(
            error.to_string(),
            "the pid namespace of this process is 4026532180, not the initial one: the pids differ; use hostPID"
        );
    }
}
