//! One boot of one kernel: starts the emulator, reads both serial ports, and detects a machine that
//! is lost.

use std::{
    collections::VecDeque,
    fmt::Display,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result, anyhow, bail};

use crate::arch::Arch;

/// How the guest's instructions are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceleration {
    /// By the processor, with KVM.
    Kvm,
    /// In software: about ten times slower, and the same on every host.
    Emulation,
    /// In software, and the machine's clock counts instructions: one nanosecond each, and idle time
    /// passes at once. However slow the host is, nothing is slow by the machine's own clock.
    Counting,
}

/// A machine to boot.
pub(crate) struct Machine<'a> {
    pub(crate) arch: Arch,
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// In MiB.
    pub(crate) memory: u32,
    pub(crate) cpus: u32,
    /// Kernel parameters in addition to those of every machine.
    pub(crate) parameters: &'a str,
    pub(crate) acceleration: Acceleration,
    /// The file for the output of the console.
    pub(crate) log: PathBuf,
    /// The file for the results.
    pub(crate) results: PathBuf,
}

/// How long a machine may run, and how long it may print nothing.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) whole: Duration,
    pub(crate) silence: Duration,
}

/// What a kernel prints when it detects an error of its own. A machine that prints one of these
/// fails, even if its checks pass.
const TROUBLE: [&str; 10] = [
    // Precedes every warning that the kernel prints about itself.
    "[ cut here ]",
    "Kernel panic",
    "Oops:",
    "BUG:",
    "WARNING: CPU",
    "general protection fault",
    "self-detected stall",
    "detected stalls on",
    "soft lockup",
    "blocked for more than",
];

/// How many of the console's last lines are shown with a failure.
const LINES_SHOWN: usize = 25;

/// Boots a machine and passes each line of its second serial port to `read`, until the machine
/// powers off.
///
/// # Errors
/// When the machine cannot be started or exceeds a time limit, when the kernel reports an error of
/// its own, and when `read` fails.
pub(crate) fn run(
    machine: &Machine<'_>,
    patience: Patience,
    mut read: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let create = |path: &Path| {
        File::create(path).with_context(|| format!("failed to create {}", path.display()))
    };
    let (mut log, mut results) = (create(&machine.log)?, create(&machine.results)?);
    let mut command = command(machine);
    let program = command.get_program().display().to_string();
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to start {program}"))?;
    let (sender, lines) = mpsc::channel();
    read_lines(child.stderr.take(), sender.clone(), Line::Console);
    read_lines(child.stdout.take(), sender, Line::Result);

    let mut console = Console::default();
    let result = read_all(&lines, patience, |line| match line {
        Line::Result(line) => {
            writeln!(results, "{line}")?;
            read(&line)
        }
        Line::Console(line) => {
            writeln!(log, "{line}")?;
            console.push(line);
            Ok(())
        }
    });
    end(&mut child, &program, result.is_err())?;
    // Lines that were in the pipe when the emulator was killed.
    for line in lines.try_iter() {
        if let Line::Console(line) = line {
            console.push(line);
        }
    }
    match (console.trouble.take(), result) {
        (Some(trouble), _) => {
            Err(console.explain(&format!("the kernel reports an error: {trouble}")))
        }
        (None, Err(error)) => Err(console.explain(&format!("{error:#}"))),
        (None, Ok(())) => Ok(()),
    }
}

fn command(machine: &Machine<'_>) -> Command {
    let arch = machine.arch;
    let (accelerator, cpu) = match machine.acceleration {
        Acceleration::Kvm => ("kvm", &["-cpu", "max"][..]),
        Acceleration::Emulation => ("tcg,thread=multi", arch.emulated()),
        Acceleration::Counting => ("tcg,thread=single", arch.emulated()),
    };
    let clock = match machine.acceleration {
        Acceleration::Kvm | Acceleration::Emulation => &[][..],
        Acceleration::Counting => &["-icount", "shift=0,sleep=off", "-rtc", "clock=vm"],
    };
    let mut qemu = arch.emulator();
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-no-reboot", "-m", &machine.memory.to_string()])
        .args(cpu)
        .args(clock)
        .args(["-accel", accelerator, "-smp", &machine.cpus.to_string()])
        // stderr has the console and the emulator's own errors; stdout has the results only.
        .args(arch.board())
        .arg("-kernel")
        .arg(machine.kernel)
        .arg("-initrd")
        .arg(machine.initramfs)
        // The log level shows warnings: a kernel that warns about itself fails.
        .arg("-append")
        .arg(format!(
            "console={} loglevel=5 panic=-1 oops=panic {}",
            arch.console(),
            machine.parameters
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    qemu
}

enum Line {
    Console(String),
    Result(String),
}

/// Starts a thread that sends each line of a pipe until the pipe is closed.
fn read_lines(
    pipe: Option<impl Read + Send + 'static>,
    sender: Sender<Line>,
    of: impl Fn(String) -> Line + Send + 'static,
) {
    let Some(pipe) = pipe else { return };
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).replace(char::is_control, "");
            if sender.send(of(line)).is_err() {
                break;
            }
        }
    });
}

