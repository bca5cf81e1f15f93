//! Runs `cargo test`, shows every line as it comes, counts what the test programs report, and keeps what the failed tests said.

use std::{
    fmt, fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// No test needs this long without a word, not even one that boots a machine in an emulator: it hangs.
const SILENCE: Duration = Duration::from_secs(15 * 60);

/// What the test programs reported, all together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) ignored: usize,
    /// The names of the tests that failed.
    pub(crate) failures: Vec<String>,
    /// What they said, each under its name.
    pub(crate) said: String,
    /// Whether the last line read was among that.
    pub(crate) saying: bool,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.failures.extend(other.failures);
        self.said += &other.said;
    }

    /// Takes note of one line of a test program's output.
    fn read(&mut self, line: &str) {
        // A test program repeats what its failed tests said: `---- NAME stdout ----`, after all of them the names once more.
        if line.starts_with("---- ") && line.ends_with(" ----") {
            self.saying = true;
        } else if line == "failures:" {
            self.saying = false;
        }
        if self.saying {
            self.said += line;
            self.said.push('\n');
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let numbers = |word| {
                let number = result
                    .split(['.', ';'])
                    .find_map(|part| part.trim().strip_suffix(word));
                number
                    .and_then(|number| number.trim().parse().ok())
                    .unwrap_or(0)
            };
            self.passed += numbers("passed");
            self.failed += numbers("failed");
            self.ignored += numbers("ignored");
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|test| test.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
    }
}

/// Tests failed, or did not come to run.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) Counts);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            passed,
            failed,
            ignored,
            ..
        } = self.0;
        write!(f, "{passed} passed, {failed} failed, {ignored} ignored")
    }
}

impl std::error::Error for Failed {}

/// Runs `command`, a `cargo test`; an error if any test fails or none could be run.
pub(crate) fn run(command: &mut Command) -> Result<Counts> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                break;
            }
        }
    });

    let mut counts = Counts::default();
    loop {
        match lines.recv_timeout(SILENCE) {
            Ok(line) => {
                println!("{line}");
                counts.read(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let minutes = SILENCE.as_secs() / 60;
                eprintln!("a test hangs: no line for {minutes} minutes after the last one above");
                kill_family(child.id())?;
                break;
            }
        }
    }
    let status = child.wait()?;
    if !status.success() {
        // A test program that does not compile, or that was killed, reports no count: it failed all the same.
        counts.failed = counts.failed.max(1);
        bail!(Failed(counts));
    }
    Ok(counts)
}

/// Ends `pid` and everything it started: tests leave no pods behind on the node.
fn kill_family(pid: u32) -> Result<()> {
    // Each thread has children of its own: a test runs in a thread of the test program.
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let children: Vec<String> = threads
        .into_iter()
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .collect();
    // The parent first: cargo would start the next test program in place of one that ends.
    Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status()
        .context("failed to run kill")?;
    for child in children
        .iter()
        .flat_map(|children| children.split_whitespace())
    {
        kill_family(child.parse()?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_over_test_programs() {
        let output = "running 3 tests\n\
                      test one ... ok\n\
                      test net::two ... FAILED\n\
                      test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; finished in 0.01s\n\
                      test result: ok. 10 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1.20s\n";
        let mut counts = Counts::default();
        output.lines().for_each(|line| counts.read(line));
        let expected = Counts {
            passed: 12,
            failed: 1,
            ignored: 2,
            failures: vec!["net::two".into()],
            ..Counts::default()
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn what_failed_tests_said_is_kept() {
        let output = "test two ... FAILED\n\nfailures:\n\n---- two stdout ----\nleft: 1\ntest result: 7 passed\n\n\
                      failures:\n    two\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored\n";
        let mut counts = Counts::default();
        output.lines().for_each(|line| counts.read(line));
        assert_eq!(
            counts.said,
            "---- two stdout ----\nleft: 1\ntest result: 7 passed\n\n"
        );
        assert_eq!((counts.passed, counts.failed), (0, 1));
    }
}
