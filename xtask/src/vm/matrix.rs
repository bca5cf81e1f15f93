//! The table of kernels and what was checked on them, on a terminal and in `docs/kernels.md`.

use std::{collections::BTreeMap, fmt::Write as _};

use super::judge::Cell;

/// A kernel and what was checked on it.
#[derive(Debug)]
struct Row {
    kernel: String,
    package: String,
    /// By column.
    cells: Vec<(String, Cell)>,
}

/// Rows in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Matrix {
    rows: Vec<Row>,
}

/// Offsets that differ between kernels for a reason that a reader may know.
const OFFSETS: [&str; 6] = [
    "task_struct.pid",
    "task_struct.start_boottime",
    "task_struct.nsproxy",
    "task_struct.cgroups",
    "net.ns.inum",
    "pid_namespace.ns.inum",
];

impl Matrix {
    /// The next row is this kernel's.
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

    pub(crate) fn is_good(&self) -> bool {
        let mut cells = self.rows.iter().flat_map(|row| &row.cells);
        !self.is_empty() && cells.all(|(_, cell)| cell.is_good())
    }

    /// A table, below it what the verifier had to do, and what did not pass.
    pub(crate) fn text(&self) -> String {
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

    /// The document. `command` is what it was made with where that left something out.
    pub(crate) fn markdown(&self, command: Option<&str>) -> String {
        let columns = self.columns();
        let mut text = HEAD.to_owned();
        if let Some(command) = command {
            let _ = writeln!(
                text,
                "This is not everything, but what `cargo xtask {command}` did.\n"
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
        text + &self.numbers("verifier", VERIFIER, |_| true)
            + &self.numbers("BTF", BTF, |name| OFFSETS.contains(&name))
    }

    /// A table of what `doctor` measured under one of its checks: a line a number, a column a kernel.
    fn numbers(&self, check: &str, head: &str, is_shown: impl Fn(&str) -> bool) -> String {
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
            return String::new();
        }
        let kernels: Vec<_> = rows.iter().map(|(row, _)| row.title()).collect();
        let mut text = format!("{head}| | {} |\n", kernels.join(" | "));
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

    /// Each column's name, as they came.
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

const HEAD: &str = "\
# Kernels

The same program, the same object, on kernels as Debian ships them: `cargo xtask vm` boots each in a virtual machine with nothing
but an initramfs, and writes this file. A cell says how many things came out as they should:

- *doctor*: what `pause-trace doctor --thorough` looks at. It makes one process call setns and unshare in a known order, sees that
  by fentry, by kprobe and by tracepoint, and demands the same events from each.
- *cgroup v2*, *cgroup v1*: the reference check with the one version and nothing of the other, on 2 CPUs; with v2 every scenario on
  the oldest kernel and on aarch64, and some elsewhere. (Of every scenario an emulated 7.3 passes 33 of 37: in a storm of 10,000
  orphans two programs of one hook are preempted at once, exits go by unseen, and verdicts are inconclusive.)
- *kprobe*, *tracepoint*: some of the scenarios, with setns and unshare seen that way instead of by fentry.
- *faults*: faults that are planted and must be found: a foreign network namespace, a stop signal ignored, a zombie.
- *1 CPU*, *4 CPUs, lockdown*: some of the scenarios on such a machine; the kernel of the second is locked down
  (`lockdown=integrity`).
- *containerd*: the promises on pods that containerd 2 makes with runc (`pause-trace check --cri`), on pure cgroup v2.
- *lost*: machines that are lost on purpose, by a panic, by silence and otherwise, which has to be noticed.

";

const VERIFIER: &str = "
## What the verifier has to do

How many instructions the kernel's verifier goes through for each program, over all paths. More than 20,000 fails the run, a
fiftieth of the million at which the kernel gives up. Kernels before 5.16 do not tell.

";

const BTF: &str = "
## Where kernels keep things

Some of the offsets, in bytes, that are resolved from the kernel's own BTF when the program is loaded (`pause-trace doctor -v`
shows all).

";

fn short(cell: &Cell) -> String {
    if cell.is_good() {
        format!("✓ {}", cell.passed)
    } else {
        format!("✗ {}/{}", cell.passed, cell.all)
    }
}

impl Row {
    /// As the kernel calls itself, if it came to that.
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

    /// The program that the verifier had most to do with.
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
            Cell::lost("the machine has said nothing\nline | `x`"),
        );
        matrix.begin("6.1", "linux-image-6.1 6.1.176-1".into());
        let verifier = [("exec".to_owned(), 5_000), ("fork".to_owned(), 800)];
        let doctor = Cell {
            numbers: [("verifier".to_owned(), verifier.into())].into(),
            ..cell(9, 9, &[])
        };
        matrix.add(1, "doctor", doctor);
        matrix.add(1, "faults", cell(2, 3, &["PT401 has found nothing"]));
        matrix
    }

    #[test]
    fn each_kernel_has_a_line_and_each_column_its_place() {
        let expected = "\
kernel                      faults     lockdown   doctor
5.10.0-32                   ✓ 2        ✗ 0/1      -
6.1.0-50                    ✗ 2/3      -          ✓ 9
6.1.0-50                    at most 5000 instructions to verify (exec)
5.10 lockdown: the machine has said nothing
line | `x`
6.1 faults: PT401 has found nothing
";
        assert_eq!(matrix().text(), expected);
        assert!(!matrix().is_good());
    }

    #[test]
    fn the_document_has_the_packages_and_what_failed() {
        let text = matrix().markdown(None);
        let row = "| 5.10.0-32 | linux-image-5.10 5.10.223-1 | ✓ 2 | ✗ 0/1 | – |\n";
        assert!(text.contains(row), "{text}");
        let failed = "- 5.10.0-32, lockdown: `the machine has said nothing`\n\
                      - 6.1.0-50, faults: `PT401 has found nothing`\n";
        assert!(text.contains(failed), "{text}");
    }

    #[test]
    fn the_document_has_what_each_program_cost() {
        let text = matrix().markdown(None);
        let table = "| | 6.1.0-50 |\n|---|---|\n| `exec` | 5000 |\n| `fork` | 800 |\n";
        assert!(text.ends_with(table), "{text}");
    }

    #[test]
    fn a_document_of_a_part_says_of_which() {
        let text = matrix().markdown(Some("vm --kernel 6.1"));
        assert!(
            text.contains("what `cargo xtask vm --kernel 6.1` did"),
            "{text}"
        );
    }

    #[test]
    fn nothing_at_all_is_not_good() {
        assert!(!Matrix::default().is_good() && Matrix::default().is_empty());
    }
}
