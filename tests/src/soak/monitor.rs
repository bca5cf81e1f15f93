//! The watch of a soak: starts it, gives its lines to the oracle, measures it, stops and ends it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead as _, BufReader, BufWriter, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
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

use super::{
    files::Files,
    oracle::{Fault, Made, Oracle, Sample},
};
use crate::{lab::Node, pause_trace, wire};

/// How long the watch may take to say something. It waits at most two minutes itself, for the
/// network of a removed pod. The rest is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(210);

/// How long a rule may take to decide: longer than the limit of any rule that a plant waits for,
/// the longest of which is 30 s.
const DECISION: Duration = Duration::from_secs(90);

/// How long it may take to end.
const ENDING: Duration = Duration::from_secs(60);

/// The name of the file that takes what the watch writes to its stderr.
const ERRORS: &str = "watch.stderr";

/// A watch that is judged while it runs. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Monitor {
    pid: Pid,
    child: Mutex<Child>,
    started: Instant,
    shared: Mutex<Shared>,
    changed: Condvar,
    /// Whether the run is to end at once.
    is_interrupted: AtomicBool,
}

#[derive(Debug, Default)]
struct Shared {
    oracle: Oracle,
    said_hello: bool,
    ended: bool,
    has_summary: bool,
    /// Whether a line is a violation that makes the exit code 1, and whether one is inconclusive.
    has_error: bool,
    has_open: bool,
    lines: u64,
}

/// How the watch ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// `None` if it did not end in time.
    pub(super) status: Option<ExitStatus>,
    /// The exit code that its lines ask for.
    pub(super) expected: i32,
    /// Whether it wrote a summary.
    pub(super) has_summary: bool,
}

