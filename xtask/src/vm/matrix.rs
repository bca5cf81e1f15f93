//! The table of kernels and checks, on a terminal and in `docs/kernels.md`.

use std::fmt::Write as _;

use super::guest::Check;

/// What one check came to on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    passed: bool,
    /// Scenarios that passed, of how many.
    scenarios: (u64, u64),
    verdicts: u64,
    seconds: u64,
    /// How setns and unshare were seen.
    way: String,
    /// What did not pass.
    pub(crate) troubles: Vec<String>,
}

impl Cell {
    pub(crate) fn of(check: &Check) -> Self {
        Self {
            passed: check.passed(),
            scenarios: (check.scenarios.pass, check.scenarios.all()),
            verdicts: check.verdicts.pass,
            seconds: check.duration_ns / 1_000_000_000,
            way: check.way.clone(),
            troubles: check.troubles.clone(),
        }
    }

    /// For the reader who waits.
    pub(crate) fn words(&self) -> String {
        let (passed, all) = self.scenarios;
        let word = if self.passed { "ok" } else { "FAILED" };
        format!(
            "{word}: {passed} of {all} scenarios, {} verdicts passed, {} s, by {}",
            self.verdicts, self.seconds, self.way
        )
    }

    fn short(&self) -> String {
        let (passed, all) = self.scenarios;
        if self.passed {
            format!("✓ {passed}")
        } else {
            format!("✗ {passed}/{all}")
        }
    }
}

/// A kernel and what was checked on it.
#[derive(Debug)]
struct Row {
    kernel: String,
    package: String,
    /// As the kernel itself says.
    release: String,
    cells: Vec<(String, Cell)>,
}

/// Rows in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Matrix {
    rows: Vec<Row>,
}

impl Matrix {
    /// What is added from now on is of this kernel.
    pub(crate) fn begin(&mut self, kernel: &str, package: String) {
        self.rows.push(Row {
            kernel: kernel.into(),
            package,
            release: String::new(),
            cells: Vec::new(),
        });
    }

    pub(crate) fn add(&mut self, check: &str, release: &str, cell: Cell) {
        let Some(row) = self.rows.last_mut() else {
            return;
        };
        if !release.is_empty() {
            release.clone_into(&mut row.release);
        }
        row.cells.push((check.into(), cell));
    }

