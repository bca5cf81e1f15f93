//! Runs tests with cargo-nextest if it is installed, else with `cargo test`: prints every line when
//! it arrives and counts the results.

use std::{
    fmt, fs,
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use xtask_support::cargo;

use crate::{
    counts::{Counts, Libtest, Nextest, Parser},
    program,
};

/// The longest time without a line of output. Every test ends sooner, even one that boots a machine
/// in an emulator. nextest has time limits of its own, in `.config/nextest.toml`.
const MAX_SILENCE: Duration = Duration::from_secs(15 * 60);

/// What runs the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// `cargo nextest run`, and `cargo test --doc` for the documentation tests, which nextest does
    /// not run.
    Nextest,
    /// `cargo test`.
    Cargo,
}

/// The tests to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection<'a> {
    /// `--workspace` or `--package=NAME`.
    pub(crate) packages: &'a str,
    /// Only tests whose names contain one of these; empty for all.
    pub(crate) filters: &'a [String],
    /// Arguments for the test programs.
    pub(crate) arguments: &'a [String],
}

impl Runner {
    /// The runner for a selection. Arguments for the test programs are those of libtest, which
    /// nextest does not pass on.
    pub(crate) fn choose(selection: &Selection<'_>) -> Self {
        let mut version = cargo::cargo();
        version.args(["nextest", "--version"]);
        match version.output() {
            Ok(output) if output.status.success() && selection.arguments.is_empty() => {
                Self::Nextest
            }
            _ => Self::Cargo,
        }
    }

    /// What the table of results calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nextest => "cargo nextest",
            Self::Cargo => "cargo test",
        }
    }

    /// Runs the tests.
    ///
    /// # Errors
    /// When a test fails or none could be run.
    pub(crate) fn run(self, selection: &Selection<'_>) -> Result<Counts> {
        if self == Self::Cargo {
            return run(
                &mut cargo_test(selection, &[]),
                Box::new(Libtest::default()),
            );
        }
        let mut sum = Counts::default();
        let mut is_good = true;
        let documentation = || cargo_test(selection, &["--doc"]);
        let runs: [(Command, Box<dyn Parser>); 2] = [
            (nextest(selection), Box::new(Nextest::default())),
            (documentation(), Box::new(Libtest::default())),
        ];
        for (mut command, parser) in runs {
            match run(&mut command, parser) {
                Ok(counts) => sum.add(counts),
                Err(error) => {
                    sum.add(error.downcast::<Failed>()?.0);
                    is_good = false;
                }
            }
        }
        // nextest counts the tests that a filter excludes as skipped; only a whole run shows which
        // tests are marked `#[ignore]`.
        if !selection.filters.is_empty() {
            sum.skipped = 0;
        }
        match is_good {
            true => Ok(sum),
            false => Err(Failed(sum).into()),
        }
    }
}

fn cargo_test(selection: &Selection<'_>, options: &[&str]) -> Command {
    let mut command = cargo::cargo();
    command
        .args(["test", selection.packages, "--no-fail-fast"])
        .args(options)
        .arg("--")
        .args(selection.filters)
        .args(selection.arguments)
        .stdout(Stdio::piped());
    command
}

/// nextest prints to stderr, where cargo reports the build.
fn nextest(selection: &Selection<'_>) -> Command {
    let mut command = cargo::cargo();
    command
        .args(["nextest", "run", selection.packages, "--no-tests=pass"])
        .args(["--color=never", "--no-input-handler"])
        .arg("--")
        .args(selection.filters)
        .stderr(Stdio::piped());
    command
}

/// Tests failed, or could not be run.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) Counts);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            passed,
            failed,
            skipped,
            ..
        } = self.0;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

impl std::error::Error for Failed {}

/// Runs a command, of which one stream is piped, and parses that stream.
fn run(command: &mut Command, mut parser: Box<dyn Parser>) -> Result<Counts> {
    command.env(program::TESTED, program::path()?);
    let mut child = command.spawn().context("failed to start cargo")?;
    let stdout = child
        .stdout
        .take()
        .map(|stream| Box::new(stream) as Box<dyn Read + Send>);
    let stderr = child
        .stderr
        .take()
        .map(|stream| Box::new(stream) as Box<dyn Read + Send>);
    let output = stdout.or(stderr).context("cargo has no output")?;
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

    loop {
        match lines.recv_timeout(MAX_SILENCE) {
            Ok(line) => {
                println!("{line}");
                parser.read(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let minutes = MAX_SILENCE.as_secs() / 60;
                eprintln!("a test hangs: no line of output for {minutes} minutes");
                kill_family(child.id())?;
                break;
            }
        }
    }
    let status = child.wait()?;
    let mut counts = parser.counts();
    if !status.success() {
        // A test program that does not compile, or that was killed, reports no count. It failed all
        // the same.
        counts.failed = counts.failed.max(1);
        bail!(Failed(counts));
    }
    Ok(counts)
}

/// Kills `pid` and its descendants, so that no pods of the tests stay on the node.
fn kill_family(pid: u32) -> Result<()> {
    // `/proc` lists children by thread, and a test runs in a thread of the test program.
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let children: Vec<String> = threads
        .into_iter()
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .collect();
    // The parent first: otherwise cargo would start the next test program when one ends.
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
