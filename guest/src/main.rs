//! The first process of a virtual machine: mounts what a node has, runs the checks of its plan, and
//! powers off.
//!
//! `cargo xtask vm` puts it into an initramfs with the plan and the programs. The console (the
//! first serial port) is for people. Results go to the second port, one JSON object per line: the
//! output of the programs, before each one a line with its name, and after it a line with its exit
//! code. The last line contains the number of checks. If it is missing, the machine failed before
//! the end.

mod clock;
mod losses;
mod mounts;
mod root;
mod runtime;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::fd::OwnedFd,
    process::{ChildStderr, Command, ExitCode, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};
use losses::LastLine;
use nix::{
    sys::{
        reboot::{RebootMode, reboot},
        termios::{SetArg, cfmakeraw, tcdrain, tcgetattr, tcsetattr},
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// The plan: the first line is the cgroup layout (`v1` or `v2`), every other line a check: its
/// name, a program and its arguments, separated by tabs. The line `+containerd` starts containerd,
/// and `+clock` makes the wall clock jump from then on; a line with `!` states how to fail the
/// machine.
const PLAN: &str = "/plan";

const CONTAINERD: &str = "+containerd";
const CLOCK: &str = "+clock";

/// The second serial port.
const RESULTS: &str = if cfg!(target_arch = "aarch64") {
    // The first port is of another type there, ttyAMA0.
    "/dev/ttyS0"
} else {
    "/dev/ttyS1"
};

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("guest: this is the first process of a virtual machine; see `cargo xtask vm`");
        return ExitCode::FAILURE;
    }
    if let Err(error) = work() {
        // The host detects that the closing line is missing, and shows the last lines of the
        // console.
        eprintln!("guest: failed to {error:#}");
    }
    // If it returns, the first process exits and the kernel panics, which the host detects too.
    match reboot(RebootMode::RB_POWER_OFF) {
        Ok(never) => match never {},
        Err(_) => ExitCode::FAILURE,
    }
}

fn work() -> Result<()> {
    let plan = fs::read_to_string(PLAN).with_context(|| format!("read {PLAN}"))?;
    let (layout, checks) = plan.split_once('\n').unwrap_or((&plan, ""));
    if checks.lines().any(|check| check == CONTAINERD) {
        root::leave_initramfs()?;
    }
    mounts::basic()?;
    mounts::cgroups(layout)?;

    let mut results = open_results()?;
    let (mut count, mut last_line) = (0, LastLine::Once);
    for check in checks.lines() {
        if check == CONTAINERD {
            runtime::start()?;
            continue;
        }
        if check == CLOCK {
            clock::step()?;
            continue;
        }
        if let Some(how) = check.strip_prefix('!') {
            last_line = losses::lose(how)?;
            continue;
        }
        run(check, &mut results)?;
        count += 1;
    }
    let times = match last_line {
        LastLine::Never => 0,
        LastLine::Once => 1,
        LastLine::Twice => 2,
    };
    for _ in 0..times {
        writeln!(results, r#"{{"type":"closed","checks":{count}}}"#)
            .with_context(|| format!("write to {RESULTS}"))?;
    }
    tcdrain(&results).with_context(|| format!("wait for {RESULTS}"))
}

/// Opens the port in raw mode: a terminal would translate line ends and echo its input.
fn open_results() -> Result<File> {
    let context = || format!("open {RESULTS} (the machine needs a second serial port)");
    let port = File::options()
        .read(true)
        .write(true)
        .open(RESULTS)
        .with_context(context)?;
    let mut settings = tcgetattr(&port).with_context(context)?;
    cfmakeraw(&mut settings);
    tcsetattr(&port, SetArg::TCSANOW, &settings).with_context(context)?;
    Ok(port)
}

/// Runs one check to its end.
fn run(check: &str, results: &mut File) -> Result<()> {
    let mut words = check.split('\t');
    let (Some(name), Some(program)) = (words.next(), words.next()) else {
        bail!("read {PLAN}: `{check}` names no program");
    };
    let report = |results: &mut File, line: String| {
        writeln!(results, "{line}").with_context(|| format!("write to {RESULTS}"))
    };
    report(results, format!(r#"{{"type":"started","check":"{name}"}}"#))?;
    let output: OwnedFd = results
        .try_clone()
        .with_context(|| format!("duplicate {RESULTS}"))?
        .into();
    let mut child = Command::new(program)
        .args(words)
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {program}"))?;
    if let Some(stderr) = child.stderr.take() {
        forward(stderr);
    }
    let code = wait_for(Pid::from_raw(child.id().cast_signed()))?;
    report(
        results,
        format!(r#"{{"type":"ended","check":"{name}","code":{code}}}"#),
    )
}

/// Copies the stderr of a check to the console. The check does not get the console itself: on a
/// terminal it shows its progress, so the host would not notice a check that hangs.
fn forward(mut stderr: ChildStderr) {
    thread::spawn(move || io::copy(&mut stderr, &mut io::stderr()));
}

/// Waits for one child and returns its exit code, or 128 plus the signal that killed it, as shells
/// do. Meanwhile reaps the orphans that are reparented to the first process.
fn wait_for(pid: Pid) -> Result<i32> {
    loop {
        match waitpid(None, None).context("wait for a check")? {
            WaitStatus::Exited(ended, code) if ended == pid => return Ok(code),
            WaitStatus::Signaled(ended, signal, _) if ended == pid => {
                return Ok(128 + signal as i32);
            }
            _ => {}
        }
    }
}
