//! The table of kernels and what was checked on them, on a terminal and in `docs/kernels.md`.
//!
//! The prose of the document is in the document. Only the tables between its markers are written
//! here.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context, Result};

use crate::judge::Cell;

/// A kernel and its results.
#[derive(Debug)]
struct Row {
    kernel: String,
    package: String,
    /// By column.
    cells: Vec<(String, Cell)>,
}

/// The results of all kernels, in the order of the calls of `begin`.
#[derive(Debug, Default)]
pub struct Matrix {
    rows: Vec<Row>,
}

/// The offsets that the document shows: of fields that a reader may know.
const OFFSETS: [&str; 6] = [
    "task_struct.pid",
    "task_struct.start_boottime",
    "task_struct.nsproxy",
    "task_struct.cgroups",
    "net.ns.inum",
    "pid_namespace.ns.inum",
];

impl Matrix {
    /// Adds a row for a kernel.
    pub(crate) fn begin(&mut self, kernel: &str, package: String) {
        self.rows.push(Row {
            kernel: kernel.into(),
            package,
            cells: Vec::new(),
        });
    }

    pub(crate) fn add(&mut self, row: usize, column: &str, cell: Cell) {
        let Some(row) = self.rows.get_mut(row) else {
            return;
        };
        match row.cells.iter_mut().find(|(name, _)| name == column) {
            Some((_, there)) => there.add(cell),
            None => row.cells.push((column.to_owned(), cell)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.iter().all(|row| row.cells.is_empty())
    }

    /// Whether everything passed, and there was something to pass.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let mut cells = self.rows.iter().flat_map(|row| &row.cells);
        !self.is_empty() && cells.all(|(_, cell)| cell.is_good())
    }

    /// The table, and below it the most instructions that the verifier processed and what did not
    /// pass.
    #[must_use]
    pub fn text(&self) -> String {
        let columns = self.columns();
        let width = |name: &str| name.chars().count().max(9) + 2;
        let line = |title: &str, cells: Vec<String>| {
            let cells: String = columns
                .iter()
                .zip(cells)
                .map(|(column, cell)| format!("{cell:<width$}", width = width(column)))
                .collect();
            format!("{title:<28}{}\n", cells.trim_end())
        };
        let names = columns.iter().map(|column| (*column).to_owned());
        let mut text = line("kernel", names.collect());
        for row in &self.rows {
            let cells = columns
                .iter()
                .map(|column| row.cell(column).map_or("-".into(), short));
            text += &line(row.title(), cells.collect());
        }
        for row in &self.rows {
            if let Some((program, most)) = row.largest() {
                let title = row.title();
                let _ = writeln!(
                    text,
                    "{title:<28}at most {most} instructions to verify ({program})"
                );
            }
        }
        for (row, column, trouble) in self.troubles() {
            let _ = writeln!(text, "{} {column}: {trouble}", row.kernel);
        }
        text
    }

    /// `document` with new tables between its markers. `command` is the task that was run, if it
    /// left something out.
    ///
    /// # Errors
    /// When the document lacks a marker.
    pub fn document(&self, document: &str, command: Option<&str>) -> Result<String> {
        let document = replace(document, "matrix", &self.markdown(command))?;
        let document = replace(&document, "verifier", &self.numbers("verifier", |_| true))?;
        let offsets = self.numbers("BTF", |name| OFFSETS.contains(&name));
        replace(&document, "offsets", &offsets)
    }

    /// The table of the document, and below it what did not pass.
    fn markdown(&self, command: Option<&str>) -> String {
        let columns = self.columns();
        let mut text = String::new();
        if let Some(command) = command {
            let _ = writeln!(
                text,
                "This table is incomplete: it shows what `cargo xtask {command}` ran.\n"
            );
        }
        let _ = writeln!(text, "| kernel | package | {} |", columns.join(" | "));
        let _ = writeln!(text, "|---|---|{}", "---|".repeat(columns.len()));
        for row in &self.rows {
            let cells: Vec<_> = columns
                .iter()
                .map(|column| row.cell(column).map_or("–".into(), short))
                .collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                row.title(),
                row.package,
                cells.join(" | ")
            );
        }
        let mut troubles = self.troubles().peekable();
        if troubles.peek().is_some() {
            text += "\nWhat did not pass:\n\n";
        }
        for (row, column, trouble) in troubles {
            let first = trouble.lines().next().unwrap_or_default();
            let _ = writeln!(
                text,
                "- {}, {column}: `{}`",
                row.title(),
                first.replace('`', "'")
            );
        }
        text
    }

