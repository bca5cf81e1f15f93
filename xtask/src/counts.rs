//! Counts the tests in the output of `cargo test` and of `cargo nextest run`, and keeps what the
//! failed tests printed.

/// The results of several test programs together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Tests that the run left out. For nextest this includes the tests that a filter excludes.
    pub(crate) skipped: usize,
    /// The names of the tests that failed.
    pub(crate) failures: Vec<String>,
    /// The output of the tests that failed, each under its name.
    pub(crate) output: String,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
        self.output += &other.output;
    }

    fn add_output(&mut self, line: &str) {
        self.output += line;
        self.output.push('\n');
    }
}

/// Reads the output of a test run line by line.
pub(crate) trait Parser {
    fn read(&mut self, line: &str);

    /// The counts so far.
    fn counts(self: Box<Self>) -> Counts;
}

/// The output of libtest, the harness of `cargo test`.
#[derive(Default)]
pub(crate) struct Libtest {
    counts: Counts,
    /// Whether the last line was output of a failed test.
    is_in_output: bool,
}

impl Parser for Libtest {
    fn read(&mut self, line: &str) {
        // At its end a test program prints the output of each failed test under
        // `---- NAME stdout ----`, then the names again.
        if line.starts_with("---- ") && line.ends_with(" ----") {
            self.is_in_output = true;
        } else if line == "failures:" {
            self.is_in_output = false;
        }
        let counts = &mut self.counts;
        if self.is_in_output {
            counts.add_output(line);
        } else if let Some(result) = line.strip_prefix("test result: ") {
            counts.passed += number(result, "passed");
            counts.failed += number(result, "failed");
            counts.skipped += number(result, "ignored");
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|test| test.strip_suffix(" ... FAILED"))
        {
            counts.failures.push(name.to_owned());
        }
    }

    fn counts(self: Box<Self>) -> Counts {
        self.counts
    }
}

/// The output of `cargo nextest run` with its default settings.
///
/// A test that ended has a status line. The indented output of a failed test follows that line.
/// After the summary, the lines of failed tests are repeated.
///
/// ```text
///         FAIL [   0.077s] (3/5) PROGRAM NAME
///   stdout ───
///
///     running 1 test
/// ```
#[derive(Default)]
pub(crate) struct Nextest {
    counts: Counts,
    /// The test of the last line, if it failed.
    failed: Option<String>,
    is_in_output: bool,
    is_over: bool,
}

/// The words of tests that did not fail, and of tests that have not ended.
const NOT_FAILED: [&str; 7] = [
    "PASS",
    "LEAK",
    "FLAKY",
    "SKIP",
    "SLOW",
    "TERMINATING",
    "SETUP PASS",
];

impl Parser for Nextest {
    fn read(&mut self, line: &str) {
        if self.is_over {
            return;
        }
        if let Some((word, rest)) = status(line) {
            self.is_in_output = false;
            self.failed = None;
            if word == "Summary" {
                self.is_over = true;
                let counts = &mut self.counts;
                // `5 tests run: 2 passed (1 slow), 1 failed, 1 timed out, 1 skipped`
                let result = rest.split_once(" run: ").map_or("", |(_, result)| result);
                let result = without_parentheses(result);
                counts.passed += number(&result, "passed");
                counts.skipped += number(&result, "skipped");
                for word in ["failed", "exec failed", "timed out"] {
                    counts.failed += number(&result, word);
                }
            } else if !NOT_FAILED.contains(&word) {
                let name = rest.split_once(") ").map_or(rest, |(_, name)| name);
                self.counts.failures.push(name.to_owned());
                self.failed = Some(name.to_owned());
            }
        } else if line.starts_with("────") {
            self.is_in_output = false;
        } else if let Some(name) = self.failed.as_deref()
            && let Some(stream) = line.strip_prefix("  ")
            && let Some(stream) = stream.strip_suffix(" ───")
        {
            let title = format!("---- {name} {stream} ----");
            self.counts.add_output(&title);
            self.is_in_output = true;
        } else if self.is_in_output {
            let line = line.strip_prefix("    ").unwrap_or(line);
            self.counts.add_output(line);
        }
    }

    fn counts(self: Box<Self>) -> Counts {
        self.counts
    }
}

/// The word of a status line, which ends in column 12, and what follows the time in brackets. What
/// a test prints is indented further.
fn status(line: &str) -> Option<(&str, &str)> {
    let (word, rest) = line.split_at_checked(12)?;
    let (_, rest) = rest.strip_prefix(" [")?.split_once("] ")?;
    Some((word.trim_start(), rest))
}

