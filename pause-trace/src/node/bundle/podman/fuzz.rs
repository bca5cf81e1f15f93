//! Fuzzes the readers of Podman's databases, which a user may have written.

use std::fs::File;

use nix::sys::memfd::{MFdFlags, memfd_create};
use pause_trace_fuzz::Target;

use super::*;

/// A file with this content.
fn file(content: &[u8]) -> File {
    let file = File::from(memfd_create(c"database", MFdFlags::MFD_CLOEXEC).expect("memory"));
    file.write_all_at(content, 0).expect("memory");
    file
}

/// What holds for every input: the work is bounded, which the time limit of an input shows.
fn judge(input: &[u8]) -> (u32, String) {
    let ids = [tests::id('1'), tests::id('2')];
    let mut shape = 0;
    for find in [sqlite::find as Find, bolt::find] {
        for id in &ids {
            let pages = Pages::new(file(input));
            let config = find(&pages, id);
            assert!(
                config
                    .as_ref()
                    .is_none_or(|config| config.len() <= MAX_CONFIG)
            );
            let read = MAX_WORK - pages.left.get();
            shape = shape << 8 | read.checked_ilog2().unwrap_or_default() << 1;
            shape |= u32::from(config.is_some());
        }
    }
    (shape, String::new())
}

#[test]
fn databases() {
    let config = format!(r#"{{"id":"{}","stopTimeout":10}}"#, tests::id('1'));
    let long = format!(r#"{{"spec":"{}","stopTimeout":7}}"#, "x".repeat(9_000));
    let bolt = bolt::testing::database(&[(&tests::id('1'), &config), (&tests::id('2'), &long)]);
    Target::new("databases")
        .files_of("pause-trace/src/node/fixtures/podman")
        .seeds([bolt])
        .dictionary(&[
            "SQLite format 3\0",
            "ContainerConfig",
            "ctr",
            "config",
            "\0\0\0\x01",
        ])
        .longest(64 << 10)
        .memory(16 << 20, 64)
        .inputs(2_000)
        .run(judge);
}
