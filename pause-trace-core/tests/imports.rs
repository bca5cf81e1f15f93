//! Imports point one way: a module imports only what lies further towards the events. That the core
//! imports nothing of the program is the compiler's to check.

#![expect(
    clippy::disallowed_methods,
    reason = "the core reads no files; this test reads its sources"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Modules of the core from the outermost in; those of one line may import each other.
const CORE: [&[&str]; 13] = [
    &["scenario"],
    &["pipeline"],
    &["policy"],
    &["record", "measure"],
    &["report", "news", "timeline"],
    &["why"],
    &["observer"],
    &["rules"],
    &["verdict"],
    &["text", "stop_outlook"],
    &["state"],
    &["event"],
    &["signal", "errno", "runtimes"],
];

/// Modules of the program, the same way.
const PROGRAM: [&[&str]; 7] = [
    &["cli"],
    &["conformance"],
    &["reference"],
    &["session", "playing"],
    &["pods"],
    &["live"],
    &[
        "confine", "history", "metrics", "node", "probe", "record", "service", "sink", "sys",
        "terminal",
    ],
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)
        .expect("the sources can be read")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The top module that a file below `root` belongs to.
fn module(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).expect("a source of the crate");
    let first = below
        .components()
        .next()
        .expect("a file name")
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The code of a file, without its tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("the source can be read");
    let text = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default()
        .to_owned();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The top modules that a file names: `crate::x`, and `use crate::{ x::…, y }`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in code.split("crate::").skip(1) {
        if let Some(group) = part.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for character in group.chars() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut name)),
                    _ if depth == 0 && !character.is_whitespace() => name.push(character),
                    _ => {}
                }
            }
            found.push(name);
        } else {
            found.push(part.to_owned());
        }
    }
    found
        .into_iter()
        .map(|path| {
            path.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect::<String>()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

/// Imports of a crate's sources that point outwards.
fn turned(sources_of: &str, layers: &[&[&str]]) -> Vec<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(sources_of);
    let layer = |module: &str| layers.iter().position(|layer| layer.contains(&module));
    let mut turned = Vec::new();
    for path in sources(&root) {
        let own = module(&root, &path);
        if own == "main" || own == "lib" {
            continue;
        }
        let own = layer(&own).unwrap_or_else(|| panic!("{} is in no layer", path.display()));
        for import in imports(&code(&path)) {
            if let Some(target) = layer(&import)
                && target < own
            {
                turned.push(format!("{} imports {import}", path.display()));
            }
        }
    }
    turned
}

#[test]
fn arrows_of_the_core_point_towards_the_events() {
    let turned = turned("src", &CORE);
    assert!(turned.is_empty(), "{turned:#?}");
}

#[test]
fn arrows_of_the_program_point_towards_the_core() {
    let turned = turned("../pause-trace/src", &PROGRAM);
    assert!(turned.is_empty(), "{turned:#?}");
}

#[test]
fn imports_are_read_rightly() {
    let code = "use crate::{\n    event::{A, B},\n    state::C,\n};\nlet x = crate::probe::now();";
    assert_eq!(imports(code), ["event", "state", "probe"]);
}

/// A step of the wall clock must change nothing but the times that a report shows, and those must
/// stay in order. So the time of day is read once, at the start of a command, as the offset between
/// two clocks (`report::Clock`); what waits or decides uses clocks that are never set.
#[test]
fn the_time_of_day_is_read_in_one_place() {
    const WALL_CLOCKS: [&str; 5] = [
        "CLOCK_REALTIME",
        "SystemTime",
        "Timestamp::now",
        "UNIX_EPOCH",
        "Zoned::now",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let crates = ["pause-trace", "pause-trace-cri", "pause-trace-core"];
    let mut found: Vec<_> = crates
        .iter()
        .flat_map(|name| sources(&root.join(name).join("src")))
        .filter(|path| {
            let text = fs::read_to_string(path).expect("it can be read");
            let mut code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            code.any(|line| WALL_CLOCKS.iter().any(|clock| line.contains(clock)))
        })
        .collect();
    found.sort();
    assert_eq!(found, [root.join("pause-trace/src/cli/summary.rs")]);
}
