//! Detects what a run of pause-trace leaves on the machine.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Everything of pause-trace that is on the machine, for tests that run alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Processes of pause-trace and of its pauses.
    pub processes: BTreeSet<String>,
    /// Cgroups in any hierarchy.
    pub cgroups: BTreeSet<String>,
    /// eBPF programs, by id.
    pub programs: BTreeSet<u32>,
    /// Mounts of this namespace.
    pub mounts: BTreeSet<String>,
}

impl Traces {
    /// The current state.
    ///
    /// # Panics
    /// When `/proc` or `/sys` can't be read.
    #[must_use]
    pub fn now() -> Self {
        Self {
            processes: processes(),
            cgroups: cgroups(),
            programs: programs(),
            mounts: mounts(),
        }
    }

    /// Waits until nothing is left that was not there before. The kernel frees eBPF programs and
    /// namespaces a moment after their last user ends.
    ///
    /// # Panics
    /// When something is left after a minute.
    #[track_caller]
    pub fn assert_restored(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let now = Self::now();
            if now.is_within(self) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "left behind: {now:#?}, before: {self:#?}"
            );
            std::thread::yield_now();
        }
    }
}

impl Traces {
    /// Whether nothing is new. What was there before may be gone.
    fn is_within(&self, before: &Self) -> bool {
        self.processes.is_subset(&before.processes)
            && self.cgroups.is_subset(&before.cgroups)
            && self.programs.is_subset(&before.programs)
            && self.mounts.is_subset(&before.mounts)
    }
}

fn processes() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").expect("/proc can be read").flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let name = command.split(|byte| *byte == 0).next().unwrap_or_default();
        if name.ends_with(b"pause-trace") || name == b"/pause" {
            found.insert(format!(
                "{pid} {}",
                String::from_utf8_lossy(&command).replace('\0', " ")
            ));
        }
    }
    found
}

fn cgroups() -> BTreeSet<String> {
    fn walk(directory: &Path, depth: u32, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with("pause-trace-")
            {
                found.insert(entry.path().display().to_string());
            } else if depth > 0 {
                walk(&entry.path(), depth - 1, found);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(Path::new("/sys/fs/cgroup"), 3, &mut found);
    found
}

fn programs() -> BTreeSet<u32> {
    aya::programs::loaded_programs()
        .flatten()
        .map(|program| program.id())
        .collect()
}

fn mounts() -> BTreeSet<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo can be read");
    mounts.lines().map(str::to_owned).collect()
}