/// The number before `word` in a list such as `2 passed, 1 failed` or `ok. 2 passed; 1 failed`.
fn number(list: &str, word: &str) -> usize {
    let mut parts = list.split(['.', ';', ',']);
    let number = parts.find_map(|part| {
        let number = part.trim().strip_suffix(word)?.trim();
        number.parse().ok()
    });
    number.unwrap_or(0)
}

fn without_parentheses(text: &str) -> String {
    let mut depth = 0_usize;
    let outside = text.chars().filter(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => return depth == 0,
        }
        false
    });
    outside.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(parser: impl Parser + 'static, output: &str) -> Counts {
        let mut parser: Box<dyn Parser> = Box::new(parser);
        output.lines().for_each(|line| parser.read(line));
        parser.counts()
    }

    #[test]
    fn libtest_counts_add_up_over_test_programs() {
        let output = "running 3 tests\n\
                      test one ... ok\n\
                      test net::two ... FAILED\n\
                      test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; finished in 0.01s\n\
                      test result: ok. 10 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1.20s\n";
        let expected = Counts {
            passed: 12,
            failed: 1,
            skipped: 2,
            failures: vec!["net::two".into()],
            ..Counts::default()
        };
        assert_eq!(parse(Libtest::default(), output), expected);
    }

    #[test]
    fn libtest_output_of_failed_tests_is_kept() {
        let output = "test two ... FAILED\n\nfailures:\n\n---- two stdout ----\nleft: 1\ntest result: 7 passed\n\n\
                      failures:\n    two\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored\n";
        let counts = parse(Libtest::default(), output);
        assert_eq!(
            counts.output,
            "---- two stdout ----\nleft: 1\ntest result: 7 passed\n\n"
        );
        assert_eq!((counts.passed, counts.failed), (0, 1));
    }

    /// Recorded from cargo-nextest 0.9.143.
    const NEXTEST: &str = "
   Compiling demo v0.1.0 (/tmp/demo)
────────────
 Nextest run ID 8f1cf5a0-09a7-4d19-acc6-843a3272e0e7 with nextest profile: default
    Starting 5 tests across 1 binary (1 test skipped)
     SIGABRT [   0.005s] (1/5) demo tests::dies
  stdout ───

    running 1 test

    (test aborted with signal 6: SIGABRT)

        PASS [   0.006s] (2/5) demo tests::good
        FAIL [   0.077s] (3/5) demo tests::bad
  stdout ───

    running 1 test
            PASS [   0.006s] (2/5) printed by the test
    Summary [ 1s] 3 tests run: 3 passed

  stderr ───

    thread 'tests::bad' (4481) panicked at src/lib.rs:4:83:

        SLOW [>  2.000s] (───) demo tests::hangs
 TERMINATING [>  6.000s] (───) demo tests::hangs
     TIMEOUT [   6.010s] (5/5) demo tests::hangs
  stdout ───

    waiting

    (test timed out)

────────────
     Summary [   6.026s] 5 tests run: 2 passed (1 slow, 1 leaky), 2 failed, 1 timed out, 1 skipped
     SIGABRT [   0.005s] (1/5) demo tests::dies
        FAIL [   0.077s] (3/5) demo tests::bad
     TIMEOUT [   6.010s] (5/5) demo tests::hangs
error: test run failed
";

    #[test]
    fn nextest_counts_are_those_of_the_summary() {
        let counts = parse(Nextest::default(), NEXTEST);
        assert_eq!((counts.passed, counts.failed, counts.skipped), (2, 3, 1));
        let failures = ["demo tests::dies", "demo tests::bad", "demo tests::hangs"];
        assert_eq!(counts.failures, failures);
    }

    #[test]
    fn nextest_output_of_failed_tests_is_kept() {
        let output = parse(Nextest::default(), NEXTEST).output;
        let expected = "\
---- demo tests::dies stdout ----

running 1 test

(test aborted with signal 6: SIGABRT)

---- demo tests::bad stdout ----

running 1 test
        PASS [   0.006s] (2/5) printed by the test
";
        assert!(output.starts_with(expected), "{output}");
        for part in [
            "Summary [ 1s] 3 tests run: 3 passed\n",
            "---- demo tests::bad stderr ----\n\nthread 'tests::bad' (4481) panicked",
            "---- demo tests::hangs stdout ----\n\nwaiting\n\n(test timed out)\n",
        ] {
            assert!(output.contains(part), "{part}: {output}");
        }
        assert!(!output.contains("error: test run failed"), "{output}");
    }

    #[test]
    fn a_nextest_run_without_tests_has_no_counts() {
        let output = "    Starting 0 tests across 1 binary (6 tests skipped)\n────────────\n     \
                      Summary [   0.000s] 0 tests run: 0 passed, 6 skipped\n";
        let expected = Counts {
            skipped: 6,
            ..Counts::default()
        };
        assert_eq!(parse(Nextest::default(), output), expected);
    }
}
