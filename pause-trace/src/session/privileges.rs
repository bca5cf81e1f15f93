//! What the kernel has to permit so that the node's pods are seen.
//!
//! Without some capabilities nothing fails: a process, a bundle or a socket that may not be read
//! looks like one that is not there, and a node whose pods are invisible looks healthy. So each
//! need is tried before a run begins.

use std::{fs, io, path::Path};

use anyhow::{Result, bail};
use nix::unistd::{AccessFlags, Uid};

use crate::{
    node::{self, cgroup::Hierarchies},
    runtimes,
};

/// A capability, with its number in include/uapi/linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Capability(&'static str, u32);

const DAC_OVERRIDE: Capability = Capability("CAP_DAC_OVERRIDE", 1);
const DAC_READ_SEARCH: Capability = Capability("CAP_DAC_READ_SEARCH", 2);
const SYS_PTRACE: Capability = Capability("CAP_SYS_PTRACE", 19);
/// Includes CAP_BPF and CAP_PERFMON, which alone are not enough for the self-test.
const SYS_ADMIN: Capability = Capability("CAP_SYS_ADMIN", 21);

/// The effective capabilities of this process.
#[derive(Clone, Copy, Debug)]
struct Held(u64);

impl Held {
    fn now() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let mask = status
            .lines()
            .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
        mask.map(Self).ok_or(io::ErrorKind::InvalidData.into())
    }

    fn has(self, Capability(_, bit): Capability) -> bool {
        self.0 >> bit & 1 != 0
    }
}

/// Something that this process may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MissingPrivilege {
    /// The capability that permits it; `None` if something else than a capability is in the way.
    pub(crate) capability: Option<&'static str>,
    /// What it is needed for: `to read …`.
    pub(crate) to: String,
}

impl MissingPrivilege {
    fn of(Capability(name, _): Capability, to: impl Into<String>) -> Self {
        Self {
            capability: Some(name),
            to: to.into(),
        }
    }
}

/// What a run needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Reading the node: `ls` and `inspect` without the eBPF program.
    Read,
    /// Observing the node's pods.
    Observe,
    /// The reference check, which does what a container runtime does.
    Build,
}

/// Fails with everything that this process lacks for the job.
pub(crate) fn require(job: Job) -> Result<()> {
    let lacks = lacks(job);
    if lacks.is_empty() {
        return Ok(());
    }
    let is_root = Uid::effective().is_root();
    bail!("{}", sentence(&lacks, is_root, job));
}

/// `CAP_BPF to load a program, CAP_KILL to end it and the permission to create pods`.
pub(crate) fn named(lacks: &[MissingPrivilege]) -> String {
    let named = |lack: &MissingPrivilege| match lack.capability {
        Some(name) => format!("{name} {}", lack.to),
        None => format!("the permission {}", lack.to),
    };
    let mut all: Vec<_> = lacks.iter().map(named).collect();
    let last = all.pop().unwrap_or_default();
    match all.is_empty() {
        true => last,
        false => format!("{} and {last}", all.join(", ")),
    }
}

/// `CAP_BPF (to load a program), CAP_KILL (to end it)`.
pub(crate) fn listed(lacks: &[MissingPrivilege]) -> String {
    let named = |lack: &MissingPrivilege| {
        let name = lack.capability.unwrap_or("the permission");
        format!("{name} ({})", lack.to)
    };
    lacks.iter().map(named).collect::<Vec<_>>().join(", ")
}

fn sentence(lacks: &[MissingPrivilege], is_root: bool, job: Job) -> String {
    let all = named(lacks);
    match (is_root, job) {
        (true, _) => format!("needs {all}; docs/deployment.md lists what a run needs"),
        (false, Job::Build) => {
            "needs root: the reference check does what a container runtime does".to_owned()
        }
        (false, _) => format!("needs root, or {all}; run it with sudo"),
    }
}

/// Everything that this process lacks for the job.
pub(crate) fn lacks(job: Job) -> Vec<MissingPrivilege> {
    let held = match Held::now() {
        Ok(held) => held,
        Err(error) => {
            let to = format!("to read /proc/self/status: {error}");
            return vec![MissingPrivilege {
                capability: None,
                to,
            }];
        }
    };
    let is_root = Uid::effective().is_root();
    let mut lacks = of_capabilities(held, job, is_root);
    if job == Job::Build && !is_root {
        lacks.push(MissingPrivilege {
            capability: None,
            to: "to create pods".to_owned(),
        });
    }
    if job != Job::Build {
        let reading = reading(is_root);
        lacks.extend(refused_cgroups(reading));
        lacks.extend(refused_bundles(reading));
        lacks.extend(refused_sockets());
    }
    once_each(lacks)
}

/// Keeps the first use of each capability: one is enough to ask for it.
fn once_each(lacks: Vec<MissingPrivilege>) -> Vec<MissingPrivilege> {
    let mut kept: Vec<MissingPrivilege> = Vec::new();
    for lack in lacks {
        let is_named = kept.iter().any(|one| one.capability == lack.capability);
        if lack.capability.is_none() || !is_named {
            kept.push(lack);
        }
    }
    kept
}

/// The capability to ask for to read other users' files. A runtime's socket belongs to root, so any
/// other user also needs CAP_DAC_OVERRIDE to connect to it, and that includes reading.
fn reading(is_root: bool) -> Capability {
    match is_root {
        true => DAC_READ_SEARCH,
        false => DAC_OVERRIDE,
    }
}

