//! Comments have the width that rustfmt gives code.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The same as `max_width` in `rustfmt.toml`.
const MAX_WIDTH: usize = 100;

/// The Rust sources below a directory. `target` and hidden directories hold none of ours.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory)
        .expect("the workspace can be read")
        .flatten()
    {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// The numbers of the lines in which a comment is too wide.
///
/// A line may be wider if breaking it would change it: a code block, a table, a heading, the
/// definition of a link, a prototype for `match-proto`, and a single word such as an address.
fn too_wide(source: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut is_code = false;
    for (number, line) in source.lines().enumerate() {
        let line = line.trim_end();
        let Some(text) = line.trim_start().strip_prefix("//") else {
            is_code = false;
            continue;
        };
        let text = text.trim_start_matches(['/', '!']).trim_start();
        if text.starts_with("```") {
            is_code = !is_code;
            continue;
        }
        let is_link = text.starts_with('[') && text.contains("]: ");
        let is_whole = text.starts_with(['|', '#']) || text.starts_with("match-proto:") || is_link;
        if line.chars().count() > MAX_WIDTH && !is_code && !is_whole && text.contains(' ') {
            found.push(number + 1);
        }
    }
    found
}

#[test]
fn comments_are_at_most_as_wide_as_code() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    sources(&workspace, &mut files);
    assert!(files.len() > 100, "found only {} sources", files.len());
    let mut lines = Vec::new();
    for file in files {
        let source = fs::read_to_string(&file).expect("a source can be read");
        let name = file.strip_prefix(&workspace).unwrap_or(&file).display();
        lines.extend(
            too_wide(&source)
                .iter()
                .map(|line| format!("{name}:{line}")),
        );
    }
    assert!(
        lines.is_empty(),
        "comments wider than {MAX_WIDTH} columns:\n{}",
        lines.join("\n")
    );
}

#[test]
fn only_text_that_can_be_broken_counts() {
    let words = "word ".repeat(25);
    let address = format!("https://example.org/{}", "x".repeat(100));
    let wide = |prefix: &str| too_wide(&format!("{prefix}{words}\n"));
    for prefix in ["// ", "    /// ", "//! - "] {
        assert_eq!(wide(prefix), [1], "{prefix}");
    }
    for prefix in ["let x = 1; ", "// match-proto: ", "/// | a | ", "/// # "] {
        assert!(wide(prefix).is_empty(), "{prefix}");
    }
    assert!(too_wide(&format!("/// ```\n/// {words}\n/// ```\n")).is_empty());
    assert!(too_wide(&format!("/// {address}\n/// [a b]: {address}\n")).is_empty());
}
