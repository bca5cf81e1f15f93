//! `docs/truth.md` names for each rule the tests that show what it gets right: the rules, the tests
//! and the faults on that page are those of the sources.

#![expect(
    clippy::disallowed_methods,
    reason = "the core reads no files; this test compares a page with the sources"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use pause_trace_core::rules;

/// Where the files that the page names are.
const ROOTS: [&str; 2] = ["src/rules", "../tests/tests"];

/// Where the faults are that break a reference pod, and the scenarios that break a real runtime's.
const REFERENCE: [&str; 2] = [
    "../pause-trace/src/reference/faults",
    "../pause-trace/src/reference/scenarios",
];
const CONFORMANCE: [&str; 1] = ["../pause-trace/src/conformance/scenarios"];

/// The cells of a row after the rule.
const COLUMNS: [&str; 4] = ["planted", "near miss", "found running", "records lost"];

fn path(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()))
}

/// The page's table: the rule's id and name, and its cells.
fn table() -> Vec<(String, String, Vec<String>)> {
    let page = read(&path("../docs/truth.md"));
    let rows = page.lines().filter(|line| line.starts_with("| PT"));
    rows.map(|row| {
        let row = row.trim_start_matches("| ").trim_end_matches(" |");
        let mut cells = row.split(" | ").map(|cell| cell.trim().to_owned());
        let rule = cells.next().expect("a row names its rule");
        let (id, name) = rule.split_once(' ').expect("an id and a name");
        (id.to_owned(), name.to_owned(), cells.collect())
    })
    .collect()
}

/// What a text has between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The tests that a text names: file and function.
fn tests(text: &str) -> impl Iterator<Item = (&str, &str)> {
    quoted(text).filter_map(|quoted| quoted.split_once("::"))
}

/// The source of a file that the page names.
fn source(file: &str) -> String {
    let found = ROOTS.map(|root| path(root).join(file));
    let mut found = found.iter().filter(|path| path.is_file());
    let path = found
        .next()
        .unwrap_or_else(|| panic!("docs/truth.md names {file}, which is in none of {ROOTS:?}"));
    assert!(found.next().is_none(), "{file} is in two of {ROOTS:?}");
    read(path)
}

/// Whether a source has a test of this name.
fn has_test(source: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| line.starts_with(&head));
    at.is_some_and(|at| {
        let attributes = lines[..at].iter().rev();
        let mut attributes = attributes.take_while(|line| line.starts_with("#["));
        attributes.any(|line| *line == "#[test]")
    })
}

/// The scenarios in these directories, each with the rules that must find it.
fn scenarios(directories: &[&str]) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for directory in directories {
        let files = fs::read_dir(path(directory)).expect("the sources can be read");
        for file in files.flatten() {
            let source = read(&file.path());
            for scenario in source.split("scenario: Scenario {").skip(1) {
                let Some((_, name)) = scenario.split_once("name: \"") else {
                    continue;
                };
                let (name, _) = name.split_once('"').expect("a name ends");
                let (_, finds) = scenario
                    .split_once("finds: &[")
                    .expect("rules that find it");
                let (finds, _) = finds.split_once(']').expect("a list ends");
                let finds = finds.split('"').skip(1).step_by(2);
                found.insert(name.to_owned(), finds.map(str::to_owned).collect());
            }
        }
    }
    found
}

#[test]
fn every_rule_has_a_row_without_an_empty_cell() {
    let rows = table();
    let named: Vec<_> = rows.iter().map(|row| (&*row.0, &*row.1)).collect();
    let rules: Vec<_> = rules::all().map(|rule| (rule.id, rule.name)).collect();
    assert_eq!(
        named, rules,
        "docs/truth.md needs a row for each rule, in the order of ids"
    );
    for (rule, _, cells) in &rows {
        assert_eq!(cells.len(), COLUMNS.len(), "{rule}: {cells:?}");
        for (cell, column) in cells.iter().zip(COLUMNS) {
            assert!(
                tests(cell).next().is_some(),
                "{rule} has no test under \"{column}\""
            );
        }
    }
}

#[test]
fn every_test_on_the_page_exists() {
    let page = read(&path("../docs/truth.md"));
    for (file, name) in tests(&page) {
        assert!(has_test(&source(file), name), "{file} has no test {name}");
    }
}

/// A test that breaks a pod of a real runtime names the rule, or plays a scenario that the rule
/// must find. A fault of the reference pod is one of the rule.
#[test]
fn what_is_planted_is_what_the_rule_finds() {
    let (reference, conformance) = (scenarios(&REFERENCE), scenarios(&CONFORMANCE));
    assert!(
        reference.len() > 60 && conformance.len() > 20,
        "scenarios are not read"
    );
    for (rule, _, cells) in table() {
        for part in cells[0].split("; ") {
            let faults: Vec<_> = quoted(part)
                .filter(|quoted| !quoted.contains("::"))
                .collect();
            let by_name = match part.strip_prefix("reference pod") {
                Some(_) => Some(&reference),
                None if part.contains("conformance.rs") && rule != "PT106" => Some(&conformance),
                None => None,
            };
            if let Some(known) = by_name {
                for fault in &faults {
                    let finds = known.get(*fault);
                    let finds = finds.unwrap_or_else(|| panic!("{rule}: there is no {fault}"));
                    assert!(
                        finds.contains(&rule),
                        "{fault} is found by {finds:?}, not {rule}"
                    );
                }
                assert!(!faults.is_empty(), "{rule}: \"{part}\" names no fault");
            } else {
                let names = |(file, _): (&str, &str)| source(file).contains(&format!("\"{rule}\""));
                assert!(tests(part).all(names), "\"{part}\" does not name {rule}");
            }
        }
        let only = cells[0].starts_with("reference pod only");
        assert_eq!(only, cells[0].contains("only ("), "{rule}: {}", cells[0]);
        assert!(
            !only || !cells[0].contains(';'),
            "{rule} has more than a reference pod"
        );
    }
}

/// A fault that can be injected and is not on the page would be forgotten.
#[test]
fn every_fault_of_the_reference_pod_is_on_the_page() {
    let rows = table();
    for (fault, finds) in scenarios(&REFERENCE[..1]) {
        let [rule] = &finds[..] else {
            panic!("{fault} is found by {finds:?}")
        };
        let row = rows
            .iter()
            .find(|row| row.0 == *rule)
            .expect("every rule has a row");
        let is_named = quoted(&row.2[0]).any(|name| name == fault);
        assert!(
            is_named,
            "docs/truth.md does not name {fault} beside {rule}"
        );
    }
}
