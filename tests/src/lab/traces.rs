//! Detects leftovers of a node on the machine by its name, even while other tests use other nodes.

use std::{collections::BTreeSet, env, fs, path::Path};

use super::cgroup::Cgroup;

/// The bridge of a node's pods. It is in the node's network namespace and must never be on the
/// machine.
pub(super) const BRIDGE: &str = "pause-trace0";

/// Everything of the node of this name that is on the machine: processes, cgroups, mounts, bridges
/// and files.
///
/// # Panics
/// When `/proc` can't be read.
#[must_use]
pub fn traces(name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").expect("/proc can be read").flatten() {
        // These files are missing if the entry is not a process, or if the process has ended.
        let read = |file| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        // A zombie is ignored: pid 1 reaps it later.
        let has_ended = read("status").contains("\nState:\tZ");
        if read("cgroup").contains(name) && !has_ended {
            found.insert(format!(
                "{} {}",
                entry.path().display(),
                read("comm").trim()
            ));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo can be read");
    let mounts = mounts.lines().filter(|line| line.contains(name));
    found.extend(mounts.map(str::to_owned));

    let mut places = Cgroup::named(name).directories().to_vec();
    places.push(env::temp_dir().join(name));
    places.push(Path::new("/sys/class/net").join(BRIDGE));
    let places = places.iter().filter(|place| place.exists());
    found.extend(places.map(|place| place.display().to_string()));
    found
}
