//! Runs long commands: shows one progress line on a terminal, or plain lines elsewhere, and writes
//! all output to a log file.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::cache_dir;

/// How many of the last lines are shown when a command fails.
const LINES_SHOWN: usize = 20;

/// Runs `command` and shows its progress under a title. Its output goes to a log file named `log`.
///
/// # Errors
/// When the command fails.
pub fn run(title: &str, log: &str, command: &mut Command) -> Result<()> {
    let log = cache_dir().join("log").join(log).with_extension("log");
    let mut file = log
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| File::create(&log))
        .with_context(|| format!("failed to create {}", log.display()))?;
    writeln!(file, "{command:?}")?;

    let program = command.get_program().to_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {}", program.display()))?;
    let (sender, lines) = mpsc::channel();
    read_lines(child.stdout.take(), sender.clone());
    read_lines(child.stderr.take(), sender);

    let mut display = Display::new(title);
    let mut output = Vec::new();
    loop {
        match lines.recv_timeout(display.interval()) {
            Ok(line) => {
                writeln!(file, "{line}")?;
                if !line.trim().is_empty() {
                    output.push(line);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        display.show(output.last().map_or("", String::as_str));
    }
    let status = child.wait()?;
    display.finish(status.success());
    if !status.success() {
        let last = output[output.len().saturating_sub(LINES_SHOWN)..].join("\n  ");
        bail!(
            "{title}: {} failed ({status})\n  {last}\nthe whole log is in {}",
            program.display(),
            log.display()
        );
    }
    Ok(())
}

/// Starts a thread that sends each line of a pipe until the pipe is closed.
fn read_lines(pipe: Option<impl Read + Send + 'static>, sender: Sender<String>) {
    let Some(pipe) = pipe else { return };
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).replace(char::is_control, " ");
            if sender.send(line).is_err() {
                break;
            }
        }
    });
}

/// The progress line.
struct Display<'a> {
    title: &'a str,
    started: Instant,
    shown: Instant,
    terminal: bool,
}

impl<'a> Display<'a> {
    fn new(title: &'a str) -> Self {
        let now = Instant::now();
        let terminal = io::stderr().is_terminal();
        if !terminal {
            eprintln!("{title} …");
        }
        Self {
            title,
            started: now,
            shown: now,
            terminal,
        }
    }

    /// How often the line is renewed. On a terminal it must move; in a log, a line every 15 seconds
    /// is enough.
    fn interval(&self) -> Duration {
        if self.terminal {
            Duration::from_millis(100)
        } else {
            Duration::from_secs(15)
        }
    }

    fn show(&mut self, last: &str) {
        if self.shown.elapsed() < self.interval() {
            return;
        }
        self.shown = Instant::now();
        let (title, seconds) = (self.title, self.started.elapsed().as_secs());
        if self.terminal {
            const FRAMES: [char; 4] = ['⠋', '⠙', '⠴', '⠦'];
            let frame = FRAMES[(self.started.elapsed().as_millis() / 100 % 4) as usize];
            // `?7l` disables wrapping, so that a long line does not have to be cut; `?7h` enables
            // it again.
            eprint!("\r\x1b[K\x1b[?7l{frame} {title}, {seconds} s: {last}\x1b[?7h");
        } else {
            eprintln!("  {seconds} s: {last}");
        }
    }

    fn finish(&self, success: bool) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        let word = if success { "done" } else { "failed" };
        let seconds = self.started.elapsed().as_secs_f32();
        eprintln!("{clear}{}: {word} in {seconds:.1} s", self.title);
    }
}
