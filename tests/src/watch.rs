//! Runs `pause-trace watch` beside a test, which waits for lines of its output.

mod outcome;

use std::{
    ffi::OsStr,
    fmt,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use serde_json::Value;

pub use self::outcome::Outcome;
use self::outcome::show;
use crate::{lab::Node, pause_trace, wire};

/// How long a line may take. The program itself waits at most two minutes, for the network of a
/// removed pod. The rest is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(210);

/// The exit code after Ctrl-C.
const INTERRUPTED: i32 = 130;

/// A `pause-trace watch --format json`. Dropping it kills it.
///
/// It reports all pods of the machine, including those of other tests. Select the lines of a pod by
/// its uid.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Value>,
    /// The same lines as text.
    text: String,
    errors: String,
    /// The error for the first line that does not match the published schema.
    invalid: Option<String>,
    /// Whether its output is not read for now.
    unread: bool,
    /// Whether its output has ended, and so the process, too.
    ended: bool,
}

impl Watch {
    /// Starts it on a node, whose network is the host network for it, and waits until it has
    /// attached.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn start(node: &Node) -> Self {
        Self::start_with(node, [] as [&str; 0])
    }

    /// The same, with more arguments.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn start_with<A: AsRef<OsStr>>(node: &Node, args: impl IntoIterator<Item = A>) -> Self {
        Self::of(node.spawn(command().args(args)))
    }

    /// The same outside of all nodes, where no runtime is at the usual paths.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn start_outside() -> Self {
        Self::start_outside_with([] as [&str; 0])
    }

    /// The same, with more arguments. It keeps no history: all that run outside would want the same
    /// socket.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn start_outside_with<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Self {
        let mut command = command();
        command.args(["--history", "0"]).args(args);
        Self::of(command.spawn().expect("it starts"))
    }

    #[track_caller]
    fn of(mut child: Child) -> Self {
        let shared = Arc::new(Shared::default());
        let output = child.stdout.take().expect("it is a pipe");
        let mut errors = child.stderr.take().expect("it is a pipe");
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let read = wire::read(&line);
                    let mut state = shared.lock();
                    while state.unread {
                        state = shared
                            .changed
                            .wait(state)
                            .unwrap_or_else(PoisonError::into_inner);
                    }
                    state.text.push_str(&line);
                    state.text.push('\n');
                    match read {
                        Ok(object) => state.lines.push(object),
                        Err(error) => _ = state.invalid.get_or_insert(error),
                    }
                    drop(state);
                    shared.changed.notify_all();
                }
                shared.lock().ended = true;
                shared.changed.notify_all();
            }
        });
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let mut bytes = [0; 1024];
                while let Ok(count @ 1..) = errors.read(&mut bytes) {
                    let text = String::from_utf8_lossy(&bytes[..count]);
                    shared.lock().errors.push_str(&text);
                    shared.changed.notify_all();
                }
            }
        });
        let watch = Self { child, shared };
        watch.await_line("a hello", |line| line["type"] == "hello");
        watch
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines so far.
    ///
    /// # Panics
    /// When a line does not match the schema.
    #[must_use]
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let state = self.shared.lock();
        state.assert_valid();
        state.lines.clone()
    }

    /// The lines about a pod so far.
    #[must_use]
    pub fn of_pod(&self, uid: &str) -> Vec<Value> {
        let mut lines = self.lines();
        lines.retain(|line| line["pod"]["uid"] == uid);
        lines
    }

    /// Waits for a line, which may be written already.
    ///
    /// # Panics
    /// When the line is not written in time.
    #[track_caller]
    pub fn await_line(&self, what: &str, met: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        let mut checked = 0;
        loop {
            state.assert_valid();
            if let Some(line) = state.lines[checked..].iter().find(|line| met(line)) {
                return line.clone();
            }
            checked = state.lines.len();
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !state.ended,
                "pause-trace watch did not write {what}; {state}"
            );
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for a line of its stderr that contains these words, and returns it.
    ///
    /// # Panics
    /// When the line is not written in time.
    #[track_caller]
    pub fn await_error(&self, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        loop {
            let mut lines = state.errors.split_inclusive('\n');
            if let Some(line) = lines.find(|line| line.contains(words) && line.ends_with('\n')) {
                return line.trim_end().to_owned();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it did not say {words:?}; {state}");
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for an event of a pod: `started`, `ended`, `removed`, `verified`.
    #[track_caller]
    pub fn await_event(&self, uid: &str, event: &str) -> Value {
        self.await_line(&format!("`{event}` of pod {uid}"), |line| {
            line["pod"]["uid"] == uid && line["event"] == event
        })
    }

    /// Waits until the entrypoint of a container has `started` or `ended`.
    #[track_caller]
    pub fn await_container(&self, container: &str, event: &str) -> Value {
        self.await_line(&format!("`{event}` of {container}"), |line| {
            line["container"]["id"] == container && line["event"] == event
        })
    }

    /// Waits for a finding about a pod.
    #[track_caller]
    pub fn await_finding(&self, uid: &str, rule: &str) -> Value {
        self.await_line(&format!("{rule} of pod {uid}"), |line| {
            line["type"] == "finding" && line["pod"]["uid"] == uid && line["rule"] == rule
        })
    }

    /// Waits until the verification of a removed pod is complete. Returns its result.
    #[track_caller]
    pub fn verified(&self, uid: &str) -> Outcome {
        let line = self.await_event(uid, "verified");
        Outcome {
            verdicts: line["verdicts"].clone(),
            lines: self.of_pod(uid),
        }
    }

    /// Stops it with SIGSTOP while `happen` runs, as if the machine were starved.
    ///
    /// # Panics
    /// When it can't be stopped.
    #[track_caller]
    pub fn held_up<T>(&self, happen: impl FnOnce() -> T) -> T {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::SIGSTOP).expect("it has not been reaped");
        let stopped =
            waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("it is a child of this process");
        assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
        let happened = happen();
        kill(pid, Signal::SIGCONT).expect("it has not been reaped");
        happened
    }

    /// Does not read its output while `happen` runs, as a pager does whose user reads.
    pub fn unread<T>(&self, happen: impl FnOnce() -> T) -> T {
        self.shared.lock().unread = true;
        let happened = happen();
        self.shared.lock().unread = false;
        self.shared.changed.notify_all();
        happened
    }

    /// Kills it with SIGKILL.
    ///
    /// # Panics
    /// When it has ended by itself.
    #[track_caller]
    pub fn kill(mut self) {
        self.child.kill().expect("it has not been reaped");
        self.await_killed();
    }

    /// Waits until something has killed it with SIGKILL.
    ///
    /// # Panics
    /// When it ends otherwise, or not at all.
    #[track_caller]
    pub fn await_killed(mut self) {
        let until = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        while !state.ended {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "pause-trace watch does not end; {state}");
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let status = self.child.wait().expect("it is a child of this process");
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{state}");
    }

    /// Ends it with SIGINT, and returns all of its lines.
    ///
    /// # Panics
    /// When it does not end with a summary and the right exit code.
    #[track_caller]
    pub fn stop(self) -> Vec<Value> {
        self.interrupt().lock().lines.clone()
    }

    /// The same, but returns its output as text.
    ///
    /// # Panics
    /// When it does not end with a summary and the right exit code.
    #[track_caller]
    #[must_use]
    pub fn stop_with_text(self) -> String {
        self.interrupt().lock().text.clone()
    }

    /// Ends it with SIGTERM, and returns all of its lines.
    ///
    /// # Panics
    /// When it does not end with a summary and this exit code.
    #[track_caller]
    #[must_use]
    pub fn terminate(mut self, code: i32) -> Vec<Value> {
        self.end(Signal::SIGTERM, code);
        self.shared.lock().lines.clone()
    }

    #[track_caller]
    fn end(&mut self, signal: Signal, code: i32) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).expect("it has not been reaped");
        self.await_line("a summary", |line| line["type"] == "summary");
        let status = self.child.wait().expect("it is a child of this process");
        let state = self.shared.lock();
        state.assert_valid();
        assert_eq!(status.code(), Some(code), "{state}");
    }

    #[track_caller]
    fn interrupt(mut self) -> Arc<Shared> {
        self.end(Signal::SIGINT, INTERRUPTED);
        let state = self.shared.lock();
        let last = state.lines.last();
        assert!(
            last.is_some_and(|line| line["interrupted"] == true),
            "{state}"
        );
        drop(state);
        Arc::clone(&self.shared)
    }
}

fn command() -> Command {
    let mut command = Command::new(pause_trace());
    command
        .args(["watch", "--format", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Drop for Watch {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    #[track_caller]
    fn assert_valid(&self) {
        if let Some(error) = &self.invalid {
            panic!("{error}");
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.ended { "has ended" } else { "runs" };
        writeln!(
            f,
            "it {state}; its stderr is {} and its lines are",
            self.errors
        )?;
        show(&self.lines, f)
    }
}
