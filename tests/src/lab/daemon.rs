//! A daemon of a node. Its output is kept, and tests wait for its lines without polling.

use std::{
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

use super::Node;

/// How many of its last lines are kept.
const LINES_KEPT: usize = 2000;

/// How many of them a failing test shows.
const LINES_SHOWN: usize = 30;

/// How long a daemon may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon. Dropping it kills it, but not its children.
#[derive(Debug)]
pub(super) struct Daemon {
    name: &'static str,
    child: Child,
    shared: Arc<Shared>,
}

/// The state that the reading threads share with the test.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    /// The number of lines so far.
    count: usize,
    ended: bool,
}

impl Daemon {
    /// Starts it on a node.
    pub(super) fn start(name: &'static str, node: &Node, command: &mut Command) -> Self {
        let (output, input) = io::pipe().expect("a pipe can be made");
        let twin = input.try_clone().expect("a pipe can be shared");
        command.stdin(Stdio::null()).stdout(twin).stderr(input);
        let child = node.spawn(command);
        // The command still holds the pipe's other end.
        command.stdout(Stdio::null()).stderr(Stdio::null());

        let shared = Arc::new(Shared::default());
        read_lines(output, Arc::clone(&shared));
        await_end(child.id().cast_signed(), Arc::clone(&shared));
        Self {
            name,
            child,
            shared,
        }
    }

    /// Waits for a line that contains `words`, by which the daemon reports that it is ready.
    #[track_caller]
    pub(super) fn await_line(&self, words: &str) {
        let ready = self.wait(PATIENCE, |state| {
            state.ended || state.lines.iter().any(|line| line.contains(words))
        });
        let ended = self.shared.lock().ended;
        assert!(
            ready && !ended,
            "{} did not print {words:?}: {self}",
            self.name
        );
    }

    /// Waits until it prints another line or ends, at most this long.
    pub(super) fn await_news(&self, longest: Duration) {
        let before = self.shared.lock().count;
        self.wait(longest, |state| state.ended || state.count > before);
    }

    /// Its pid.
    pub(super) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends SIGTERM, and waits until it ends.
    #[track_caller]
    pub(super) fn stop(mut self) {
        let status = self.end(Signal::SIGTERM);
        assert!(status.is_some(), "{} ignores SIGTERM: {self}", self.name);
    }

    /// Kills it.
    pub(super) fn kill(mut self) {
        self.end(Signal::SIGKILL);
    }

    fn end(&mut self, signal: Signal) -> Option<ExitStatus> {
        // Only this function reaps it, so the pid is still its own.
        let _ = kill(Pid::from_raw(self.pid()), signal);
        self.wait(PATIENCE, |state| state.ended)
            .then(|| self.child.wait().expect("it is a child of this process"))
    }

    /// Waits until `met` is true. Returns false if it is not in time.
    fn wait(&self, longest: Duration, met: impl Fn(&State) -> bool) -> bool {
        let until = Instant::now() + longest;
        let mut state = self.shared.lock();
        while !met(&state) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end(Signal::SIGKILL);
    }
}

impl std::fmt::Display for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.shared.lock();
        let state_now = if state.ended { "ended" } else { "runs" };
        write!(f, "{} {state_now}; its last lines:", self.name)?;
        for line in &state.lines[state.lines.len().saturating_sub(LINES_SHOWN)..] {
            f.write_char('\n')?;
            f.write_str(line)?;
        }
        Ok(())
    }
}

fn read_lines(output: impl Read + Send + 'static, shared: Arc<Shared>) {
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let mut state = shared.lock();
            if state.lines.len() >= LINES_KEPT {
                state.lines.drain(..LINES_KEPT / 2);
            }
            state
                .lines
                .push(String::from_utf8_lossy(&line).into_owned());
            state.count += 1;
            shared.changed.notify_all();
        }
    });
}

/// Waits for the end of a child without reaping it, and records it.
fn await_end(pid: i32, shared: Arc<Shared>) {
    thread::spawn(move || {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        // An error means that it was reaped, so it has ended.
        let _ = waitid(Id::Pid(Pid::from_raw(pid)), flags);
        shared.lock().ended = true;
        shared.changed.notify_all();
    });
}
