//! What a process or a thread gives up for good: capabilities, system calls.
//!
//! Capabilities belong to a thread. The main thread gives them up once the hooks are attached
//! ([`process`]), and threads that it starts later inherit what it has left. Threads that may have
//! started before give theirs up as they start: [`reader`], [`writer`].
//!
//! Landlock is not used. A process in a Landlock domain may not read `/proc/PID/ns`,
//! `/proc/PID/exe` and the like of a process outside of it (`hook_ptrace_access_check`,
//! security/landlock/task.c, ptrace.c before 6.12; since 5.13, whatever the rules of the domain):
//! every pod would become inconclusive.

mod capabilities;
mod filter;

use std::{
    collections::BTreeSet,
    fs, io,
    os::{fd::RawFd, unix::fs::MetadataExt as _},
    path::Path,
};

use caps::Capability;
use nix::{sys::prctl, unistd::Uid};

pub(crate) use self::{
    capabilities::{Set, held, named, with},
    filter::are_there as has_filters,
};

/// Gives up all capabilities but `keep` in this thread, and system calls in all threads.
/// `is_reading`: this thread and those that it starts open no further file for writing.
/// `listeners`: the sockets at which it accepts connections.
///
/// Returns what could not be given up.
pub(crate) fn process(keep: &Set, is_reading: bool, listeners: &[RawFd]) -> Vec<String> {
    let mut failures = Vec::new();
    let mut tried = |what: &str, result: Result<(), String>| {
        if let Err(why) = &result {
            failures.push(format!("{what}: {why}"));
        }
        result.is_ok()
    };
    let no_new_privs = prctl::set_no_new_privs().map_err(|error| error.to_string());
    tried("failed to set no_new_privs", no_new_privs);
    tried(
        "failed to give up capabilities",
        capabilities::keep_only(keep),
    );
    let has_filter = tried(
        "failed to set a seccomp filter",
        filter::for_all_threads(listeners),
    );
    if is_reading && has_filter {
        let reading = filter::for_readers();
        tried("failed to set a seccomp filter for reading", reading);
    }
    let most = &(keep | &to_read()) | &of_other_users();
    tried(
        "a thread has more privileges than it should",
        require_in_all_threads(&most, has_filter),
    );
    failures
}

/// Gives up, in a thread that reads the node, what such a thread needs never.
pub(crate) fn reader() {
    // [`process`] notices a failure.
    let _ = capabilities::keep_only(&to_read());
}

/// Gives up, in a thread that writes to an open file, all capabilities. `path`: a file that it will
/// rename and create again.
pub(crate) fn writer(path: Option<&Path>) {
    // [`process`] notices a failure.
    let _ = capabilities::keep_only(&path.map_or_else(Set::new, to_write));
}

/// What reading `/proc`, bundles and sockets needs.
pub(crate) fn to_read() -> Set {
    let held = held();
    let mut keep = Set::from([Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH]);
    // A runtime's socket belongs to root, so root needs no capability to connect to it.
    let reads = held.contains(&Capability::CAP_DAC_READ_SEARCH);
    if !Uid::effective().is_root() || !reads {
        keep.insert(Capability::CAP_DAC_OVERRIDE);
    }
    &keep & &held
}

/// What creating this file, and renaming it, needs beyond the rights of its owner.
pub(crate) fn to_write(path: &Path) -> Set {
    let own = Uid::effective().as_raw();
    let is_own = |metadata: io::Result<fs::Metadata>| match metadata {
        Ok(metadata) => metadata.uid() == own && !metadata.is_symlink(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
    let directory = fs::metadata(directory.unwrap_or(Path::new(".")));
    match is_own(directory) && is_own(fs::symlink_metadata(path)) {
        true => Set::new(),
        false => of_other_users(),
    }
}

/// What the files of other users need.
fn of_other_users() -> Set {
    Set::from([Capability::CAP_DAC_OVERRIDE, Capability::CAP_FOWNER])
}

/// Fails if a thread holds another capability than these, or none of the two other restrictions.
fn require_in_all_threads(most: &Set, has_filter: bool) -> Result<(), String> {
    let most: u64 = most.iter().map(|capability| capability.bitmask()).sum();
    let mut faults = BTreeSet::new();
    let threads = fs::read_dir("/proc/self/task").map_err(|error| error.to_string())?;
    for thread in threads.flatten() {
        // One that has ended meanwhile has nothing.
        let Ok(status) = fs::read_to_string(thread.path().join("status")) else {
            continue;
        };
        let value = |name: &str| {
            let mut lines = status.lines();
            let value = lines.find_map(|line| line.strip_prefix(name));
            value.unwrap_or_default().trim().to_owned()
        };
        let permitted = u64::from_str_radix(&value("CapPrm:"), 16).unwrap_or(u64::MAX);
        if permitted & !most != 0 {
            faults.insert(format!("{} holds {permitted:#x}", value("Name:")));
        }
        if value("NoNewPrivs:") != "1" {
            faults.insert(format!("{} has no no_new_privs", value("Name:")));
        }
        // SECCOMP_MODE_FILTER
        if has_filter && value("Seccomp:") != "2" {
            faults.insert(format!("{} has no seccomp filter", value("Name:")));
        }
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(faults.into_iter().collect::<Vec<_>>().join(", ")),
    }
}
