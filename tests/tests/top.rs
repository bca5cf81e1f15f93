//! `pause-trace top` in a terminal of its own: what it shows, and that it restores the terminal.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use nix::{
    pty::{OpenptyResult, Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, tcgetattr},
    },
    unistd::Pid,
};
use pause_trace_tests::{
    confined::{Files, assert_confined},
    lab::{Containerd, Version},
    pause_trace, run,
};

/// The time limit of every wait, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The control sequences for the alternate and for the normal screen (xterm, DECSET 1049).
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// A `top` and the terminal that it runs in, 80 by 24.
struct Top {
    child: Child,
    terminal: File,
    /// The other end, kept open to read the mode of the terminal.
    slave: OwnedFd,
    written: Receiver<Vec<u8>>,
    output: String,
}

impl Top {
    fn start(environment: &[(&str, &str)]) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("there are terminals");
        let stdio = || Stdio::from(slave.try_clone().expect("it is open"));
        let child = Command::new(pause_trace())
            .arg("top")
            .env("TERM", "xterm-256color")
            .envs(environment.iter().copied())
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .expect("it starts");
        let terminal = File::from(master);
        let mut reading = terminal.try_clone().expect("it is open");
        let (send, written) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reading.read(&mut bytes) {
                if send.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            terminal,
            slave,
            written,
            output: String::new(),
        }
    }

    /// Waits until this text is written after that of the last call.
    #[track_caller]
    fn until(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.output.find(text) {
                self.output.drain(..at + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.written.recv_timeout(left) {
                Ok(bytes) => self.output.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("it did not write {text:?}: {:?}", self.output),
            }
        }
    }

    fn press(&mut self, keys: &str) {
        self.terminal
            .write_all(keys.as_bytes())
            .expect("it is open");
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("it has not been reaped");
    }

    fn is_raw(&self) -> bool {
        let mode = tcgetattr(&self.slave).expect("it is a terminal");
        !mode
            .local_flags
            .contains(LocalFlags::ICANON | LocalFlags::ECHO)
    }

    /// Waits until it has restored the terminal and ended. Returns its exit code.
    #[track_caller]
    fn left(mut self) -> Option<i32> {
        self.until(LEAVE);
        let status = self.child.wait().expect("it is a child of this process");
        assert!(!self.is_raw(), "the terminal is as it was");
        status.code()
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_pod_is_listed_and_inspected_and_the_terminal_is_restored() {
    let lab = Containerd::start(Version::V1);
    let mut top = Top::start(&[("LC_ALL", "C.UTF-8")]);
    top.until(ENTER);
    top.until("pause-trace top");
    assert!(top.is_raw());
    assert_confined(top.child.id(), Files::Read);
    // Pods of other tests may be listed, so the pod is found by its name.
    top.press("/on-top");
    let pod = lab.pod("on-top").run();
    let _app = pod.container("app").command(["sleep", "1000000"]).start();
    top.until("default/on-top");
    top.press("\r\r");
    // The head names the pod.
    top.until("default/on-top");
    top.until("Namespaces");
    // Back to the list, then quit.
    top.press("qq");
    assert_eq!(top.left(), Some(0));
}

#[test]
fn the_terminal_is_restored_however_it_ends() {
    let mut top = Top::start(&[("LC_ALL", "C"), ("NO_COLOR", "1")]);
    top.until("pause-trace top");
    top.press("q");
    assert_eq!(top.left(), Some(0));
    let mut top = Top::start(&[]);
    top.until("pause-trace top");
    top.press("\x03");
    assert_eq!(top.left(), Some(130), "Ctrl-C");
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let mut top = Top::start(&[]);
        top.until("pause-trace top");
        top.signal(signal);
        assert_eq!(top.left(), Some(130), "{signal}");
    }
}

#[test]
fn output_that_is_not_a_terminal_is_refused() {
    let run = run(["top"]);
    assert_eq!(run.code, Some(2), "{run:#?}");
    assert!(run.stderr.contains("top needs a terminal"), "{run:#?}");
}
