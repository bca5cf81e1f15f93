//! `pause-trace watch`, running beside a test: what it writes is waited for, line by line.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt,
    io::{BufRead as _, BufReader, Read as _},
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

use crate::{lab::Node, pause_trace, wire};

/// How long a line may take. The longest that the program itself waits are the two minutes that a network may stay after its pod's
/// removal; the rest is for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(210);

/// The exit code after Ctrl-C.
const INTERRUPTED: i32 = 130;

/// A `pause-trace watch --format json`. Dropping it kills it.
///
/// It follows all pods of the machine, those of other tests as well: ask for the lines of a pod by its uid.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    heard: Arc<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Value>,
    /// The same as it was written.
    text: String,
    errors: String,
    /// The first line that the published schema does not describe, and why.
    undescribed: Option<String>,
    /// Its output has ended, and so has it.
    ended: bool,
}

impl Watch {
    /// Starts it on a node, whose network counts as the host's, and waits until it has attached.
    ///
    /// # Panics
    /// When it does not.
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

    /// The same outside of every lab's node, where nothing is at the usual places.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn start_outside() -> Self {
        Self::of(command().spawn().expect("it starts"))
    }

    #[track_caller]
    fn of(mut child: Child) -> Self {
        let heard = Arc::new(Heard::default());
        let output = child.stdout.take().expect("it is a pipe");
        let mut errors = child.stderr.take().expect("it is a pipe");
        thread::spawn({
            let heard = Arc::clone(&heard);
            move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let read = wire::read(&line);
                    let mut state = heard.lock();
                    state.text.push_str(&line);
                    state.text.push('\n');
                    match read {
                        Ok(object) => state.lines.push(object),
                        Err(error) => _ = state.undescribed.get_or_insert(error),
                    }
                    drop(state);
                    heard.news.notify_all();
                }
                heard.lock().ended = true;
                heard.news.notify_all();
            }
        });
        thread::spawn({
            let heard = Arc::clone(&heard);
            move || {
                let mut bytes = [0; 1024];
                while let Ok(count @ 1..) = errors.read(&mut bytes) {
                    let text = String::from_utf8_lossy(&bytes[..count]);
                    heard.lock().errors.push_str(&text);
                }
            }
        });
        let watch = Self { child, heard };
        watch.await_line("its hello", |line| line["type"] == "hello");
        watch
    }

    /// All that it has written so far.
    ///
    /// # Panics
    /// When the schema does not describe it.
    #[must_use]
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let state = self.heard.lock();
        state.assert_described();
        state.lines.clone()
    }

    /// What it has written of a pod so far.
    #[must_use]
    pub fn of_pod(&self, uid: &str) -> Vec<Value> {
        let mut lines = self.lines();
        lines.retain(|line| line["pod"]["uid"] == uid);
        lines
    }

    /// Waits for a line; what was written before counts.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn await_line(&self, what: &str, met: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        let mut state = self.heard.lock();
        let mut seen = 0;
        loop {
            state.assert_described();
            if let Some(line) = state.lines[seen..].iter().find(|line| met(line)) {
                return line.clone();
            }
            seen = state.lines.len();
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !state.ended,
                "pause-trace watch did not say {what}; {state}"
            );
            (state, _) = self
                .heard
                .news
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until something has happened to a pod: `started`, `ended`, `removed`, `verified`.
    #[track_caller]
    pub fn await_event(&self, uid: &str, event: &str) -> Value {
        self.await_line(&format!("that pod {uid} {event}"), |line| {
            line["pod"]["uid"] == uid && line["event"] == event
        })
    }

    /// Waits until the entrypoint of a container of a pod has `started` or `ended`.
    #[track_caller]
    pub fn await_container(&self, container: &str, event: &str) -> Value {
        self.await_line(&format!("that {container} {event}"), |line| {
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

    /// Waits until all that can be said of a pod that was removed has been said; returns how that came out.
    #[track_caller]
    pub fn verified(&self, uid: &str) -> Outcome {
        let line = self.await_event(uid, "verified");
        Outcome {
            verdicts: line["verdicts"].clone(),
            lines: self.of_pod(uid),
        }
    }

    /// Holds it up while something happens, as a starved machine does.
    ///
    /// # Panics
    /// When it can't be stopped.
    #[track_caller]
    pub fn held_up<T>(&self, happen: impl FnOnce() -> T) -> T {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::SIGSTOP).expect("it has not been reaped");
        let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("it is our child");
        assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
        let happened = happen();
        kill(pid, Signal::SIGCONT).expect("it has not been reaped");
        happened
    }

    /// Ends it as Ctrl-C does, and gives all that it has written.
    ///
    /// # Panics
    /// When it does not end as it should.
    #[track_caller]
    pub fn stop(self) -> Vec<Value> {
        self.interrupt().lock().lines.clone()
    }

    /// The same, as the text that it wrote.
    ///
    /// # Panics
    /// When it does not end as it should.
    #[track_caller]
    #[must_use]
    pub fn stop_with_text(self) -> String {
        self.interrupt().lock().text.clone()
    }

    #[track_caller]
    fn interrupt(mut self) -> Arc<Heard> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::SIGINT).expect("it has not been reaped");
        self.await_line("its summary", |line| line["type"] == "summary");
        let status = self.child.wait().expect("it is our child");
        let state = self.heard.lock();
        state.assert_described();
        assert_eq!(status.code(), Some(INTERRUPTED), "{state}");
        let last = state.lines.last();
        assert!(
            last.is_some_and(|line| line["interrupted"] == true),
            "{state}"
        );
        drop(state);
        Arc::clone(&self.heard)
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
        // An error: it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    #[track_caller]
    fn assert_described(&self) {
        if let Some(error) = &self.undescribed {
            panic!("{error}");
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.ended { "has ended" } else { "runs" };
        writeln!(f, "it {state} and wrote {} to stderr and", self.errors)?;
        show(&self.lines, f)
    }
}

/// How the verification of a pod came out.
#[derive(Clone, Debug)]
pub struct Outcome {
    verdicts: Value,
    lines: Vec<Value>,
}

impl Outcome {
    /// The lines about the pod.
    #[must_use]
    pub fn lines(&self) -> &[Value] {
        &self.lines
    }

    /// The rules that were broken, of any severity.
    #[must_use]
    pub fn broken(&self) -> BTreeSet<&str> {
        let findings = self.lines.iter().filter(|line| line["type"] == "finding");
        findings
            .filter_map(|finding| finding["rule"].as_str())
            .collect()
    }

    /// The rules that were broken, but for what was said for information only.
    #[must_use]
    pub fn accused(&self) -> BTreeSet<&str> {
        let findings = self.lines.iter().filter(|line| line["type"] == "finding");
        findings
            .filter(|finding| finding["severity"] != "info")
            .filter_map(|finding| finding["rule"].as_str())
            .collect()
    }

    /// How many verdicts stayed open.
    #[must_use]
    pub fn inconclusive(&self) -> u64 {
        let count = self.verdicts["inconclusive"].as_u64();
        count.unwrap_or_default()
    }

    /// The names of the containers whose entrypoints ended, in that order.
    #[must_use]
    pub fn ended(&self) -> Vec<&str> {
        let ends = self.lines.iter().filter(|line| line["event"] == "ended");
        ends.filter_map(|line| line["container"]["name"].as_str())
            .collect()
    }

    /// Demands that these rules were broken and no other, and that nothing stayed unproven.
    ///
    /// # Panics
    /// When it is otherwise.
    #[track_caller]
    pub fn assert_broken<'a>(&self, rules: impl IntoIterator<Item = &'a str>) {
        let rules: BTreeSet<_> = rules.into_iter().collect();
        assert_eq!(self.broken(), rules, "{self}");
        assert_eq!(self.verdicts["inconclusive"], 0, "{self}");
    }

    /// Demands that no promise was broken, that nothing stayed unproven, and that each of these containers was proven to be
    /// in the namespaces that it was to be in.
    ///
    /// # Panics
    /// When it is otherwise.
    #[track_caller]
    pub fn assert_healthy<'a>(&self, containers: impl IntoIterator<Item = &'a str>) {
        self.assert_broken([]);
        self.assert_placed(containers);
    }

    /// Demands that each of these containers was proven to be in the namespaces that it was to be in.
    ///
    /// # Panics
    /// When it was not.
    #[track_caller]
    pub fn assert_placed<'a>(&self, containers: impl IntoIterator<Item = &'a str>) {
        for container in containers {
            for rule in MEMBERSHIP {
                assert!(
                    self.passed(rule, container),
                    "no {rule} passed for {container}: {self}"
                );
            }
        }
    }

    /// Whether a rule's last word about a container is that it holds.
    #[must_use]
    pub fn passed(&self, rule: &str, container: &str) -> bool {
        let mut verdicts = self.lines.iter().rev();
        let last = verdicts.find(|line| {
            line["type"] == "verdict"
                && line["rule"] == rule
                && (line["container"]["name"] == container || line["container"]["id"] == container)
        });
        last.is_some_and(|line| line["verdict"] == "pass")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "verdicts {}, and of the pod:", self.verdicts)?;
        show(&self.lines, f)
    }
}

/// The rules about a container's place: net, ipc, uts and pid.
const MEMBERSHIP: [&str; 4] = ["PT101", "PT102", "PT103", "PT104"];

/// A verdict that passed says nothing of why a test fails, but that it is there: it is shortened.
fn show(lines: &[Value], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for line in lines {
        if line["verdict"] == "pass" {
            let (rule, container) = (&line["rule"], &line["container"]["name"]);
            writeln!(f, "{rule} passed for {container}: {}", line["message"])?;
        } else {
            writeln!(f, "{line}")?;
        }
    }
    Ok(())
}
