//! What a cgroup allows, and what it has counted (Documentation/admin-guide/cgroup-v2.rst and
//! cgroup-v1/).

use std::{fs, path::Path};

use super::{Hierarchies, Hierarchy};
use crate::{event::Text, why::Limits};

/// A larger limit of memory is none: version 1 shows the largest multiple of a page.
const UNLIMITED: u64 = 1 << 62;

impl Hierarchies {
    /// Reads the limits and counters of a cgroup in every hierarchy that has them.
    pub(crate) fn limits(&self, path: &Text) -> Limits {
        let mut limits = Limits::default();
        let Ok(path) = str::from_utf8(&path.0) else {
            return limits;
        };
        for hierarchy in &self.0 {
            if let Some(directory) = hierarchy.directory(path) {
                read(hierarchy, &directory, &mut limits);
            }
        }
        limits
    }
}

fn read(hierarchy: &Hierarchy, directory: &Path, limits: &mut Limits) {
    let text = |file: &str| fs::read_to_string(directory.join(file)).ok();
    let number = |file: &str| text(file)?.trim().parse::<u64>().ok();
    let field = |file: &str, name: &str| field(&text(file)?, name);
    let names = match hierarchy.is_unified() {
        true => ["memory.max", "memory.current", "memory.events"],
        false => [
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "memory.oom_control",
        ],
    };
    let [limit, used, events] = names;
    let allowed = number(limit).filter(|bytes| *bytes < UNLIMITED);
    limits.memory = limits.memory.or(allowed);
    limits.memory_used = limits.memory_used.or(number(used));
    limits.oom_kills += field(events, "oom_kill").unwrap_or(0);
    limits.is_frozen |= match hierarchy.is_unified() {
        true => field("cgroup.events", "frozen") == Some(1),
        false => text("freezer.state").is_some_and(|state| state.trim() == "FROZEN"),
    };
    limits.cpu_periods += field("cpu.stat", "nr_periods").unwrap_or(0);
    limits.cpu_throttled += field("cpu.stat", "nr_throttled").unwrap_or(0);
    limits.pids = limits.pids.or(number("pids.max"));
    limits.pids_refused += field("pids.events", "max").unwrap_or(0);
}

/// The number in the line `name number`.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(id: u32, files: &[(&str, &str)]) -> Limits {
        let directory =
            std::env::temp_dir().join(format!("pause-trace-limits-{}-{id}", std::process::id()));
        fs::create_dir_all(&directory).expect("the directory for temporary files is writable");
        for (name, text) in files {
            fs::write(directory.join(name), text).expect("it is ours");
        }
        let hierarchy = Hierarchy {
            id,
            mount: directory.clone(),
            root: "/".to_owned(),
            controllers: Vec::new(),
            own: "/".to_owned(),
        };
        let limits = Hierarchies(vec![hierarchy]).limits(&Text::new("/"));
        fs::remove_dir_all(directory).expect("it is ours");
        limits
    }

    #[test]
    fn both_versions_say_the_same() {
        let common = [
            (
                "cpu.stat",
                "nr_periods 100\nnr_throttled 95\nthrottled_usec 7\n",
            ),
            ("pids.max", "100\n"),
            ("pids.events", "max 5\n"),
        ];
        let unified = [
            ("memory.max", "67108864\n"),
            ("memory.current", "4096\n"),
            (
                "memory.events",
                "low 0\noom 9\noom_kill 2\noom_group_kill 1\n",
            ),
            ("cgroup.events", "populated 1\nfrozen 1\n"),
        ];
        let separate = [
            ("memory.limit_in_bytes", "67108864\n"),
            ("memory.usage_in_bytes", "4096\n"),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            ),
            ("freezer.state", "FROZEN\n"),
        ];
        let expected = Limits {
            memory: Some(64 << 20),
            memory_used: Some(4096),
            oom_kills: 2,
            is_frozen: true,
            cpu_periods: 100,
            cpu_throttled: 95,
            pids: Some(100),
            pids_refused: 5,
        };
        assert_eq!(read_from(0, &[&common[..], &unified].concat()), expected);
        assert_eq!(read_from(4, &[&common[..], &separate].concat()), expected);
    }

    #[test]
    fn no_limit_is_none() {
        let unified = read_from(0, &[("memory.max", "max\n"), ("pids.max", "max\n")]);
        assert_eq!(unified, Limits::default());
        let separate = read_from(5, &[("memory.limit_in_bytes", "9223372036854771712\n")]);
        assert_eq!(separate, Limits::default());
    }
}