    /// A table of what `doctor` measured in one of its checks: one line for each number, one column
    /// for each kernel.
    fn numbers(&self, check: &str, is_shown: impl Fn(&str) -> bool) -> String {
        let of = |row: &'_ Row| -> Option<BTreeMap<String, u64>> {
            let (_, cell) = row
                .cells
                .iter()
                .find(|(_, cell)| cell.numbers.contains_key(check))?;
            cell.numbers.get(check).cloned()
        };
        let rows: Vec<_> = self
            .rows
            .iter()
            .filter_map(|row| Some((row, of(row)?)))
            .collect();
        let mut names: Vec<_> = rows
            .iter()
            .flat_map(|(_, numbers)| numbers.keys())
            .collect();
        names.sort();
        names.dedup();
        names.retain(|name| is_shown(name));
        if names.is_empty() {
            return "Not measured.\n".to_owned();
        }
        let kernels: Vec<_> = rows.iter().map(|(row, _)| row.title()).collect();
        let mut text = format!("| | {} |\n", kernels.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(kernels.len()));
        for name in names {
            let numbers: Vec<_> = rows
                .iter()
                .map(|(_, numbers)| numbers.get(name).map_or("–".to_owned(), u64::to_string))
                .collect();
            let _ = writeln!(text, "| `{name}` | {} |", numbers.join(" | "));
        }
        text
    }

    /// The names of the columns, in the order of the first results.
    fn columns(&self) -> Vec<&str> {
        let mut columns: Vec<&str> = Vec::new();
        for (name, _) in self.rows.iter().flat_map(|row| &row.cells) {
            if !columns.contains(&name.as_str()) {
                columns.push(name);
            }
        }
        columns
    }

    fn troubles(&self) -> impl Iterator<Item = (&Row, &str, &str)> {
        self.rows.iter().flat_map(|row| {
            row.cells.iter().flat_map(move |(column, cell)| {
                let troubles = cell.troubles.iter();
                troubles.map(move |trouble| (row, column.as_str(), trouble.as_str()))
            })
        })
    }
}

/// Replaces what is between `<!-- begin NAME -->` and `<!-- end NAME -->`.
fn replace(document: &str, name: &str, table: &str) -> Result<String> {
    let markers = ["begin", "end"].map(|word| format!("<!-- {word} {name} -->"));
    let parts = document
        .split_once(&markers[0])
        .and_then(|(before, rest)| Some((before, rest.split_once(&markers[1])?.1)));
    let (before, after) =
        parts.with_context(|| format!("no `{}` is followed by a `{}`", markers[0], markers[1]))?;
    Ok(format!(
        "{before}{}\n\n{table}\n{}{after}",
        markers[0], markers[1]
    ))
}

fn short(cell: &Cell) -> String {
    if cell.is_good() {
        format!("✓ {}", cell.passed)
    } else {
        format!("✗ {}/{}", cell.passed, cell.all)
    }
}

impl Row {
    /// The kernel's own release, or the name in the table if it did not boot.
    fn title(&self) -> &str {
        let mut releases = self.cells.iter().map(|(_, cell)| &*cell.release);
        releases
            .find(|release| !release.is_empty())
            .unwrap_or(&self.kernel)
    }

    fn cell(&self, column: &str) -> Option<&Cell> {
        let found = self.cells.iter().find(|(name, _)| name == column);
        found.map(|(_, cell)| cell)
    }