    /// A check that the machine did not come to, or was lost in.
    pub(crate) fn add_lost(&mut self, check: &str, why: &str) {
        let Some(row) = self.rows.last_mut() else {
            return;
        };
        if !row.cells.iter().any(|(name, _)| name == check) {
            let cell = Cell {
                passed: false,
                scenarios: (0, 0),
                verdicts: 0,
                seconds: 0,
                way: String::new(),
                troubles: vec![why.into()],
            };
            row.cells.push((check.into(), cell));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.iter().all(|row| row.cells.is_empty())
    }

    pub(crate) fn passed(&self) -> bool {
        let mut cells = self.rows.iter().flat_map(|row| &row.cells);
        !self.is_empty() && cells.all(|(_, cell)| cell.passed)
    }

    /// A table, and below it what did not pass.
    pub(crate) fn text(&self) -> String {
        let checks = self.checks();
        let line = |title: &str, cells: Vec<String>| {
            let cells: String = cells.iter().map(|cell| format!("{cell:<12}")).collect();
            format!("{title:<28}{}\n", cells.trim_end())
        };
        let names = checks.iter().map(|check| (*check).to_owned());
        let mut text = line("kernel", names.collect());
        for row in &self.rows {
            let cells = checks
                .iter()
                .map(|check| row.cell(check).map_or("-".into(), Cell::short));
            text += &line(row.title(), cells.collect());
        }
        for (row, check, trouble) in self.troubles() {
            let _ = writeln!(text, "{} {check}: {trouble}", row.kernel);
        }
        text
    }

    /// The document.
    pub(crate) fn markdown(&self) -> String {
        let checks = self.checks();
        let mut text = HEAD.to_owned();
        let _ = writeln!(text, "| kernel | package | {} |", checks.join(" | "));
        let _ = writeln!(text, "|---|---|{}", "---|".repeat(checks.len()));
        for row in &self.rows {
            let cells: Vec<_> = checks
                .iter()
                .map(|check| row.cell(check).map_or("–".into(), Cell::short))
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
        for (row, check, trouble) in troubles {
            let first = trouble.lines().next().unwrap_or_default();
            let _ = writeln!(
                text,
                "- {}, {check}: `{}`",
                row.title(),
                first.replace('`', "'")
            );
        }
        text
    }

    /// The columns: each check's name, as they came.
    fn checks(&self) -> Vec<&str> {
        let mut checks: Vec<&str> = Vec::new();
        for (name, _) in self.rows.iter().flat_map(|row| &row.cells) {
            if !checks.contains(&name.as_str()) {
                checks.push(name);
            }
        }
        checks
    }

    fn troubles(&self) -> impl Iterator<Item = (&Row, &str, &str)> {
        self.rows.iter().flat_map(|row| {
            row.cells.iter().flat_map(move |(check, cell)| {
                let troubles = cell.troubles.iter();
                troubles.map(move |trouble| (row, check.as_str(), trouble.as_str()))
            })
        })
    }
}

const HEAD: &str = "\
# Kernels

The same program, the same object, on kernels as Debian ships them: `cargo xtask vm` boots each in a virtual machine with nothing
but an initramfs, plays the reference check in it, and writes this file. A cell says how many scenarios passed; `fentry`, `kprobe`
and `tracepoint` force one way to see setns and unshare each, on cgroup v2 alone with 2 CPUs. The other columns change one thing:
version 1 cgroups alone, the number of CPUs, a kernel that is locked down (`lockdown=integrity`).

";

impl Row {
    fn title(&self) -> &str {
        if self.release.is_empty() {
            &self.kernel
        } else {
            &self.release
        }
    }

    fn cell(&self, check: &str) -> Option<&Cell> {
        let found = self.cells.iter().find(|(name, _)| name == check);
        found.map(|(_, cell)| cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(passed: u64, all: u64, troubles: &[&str]) -> Cell {
        Cell {
            passed: passed == all,
            scenarios: (passed, all),
            verdicts: 40,
            seconds: 3,
            way: "kprobe".into(),
            troubles: troubles.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    fn matrix() -> Matrix {
        let mut matrix = Matrix::default();
        matrix.begin("5.10", "linux-image-5.10 5.10.223-1".into());
        matrix.add("fentry", "5.10.0-32", cell(35, 35, &[]));
        matrix.add_lost("lockdown", "the machine has said nothing\nline | `x`");
        matrix.begin("6.1", "linux-image-6.1 6.1.176-1".into());
        matrix.add("fentry", "6.1.0-50", cell(34, 35, &["localhost: fail"]));
        matrix
    }

    #[test]
    fn each_kernel_has_a_line_and_each_check_a_column() {
        let expected = "\
kernel                      fentry      lockdown
5.10.0-32                   ✓ 35        ✗ 0/0
6.1.0-50                    ✗ 34/35     -
5.10 lockdown: the machine has said nothing
line | `x`
6.1 fentry: localhost: fail
";
        assert_eq!(matrix().text(), expected);
        assert!(!matrix().passed());
    }

    #[test]
    fn the_document_has_the_packages_and_what_failed() {
        let text = matrix().markdown();
        assert!(
            text.contains("| 5.10.0-32 | linux-image-5.10 5.10.223-1 | ✓ 35 | ✗ 0/0 |\n"),
            "{text}"
        );
        let tail = "- 5.10.0-32, lockdown: `the machine has said nothing`\n\
                    - 6.1.0-50, fentry: `localhost: fail`\n";
        assert!(text.ends_with(tail), "{text}");
    }

    #[test]
    fn what_was_heard_before_a_machine_was_lost_stands() {
        let mut matrix = Matrix::default();
        matrix.begin("6.1", String::new());
        matrix.add("fentry", "6.1.0-50", cell(35, 35, &[]));
        matrix.add_lost("fentry", "lost");
        assert!(matrix.passed());
    }

    #[test]
    fn nothing_at_all_has_not_passed() {
        assert!(!Matrix::default().passed() && Matrix::default().is_empty());
    }
}
