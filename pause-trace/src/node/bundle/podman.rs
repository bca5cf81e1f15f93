//! What Podman keeps of a container beside its bundle: how long it waits in a stop. Neither the
//! bundle nor conmon's arguments have it, only Podman's database: up to version 4 `bolt_state.db`,
//! a Bolt file, later `db.sql`, an SQLite file.
//!
//! Podman may write a database while it is read. What is read then is either the state before or
//! after, or it does not fit together and is not believed: each reader checks every offset, and
//! what it finds must have the id of the container. The database of a rootless Podman belongs to
//! its user, who may write anything into it, so the work of one lookup is bounded ([`MAX_WORK`]).

mod bolt;
#[cfg(test)]
mod fuzz;
mod sqlite;

use std::{cell::Cell, fs::File, os::unix::fs::FileExt as _, path::Path};

use serde::Deserialize;

use super::{Bundle, Location, Manager, open};
use crate::event::Ktime;

/// The largest database that is read from, in bytes. What is read of it is bounded in itself.
const MAX_DATABASE: u64 = 4 << 30;

/// The longest configuration of a container, in bytes. It has the container's specification.
const MAX_CONFIG: usize = 4 << 20;

/// The deepest tree of pages.
const MAX_DEPTH: usize = 32;

/// The most bytes that one lookup reads and copies: some thousand containers.
const MAX_WORK: usize = 32 << 20;

/// What looking at one element of a page counts as, in bytes.
const ELEMENT_WORK: usize = 64;

/// A container in the database (`ContainerConfig`, libpod/container_config.go). Other fields are
/// skipped.
#[derive(Deserialize)]
struct Config {
    id: String,
    /// In seconds. 0 is left out.
    #[serde(rename = "stopTimeout", default)]
    stop_timeout: u64,
}

/// Adds what the database says to a bundle of Podman.
pub(super) fn complete(bundle: &mut Bundle, location: &Location) {
    // `GRAPHROOT/overlay-containers/ID/userdata`
    let directory = &bundle.directory;
    let mut above = directory.ancestors().skip(1).filter_map(Path::file_name);
    let id = above.next().and_then(|id| id.to_str());
    let Some(id) = id.filter(|_| bundle.manager == Manager::Conmon) else {
        return;
    };
    let Some(root) = location.reach.ancestors().nth(3) else {
        return;
    };
    bundle.stop_timeout = stop_timeout(root, id);
}

fn stop_timeout(root: &Path, id: &str) -> Option<Ktime> {
    let databases: [(&str, Find); 2] = [
        ("db.sql", sqlite::find),
        ("libpod/bolt_state.db", bolt::find),
    ];
    databases.into_iter().find_map(|(name, find)| {
        let path = root.join(name);
        let file = open(&path, &path, MAX_DATABASE).ok()?;
        let config = find(&Pages::new(file), id)?;
        let config: Config = serde_json::from_slice(&config).ok()?;
        let seconds = Some(config.stop_timeout).filter(|_| config.id == id)?;
        seconds.checked_mul(1_000_000_000)
    })
}

/// Finds the configuration of a container, as JSON.
type Find = fn(&Pages, &str) -> Option<Vec<u8>>;

/// A file that is read in pieces.
struct Pages {
    file: File,
    /// The work that is left, in bytes.
    left: Cell<usize>,
}

impl Pages {
    fn new(file: File) -> Self {
        let left = Cell::new(MAX_WORK);
        Self { file, left }
    }

    /// Counts work; `None` if it is too much.
    fn work(&self, bytes: usize) -> Option<()> {
        self.left.set(self.left.get().checked_sub(bytes)?);
        Some(())
    }

    fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        self.work(length)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }
}

/// A number at an offset.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    const S: u64 = 1_000_000_000;

    /// A directory that is removed on drop.
    struct Root(PathBuf);

    impl Root {
        fn with(name: &str, file: &str, database: &[u8]) -> Self {
            let own = std::process::id();
            let root = Self(std::env::temp_dir().join(format!("pause-trace-podman-{name}-{own}")));
            let path = root.0.join(file);
            let parent = path.parent().expect("it has one");
            fs::create_dir_all(parent).expect("the directory for temporary files is writable");
            fs::write(path, database).expect("it is writable");
            root
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    pub(super) fn id(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    #[test]
    fn the_stop_timeout_is_in_the_database_of_podman_5() {
        let database = include_bytes!("../fixtures/podman/db.sql");
        let root = Root::with("sql", "db.sql", database);
        assert_eq!(stop_timeout(&root.0, &id('1')), Some(10 * S));
        // It is longer than a page.
        assert_eq!(stop_timeout(&root.0, &id('2')), Some(4_242 * S));
        assert_eq!(stop_timeout(&root.0, &id('3')), Some(0));
        assert_eq!(stop_timeout(&root.0, &id('4')), None);
        assert_eq!(stop_timeout(&root.0, "1"), None);
    }

    #[test]
    fn the_stop_timeout_is_in_the_database_of_podman_4() {
        let config = format!(r#"{{"id":"{}","stopTimeout":4242}}"#, id('1'));
        let long = format!(
            r#"{{"spec":"{}","id":"{}","stopTimeout":7}}"#,
            "x".repeat(9_000),
            id('2')
        );
        let foreign = format!(r#"{{"id":"{}","stopTimeout":5}}"#, id('1'));
        let database = bolt::testing::database(&[
            (&id('1'), &config),
            (&id('2'), &long),
            (&id('3'), &foreign),
        ]);
        let root = Root::with("bolt", "libpod/bolt_state.db", &database);
        assert_eq!(stop_timeout(&root.0, &id('1')), Some(4_242 * S));
        assert_eq!(stop_timeout(&root.0, &id('2')), Some(7 * S));
        assert_eq!(stop_timeout(&root.0, &id('3')), None, "another's id");
        assert_eq!(stop_timeout(&root.0, &id('4')), None);
    }

    /// A database that is being written, cut or damaged.
    #[test]
    fn a_damaged_database_says_nothing_and_is_bounded() {
        let sql = include_bytes!("../fixtures/podman/db.sql").to_vec();
        let config = format!(r#"{{"id":"{}","stopTimeout":10}}"#, id('1'));
        let bolt = bolt::testing::database(&[(&id('1'), &config)]);
        for (name, file, database) in [
            ("bad-sql", "db.sql", sql),
            ("bad-bolt", "libpod/bolt_state.db", bolt),
        ] {
            let root = Root::with(name, file, &database);
            let path = root.0.join(file);
            for at in (0..database.len()).step_by(7) {
                let mut bad = database.clone();
                bad[at] ^= 0xff;
                fs::write(&path, &bad).expect("it is writable");
                let said = stop_timeout(&root.0, &id('1'));
                assert!(said.is_none_or(|said| said < 100 * S), "{at}: {said:?}");
            }
            for length in (0..database.len()).step_by(61) {
                fs::write(&path, &database[..length]).expect("it is writable");
                let _ = stop_timeout(&root.0, &id('1'));
            }
        }
    }
}