fn of_capabilities(held: Held, job: Job, is_root: bool) -> Vec<MissingPrivilege> {
    let mut lacks = Vec::new();
    if job != Job::Read && !held.has(SYS_ADMIN) {
        lacks.push(MissingPrivilege::of(
            SYS_ADMIN,
            "to load and test the eBPF program",
        ));
    }
    // The links in /proc/PID/ns and the memory of a process of another user, or with other
    // capabilities: ptrace_may_access (kernel/ptrace.c).
    if !held.has(SYS_PTRACE) {
        let to = "to read the namespaces of other users' processes in /proc";
        lacks.push(MissingPrivilege::of(SYS_PTRACE, to));
    }
    // /proc/PID/fd belongs to the user of the process, and only that user may search it.
    if !held.has(DAC_READ_SEARCH) && !held.has(DAC_OVERRIDE) {
        let to = match is_root {
            true => "to read the files of other users' processes in /proc",
            false => {
                "to read the files of other users' processes in /proc and to connect to the runtimes' sockets"
            }
        };
        lacks.push(MissingPrivilege::of(reading(is_root), to));
    }
    lacks
}

fn is_refused<T>(result: &io::Result<T>) -> bool {
    let error = result.as_ref().err();
    error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

fn refused_cgroups(reading: Capability) -> Option<MissingPrivilege> {
    // Cgroups that are not mounted are another error, with a message of its own.
    let hierarchies = Hierarchies::discover().ok()?;
    let mount = &hierarchies.watched().mount;
    let to = format!("to read the cgroups in {}", mount.display());
    is_refused(&fs::read_dir(mount)).then(|| MissingPrivilege::of(reading, to))
}

/// The places of bundles that may not be read.
fn refused_bundles(reading: Capability) -> impl Iterator<Item = MissingPrivilege> {
    let places = runtimes::bundles().map(|place| Path::new("/").join(place.state).join(place.kind));
    let refused = places.filter(|place| is_refused(&fs::read_dir(place)));
    refused.map(move |place| {
        let to = format!("to read the runtime's bundles in {}", place.display());
        MissingPrivilege::of(reading, to)
    })
}

/// The sockets of runtimes that may not be connected to. CAP_DAC_READ_SEARCH is not enough for
/// that.
pub(super) fn refused_sockets() -> impl Iterator<Item = MissingPrivilege> {
    let refused = runtimes::sockets().filter(|socket| {
        let is_there = Path::new(socket).symlink_metadata().map(|_| ());
        let connect = is_there.and_then(|()| node::may(Path::new(socket), AccessFlags::W_OK));
        is_refused(&connect)
    });
    refused.map(|socket| MissingPrivilege::of(DAC_OVERRIDE, format!("to connect to {socket}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(capabilities: &[Capability]) -> Held {
        let bits = capabilities.iter().map(|Capability(_, bit)| 1 << bit);
        Held(bits.sum())
    }

    fn lacking(capabilities: &[Capability], job: Job) -> Vec<&'static str> {
        let lacks = of_capabilities(held(capabilities), job, true);
        lacks.iter().filter_map(|lack| lack.capability).collect()
    }

    #[test]
    fn each_missing_capability_is_named() {
        let all = [SYS_ADMIN, SYS_PTRACE, DAC_READ_SEARCH];
        assert_eq!(lacking(&all, Job::Observe), [] as [&str; 0]);
        for without in all {
            let rest: Vec<_> = all.into_iter().filter(|one| *one != without).collect();
            assert_eq!(lacking(&rest, Job::Observe), [without.0]);
        }
        assert_eq!(
            lacking(&[], Job::Observe),
            ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]
        );
    }

    #[test]
    fn another_user_is_told_all_capabilities_of_the_documentation_at_once() {
        let lacks = of_capabilities(held(&[]), Job::Observe, false);
        let names: Vec<_> = lacks.iter().filter_map(|lack| lack.capability).collect();
        assert_eq!(
            names,
            ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]
        );
        let again = MissingPrivilege::of(DAC_OVERRIDE, "to connect to /run/x.sock");
        assert_eq!(once_each([&lacks[..], &[again]].concat()), lacks);
    }

    #[test]
    fn a_list_has_what_each_capability_is_for_in_brackets() {
        let lacks = of_capabilities(held(&[DAC_OVERRIDE]), Job::Observe, true);
        assert_eq!(
            listed(&lacks),
            "CAP_SYS_ADMIN (to load and test the eBPF program), CAP_SYS_PTRACE (to read the namespaces of other users' \
             processes in /proc)"
        );
    }

    #[test]
    fn reading_needs_no_ebpf_and_overriding_includes_reading() {
        assert_eq!(
            lacking(&[SYS_PTRACE, DAC_OVERRIDE], Job::Read),
            [] as [&str; 0]
        );
    }

    #[test]
    fn without_root_the_first_words_are_needs_root() {
        let lacks = of_capabilities(held(&[SYS_ADMIN, DAC_OVERRIDE]), Job::Observe, false);
        assert_eq!(
            sentence(&lacks, false, Job::Observe),
            "needs root, or CAP_SYS_PTRACE to read the namespaces of other users' processes in /proc; run it with sudo"
        );
        assert_eq!(
            sentence(&lacks, true, Job::Observe),
            "needs CAP_SYS_PTRACE to read the namespaces of other users' processes in /proc; docs/deployment.md lists \
             what a run needs"
        );
        assert!(sentence(&lacks, false, Job::Build).starts_with("needs root: "));
        let lacks = of_capabilities(held(&[]), Job::Read, true);
        assert_eq!(
            named(&lacks),
            "CAP_SYS_PTRACE to read the namespaces of other users' processes in /proc and CAP_DAC_READ_SEARCH to read \
             the files of other users' processes in /proc"
        );
    }
}
