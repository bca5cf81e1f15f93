//! `docs/events.md` describes every kind of record, every fact and every hook.

#![expect(
    clippy::disallowed_methods,
    reason = "the core reads no files; this test compares a page with the sources"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use pause_trace_core::event::Kind;

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()))
}

fn page() -> String {
    read("../docs/events.md")
}

/// `SignalGenerate` as `signal_generate`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(character.to_lowercase());
    }
    snake
}

#[test]
fn every_kind_of_record_has_a_section() {
    let page = page();
    let sections: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
        .map(ToOwned::to_owned)
        .collect();
    let kinds: BTreeSet<String> = Kind::ALL
        .iter()
        .map(|kind| snake_case(&format!("{kind:?}")))
        .collect();
    assert_eq!(
        sections, kinds,
        "docs/events.md needs one section for each `Kind`"
    );
}

#[test]
fn every_record_is_named() {
    let source = read("../pause-trace-common/src/lib.rs");
    let (_, table) = source
        .split_once("\nrecords! {\n")
        .expect("the table of records");
    let (table, _) = table.split_once("\n}").expect("the table ends");
    let records: Vec<&str> = table
        .lines()
        .filter_map(|line| Some(line.split_once(" => ")?.0.trim()))
        .collect();
    assert!(records.len() > 10, "{records:?}");
    let page = page();
    for record in records {
        assert!(
            page.contains(&format!("Record `{record}`")),
            "docs/events.md does not name the record `{record}`"
        );
    }
}

#[test]
fn every_fact_is_named() {
    let source = read("src/event.rs");
    let (_, facts) = source
        .split_once("\npub enum Fact {\n")
        .expect("the enumeration of facts");
    let (facts, _) = facts.split_once("\n}").expect("the enumeration ends");
    let facts: Vec<&str> = facts
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()))
        .map(|line| {
            line.split_once(|other: char| !other.is_ascii_alphanumeric())
                .map_or(line, |(name, _)| name)
        })
        .collect();
    assert!(facts.len() > 20, "{facts:?}");
    let page = page();
    for fact in facts {
        assert!(
            page.contains(&format!("`{fact}`")),
            "docs/events.md does not name the fact `{fact}`"
        );
    }
}

#[test]
fn every_tracepoint_is_named() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pause-trace-ebpf/src/probes");
    let files: Vec<PathBuf> = fs::read_dir(directory)
        .expect("the hooks")
        .map(|entry| entry.expect("a file").path())
        .collect();
    let sources: String = files.iter().map(read).collect();
    let tracepoints: BTreeSet<&str> = sources
        .split("#[btf_tracepoint(function = \"")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('"')?.0))
        .collect();
    assert!(tracepoints.len() >= 10, "{tracepoints:?}");
    let page = page();
    for tracepoint in tracepoints {
        assert!(
            page.contains(&format!("Hook: `{tracepoint}`")),
            "docs/events.md does not name the hook `{tracepoint}`"
        );
    }
}