/// Passes lines to `read` until both ports are closed.
fn read_all(
    lines: &Receiver<Line>,
    patience: Patience,
    mut read: impl FnMut(Line) -> Result<()>,
) -> Result<()> {
    let until = Instant::now() + patience.whole;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left.min(patience.silence)) {
            Ok(line) => read(line)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) if left <= patience.silence => bail!(
                "the machine did not end within {} s",
                patience.whole.as_secs()
            ),
            Err(RecvTimeoutError::Timeout) => bail!(
                "the machine printed nothing for {} s",
                patience.silence.as_secs()
            ),
        }
    }
}

/// Kills the emulator if the machine is lost, else checks that it exited with success.
fn end(child: &mut Child, program: &str, lost: bool) -> Result<()> {
    if lost {
        child
            .kill()
            .with_context(|| format!("failed to kill {program}"))?;
    }
    let status = child
        .wait()
        .with_context(|| format!("failed to wait for {program}"))?;
    if !lost && !status.success() {
        bail!("{program} failed ({status})");
    }
    Ok(())
}

/// The last lines of the console, and the first error of the kernel in it.
#[derive(Default)]
struct Console {
    last: VecDeque<String>,
    trouble: Option<String>,
}

impl Console {
    fn push(&mut self, line: String) {
        if self.trouble.is_none() && TROUBLE.iter().any(|word| line.contains(word)) {
            self.trouble = Some(line.clone());
        }
        if self.last.len() == LINES_SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    fn explain(&self, what: &dyn Display) -> Error {
        let last: String = self
            .last
            .iter()
            .fold(String::new(), |text, line| text + "\n  " + line);
        anyhow!("{what}\nthe console's last lines:{last}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Patience = Patience {
        whole: Duration::from_secs(60),
        silence: Duration::from_millis(1),
    };

    #[test]
    fn the_first_error_of_the_kernel_counts() {
        let mut console = Console::default();
        for line in [
            "random: crng init done",
            "[   12.3] Oops: 0002 [#1] SMP NOPTI",
            "[   12.4] Kernel panic - not syncing: Fatal exception",
        ] {
            console.push(line.into());
        }
        let trouble = console.trouble.as_deref();
        assert_eq!(trouble, Some("[   12.3] Oops: 0002 [#1] SMP NOPTI"));
    }

    #[test]
    fn a_failure_shows_the_last_lines_only() {
        let mut console = Console::default();
        (0..100).for_each(|number| console.push(format!("line {number}")));
        let text = console.explain(&"lost").to_string();
        assert!(text.starts_with("lost\n") && text.ends_with("line 99"));
        assert!(!text.contains("line 74\n") && text.contains("line 75\n"));
    }

    #[test]
    fn a_silent_machine_is_lost() {
        let (_open, lines) = mpsc::channel();
        let error = read_all(&lines, SHORT, |_| Ok(())).expect_err("no line arrives");
        assert!(error.to_string().contains("printed nothing"), "{error}");
    }

    #[test]
    fn a_machine_that_ended_is_not_waited_for() {
        let (sender, lines) = mpsc::channel();
        sender
            .send(Line::Result("{}".into()))
            .expect("the channel is open");
        drop(sender);
        let mut count = 0;
        let result = read_all(&lines, SHORT, |_| {
            count += 1;
            Ok(())
        });
        assert!(result.is_ok() && count == 1);
    }
}