    /// The program for which the verifier processed the most instructions.
    fn largest(&self) -> Option<(&str, u64)> {
        let numbers = self
            .cells
            .iter()
            .filter_map(|(_, cell)| cell.numbers.get("verifier"))
            .flatten();
        let largest = numbers.max_by_key(|(_, number)| **number);
        largest.map(|(name, number)| (name.as_str(), *number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(passed: u64, all: u64, troubles: &[&str]) -> Cell {
        Cell {
            passed,
            all,
            troubles: troubles.iter().map(|text| (*text).to_owned()).collect(),
            release: "6.1.0-50".to_owned(),
            ..Cell::default()
        }
    }

    fn matrix() -> Matrix {
        let mut matrix = Matrix::default();
        matrix.begin("5.10", "linux-image-5.10 5.10.223-1".into());
        matrix.add(
            0,
            "faults",
            Cell {
                release: "5.10.0-32".into(),
                ..cell(1, 1, &[])
            },
        );
        matrix.add(0, "faults", cell(1, 1, &[]));
        matrix.add(
            0,
            "lockdown",
            Cell::lost("the machine printed nothing\nline | `x`"),
        );
        matrix.begin("6.1", "linux-image-6.1 6.1.176-1".into());
        let verifier = [("exec".to_owned(), 5_000), ("fork".to_owned(), 800)];
        let doctor = Cell {
            numbers: [("verifier".to_owned(), verifier.into())].into(),
            ..cell(9, 9, &[])
        };
        matrix.add(1, "doctor", doctor);
        matrix.add(1, "faults", cell(2, 3, &["PT401 found nothing"]));
        matrix
    }

    #[test]
    fn each_kernel_has_a_line_and_each_result_its_column() {
        let expected = "\
kernel                      faults     lockdown   doctor
5.10.0-32                   ✓ 2        ✗ 0/1      -
6.1.0-50                    ✗ 2/3      -          ✓ 9
6.1.0-50                    at most 5000 instructions to verify (exec)
5.10 lockdown: the machine printed nothing
line | `x`
6.1 faults: PT401 found nothing
";
        assert_eq!(matrix().text(), expected);
        assert!(!matrix().is_good());
    }

    #[test]
    fn the_table_has_the_packages_and_what_failed() {
        let text = matrix().markdown(None);
        let row = "| 5.10.0-32 | linux-image-5.10 5.10.223-1 | ✓ 2 | ✗ 0/1 | – |\n";
        assert!(text.contains(row), "{text}");
        let failed = "- 5.10.0-32, lockdown: `the machine printed nothing`\n\
                      - 6.1.0-50, faults: `PT401 found nothing`\n";
        assert!(text.ends_with(failed), "{text}");
    }

    #[test]
    fn instructions_are_listed_by_program() {
        let text = matrix().numbers("verifier", |_| true);
        let table = "| | 6.1.0-50 |\n|---|---|\n| `exec` | 5000 |\n| `fork` | 800 |\n";
        assert_eq!(text, table);
    }

    #[test]
    fn a_partial_table_names_the_command_that_made_it() {
        let text = matrix().markdown(Some("vm --kernel 6.1"));
        assert!(text.contains("`cargo xtask vm --kernel 6.1`"), "{text}");
    }

    #[test]
    fn the_document_has_a_place_for_each_table() {
        let document = include_str!("../../docs/kernels.md");
        let once = matrix()
            .document(document, None)
            .expect("it has all markers");
        assert!(once.contains("| `exec` | 5000 |"), "{once}");
        assert!(once.starts_with("# Kernels\n"), "{once}");
        let twice = matrix().document(&once, None).expect("the markers stay");
        assert_eq!(once, twice);
        assert!(matrix().document("# Kernels\n", None).is_err());
    }

    #[test]
    fn an_empty_matrix_is_not_good() {
        assert!(!Matrix::default().is_good() && Matrix::default().is_empty());
    }
}
