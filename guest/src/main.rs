//! The first process of a virtual machine: mounts what a node has, runs the checks of its plan, powers off.
//!
//! `cargo xtask vm` puts it into an initramfs with the plan and the programs. The console (the first serial port) is for people;
//! results go to the second one, a JSON object a line: what the programs print, and around each of them what it is called and how
//! it ended. The last line says how many there were. A machine that never says it was cut short.

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

/// What to do: the cgroup layout (`v1` or `v2`) in the first line, then a check a line: its name, a program and its
/// arguments, with tabs between them. `+containerd` starts one first; after `!` comes how the machine is to be lost.
const PLAN: &str = "/plan";

const CONTAINERD: &str = "+containerd";

/// The second serial port.
const RESULTS: &str = if cfg!(target_arch = "aarch64") {
    // The first one is another kind there, ttyAMA0.
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
        // The host misses the closing line, and shows the last lines of the console.
        eprintln!("guest: failed to {error:#}");
    }
    // When it returns the kernel panics, as its first process ends: the host sees that, too.
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

/// Opens the port as a plain pipe for bytes: a terminal would turn line ends into two characters, and echo.
fn open_results() -> Result<File> {
    let context = || format!("open {RESULTS} (the machine has to have a second serial port)");
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
    let say = |results: &mut File, line: String| {
        writeln!(results, "{line}").with_context(|| format!("write to {RESULTS}"))
    };
    say(results, format!(r#"{{"type":"started","check":"{name}"}}"#))?;
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
        pass_on(stderr);
    }
    let code = wait_for(Pid::from_raw(child.id().cast_signed()))?;
    say(
        results,
        format!(r#"{{"type":"ended","check":"{name}","code":{code}}}"#),
    )
}

/// Shows on the console what a check says on stderr. Not the console itself: on a terminal progress is shown, and the host
/// would take a check that hangs for one that has something to say.
fn pass_on(mut stderr: ChildStderr) {
    thread::spawn(move || io::copy(&mut stderr, &mut io::stderr()));
}

/// Waits for one child, and reaps meanwhile what the kernel leaves to the first process. 128 and the signal for one that was
/// killed, as a shell has it.
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
