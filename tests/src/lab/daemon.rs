//! A daemon of a node: what it says is kept, and it is waited for without polling.

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

/// How many of its last lines are kept, to wait for one.
const LINES_KEPT: usize = 2000;

/// How many of them a test that fails shows.
const LINES_SHOWN: usize = 30;

/// How long a daemon may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon. Dropping it kills it, but not what it has started.
#[derive(Debug)]
pub(super) struct Daemon {
    name: &'static str,
    child: Child,
    heard: Arc<Heard>,
}

/// What is known of it.
#[derive(Debug, Default)]
struct Heard {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    /// How many there have been.
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

        let heard = Arc::new(Heard::default());
        listen(output, Arc::clone(&heard));
        await_end(child.id().cast_signed(), Arc::clone(&heard));
        Self { name, child, heard }
    }

    /// Waits until it has said something that is its way to say that it is ready.
    #[track_caller]
    pub(super) fn await_line(&self, words: &str) {
        let ready = self.wait(PATIENCE, |state| {
            state.ended || state.lines.iter().any(|line| line.contains(words))
        });
        let ended = self.heard.lock().ended;
        assert!(
            ready && !ended,
            "{} did not say {words:?}: {self}",
            self.name
        );
    }

    /// Waits until it says something more, or for that long.
    pub(super) fn await_news(&self, longest: Duration) {
        let before = self.heard.lock().count;
        self.wait(longest, |state| state.ended || state.count > before);
    }

    /// Its pid.
    pub(super) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Asks it to end, and waits for that.
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
        // It is not reaped before that is seen here, so the pid is its own.
        let _ = kill(Pid::from_raw(self.pid()), signal);
        self.wait(PATIENCE, |state| state.ended)
            .then(|| self.child.wait().expect("it is our child"))
    }

    /// Waits for the news that makes `met` true; whether they came.
    fn wait(&self, longest: Duration, met: impl Fn(&State) -> bool) -> bool {
        let until = Instant::now() + longest;
        let mut state = self.heard.lock();
        while !met(&state) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (state, _) = self
                .heard
                .news
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

impl Heard {
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
        let state = self.heard.lock();
        let state_now = if state.ended { "ended" } else { "runs" };
        write!(f, "{} {state_now} and said:", self.name)?;
        for line in &state.lines[state.lines.len().saturating_sub(LINES_SHOWN)..] {
            f.write_char('\n')?;
            f.write_str(line)?;
        }
        Ok(())
    }
}

fn listen(output: impl Read + Send + 'static, heard: Arc<Heard>) {
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let mut state = heard.lock();
            if state.lines.len() >= LINES_KEPT {
                state.lines.drain(..LINES_KEPT / 2);
            }
            state
                .lines
                .push(String::from_utf8_lossy(&line).into_owned());
            state.count += 1;
            heard.news.notify_all();
        }
    });
}

/// Notes the end of a child without reaping it.
fn await_end(pid: i32, heard: Arc<Heard>) {
    thread::spawn(move || {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        // An error: it has been reaped, so it has ended.
        let _ = waitid(Id::Pid(Pid::from_raw(pid)), flags);
        heard.lock().ended = true;
        heard.news.notify_all();
    });
}
