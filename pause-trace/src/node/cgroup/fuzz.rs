//! Fuzzes the parser of mountinfo and of this process' cgroups.

use pause_trace_fuzz::Target;

use super::*;

/// A line break, which none of the two files has in front of the other, divides an input: mountinfo
/// first.
const BETWEEN: &str = "\n\n";

/// What holds for every input.
fn judge(input: &[u8]) -> Vec<(bool, usize, bool)> {
    let text = String::from_utf8_lossy(input);
    let (mountinfo, memberships) = text.split_once(BETWEEN).unwrap_or((&text, ""));
    let found = parse(mountinfo, memberships);
    assert!(found.len() <= memberships.lines().count());
    for hierarchy in &found {
        let lines = memberships.lines();
        let mut ids = lines.filter_map(|line| line.split(':').next()?.parse().ok());
        assert!(ids.any(|id: u32| id == hierarchy.id), "{hierarchy:?}");
        // A path leads to a directory below the mount, and from there back to itself.
        for path in [
            &*hierarchy.own,
            &hierarchy.root,
            "/kubepods/podx",
            &format!("{}x/y", hierarchy.root),
        ] {
            let Some(directory) = hierarchy.directory(path) else {
                continue;
            };
            assert!(
                directory.starts_with(&hierarchy.mount),
                "{path} is {}",
                directory.display()
            );
            let back = hierarchy.path(&directory).expect("it is below the mount");
            let plain = |path: &str| {
                path.split('/')
                    .filter(|part| !matches!(*part, "" | "."))
                    .collect::<Vec<_>>()
                    .join("/")
            };
            assert_eq!(plain(&back), plain(path), "{hierarchy:?}");
        }
    }
    let shape = |found: &Hierarchy| {
        (
            found.is_unified(),
            found.controllers.len().min(3),
            found.directory(&found.own).is_some(),
        )
    };
    let layout = Layout::choose(&found, |found| Some(found.mount.clone()), false);
    assert_eq!(layout.is_some(), found.iter().any(is_usable), "{found:?}");
    found.iter().take(4).map(shape).collect()
}

/// Whether a hierarchy identifies containers.
fn is_usable(hierarchy: &Hierarchy) -> bool {
    let known = ["pids", "memory", "cpu", "freezer"];
    hierarchy.is_unified()
        || hierarchy
            .controllers
            .iter()
            .any(|name| known.contains(&&**name))
}

#[test]
fn mountinfo() {
    Target::new("mountinfo")
        .dictionary(&[
            " - cgroup2 cgroup rw",
            " - cgroup cgroup rw,pids",
            "0::/",
            "4:pids:/",
            BETWEEN,
            "\\040",
            "\\134",
            "\\",
            ":",
            ",",
            " ",
            "/docker/ab",
            "/sys/fs/cgroup",
            "name=systemd",
            "..",
        ])
        .memory(64 << 10, 256)
        .inputs(6_000)
        .run(judge);
}
