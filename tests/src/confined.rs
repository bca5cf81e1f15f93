//! What a `pause-trace` that observes has kept of its privileges, read from `/proc`.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use nix::sys::utsname::uname;

use crate::process::{entries, status};

const DEADLINE: Duration = Duration::from_secs(120);

/// Capabilities by their number in include/uapi/linux/capability.h.
const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_PTRACE: u64 = 1 << 19;
const BPF: u64 = 1 << 39;

/// What docs/security.md says that root keeps.
fn documented() -> u64 {
    let uname = uname().expect("it cannot fail");
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|text| text.parse::<u32>().ok());
    let version = (number(), number());
    let refuses = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    let refuses = refuses.is_ok_and(|value| value.trim() != "0");
    let bpf = match version < (Some(5), Some(19)) && refuses {
        true => BPF,
        false => 0,
    };
    DAC_READ_SEARCH | SYS_PTRACE | bpf
}

/// Whether a command opens files for writing once it observes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// It does not, so its first thread and its readers have a second filter.
    Read,
    /// It creates a file at its end.
    Written,
}

/// Waits until a process has given up what it does not need, and asserts that each of its threads
/// has.
///
/// # Panics
/// When one has not.
#[track_caller]
pub fn assert_confined(pid: u32, files: Files) {
    let until = Instant::now() + DEADLINE;
    // The filter comes last, and nothing reports that it is there.
    // Counted since Linux 5.11. A container of this test may have filters of its own.
    let filters = |pid| {
        status(pid, "Seccomp_filters")
            .parse::<u32>()
            .expect("a number")
    };
    let expected = filters(std::process::id())
        + match files {
            Files::Read => 2,
            Files::Written => 1,
        };
    while filters(pid) != expected {
        assert!(Instant::now() < until, "{pid} has not given up anything");
        thread::sleep(Duration::from_millis(10));
    }
    for thread in entries(pid, "task") {
        let path = format!("/proc/{pid}/task/{thread}/status");
        // A reader that has nothing to read ends.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let value = |name: &str| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(name));
            value.unwrap_or_default().trim()
        };
        let keeps = match value("Name:") {
            // They write to files that are open.
            "output" | "recorder" => 0,
            // It answers, and removes its socket in a directory of its own.
            "history" => 0,
            _ => documented(),
        };
        let keeps = format!("{keeps:016x}");
        for (set, expected) in [
            ("CapEff:", &*keeps),
            ("CapPrm:", &keeps),
            ("CapBnd:", &keeps),
            ("CapInh:", "0000000000000000"),
            ("CapAmb:", "0000000000000000"),
            ("NoNewPrivs:", "1"),
            ("Seccomp:", "2"),
        ] {
            assert_eq!(value(set), expected, "{set} in {path}:\n{text}");
        }
    }
}