impl Monitor {
    /// Starts the watch on a node, as a user does, and waits until it has attached.
    ///
    /// # Panics
    /// When it does not start.
    pub(super) fn start<'scope>(
        scope: &'scope thread::Scope<'scope, '_>,
        node: &Node,
        files: &Files,
    ) -> &'static Self {
        let errors = File::create(files.path(ERRORS)).expect("the directory was just made");
        let lines = File::create(files.path("watch.jsonl")).expect("the directory was just made");
        let mut command = Command::new(pause_trace());
        command
            .args([
                "watch",
                "--format",
                "json",
                // Full before the first quarter ends, so that what grows later is something else.
                "--history",
                "1M",
                "--max-size",
                "256M",
                "--record",
            ])
            .arg(files.path("watch.ptrec"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors);
        let mut child = node.spawn(&mut command);
        let output = child.stdout.take().expect("it is a pipe");
        // It lives as long as the process, so that the threads of the runtimes can share it.
        let monitor: &'static Self = Box::leak(Box::new(Self {
            pid: Pid::from_raw(child.id().cast_signed()),
            child: Mutex::new(child),
            started: Instant::now(),
            shared: Mutex::default(),
            changed: Condvar::new(),
            is_interrupted: AtomicBool::new(false),
        }));
        // One thread only reads, so that a slow check of the schema never makes the watch drop
        // lines.
        let (read, take) = mpsc::channel();
        scope.spawn(move || {
            let mut kept = BufWriter::new(lines);
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                writeln!(kept, "{line}").expect("the lines can be written to the disk");
                if read.send(line).is_err() {
                    break;
                }
            }
            kept.flush().expect("the lines can be written to the disk");
        });
        scope.spawn(move || {
            for line in take {
                monitor.take(&line);
            }
            monitor.lock().ended = true;
            monitor.changed.notify_all();
        });
        let attached = monitor.wait(PATIENCE, |shared| shared.said_hello || shared.ended);
        let errors = fs::read_to_string(files.path(ERRORS)).unwrap_or_default();
        assert!(
            attached && !monitor.lock().ended,
            "pause-trace watch did not start: {errors}"
        );
        monitor
    }

    /// How long it has run.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Changes the oracle or asks it.
    pub(super) fn oracle<T>(&self, act: impl FnOnce(&mut Oracle) -> T) -> T {
        act(&mut self.lock().oracle)
    }

    /// Ends every wait from now on.
    pub(super) fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::Relaxed);
        // With the lock, so that nobody is between a look at it and the wait.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Whether the run is to end at once.
    pub(super) fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::Relaxed)
    }

    /// Takes a pod that was made.
    pub(super) fn made(&self, uid: &str, made: Made) {
        self.oracle(|oracle| oracle.made(uid, made));
    }

    /// Takes the id of a container of a pod.
    pub(super) fn contains(&self, uid: &str, container: &str) {
        self.oracle(|oracle| oracle.contains(uid, container));
    }

    /// Takes the end of a pod. One that an interruption cut short is not judged.
    pub(super) fn removed(&self, uid: &str) {
        if !self.is_interrupted() {
            let now = self.now();
            report(&self.oracle(|oracle| oracle.removed(now, uid)));
        }
    }

    /// Waits until each of these rules accuses a pod or is inconclusive about it, but not forever:
    /// the oracle says later that it was missed.
    pub(super) fn await_rules(&self, uid: &str, rules: &[&str]) {
        self.wait(DECISION, |shared| {
            rules.iter().all(|rule| shared.oracle.has_said(uid, rule))
        });
    }

    /// Waits until a container has started or ended, but not forever.
    pub(super) fn await_container(&self, container: &str, event: super::oracle::Stage) {
        self.wait(PATIENCE, |shared| shared.oracle.has_seen(container, event));
    }

    /// Waits until each pod that was made has its verdict.
    pub(super) fn await_all(&self) {
        self.wait(PATIENCE, |shared| shared.oracle.waiting() == 0);
    }

    /// Waits this long, or until the run is interrupted. Returns whether it is not.
    pub(super) fn pause(&self, long: Duration) -> bool {
        self.wait(long, |_| false);
        !self.is_interrupted()
    }

    /// Waits this long. Returns true as soon as it has ended.
    pub(super) fn has_ended_after(&self, long: Duration) -> bool {
        let shared = self.lock();
        let result = self
            .changed
            .wait_timeout_while(shared, long, |shared| !shared.ended);
        result.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// Stops it with SIGSTOP for this long.
    ///
    /// # Panics
    /// When it has ended.
    pub(super) fn hold_up(&self, long: Duration) {
        kill(self.pid, Signal::SIGSTOP).expect("the watch runs");
        let stopped = waitpid(self.pid, Some(WaitPidFlag::WUNTRACED));
        assert_eq!(stopped, Ok(WaitStatus::Stopped(self.pid, Signal::SIGSTOP)));
        self.pause(long);
        kill(self.pid, Signal::SIGCONT).expect("the watch runs");
    }

    /// The ids of the eBPF programs that it holds.
    pub(super) fn programs(&self) -> BTreeSet<u32> {
        let entries = fs::read_dir(format!("/proc/{}/fdinfo", self.pid));
        let texts = entries.into_iter().flatten().flatten();
        let texts = texts.map(|entry| fs::read_to_string(entry.path()).unwrap_or_default());
        texts
            .filter_map(|text| {
                let line = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
                line?.trim().parse().ok()
            })
            .collect()
    }

    /// Ends it with SIGTERM.
    ///
    /// # Panics
    /// When it can't be waited for.
    pub(super) fn end(&self) -> Ending {
        // An error means that it has ended, which its status shows.
        let _ = kill(self.pid, Signal::SIGTERM);
        let until = Instant::now() + ENDING;
        let mut shared = self.lock();
        while !shared.ended && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            (shared, _) = self
                .changed
                .wait_timeout(shared, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let status = shared.ended.then(|| child.wait().expect("it is a child"));
        if status.is_none() {
            child.kill().expect("it is a child");
        }
        Ending {
            status,
            expected: match (shared.has_error, shared.has_open) {
                (true, _) => 1,
                (false, true) => 3,
                (false, false) => 0,
            },
            has_summary: shared.has_summary,
        }
    }

    /// The number of lines so far.
    pub(super) fn lines(&self) -> u64 {
        self.lock().lines
    }

    fn take(&self, line: &str) {
        let read = wire::read(line);
        let now = self.now();
        let mut shared = self.lock();
        shared.lines += 1;
        let line = match read {
            Ok(line) => line,
            Err(error) => {
                report(&[Fault::Other(error.clone())]);
                shared.oracle.fault(Fault::Other(error));
                return;
            }
        };
        shared.said_hello |= line["type"] == "hello";
        shared.has_summary |= line["type"] == "summary";
        shared.has_error |= line["verdict"] == "fail" && line["severity"] == "error";
        shared.has_open |= line["verdict"] == "inconclusive" || line["type"] == "loss";
        report(&shared.oracle.line(now, &line));
        if line["event"] == "verified"
            && let Some(sample) = sample(self.pid)
        {
            shared.oracle.sample(sample);
        }
        drop(shared);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `met` is true, at most this long. Returns whether it is.
    fn wait(&self, longest: Duration, met: impl Fn(&Shared) -> bool) -> bool {
        let until = Instant::now() + longest;
        let mut shared = self.lock();
        loop {
            if met(&shared) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || shared.ended || self.is_interrupted() {
                return false;
            }
            (shared, _) = self
                .changed
                .wait_timeout(shared, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Prints what is wrong as soon as it is known.
fn report(faults: &[Fault]) {
    for fault in faults {
        eprintln!("error: {fault}");
    }
}

/// What a process uses now; `None` if it has ended.
fn sample(pid: Pid) -> Option<Sample> {
    let field = |file: &str, key: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().trim_end_matches("kB").trim().parse().ok()
    };
    Some(Sample {
        rss: field("status", "VmRSS:")?,
        pss: field("smaps_rollup", "Pss:")?,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_measured() {
        let own = sample(Pid::this()).expect("it runs");
        assert!(own.rss > 0 && own.pss > 0 && own.descriptors > 0, "{own:?}");
        assert_eq!(sample(Pid::from_raw(i32::MAX)), None);
    }
}
